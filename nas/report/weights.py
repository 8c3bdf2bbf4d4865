"""How a file of weights fits the networks of a space, as rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blocks.architecture import Component
from blocks.errors import BlockError, QueryError, law
from nas.space import Space
from nas.study.weights import fitting
from runners.matching import Matched, shortened

COLUMNS = ("backbone", "model", "part", "loaded", "adapted", "missing", "unexpected", "wrong_shape", "fits")


def reports(space: Space, file: Path | None) -> list[tuple[Component, Matched | BlockError]]:
    """Hold a file, or that which the space itself names, to each backbone of the space.

    Raises:
        QueryError: neither names a file.
        DataError: it cannot be read.
    """
    path = file or space.weights_file()
    if path is None:
        remedy = "Write `nas weights SPACE FILE`, or training.weights in the space"
        raise QueryError(law("nas weights", "a file of weights", {"weights": None}, remedy))
    return list(fitting(space, path))


def rows(found: list[tuple[Component, Matched | BlockError]], *, names: bool) -> list[dict[str, Any]]:
    """One row a backbone: counts of tensors, or with `names` which they are."""
    return [
        {
            "backbone": backbone.name,
            "model": dict(backbone.options).get("model"),
            **(_report(matched, names) if isinstance(matched, Matched) else dict.fromkeys(COLUMNS[2:-1])),
            "fits": isinstance(matched, Matched),
        }
        for backbone, matched in found
    ]


def _report(matched: Matched, names: bool) -> dict[str, Any]:
    groups: dict[str, list[Any]] = {
        "loaded": list(matched.loaded),
        "adapted": list(matched.adapted),
        "missing": list(matched.missing),
        "unexpected": list(matched.unexpected),
        "wrong_shape": [
            {"name": name, "network": list(own), "file": list(other)} for name, own, other in matched.wrong_shape
        ],
    }
    part = matched.place.rstrip(".") or "network"
    return {"part": part, **{key: group if names else len(group) for key, group in groups.items()}}


def sentences(matched: Matched) -> list[str]:
    """What is not as in the file, group by group, the first ten names of each."""
    groups = {
        "Missing in the file": matched.missing,
        "Unexpected in the file": matched.unexpected,
        "Of wrong shape": [f"{name} {own}, in the file {other}" for name, own, other in matched.wrong_shape],
        "Adapted to the image's channels": matched.adapted,
    }
    return [f"{what}: {shortened(group)}" for what, group in groups.items() if group]
