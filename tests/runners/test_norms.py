"""Batch norms that do not move, and those that share what they see."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from blocks.architecture import Architecture, Component
from blocks.errors import RunError
from blocks.layers import BatchNorm
from blocks.network import Network, Supervised
from runners import norms
from runners.optimise import Fit
from runners.training import Training

CPU = torch.device("cpu")


def supervised_with(model: str) -> Supervised:
    torch.manual_seed(0)
    backbone = Component.of("timm", {"model": model})
    architecture = Architecture(backbone=backbone, align=Component.of("bilinear", {"channels": 16}))
    return Supervised(Network(architecture, size=(64, 64), classes=5))


def batch(images: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.rand(images, 3, 64, 64), torch.randint(0, 5, (images, 64, 64))


def norms_of(module: nn.Module) -> dict[str, nn.Module]:
    return {name: part for name, part in module.named_modules() if isinstance(part, _BatchNorm)}


# Plain batch norms, and those that timm merges with an activation.
@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet"])
def test_frozen_norms_do_not_move_and_all_else_does(model):
    supervised = supervised_with(model)
    before = copy.deepcopy(supervised.state_dict())
    fit = Fit(supervised, Training(norms="frozen", learning_rate=0.1, warmup=0.0, weight_decay=0.5, ema=0.5), CPU)
    for step in range(3):
        fit.train()
        fit.step(*batch(), step=step, steps=9)
    backbone = norms_of(supervised.network.stages["backbone"])
    frozen = {f"network.stages.backbone.{name}.{key}" for name, norm in backbone.items() for key in norm.state_dict()}
    assert len(frozen) >= 10
    for name, value in supervised.state_dict().items():
        assert torch.equal(value, before[name]) == (name in frozen), name
    for name, value in fit.judged.state_dict().items():
        assert f"network.{name}" not in frozen or torch.equal(value, before[f"network.{name}"])


def test_frozen_norms_are_in_no_group_of_the_optimiser():
    supervised = supervised_with("test_resnet")
    fit = Fit(supervised, Training(norms="frozen"), CPU)
    trained = {id(p) for group in fit._optimizer.param_groups for p in group["params"]}
    held = {id(p) for norm in norms_of(supervised.network.stages["backbone"]).values() for p in norm.parameters()}
    behind = {id(p) for norm in norms_of(supervised.network.stages["align"]).values() for p in norm.parameters()}
    assert held
    assert not held & trained
    assert behind <= trained


@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet"])
def test_synced_norms_are_batch_norms_in_a_single_process(model):
    plain, synced = supervised_with(model), supervised_with(model)
    norms.synchronise(synced, CPU)
    kinds = {type(norm) for norm in norms_of(synced).values()}
    assert all(issubclass(kind, nn.SyncBatchNorm) for kind in kinds)
    assert list(synced.state_dict()) == list(plain.state_dict())
    results = []
    for supervised in (plain, synced):
        fit = Fit(supervised, Training(learning_rate=0.01, ema=0.9), CPU)
        fit.train()
        losses = [fit.step(*batch(), step=step, steps=9).item() for step in range(3)]
        results.append((losses, supervised.state_dict(), fit.judged(batch()[0])))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(value, results[1][1][name]) for name, value in results[0][1].items())
    assert torch.equal(results[0][2], results[1][2])


def test_a_synced_norm_trains_on_a_single_value_too():
    module = nn.Sequential(BatchNorm(3))
    norms.synchronise(module, CPU)
    x = torch.rand(1, 3, 1, 1)
    torch.testing.assert_close(module.train()(x), BatchNorm(3).train()(x))
    assert module[0].running_mean.eq(0).all()


def test_several_processes_without_gpus_cannot_share_statistics(monkeypatch):
    monkeypatch.setattr(norms, "_processes", lambda: 2)
    with pytest.raises(RunError, match=r"norms synced needs GPUs: got device='cpu', processes=2"):
        norms.synchronise(nn.Sequential(BatchNorm(3)), CPU)


@pytest.mark.parametrize("kind", ["frozen", "synced"])
def test_a_trial_trains_with_them_and_goes_on(proposal, carry_out, work, numbers, kind):
    whole, _ = carry_out(proposal(0, norms=kind), work)
    first, _ = carry_out(proposal(1, norms=kind), work, until=1)
    rest, _ = carry_out(proposal(1, norms=kind, done=1), work)
    plain, _ = carry_out(proposal(2), work)
    assert numbers(first + rest) == numbers(whole)
    assert (numbers(whole) == numbers(plain)) == (kind == "synced")
