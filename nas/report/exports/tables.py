"""A whole study as one table, for a notebook or a spreadsheet."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from blocks.errors import RunError, law
from nas.report.tables import render

Row = Mapping[str, Any]


def table(rows: Sequence[Row], format: str) -> bytes:
    """Write rows that all have the same keys.

    Args:
        rows: one a trial.
        format: `csv`, `json` or `parquet`.

    Raises:
        RunError: parquet is asked for and pyarrow is not installed.
    """
    if format == "parquet":
        return _parquet(rows)
    return (render(rows, format) + "\n").encode()


def _parquet(rows: Sequence[Row]) -> bytes:
    if importlib.util.find_spec("pyarrow") is None:
        remedy = "Install it: pip install 'segnas[parquet]'; or write csv"
        raise RunError(law("--format parquet", "a package that is optional", {"missing": "pyarrow"}, remedy))
    import pandas as pd

    names = list(dict.fromkeys(key for row in rows for key in row))
    frame = pd.DataFrame({name: _column([row.get(name) for row in rows]) for name in names})
    buffer = io.BytesIO()
    frame.to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()


def _column(values: list[Any]) -> Any:
    """A column of one type: an option may hold a number here and a word there."""
    import pandas as pd

    name: Any
    known = [value for value in values if value is not None]
    for kinds, name in (((bool,), "boolean"), ((int,), "Int64"), ((int, float), "Float64")):
        if known and all(isinstance(value, kinds) and (isinstance(value, bool) == (bool in kinds)) for value in known):
            return pd.array(values, dtype=name)
    if known and all(isinstance(value, datetime) for value in known):
        return pd.to_datetime(pd.Series(values), utc=True)
    return pd.array([None if value is None else str(value) for value in values], dtype="string")
