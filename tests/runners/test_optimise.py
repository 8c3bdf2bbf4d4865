import copy
import itertools
import math

import pytest
import torch

from blocks.errors import RunError
from blocks.network import Network, Supervised
from runners.optimise import Average, Fit, learning_rate, optimizer
from runners.training import Training

CPU = torch.device("cpu")


@pytest.fixture
def supervised(proposal):
    torch.manual_seed(0)
    return Supervised(Network(proposal().architecture, size=(32, 32), classes=6))


@pytest.fixture
def batch():
    torch.manual_seed(1)
    labels = torch.arange(2).repeat_interleave(16).expand(4, 32, 32)
    return torch.rand(4, 3, 32, 32), labels


def rates(steps: int = 1000, **options) -> list[float]:
    training = Training(learning_rate=2.0, **options)
    return [learning_rate(step, steps, training) for step in range(steps)]


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "poly", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.3])
def test_a_rate_rises_linearly_and_then_never_again(schedule, warmup):
    curve = rates(schedule=schedule, warmup=warmup)
    top = round(warmup * 1000)
    rises = [b - a for a, b in itertools.pairwise(curve[:top])]
    assert rises == pytest.approx([rises[0]] * len(rises)) if rises else top == 0
    assert all(b <= a for a, b in itertools.pairwise(curve[top:]))
    assert max(curve) == pytest.approx(2.0)
    assert curve[top] == pytest.approx(2.0)
    assert min(curve) > 0


def test_each_schedule_is_what_it_is_called():
    assert rates(schedule="constant", warmup=0.0) == [2.0] * 1000
    assert rates(schedule="cosine", warmup=0.0)[250] == pytest.approx(1.0 + math.cos(math.pi / 4))
    assert rates(schedule="poly", warmup=0.0, power=2.0)[500] == pytest.approx(0.5)
    cycle = rates(schedule="one_cycle", warmup=0.5)
    assert cycle[0] == pytest.approx(2.0 / 25, rel=0.05)
    assert cycle[-1] == pytest.approx(2.0 * 1e-4, rel=0.2)


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "poly", "constant"])
def test_a_training_of_one_step_has_a_rate(schedule):
    assert learning_rate(0, 1, Training(schedule=schedule)) > 0


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_norms_and_biases_do_not_decay(supervised, name):
    made = optimizer(supervised, Training(optimizer=name, weight_decay=0.3))
    decayed, exempt = (group["params"] for group in made.param_groups)
    assert [g["weight_decay"] for g in made.param_groups] == [0.3, 0.0]
    assert len(decayed) + len(exempt) == len(list(supervised.parameters()))
    norms = {id(p) for m in supervised.modules() if isinstance(m, torch.nn.BatchNorm2d) for p in m.parameters()}
    biases = {id(p) for n, p in supervised.named_parameters() if n.endswith("bias")}
    assert norms | biases == {id(p) for p in exempt}


def test_a_step_lowers_the_loss_it_was_taken_for(supervised, batch):
    fit = Fit(supervised.train(), Training(learning_rate=1e-2, warmup=0.0), CPU)
    losses = [float(fit.step(*batch, step=step, steps=100)) for step in range(8)]
    assert losses[-1] < 0.7 * losses[0]


def test_clipping_bounds_what_a_step_of_sgd_can_do(supervised, batch):
    before = [p.detach().clone() for p in supervised.parameters()]
    options = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant", "warmup": 0.0}
    fit = Fit(supervised.train(), Training(clip=1e-3, learning_rate=1.0, **options), CPU)
    fit.step(*batch, step=0, steps=10)
    moved = sum(float((a - b).detach().pow(2).sum()) for a, b in zip(before, supervised.parameters(), strict=True))
    assert math.sqrt(moved) == pytest.approx(1e-3, rel=1e-2)


def test_the_average_follows_weights_and_buffers(supervised):
    network = supervised.network
    average = Average(network, 0.9)
    start = copy.deepcopy(network.state_dict())
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(1)
    average.update(10_000)
    for name, value in average.network.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, start[name] + 0.1)
        else:
            assert torch.equal(value, start[name] + 1)


def test_the_first_steps_weigh_more_in_the_average(supervised):
    """Otherwise a training of a few hundred steps is judged by its initial weights."""
    network = supervised.network
    average = Average(network, 0.9999)
    weight = next(network.parameters())
    before = weight.detach().clone()
    with torch.no_grad():
        weight.add_(1)
    average.update(0)
    torch.testing.assert_close(next(average.network.parameters()), before + 0.9)


def test_bfloat16_is_taken_under_autocast_and_weights_stay_float32(supervised, batch):
    fit = Fit(supervised.train(), Training(precision="bfloat16"), CPU)
    seen = []
    last = [m for m in supervised.modules() if isinstance(m, torch.nn.Conv2d)][-1]
    last.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    assert math.isfinite(float(fit.step(*batch, step=0, steps=10)))
    assert seen == [torch.bfloat16]
    assert {p.dtype for p in supervised.parameters()} == {torch.float32}
    assert not torch.is_autocast_enabled("cpu")


def test_float16_is_refused_where_the_loss_cannot_be_scaled(supervised):
    with pytest.raises(RunError, match=r"a CUDA device for float16.*Use bfloat16"):
        Fit(supervised, Training(precision="float16"), CPU)


def test_a_batch_in_parts_makes_the_same_step(supervised, batch):
    """Apart from batch norms, which are held still here."""
    other = copy.deepcopy(supervised)
    losses = []
    for each, parts in ((supervised, 1), (other, 2)):
        fit = Fit(each.eval(), Training(optimizer="sgd"), CPU)
        losses.append(fit.step(*batch, step=5, steps=10, parts=parts).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for (name, a), b in zip(supervised.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6), name
