"""Architecture search and ablation for semantic segmentation.

from nas import Space, Study, ablate, sweep, train
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.space import Space
    from nas.study import Study, ablate, sweep, train

__all__ = ["Space", "Study", "ablate", "sweep", "train"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: the command line's `--help` must not wait for torch.
    if name == "Space":
        from nas.space import Space

        return Space
    if name in {"Study", "ablate", "sweep", "train"}:
        from nas import study

        return getattr(study, name)
    raise AttributeError(f"module 'nas' has no attribute {name!r}")
