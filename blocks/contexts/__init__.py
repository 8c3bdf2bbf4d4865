"""The catalogue of contexts."""

from __future__ import annotations

from torch import nn

CONTEXTS: dict[str, type[nn.Module]] = {}
