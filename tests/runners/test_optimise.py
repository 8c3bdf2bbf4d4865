import copy
import itertools
import math

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

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


def torch_s(scheduler, steps: int = 1000, **options) -> list[float]:
    """What a scheduler of torch gives, from a peak of 2."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    made, found = scheduler(optimizer, **options), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made.step()
    return found


def test_schedules_are_those_of_torch():
    schedulers = torch.optim.lr_scheduler
    expected = torch_s(schedulers.PolynomialLR, total_iters=1000, power=0.9)
    assert rates(schedule="poly", warmup=0.0, power=0.9) == pytest.approx(expected)
    expected = torch_s(schedulers.CosineAnnealingLR, T_max=1000, eta_min=0.02)
    assert rates(schedule="cosine", warmup=0.0, floor=0.01) == pytest.approx(expected)
    # Torch counts its cycle from the first step to the last, ours ends where step number 1000 would be.
    cycle = {"max_lr": 2.0, "total_steps": 1000, "pct_start": 0.0, "div_factor": 25, "final_div_factor": 1e4 / 25}
    expected = torch_s(schedulers.OneCycleLR, steps=999, **cycle)
    assert rates(schedule="one_cycle", warmup=0.0)[1:] == pytest.approx(expected)


def test_after_a_warm_up_comes_the_whole_descent():
    expected = torch_s(torch.optim.lr_scheduler.PolynomialLR, steps=900, total_iters=900, power=0.9)
    assert rates(schedule="poly", warmup=0.1, power=0.9)[100:] == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "poly"])
def test_a_descent_ends_at_its_floor(schedule):
    low, none = (rates(100_000, schedule=schedule, warmup=0.1, floor=floor) for floor in (0.01, 0.0))
    assert low[-1] == pytest.approx(2.0 * 0.01, rel=1e-2)
    assert none[-1] < 2.0 * 0.001
    assert low[5_000] == none[5_000], "the rise is the same"
    share = (none[60_000] - none[-1]) / (none[10_000] - none[-1])
    assert (low[60_000] - low[-1]) / (low[10_000] - low[-1]) == pytest.approx(share, rel=1e-3)


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "poly", "constant"])
def test_a_training_of_one_step_has_a_rate(schedule):
    assert learning_rate(0, 1, Training(schedule=schedule)) > 0


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_norms_and_biases_do_not_decay(supervised, name):
    made = optimizer(supervised, Training(optimizer=name, weight_decay=0.3))
    assert all(g["fused"] for g in made.param_groups)
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


def test_the_average_is_that_of_torch(supervised):
    """Once the decay has risen to its value."""
    network = supervised.network
    average = Average(network, 0.9)
    torch_s = AveragedModel(copy.deepcopy(network), multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    torch_s.n_averaged.fill_(1)  # the first would be a copy
    for step in range(1000, 1004):
        with torch.no_grad():
            for tensor in network.state_dict().values():
                tensor.add_(torch.rand(tensor.shape).mul(10).to(tensor.dtype))
        average.update(step)
        torch_s.update_parameters(network)
    theirs = torch_s.module.state_dict()
    for name, value in average.network.state_dict().items():
        # Torch's would average what is counted, and round.
        torch.testing.assert_close(value, theirs[name] if value.is_floating_point() else network.state_dict()[name])


def test_what_is_averaged_is_judged_and_what_is_trained_is_not(supervised, batch):
    fit = Fit(supervised, Training(ema=0.9, learning_rate=0.1, warmup=0.0), CPU)
    fit.train()
    before = [p.clone() for p in fit.judged.parameters()]
    fit.step(*batch, step=0, steps=10)
    assert fit.judged is not supervised.network
    assert not any(m.training for m in fit.judged.modules())
    pairs = list(zip(before, fit.judged.parameters(), supervised.network.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b, _ in pairs)
    assert any(not torch.equal(b, c) for _, b, c in pairs)


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


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("parts", [1, 2])
def test_batches_that_are_accumulated_make_the_step_of_one_large_batch(supervised, optimizer, parts):
    """Apart from batch norms, which are held still here."""
    torch.manual_seed(2)
    images, labels = torch.rand(12, 3, 32, 32), torch.randint(0, 6, (12, 32, 32))
    supervised = supervised.double().eval()
    seen, rest = [], {"optimizer": optimizer, "learning_rate": 1e-3}
    supervised.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    losses, weights = [], []
    for options in ({"batch": 12}, {"batch": 4, "accumulate": 3}):
        each = copy.deepcopy(supervised)
        fit = Fit(each, Training(**rest, **options), CPU)
        losses.append([fit.step(images.double(), labels, step=s, steps=9, parts=parts).item() for s in range(3)])
        weights.append(each.state_dict())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert seen == [12 // parts] * 3 * parts + [4 // parts] * 9 * parts
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "images", "parts", "pieces"),
    [
        ((4, 1), 4, 1, 1),
        ((4, 1), 4, 4, 2),  # a batch norm cannot train on one image
        ((4, 3), 12, 2, 6),
        ((5, 2), 10, 2, 4),
        ((1, 8), 8, 2, 8),  # but on a batch of one it must
        ((4, 4), 5, 1, 2),  # there are but five
        ((4, 4), 1, 1, 1),
        ((2, 2), 2, 1, 1),  # half of them are in another process
    ],
)
def test_a_step_is_taken_in_pieces_of_a_batch_or_less(supervised, options, images, parts, pieces):
    fit = Fit(supervised, Training(batch=options[0], accumulate=options[1]), CPU)
    assert fit._pieces(images, parts) == pieces
