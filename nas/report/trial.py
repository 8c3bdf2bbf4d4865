"""All that is known of one trial, as tables and lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from blocks.errors import NasError
from nas.report.labels import label
from nas.report.tables import human

if TYPE_CHECKING:
    from nas.analysis.standing import Standing
    from runners.protocol import Protocol

Row = dict[str, Any]

_LONG: Final = ("answers", "protocol", "architecture", "traceback", "log", "error", "class_iou")


def fact_rows(facts: Mapping[str, Any]) -> list[Row]:
    """What is recorded of a trial in a word or a number each."""
    return [{"fact": n, "value": human(n, v)} for n, v in facts.items() if n not in _LONG and v is not None]


def part_rows(architecture: str, protocol: Protocol) -> list[Row]:
    """What each slot of a network costs, and what all of them do together.

    Args:
        architecture: its canonical JSON.
        protocol: for the size, the classes and the channels.

    Raises:
        BlockError: the network cannot be built any more.
    """
    from blocks.architecture import Architecture
    from blocks.cost import costs_by_part
    from nas.report.costs import described

    value = Architecture.from_canonical(architecture)
    costs = costs_by_part(value, size=protocol.size, classes=protocol.classes, image_channels=protocol.image_channels)
    components = dict(value.slots())
    rows = [
        {"part": slot, "component": described(slot, components[slot]), **asdict(cost)} for slot, cost in costs.items()
    ]
    figures = [name for name in rows[0] if name not in ("part", "component")]
    whole = {name: sum(row[name] for row in rows) for name in figures}
    for row in rows:
        row["macs_share"] = row["macs"] / whole["macs"] if whole["macs"] else None
    rows = [row for row in rows if row["component"] != "none"]
    return [{**_ordered(row)} for row in [*rows, {"part": "all", "component": "", **whole, "macs_share": 1.0}]]


def _ordered(row: Row) -> Row:
    names = ("part", "component", "params", "macs", "macs_share", "macs_conv", "activation_bytes")
    return {name: row[name] for name in names}


def class_rows(
    class_iou: Sequence[float | None] | None, names: Sequence[str], evaluations: Sequence[Row] = ()
) -> list[Row]:
    """The IoU of each class: in the search, and in the last evaluation on each split.

    Args:
        class_iou: of the last epoch; None or empty where nobody knows.
        names: of the classes, or nothing.
        evaluations: later ones, oldest first.
    """
    later = {f"{one['split']}_iou": one["class_iou"] for one in evaluations if one["class_iou"]}
    count = max([len(class_iou or ()), *(len(values) for values in later.values())])
    return [
        {
            "class": number,
            **({"name": names[number]} if len(names) == count else {}),
            "iou": class_iou[number] if class_iou and number < len(class_iou) else None,
            **{split: values[number] if number < len(values) else None for split, values in later.items()},
        }
        for number in range(count)
    ]


def evaluation_rows(evaluations: Sequence[Row]) -> list[Row]:
    """Later evaluations, one a row."""
    return [
        {
            "created": one["created"],
            "split": one["split"],
            "samples": one["samples"],
            "miou": one["miou"],
            "pixel_accuracy": one["pixel_accuracy"],
            "inference": _words(one["settings"]),
            "epoch": one["settings"].get("epoch"),
            "seconds": one["seconds"],
        }
        for one in evaluations
    ]


def _words(settings: Mapping[str, Any]) -> str:
    said = [name for name in ("sliding", "flip") if settings.get(name)]
    scales = len(settings.get("scales") or (1.0,))
    return ", ".join([*said, *([f"{scales} scales"] if scales > 1 else [])]) or "single"


def names_of(protocol: Protocol) -> tuple[str, ...]:
    """The names of the classes, as far as the data set of a protocol gives them."""
    from nas.study.trained import info_of

    try:
        names = info_of(protocol.data).names
    except NasError:
        # Whoever reads another's store need not have their data sets.
        return ()
    return names


def standing_words(found: Standing | None, state: str, objectives: Mapping[str, str]) -> str:
    """How it ranks, as a sentence."""
    by = ", ".join(f"{label(name)} ({direction})" for name, direction in objectives.items())
    if found is None:
        return f"It is {state}: only final results with all objectives are ranked by {by}."
    if found.layer == 1:
        return f"On the front of {by}: no other of {found.trials} final results beats it."
    place = f"Not on the front of {by}: in layer {found.layer} of {found.layers}, {found.trials} final results in all."
    if found.better is None:
        return place
    costs = [label(name) for name, direction in objectives.items() if direction == "min"]
    at = f" at no more {' and '.join(costs)}" if costs else ""
    return f"{place} Trial {found.better} has {found.missing:.4f} more {label(found.goal)}{at}."


def standing_facts(found: Standing | None) -> Row:
    """How it ranks, for programs."""
    return {
        "layer": found.layer if found else None,
        "layers": found.layers if found else None,
        "better_trial": found.better if found else None,
        "missing_to_front": found.missing if found else None,
    }
