"""Networks and studies for use elsewhere: one module a family of formats."""

from __future__ import annotations

from typing import Final

TABLES: Final = ("csv", "parquet", "json")
"""Of a whole study."""

NETWORKS: Final = ("pt2", "onnx", "safetensors", "python")
"""Of one trial, with its weights."""

SPACE: Final = "yaml"
"""Of one trial, as a space file without questions."""

FORMATS: Final = (*NETWORKS, SPACE, *TABLES)
