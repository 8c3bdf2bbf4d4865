"""The recipes that ship: what each sets, for what data, and where it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterator

from blocks.options import options_of
from nas.report.tables import Rows
from nas.space.files import recipes
from nas.space.nodes import Plain, Table, plain
from nas.space.presets import Preset, preset
from runners.training import Training

_SHOWN = ("iterations", "batch", "optimizer", "learning_rate", "schedule")


def overview() -> Rows:
    """One row a preset: the data set, the crop, the schedule, the optimiser, what was reported, the source."""
    defaults = {name: option.default for name, option in options_of(Training).items()}
    rows: list[dict[str, object]] = []
    for name in sorted(recipes(), key=_natural):
        found = preset(name)
        values = defaults | _entries(found.training)
        size = _entries(found.options).get("size")
        row: dict[str, object] = {"preset": name, "data": found.data, "crop": _sides(size)}
        row |= {key: values[key] for key in _SHOWN}
        rows.append(row | {"reported": found.reported or None, "source": found.source})
    return rows


def values(found: Preset) -> Rows:
    """One row an option that the preset sets: its place in a space, and its value."""
    data = {f"data.{found.data}.{name}": value for name, value in _entries(found.options).items()}
    flat = data | dict(_flat(found.training, "training"))
    return [{"option": place, "value": value} for place, value in flat.items()]


def sentences(found: Preset) -> Iterator[str]:
    """What a person should know of it: the head of its file, what was reported, the source."""
    for line in found.path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        yield line.removeprefix("#").strip()
    if found.reported:
        yield f"Reported mIoU: {found.reported}."
    yield f"Source: {found.source}."


def _flat(table: Table, path: str) -> Iterator[tuple[str, Plain]]:
    for key, node in table.entries.items():
        inner = f"{path}.{key}"
        if key == "losses" and isinstance(node, Table):
            yield from _flat(node, inner)
        else:
            yield inner, plain(node)


def _entries(table: Table) -> dict[str, Plain]:
    return {key: plain(node) for key, node in table.entries.items()}


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort 40k before 160k."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def _sides(size: Plain) -> str:
    return "x".join(str(side) for side in size) if isinstance(size, list) else ""
