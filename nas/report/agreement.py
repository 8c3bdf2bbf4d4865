"""How well a proxy ranks networks as the full schedule does: from two studies, or from the epochs of one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from blocks.errors import QueryError, law
from nas.analysis.agreement import LEAST, Agreement, Pair, agreement, paired_networks
from nas.analysis.fronts import candidates
from nas.report.progress import gpus_of, recorded, took_gpu

if TYPE_CHECKING:
    from nas.store import Store

_SLOTS: Final = ("backbone", "model", "context", "align", "refine", "head")
_COLUMNS: Final = (
    *("id", "number", "state", "identity", "fingerprint", "protocol_fingerprint", "outside", "epochs"),
    *("train_seconds", "device", "seed", *_SLOTS),
)

Row = dict[str, Any]


class Told(NamedTuple):
    """What is known of one proxy.

    Args:
        row: the figures, flat.
        pairs: the networks that it was found on.
        notes: what a reader should know, as sentences.
    """

    row: Row
    pairs: list[Pair]
    notes: list[str]


def of_studies(
    store: Store, proxy: str, full: str, *, by: str = "miou", top: int = 10, where: str | None = None
) -> Told:
    """Compare the networks that finished in both studies, under different protocols.

    Args:
        store: that holds them.
        proxy: the study with the short schedule.
        full: the one with the long schedule.
        by: the score.
        top: how many networks would be trained in full. [count]
        where: a condition on the trials of both.

    Raises:
        QueryError: a name is wrong, or too few networks finished in both.
    """
    rows = [_rows(store, name, by, where) for name in (proxy, full)]
    found = paired_networks(rows[0], rows[1], by)
    notes = []
    if found.same:
        same = _counted(found.same, "network was", "networks were")
        notes.append(f"{same} trained the same way in both and left out.")
    if found.same and len(found.found) < LEAST:
        needs, remedy = "two recipes", "Name a study with a shorter one: see nas presets"
        raise QueryError(law("The agreement of two studies", needs, {"networks trained alike": found.same}, remedy))
    if any(count > 1 for pair in found.found for count in pair.trials):
        notes.append("A network that was trained several times in a study counts with its mean.")
    notes += _stopped(rows[0], proxy) + _stopped(rows[1], full)
    gpus = [
        gpus_of(store, name) if any(took_gpu(r) for r in each) else 0.0
        for name, each in zip((proxy, full), rows, strict=True)
    ]
    names = {"proxy": proxy, "full": full}
    return Told(names | _figures(found.found, top, gpus[0], gpus[1]), found.found, notes)


def of_epochs(
    store: Store, study: str, *, epochs: Sequence[int] = (), top: int = 10, where: str | None = None
) -> list[Told]:
    """Compare the mIoU after some epochs with the one at the end, of each trial that finished.

    Args:
        store: that holds the study.
        study: its name.
        epochs: after which; all but the last by default. [count]
        top: how many networks would be trained to the end. [count]
        where: a condition on the trials.

    Raises:
        QueryError: a name is wrong, there is no such epoch, or too few trials finished.
    """
    rows = _rows(store, study, "miou", where)
    final = candidates(rows, {"miou": "max"})
    with store.gathered() as opened:
        # A replay has no epochs of its own.
        curves = {key: curve for key, curve in opened.curves([row["id"] for row in final]).items() if len(curve) > 1}
    last = min((len(curve) for curve in curves.values()), default=0)
    for epoch in epochs:
        if not 1 <= epoch < last:
            needs = f"an epoch before the last ({last})" if last else f"curves in {study}"
            raise QueryError(law("--epoch", needs, {"epoch": epoch}, "Leave it out for all of them"))
    gpus = gpus_of(store, study) if any(took_gpu(row) for row in rows) else 0.0
    told = []
    for epoch in epochs or range(1, max(last, 2)):
        pairs = [_early(row, curves[row["id"]], epoch) for row in final if row["id"] in curves]
        usable = [pair for pair in pairs if math.isfinite(pair.scores[0])]
        told.append(Told({"epoch": epoch} | _figures(usable, top, gpus, gpus), usable, _stopped(rows, study)))
    return told


def networks(pairs: Sequence[Pair], by: str) -> list[Row]:
    """One row a network, those first that the proxy underrates most: both scores and both ranks."""
    ranks = [_ranks([pair.scores[side] for pair in pairs]) for side in (0, 1)]
    rows = [
        {"number": pair.row["number"]}
        | {slot: pair.row[slot] for slot in _SLOTS}
        | {f"proxy_{by}": pair.scores[0], f"full_{by}": pair.scores[1], "proxy_rank": first, "full_rank": second}
        for pair, first, second in zip(pairs, *ranks, strict=True)
    ]
    return sorted(rows, key=lambda row: row["full_rank"] - row["proxy_rank"])


def sentence(told: Told, by: str) -> str:
    """What the figures say, for a person."""
    row = told.row
    beginning = f"The proxy's best network is {row['regret']:.4f} {by} below the best of all; "
    return beginning + f"of its best {row['top']}, the best one is {row['regret_top']:.4f} below."


def _rows(store: Store, study: str, by: str, where: str | None) -> list[Row]:
    found = store.find_study(study)["id"]
    rows = recorded(store, found, (*_COLUMNS, by))
    if where is None:
        return rows
    meant = {row["id"] for row in store.trials(found, where, columns=["id"])}
    return [row for row in rows if row["id"] in meant]


def _early(row: Row, curve: Sequence[Row], epoch: int) -> Pair:
    early = curve[epoch - 1]["miou"]
    spent = [math.nan if point["seconds"] is None else float(point["seconds"]) for point in curve]
    scores = (math.nan if early is None else float(early), float(row["miou"]))
    return Pair(row, scores, (1, 1), (math.fsum(spent[:epoch]), math.fsum(spent)))


def _figures(pairs: Sequence[Pair], top: int, proxy_gpus: float, full_gpus: float) -> Row:
    """The agreement and what either side took; hours are GPU hours where GPUs were used."""
    found: Agreement = agreement([p.scores[0] for p in pairs], [p.scores[1] for p in pairs], top=top)
    known = [pair.seconds for pair in pairs if all(map(math.isfinite, pair.seconds))]
    short, long = (math.fsum(seconds[side] for seconds in known) / 3600 for side in (0, 1))
    short, long = short * (proxy_gpus or 1.0), long * (full_gpus or 1.0)
    unit = "gpu_hours" if proxy_gpus and full_gpus else "hours"
    return {
        "networks": found.n,
        "tau": found.tau,
        "tau_low": found.low,
        "tau_high": found.high,
        "spearman": found.spearman,
        "top": found.top.k,
        "shared": found.top.shared,
        "by_chance": found.top.chance,
        "regret": found.regret,
        "regret_top": found.top.regret,
        f"proxy_{unit}": short if known else None,
        f"full_{unit}": long if known else None,
        "share": short / long if known and long else None,
    }


def _stopped(rows: Sequence[Row], study: str) -> list[str]:
    """Early stopping lets those go on that rank well early: what is left agrees less, or more, than all would."""
    stopped = sum(row["state"] in ("stopped", "paused") for row in rows)
    if not stopped:
        return []
    return [f"Early stopping ended {_counted(stopped, 'trial', 'trials')} of {study}: only survivors are compared."]


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _ranks(scores: Sequence[float]) -> list[int]:
    """Places from 1 on; equal scores share the better one."""
    return [1 + sum(other > score for other in scores) for score in scores]
