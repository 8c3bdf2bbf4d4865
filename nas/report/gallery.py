"""Our cost of published networks beside what others count and print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from blocks.errors import SpaceError, law
from nas.report.costs import Input, cost_row, input_of
from nas.report.tables import engineering
from nas.space import Space
from nas.space.files import shipped
from nas.space.published import COUNTED, Comparison, Published

Row = dict[str, object]


def folder(name: str) -> list[str]:
    """The shipped spaces below a folder, e.g. `published`; none where it is no folder."""
    return [space for space in shipped() if space.startswith(f"{name.rstrip('/')}/")]


def gallery(names: Iterable[str]) -> list[Row]:
    """One row a network: ours, theirs, and how far apart they are; what was measured goes before what is printed.

    Raises:
        SpaceError: a file does not describe one network of which something was published.
    """
    return [_line(name, Space.load(name)) for name in names]


def _line(name: str, space: Space) -> Row:
    published, row = fixed(space)
    compared = [c for c in _compared(published, row) if not published.measured or c.kind == "measured"]
    found = {c.figure: c for c in reversed(compared)}
    figures: Row = {}
    for figure in COUNTED:
        theirs = found.get(figure)
        figures |= {
            figure: row[figure],
            f"{figure}_published": theirs and theirs.published,
            f"{figure}_difference": theirs and theirs.difference,
        }
    kind = next((c.kind for c in found.values()), "nothing")
    own = [r.miou for r in published.reported if r.data.startswith(published.data) and r.miou is not None]
    stated = {"network": name, "data": published.data, "size": row["size"], "classes": row["classes"]}
    said = {"compared_with": kind, "follows": published.follows, "differs": published.differs}
    return stated | figures | {"miou_published": own[0] if own else None} | said


def fixed(space: Space) -> tuple[Published, Row]:
    """What is published of the one network of a space, and our cost of it at the published size.

    Raises:
        SpaceError: the space holds several networks, or says of none what was published.
    """
    if space.published is None or space.count() != 1:
        got = {"architectures": space.count(), "published": space.published is not None}
        raise SpaceError(law(f"Space {space.name}", "one network and its section `published:`", got, "Add what lacks"))
    (architecture,) = space.architectures()
    return space.published, cost_row(architecture, input_of(space, size=None, classes=None))


def comparisons(space: Space, rows: Sequence[Row], on: Input) -> list[Row]:
    """Ours beside theirs, one row a figure; none where they are for different inputs, or no one network is known."""
    known = space.published
    if known is None or len(rows) != 1 or (on.size, on.classes) != (known.size, known.classes):
        return []
    return [
        {
            "figure": each.figure,
            "ours": engineering(each.ours),
            "published": engineering(each.published),
            "difference": each.difference,
            "kind": each.kind,
            "source": each.source,
        }
        for each in _compared(known, rows[0])
    ]


def _compared(known: Published, row: Row) -> list[Comparison]:
    return list(known.compared(**{figure: cast(int, row[figure]) for figure in COUNTED}))
