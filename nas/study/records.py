"""One line of a table of learning curves: every field has the right form, or the line says which has not."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from blocks.errors import law, nearest
from runners.protocol import Epoch

COSTS: Final = {"macs": True, "params": True, "macs_conv": False, "activation_bytes": False}
"""Costs a line may hold -> whether it must."""

_SERIES: Final = {"miou": True, "epoch_seconds": True, "loss": False, "pixel_accuracy": False}
_KEYS: Final = ("config", "seed", *COSTS, *_SERIES)


class LineError(Exception):
    """A line of the table is wrong."""


def checked(line: str) -> dict[str, Any]:
    """One line as a record whose fields have the right form."""
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise LineError(law("A line", "one JSON object", {"text": line[:60]}, "Write one network a line")) from error
    if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
        raise LineError(law("A line", "an object with `config`", {"text": line[:60]}, "Write one network a line"))
    for key in record.keys() - set(_KEYS):
        raise LineError(law("A line", "keys that are known", {"key": key}, nearest(key, _KEYS)))
    seed = record.setdefault("seed", 0)
    if not _is_count(seed):
        raise LineError(law("seed", "a whole number from 0 on", {"seed": seed}, "Leave it out for 0"))
    for name, required in COSTS.items():
        if (required or name in record) and not (_is_count(record.get(name)) and record[name] > 0):
            raise LineError(law(name, "a whole number above 0", {name: record.get(name)}, "Count it"))
    for name, required in _SERIES.items():
        if required or name in record:
            _check_series(name, record.get(name), len(record["miou"]) if isinstance(record.get("miou"), list) else 0)
    return record


def _check_series(name: str, values: object, epochs: int) -> None:
    high = 1.0 if name in ("miou", "pixel_accuracy") else math.inf
    needs = f"a list of {epochs or 'some'} numbers {'from 0 to 1' if high == 1.0 else 'from 0 on'}, one an epoch"
    if not isinstance(values, list) or not values or len(values) != epochs:
        raise LineError(law(name, needs, {name: values}, "Write one an epoch"))
    for epoch, value in enumerate(values, start=1):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= high or math.isinf(value):
            raise LineError(law(name, needs, {"epoch": epoch, name: value}, "Leave networks that diverged out"))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def epochs_of(record: Mapping[str, Any]) -> list[Epoch]:
    unknown = float("nan")

    def of(name: str) -> Iterator[float]:
        return iter(record[name] if name in record else [unknown] * len(record["miou"]))

    rows = zip(of("miou"), of("epoch_seconds"), of("loss"), of("pixel_accuracy"), strict=True)
    return [
        Epoch(
            epoch=number,
            loss=loss,
            miou=miou,
            pixel_accuracy=accuracy,
            class_iou=(),
            learning_rate=unknown,
            seconds=seconds,
            train_memory_bytes=0,
        )
        for number, (miou, seconds, loss, accuracy) in enumerate(rows, start=1)
    ]
