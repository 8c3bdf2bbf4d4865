"""Architecture search and ablation for semantic segmentation.

from nas import Space, Study, sweep
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.space import Space
    from nas.study import Study, sweep

__all__ = ["Space", "Study", "sweep"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: the command line's `--help` must not wait for torch.
    if name == "Space":
        from nas.space import Space

        return Space
    if name in {"Study", "sweep"}:
        from nas import study

        return getattr(study, name)
    raise AttributeError(f"module 'nas' has no attribute {name!r}")
