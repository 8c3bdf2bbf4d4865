"""What two processes compute together is what one computes: two real ones, over gloo, started once for the module."""

from __future__ import annotations

import dataclasses
import traceback

import pytest
import torch
from torch import multiprocessing, nn

from blocks.architecture import Architecture, Component
from blocks.errors import RunError
from blocks.network import Network, Supervised
from runners.data import dataset
from runners.data.batches import Shuffled, plain_batches, to_device
from runners.data.contract import IGNORE
from runners.data.memory import InMemory
from runners.distributed import ALONE, Replica, World, announce, joined
from runners.evaluate import evaluate
from runners.failure import Diverged
from runners.optimise import Fit
from runners.protocol import Work
from runners.training import Training
from runners.trial import Trial, _Losses
from tests.runners.conftest import make_proposal

CPU = torch.device("cpu")
DATA = Component.of("shapes", {"size": (32, 32), "train": 20, "val": 5})
TRAINING = Training(batch=9, optimizer="sgd", learning_rate=0.1, ema=0.9, clip=0.5, schedule="constant")


def supervised_network():
    torch.manual_seed(0)
    architecture = Architecture(
        backbone=Component.of("timm", {"model": "test_resnet"}), align=Component.of("bilinear", {"channels": 8})
    )
    return Supervised(Network(architecture, size=(32, 32), classes=dataset(DATA, {}).info.classes))


def three_steps(world, *, parts=1, more=False):
    """Train on the same images, nine a step: five for the one process and four for the other."""
    # In eval mode: batch norms would see a share, and dropout would draw for one.
    split, module = dataset(DATA, {}).split("train"), supervised_network().eval()
    if more:
        module.network.unused = nn.Parameter(torch.ones(3, 3))
    fit, losses = Fit(module, TRAINING, CPU, world), []
    for step in range(3):
        samples = [split[index] for index in world.share(list(range(5 * step, 5 * step + 9)))]
        images, labels = to_device(
            tuple(torch.stack(each) for each in zip(*samples, strict=True)), CPU, torch.channels_last
        )
        # A share is weighted by its images, a mean of cross-entropies by its labelled pixels: here that is the same.
        labels[labels == IGNORE] = 0
        loss = fit.step(images, labels, step=step, steps=3, parts=parts, batch=9)
        losses.append(world.mean(loss).item())
    return {"losses": losses, **fit.state()}


def steps(world, folder, proposal):
    return three_steps(world)


def steps_in_parts(world, folder, proposal):
    return three_steps(world, parts=2)


def steps_with_a_parameter_that_is_left_out(world, folder, proposal):
    return three_steps(world, more=True)


def what_they_tell_each_other(world, folder, proposal):
    buffered = nn.BatchNorm2d(2)
    buffered.running_mean += world.rank
    world.align(buffered)
    return {
        "total": world.total(torch.tensor([1, world.rank])),
        "mean": world.mean(torch.tensor([1.0, float(world.rank)])),
        "agreed": world.agreed(f"from {world.rank}"),
        "gathered": world.gathered(world.rank),
        "aligned": buffered.running_mean,
    }


def evaluation(world, folder, proposal):
    samples = InMemory(dataset(DATA, {}), (DATA, (), "", 1 << 20, "memory"))
    batches = plain_batches(samples.split("val"), 2, loaders=0, pin=False, world=world)
    found = evaluate(supervised_network().network, batches, classes=samples.info.classes, device=CPU, world=world)
    return dataclasses.asdict(found)


def norms_that_are_synchronised(world, folder, proposal):
    try:
        Replica(nn.SyncBatchNorm.convert_sync_batchnorm(supervised_network()), world, CPU)
    except RunError as error:
        return str(error)


def a_loss_that_only_one_sees_as_infinite(world, folder, proposal):
    losses = _Losses(1, 0, [], every=1, world=world)
    try:
        for step in range(5):
            losses.add(torch.tensor(float("inf") if world.rank == 1 and step == 3 else 1.0))
    except Diverged as error:
        return error.step


class CutError(Exception):
    """In the middle of an epoch."""


class CutTrial(Trial):
    def save(self, epochs, within=None):
        super().save(epochs, within)
        if within and len(within["losses"]) == 2:
            raise CutError


