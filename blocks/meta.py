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
    found = answer(*args, **kwargs)
    return func(*args, **kwargs) if found is None else found


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


def _alike(a: Tensor, b: Any, *, alpha: Any = 1) -> Tensor | None:
    """Arithmetic of a tensor with one that lies like it or is spread over it, or with a number."""
    if not isinstance(b, Tensor):
        return _least(a, b)
    if a.dtype != b.dtype or not b.is_meta:
        return None
    if a.shape == b.shape and a.stride() == b.stride():
        return _least(a, b)
    spread = a.ndim == b.ndim and all(there in {1, here} for here, there in zip(a.shape, b.shape, strict=True))
    return _least(a, b) if spread and a.is_contiguous() and b.is_contiguous() else None


def _least(a: Tensor, bound: Any) -> Tensor | None:
    dense = a.is_contiguous() or (a.ndim == 4 and a.is_contiguous(memory_format=torch.channels_last))
    return torch.empty_like(a) if dense and a.is_floating_point() else None


def _addmm(bias: Tensor, a: Tensor, b: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor | None:
    return a.new_empty(a.shape[0], b.shape[1]) if a.dtype == b.dtype == bias.dtype and b.is_meta else None


def _norm(x: Tensor, order: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor | None:
    plain = x.is_contiguous() and x.is_floating_point() and dtype is None
    if dim is None or len(dim) != 1 or not keepdim or not plain:
        return None
    shape = list(x.shape)
    shape[dim[0]] = 1
    return x.new_empty(shape)


def _bilinear(x: Tensor, size: list[int], align_corners: bool, *scales: Any) -> Tensor:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.empty((*x.shape[:2], *size), dtype=x.dtype, device=x.device, memory_format=layout)


_ANSWERS: dict[Any, Callable[..., Any]] = {
    **{getattr(_aten, name).default: _same for name in ("normal_", "uniform_", "hardswish_", "hardsigmoid_")},
    **{getattr(_aten, name).default: _like for name in ("hardswish", "hardsigmoid")},
    **{getattr(_aten, name).Tensor: _alike for name in ("add", "sub", "mul", "div")},
    _aten.clamp_min.default: _least,
    _aten.addmm.default: _addmm,
    _aten.linalg_vector_norm.default: _norm,
    _aten.native_batch_norm.default: _batch_norm,
    _aten.upsample_bilinear2d.default: _bilinear,
}
