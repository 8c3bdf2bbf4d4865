"""Batch norms that are held as they are, or share their statistics between processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from blocks.errors import RunError, law
from blocks.layers import BatchNorm


def freeze(module: nn.Module) -> None:
    """Fix weights and biases of all batch norms in a module for good; `hold` does so for their statistics."""
    for norm in _norms(module):
        norm.requires_grad_(False)


def hold(module: nn.Module) -> None:
    """Let all batch norms in a module use the statistics that they have, until `train` is called on it."""
    for norm in _norms(module):
        norm.eval()


def synchronise(module: nn.Module, device: torch.device) -> None:
    """Put torch's synchronised batch norms in the place of all others, with their weights, statistics and names.

    They share statistics where a process group of several processes is initialised, and are batch norms elsewhere.

    Raises:
        RunError: there are several processes, on devices for which torch has no such norm.
    """
    if device.type in {"cpu", "mps"} and _processes() > 1:
        got = {"device": device.type, "processes": _processes()}
        raise RunError(law("training.norms synced", "GPUs", got, "Use norms: batch, or train on CUDA devices"))
    for name, norm in [(n, m) for n, m in module.named_modules() if isinstance(m, _BatchNorm)]:
        module.set_submodule(name, _synced(norm))


class SyncedBatchNorm(nn.SyncBatchNorm):
    """`blocks.layers.BatchNorm`, synchronised: it trains where a channel has a single value, as that does.

    Shape:
        input:  (N, C, H, W)
        output: (N, C, H, W)
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1] and _processes() == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


def _synced(norm: _BatchNorm) -> nn.Module:
    if not isinstance(norm, BatchNorm):
        converted: nn.Module = convert_sync_batchnorm(norm)  # torch's own would lose the activation in timm's norms
        return converted
    made = SyncedBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    made.load_state_dict(norm.state_dict())
    return made.train(norm.training)


def _norms(module: nn.Module) -> list[Any]:
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


def _processes() -> int:
    known = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if known else 1
