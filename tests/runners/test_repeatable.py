"""Same seed, same numbers: to the last bit, on a CPU, wherever a run is interrupted."""

import dataclasses

import pytest
import torch

from blocks.architecture import Component
from blocks.catalogue import component
from runners.optimise import Fit
from runners.protocol import Finished

EVERYTHING = {"scale": (0.5, 2.0), "flip": 0.5, "jitter": 0.4, "drop_path": 0.3, "ema": 0.9, "epochs": 2, "batch": 5}
STEPS = 4  # of an epoch: 20 images
SAME = Component.of("shapes", {"size": (32, 32), "train": 20, "val": 6})

AUXILIARIES = {
    "contrast": {"channels": 8, "max_views": 2, "memory_size": 7},
    "auxiliary_head": {},
    "detail": {"at": "level_1", "channels": 8},
}


def state(work, trial):
    return torch.load(work.checkpoint(trial), weights_only=True)["fit"]


def equal(a, b):
    """Bit for bit, through whatever holds the tensors."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def options(auxiliary):
    return EVERYTHING | {"auxiliary": (component("auxiliary", auxiliary, AUXILIARIES[auxiliary]),) if auxiliary else ()}


def killed_at(monkeypatch, step):
    """Interrupt the training before this step, counted over all epochs, once."""
    real, gone = Fit.step, []

    def stepping(self, *args, step: int, **more):
        if step == stop and not gone:
            gone.append(step)
            raise KeyboardInterrupt
        return real(self, *args, step=step, **more)

    stop = step
    monkeypatch.setattr(Fit, "step", stepping)


@pytest.mark.parametrize(
    ("auxiliary", "loaders"),
    [
        ("contrast", 0),
        pytest.param("contrast", 2, marks=pytest.mark.slow),
        pytest.param("auxiliary_head", 0, marks=pytest.mark.slow),
        pytest.param("detail", 2, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("step", [2, STEPS, STEPS + 1])  # within the first epoch, between the two, within the second
def test_an_interrupted_run_is_the_whole_one(  # noqa: PLR0917  # five fixtures, three parameters
    proposal, carry_out, work, numbers, monkeypatch, auxiliary, loaders, step
):
    often = dataclasses.replace(work, checkpoint_minutes=1e-9, loaders=loaders)
    whole, _ = carry_out(proposal(0, **options(auxiliary)), work)
    killed_at(monkeypatch, step)
    with pytest.raises(KeyboardInterrupt):
        carry_out(proposal(1, **options(auxiliary)), often)
    torch.manual_seed(99)
    rest, outcome = carry_out(proposal(1, done=0, **options(auxiliary)), often)
    assert outcome == Finished()
    assert numbers(rest) == numbers(whole)
    assert equal(state(work, 0), state(work, 1))


def test_two_runs_are_the_same_bits(proposal, carry_out, work, numbers):
    runs = [carry_out(proposal(trial, **options("contrast")), work)[0] for trial in (0, 1)]
    assert numbers(runs[0]) == numbers(runs[1])
    assert equal(state(work, 0), state(work, 1))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_checkpoint_that_was_cut_off_gives_way_to_the_one_before(  # noqa: PLR0917  # five fixtures
    proposal, carry_out, work, numbers, monkeypatch, optimizer
):
    """What was lost is trained once more, to the same bits."""
    wanted = {"epochs": 3, "optimizer": optimizer}
    whole, _ = carry_out(proposal(0, **wanted), work)
    first, _ = carry_out(proposal(1, **wanted), work, until=2)
    path = work.checkpoint(1)
    assert sorted(p.name for p in path.parent.iterdir()) == ["checkpoint.before.pt", "checkpoint.pt"]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    steps, real = [], Fit.step
    monkeypatch.setattr(
        Fit, "step", lambda self, *args, step, **more: (steps.append(step), real(self, *args, step=step, **more))[1]
    )
    rest, outcome = carry_out(proposal(1, done=2, **wanted), work)
    assert outcome == Finished()
    assert "is damaged, the one before is used" in rest[0].log
    assert steps == list(range(5, 15))
    assert numbers(first[:1] + rest) == numbers(whole)
    assert equal(state(work, 0), state(work, 1))
    assert [p.name for p in path.parent.iterdir()] == ["checkpoint.pt"]