def an_epoch_cut_in_the_middle(world, folder, proposal):
    found = {}
    # Drop path draws from the global generators, of which each process has its own.
    for name, kind in (("whole", Trial), ("cut", CutTrial), ("continued", Trial)):
        work = Work(place={}, folder=folder / name.replace("continued", "cut"), checkpoint_minutes=1e-9)
        trial = kind(proposal, work, dataset(DATA, {}), CPU, world=world)
        assert trial.resume() == []
        try:
            epoch = trial.epoch([])
            found[name] = (epoch.loss, epoch.miou, epoch.class_iou)
        except CutError:
            found[name] = None
    return found


SCENARIOS = (
    steps,
    steps_in_parts,
    steps_with_a_parameter_that_is_left_out,
    what_they_tell_each_other,
    evaluation,
    norms_that_are_synchronised,
    a_loss_that_only_one_sees_as_infinite,
    an_epoch_cut_in_the_middle,
)


def act(rank, folder, proposal):
    torch.set_num_threads(1)
    world, found = World(rank, 2), {}
    with joined(world, f"file://{folder}/meeting", CPU):
        for scenario in SCENARIOS:
            try:
                found[scenario.__name__] = scenario(world, folder, proposal)
            except Exception:
                found[scenario.__name__] = traceback.format_exc()
                break
    torch.save(found, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """What each of two processes found, by scenario."""
    folder = tmp_path_factory.mktemp("pair")
    proposal = make_proposal(data=DATA, drop_path=0.5, epochs=1, batch=4)
    multiprocessing.spawn(act, (folder, proposal), nprocs=2)
    one, other = (torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1))
    return {scenario.__name__: (one[scenario.__name__], other[scenario.__name__]) for scenario in SCENARIOS}


pytestmark = pytest.mark.slow


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("steps", {}),
        ("steps_in_parts", {}),
        ("steps_with_a_parameter_that_is_left_out", {"more": True}),
    ],
)
def test_two_processes_train_as_one_does(pair, name, given):
    alone = three_steps(ALONE, **given)
    for found in pair[name]:
        close(found["losses"], alone["losses"])
        close(found["supervised"], alone["supervised"])
        close(found["average"], alone["average"])


def test_weights_and_their_average_are_the_same_in_both(pair):
    one, other = pair["steps"]
    torch.testing.assert_close(one["supervised"], other["supervised"], atol=0, rtol=0)
    torch.testing.assert_close(one["average"], other["average"], atol=0, rtol=0)


def test_they_hear_each_other(pair):
    for found in pair["what_they_tell_each_other"]:
        assert found["total"].tolist() == [2, 1]
        assert found["mean"].tolist() == [1.0, 0.5]
        assert found["agreed"] == "from 0"
        assert found["gathered"] == [0, 1]
        assert found["aligned"].tolist() == [0.0, 0.0]


def test_an_evaluation_counts_every_image_once(pair):
    alone = evaluation(ALONE, None, None)
    assert pair["evaluation"] == (alone, alone)


def test_synchronised_norms_are_refused_where_torch_has_none(pair):
    for found in pair["norms_that_are_synchronised"]:
        assert found.startswith("Norms that are synchronised needs CUDA devices: got device='cpu'.")
        assert "training.norms: batch" in found


def test_both_stop_where_one_diverges(pair):
    assert pair["a_loss_that_only_one_sees_as_infinite"] == (4, 4)


def test_an_epoch_goes_on_in_the_middle_with_the_numbers_of_one_in_one_go(pair):
    one, other = pair["an_epoch_cut_in_the_middle"]
    assert one == other
    assert one["cut"] is None
    assert one["continued"] == one["whole"]


@pytest.mark.parametrize("size", [2, 3])
def test_the_shares_of_a_batch_are_the_batch(size):
    alone = Shuffled(11, 5, seed=3, epochs=3)
    shares = [Shuffled(11, 5, 3, epochs=3, world=World(rank, size)) for rank in range(size)]
    for whole, *parts in zip(alone, *shares, strict=True):
        assert {len(part) for part in parts} <= {5 // size, 5 // size + 1}
        assert [part[index] for index in range(3) for part in parts if index < len(part)] == whole


def test_a_batch_that_leaves_a_process_without_an_image_is_refused():
    with pytest.raises(RunError, match=r"an image for each process: got batch=1, processes=2"):
        announce(World(0, 2), 1, CPU)
