"""The table of an ablation: what was compared, what it costs, what it brings, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blocks.errors import QueryError, law, nearest
from nas.analysis.arms import Summary, best, by_arm, by_network, compared
from nas.analysis.statistics import LEAST
from nas.report.sheet import Sheet
from nas.report.tables import engineering, human
from nas.space import Space
from nas.store import Store

Choices = Mapping[str, str | None]

_SLOTS = ("data", "backbone", "context", "align", "refine", "head")
_SETTINGS = ("epochs", "iterations", "batch", "optimizer", "learning_rate", "weight_decay", "schedule", "precision")
_UNUSED = {"iterations": "0"}  # what says that an option does nothing
_TEST = (
    "p: paired t-test over common seeds, because runs of one seed share the order and augmentation of the samples and "
    "what the networks have in common of their first weights; {corrected}. It takes the differences as normally "
    "distributed; with few seeds only large effects are found."
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Arms, their figures, and what the arms have in common.

    Args:
        study: its name.
        baseline: the arm that the others are compared with, or None.
        arms: in the order of their first trials.
        varying: arm -> what it holds in each place where the arms differ.
        shared: place -> what all arms hold there.
    """

    study: str
    baseline: str | None
    arms: tuple[Summary, ...]
    varying: Mapping[str, Choices]
    shared: Choices

    @property
    def places(self) -> list[str]:
        """Where the arms differ."""
        return list(next(iter(self.varying.values()), {}))


def comparison(store: Store, study: str, *, baseline: str | None = None, where: str | None = None) -> Comparison:
    """Read a study's arms, or its networks that were trained with several seeds.

    Args:
        store: where it is.
        study: its name.
        baseline: what the others are compared with; by default the baseline of the study's ablation.
        where: only trials that meet this condition.

    Raises:
        QueryError: there is no such study, no such arm, nothing to compare, or the condition makes no sense.
    """
    found = store.find_study(study)
    rows = store.trials(found["id"], where)
    groups = by_arm(rows) or by_network(rows)
    if not groups:
        trained = sum(row["state"] in ("finished", "replayed") for row in rows)
        remedy = (
            "Compare arms with `nas ablate FILE`, or train a network again with `nas train FILE --seeds 3`"
            if trained
            else "See `nas trials`; train some with `nas ablate FILE`"
        )
        got = {"study": study, "trials": len(rows), "trained": trained}
        raise QueryError(law("A table", "arms, or networks that were trained with several seeds", got, remedy))
    if baseline is not None and baseline not in groups:
        raise QueryError(law("--baseline", "an arm of this study", {"arm": baseline}, nearest(baseline, groups)))
    against = baseline or _baseline(found["space"], groups)
    choices = {name: store.choices(group[0]["id"]) for name, group in groups.items()}
    varying = _varying(choices)
    first = next(iter(choices.values()))
    shared = {place: value for place, value in first.items() if all(c.get(place) == value for c in choices.values())}
    return Comparison(study, against, tuple(compared(groups, baseline=against)), varying, shared)


def records(found: Comparison) -> list[dict[str, object]]:
    """One flat row an arm, with nothing rounded: for CSV and JSON."""
    return [
        {
            "arm": each.name,
            "baseline": each.name == found.baseline,
            **found.varying[each.name],
            "params": each.rows[0]["params"],
            "macs": each.rows[0]["macs"],
            "n": each.n,
            "miou": each.mean,
            "miou_deviation": each.deviation,
            "miou_difference": each.difference.mean if each.difference else None,
            "difference_low": each.difference.low if each.difference else None,
            "difference_high": each.difference.high if each.difference else None,
            "pairs": each.difference.n if each.difference else None,
            "p": each.difference.p if each.difference else None,
            "p_holm": each.p_holm,
            "note": _note(each),
        }
        for each in found.arms
    ]


def sheet(found: Comparison) -> Sheet:
    """The same as people read it: mIoU in per cent, the best in bold, what all arms share in the caption."""
    winners = best(found.arms) if len(found.arms) > 1 else set()
    differ = any(each.difference for each in found.arms)
    tested = any(each.p_holm is not None for each in found.arms)
    noted = any(_note(each) for each in found.arms)
    headings = ["arm", *found.places, "parameters", "MACs", "mIoU [%]"]
    numeric = [False, *(False for _ in found.places), True, True, True]
    for present, heading, right in (
        (differ, "difference", True),
        (tested, "95 % interval", True),
        (tested, "p", True),
        (noted, "note", False),
    ):
        headings += [heading] if present else []
        numeric += [right] if present else []
    rows = [_cells(found, each, differ=differ, tested=tested, noted=noted) for each in found.arms]
    score = headings.index("mIoU [%]")
    bold = frozenset((i, score) for i, each in enumerate(found.arms) if each.name in winners)
    return Sheet(
        name=found.study,
        headings=headings,
        rows=rows,
        numeric=numeric,
        bold=bold,
        caption=caption(found, tested=tested),
    )


