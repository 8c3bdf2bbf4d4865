"""Published networks as points beside ours: mIoU as it is printed, and the cost that we count of the same file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from blocks.architecture import Architecture
from blocks.errors import BlockError, QueryError, law, nearest
from nas.report.costs import Input, cost_row
from nas.report.fronts import COUNTED
from nas.report.gallery import folder
from nas.space import Space
from nas.space.published import Published, Reported

Row = dict[str, Any]
_TESTED = re.compile(r"\bat (\d+)x(\d+)")


class _DataSet(NamedTuple):
    """What costs are stated for where a file says nothing of this data set."""

    title: str
    size: tuple[int, int]
    classes: int


# The whole image where networks are tested on it, else the crop that they are trained with.
DATA_SETS: Final[Mapping[str, _DataSet]] = {
    "cityscapes": _DataSet("Cityscapes", (1024, 2048), 19),
    "ade20k": _DataSet("ADE20K", (512, 512), 150),
    "camvid": _DataSet("CamVid", (720, 960), 11),
    "pascal_context": _DataSet("Pascal Context", (480, 480), 60),
    "pascal_voc": _DataSet("Pascal VOC 2012", (512, 512), 21),
    "coco_stuff": _DataSet("COCO-Stuff", (512, 512), 171),
}


def literature(data: str, *, size: tuple[int, int] | None = None) -> list[Row]:
    """One row for each shipped network that somebody published a single-scale mIoU for on this data set.

    Of several results the best on the validation set counts, else the best on the test set.

    Args:
        data: a name of `DATA_SETS`, however it is spelled.
        size: height and width to state every cost for. [px] By default each network's own: the size that the result was
            got at as far as its source says so, else the file's or the data set's.

    Returns:
        Rows with `network`, `data`, `size`, `classes`, `source`, the columns `nas.report.fronts.COUNTED` and
        `published`: True; the cheapest first.

    Raises:
        QueryError: there is no such data set.
    """
    wanted = _named(data)
    rows = []
    for name in folder("published"):
        space = Space.load(name)
        found = _result(space.published, wanted) if space.published and space.count() == 1 else None
        if space.published is None or found is None:
            continue
        (architecture,) = space.architectures()
        on = _input(space.published, found, wanted, size)
        if counted := _counted(architecture, on):
            rows.append({**_stated(name, found, on), **counted, "source": found.source, "published": True})
    return sorted(rows, key=lambda row: int(row["macs"]))


def _named(data: str) -> _DataSet:
    known = {_plain(name): found for name, found in DATA_SETS.items()}
    if _plain(data) not in known:
        needs = "a data set with published results"
        raise QueryError(law("--published", needs, {"data": data}, nearest(data, DATA_SETS)))
    return known[_plain(data)]


def _result(published: Published, wanted: _DataSet) -> Reported | None:
    printed = [r for r in published.reported if r.miou is not None and _is(r.data, wanted)]
    return max(printed, key=lambda r: ("test" not in r.data, r.miou or 0.0), default=None)


def _input(published: Published, found: Reported, wanted: _DataSet, size: tuple[int, int] | None) -> Input:
    own = _is(published.data, wanted)
    said = _TESTED.search(found.source)
    tested = (int(said[1]), int(said[2])) if said else None
    # Model zoos test on whole images, whatever size the paper's own results are for.
    usual = published.size if own and "model zoo" not in found.source else wanted.size
    return Input(size or found.size or tested or usual, published.classes if own else wanted.classes, 3)


def _counted(architecture: Architecture, on: Input) -> Row | None:
    try:
        row = cost_row(architecture, on)
    except BlockError:
        # Some networks are made for one size alone: at another there is nothing to lay beside ours.
        return None
    return {name: row[name] for name in COUNTED if name != "miou"}


def _stated(name: str, found: Reported, on: Input) -> Row:
    size = f"{on.size[0]}x{on.size[1]}"
    facts = {"data": found.data, "size": size, "classes": on.classes, "miou": found.miou}
    return {"network": name.removeprefix("published/"), **facts}


def _is(data: str, wanted: _DataSet) -> bool:
    return _plain(data).startswith(_plain(wanted.title))


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.casefold())
