"""Run networks on the meta device without waiting for it.

The meta device works out shapes, and answers most operators at once; a few it decomposes, in Python, into what they
would compute. Of those, `Shortcuts` answers the ones that networks are full of, with the shape, type and strides of the
real thing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten


def shortcut(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call an operator, or answer for it on the meta device."""
    answer = _ANSWERS.get(func)
    if answer is None or not (isinstance(args[0], Tensor) and args[0].is_meta):
        return func(*args, **kwargs)
    return answer(*args, **kwargs)


class Shortcuts(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Take the shortcuts while networks are built or run on the meta device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return shortcut(func, args, kwargs or {})


def _same(tensor: Tensor, *args: Any, generator: torch.Generator | None = None) -> Tensor:
    """What changes values in place has nothing to do where there are none."""
    return tensor


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor)


def _batch_norm(x: Tensor, weight: Any, bias: Any, mean: Any, var: Any, training: bool, *rest: Any) -> Any:  # noqa: PLR0917 - as torch has them
    if training:
        return _aten.native_batch_norm.default(x, weight, bias, mean, var, training, *rest)
    return torch.empty_like(x), x.new_empty(0), x.new_empty(0)


def _bilinear(x: Tensor, size: list[int], align_corners: bool, *scales: Any) -> Tensor:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.empty((*x.shape[:2], *size), dtype=x.dtype, device=x.device, memory_format=layout)


_ANSWERS: dict[Any, Callable[..., Any]] = {
    **{getattr(_aten, name).default: _same for name in ("normal_", "uniform_", "hardswish_", "hardsigmoid_")},
    **{getattr(_aten, name).default: _like for name in ("hardswish", "hardsigmoid")},
    _aten.native_batch_norm.default: _batch_norm,
    _aten.upsample_bilinear2d.default: _bilinear,
}