def caption(found: Comparison, *, tested: bool) -> str:
    """What a reader must know: what all arms share, what the figures are, and why this test."""
    seeds = sorted({seed for each in found.arms for seed in each.scores})
    named = f"seeds {', '.join(map(str, seeds))}" if seeds else "no final results yet"
    bold = "; best in bold" if len(found.arms) > 1 else ""
    said = [f"{found.study}. Shared: {_settings(found.shared)}."]
    said.append(f"mIoU at the last epoch: mean ± standard deviation (number of seeds), {named}{bold}.")
    if any(each.difference for each in found.arms):
        interval = ", with the 95 % interval by Student's t" if tested else ""
        said.append(f"Difference to {found.baseline} in points of mIoU, over common seeds{interval}.")
        if tested:
            count = sum(each.p_holm is not None for each in found.arms)
            corrected = f"corrected by Holm's method for {count} comparisons" if count > 1 else "the only comparison"
            said.append(_TEST.format(corrected=corrected))
        fewest = min(each.difference.n for each in found.arms if each.difference)
        if fewest < LEAST:
            said.append(f"Where fewer than {LEAST} seeds are common no test is possible.")
    elif len(found.arms) > 1:
        said.append("No differences: no baseline is named, or it has no final result.")
    return " ".join(said)


def _cells(found: Comparison, each: Summary, *, differ: bool, tested: bool, noted: bool) -> list[str]:
    row = each.rows[0]
    costs = ["" if row[name] is None else engineering(row[name]) for name in ("params", "macs")]
    # A component that an arm does not have has no options there.
    held = ["-" if value is None else value for value in found.varying[each.name].values()]
    cells = [each.name, *held, *costs, _score(each)]
    between = each.difference
    if differ:
        cells.append("" if between is None else _points(between.mean))
    if tested:
        known = between is not None and between.low is not None and between.high is not None
        cells.append(f"[{_points(between.low)}, {_points(between.high)}]" if known else "")  # type: ignore[union-attr,arg-type]
        cells.append("" if each.p_holm is None else "<0.001" if each.p_holm < 0.001 else f"{each.p_holm:.3f}")
    return [*cells, *([_note(each)] if noted else [])]


def _score(each: Summary) -> str:
    if each.mean is None:
        return ""
    deviation = "" if each.deviation is None else f" ± {100 * each.deviation:.2f}"
    return f"{100 * each.mean:.2f}{deviation} ({each.n})"


def _points(share: float) -> str:
    return f"{100 * share:+.2f}".replace("-", "\N{MINUS SIGN}")


def _note(each: Summary) -> str:
    """What a reader of the figures should not overlook."""
    said = [f"{count} {state}" for state, count in each.others().items()]
    over = next((row for row in each.rows if row["state"] == "rejected"), None)
    if over is not None:
        name = over["exceeded"]
        said.append(f"{name} {human(name, over['exceeded_value'])} > {human(name, over['exceeded_limit'])}")
    if parts := sum(row["accumulation"] > 1 for row in each.rows if row["seed"] in each.scores):
        said.append(f"{parts} with batches taken in parts")
    return ", ".join(said)


def _baseline(text: str, groups: Mapping[str, object]) -> str | None:
    """The baseline that the study's space names, where one of the groups is it."""
    if not any(line.startswith("ablation:") for line in text.splitlines()):
        return None
    ablation = Space.loads(text).ablation
    return ablation.baseline if ablation is not None and ablation.baseline in groups else None


def _varying(choices: Mapping[str, Choices]) -> dict[str, dict[str, str | None]]:
    """Where the arms differ: slots that hold different things, and options that two arms have and set differently."""
    places = dict.fromkeys(place for each in choices.values() for place in each)
    held = {place: {each[place] for each in choices.values() if place in each} for place in places}
    differing = [place for place in _ordered(places) if len(held[place]) > 1]
    return {name: {place: each.get(place) for place in differing} for name, each in choices.items()}


def _ordered(places: Mapping[str, object]) -> list[str]:
    rank = {slot: i for i, slot in enumerate(_SLOTS)}
    return sorted(places, key=lambda place: (rank.get(place.partition(".")[0], len(rank)), place))


def _settings(shared: Choices) -> str:
    said = [f"{slot} {_component(slot, shared)}" for slot in _SLOTS if shared.get(slot) not in (None, "none")]
    options = {name: shared.get(f"training.{name}") for name in _SETTINGS}
    used = {name: value for name, value in options.items() if value not in (None, _UNUSED.get(name))}
    said += [f"{name.replace('_', ' ')} {value}" for name, value in used.items()]
    return "; ".join(said) or "nothing"


def _component(slot: str, shared: Choices) -> str:
    name = str(shared[slot])
    telling: Sequence[str] = ("model", "size", "pretrained", "channels")
    options: dict[str, Any] = {option: shared.get(f"{slot}.{name}.{option}") for option in telling}
    written = ", ".join(f"{option} {value}" for option, value in options.items() if value is not None)
    return f"{name} ({written})" if written else name
