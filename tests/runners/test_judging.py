"""Evaluation in training at the label's original size, on files of several sizes and proportions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from blocks.architecture import Component
from blocks.errors import BlockError, RunError
from runners.data import dataset
from runners.data.memory import InMemory
from runners.evaluate import evaluate_split, scores
from runners.inference import SCALES, Inference, classified, predict
from runners.judging import Judging
from runners.protocol import Finished, Work
from runners.training import Training

CPU = torch.device("cpu")


class Reddest(nn.Module):
    """Tells the class from the red of a pixel alone: 20, 120 or 220; remembers the sizes that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, image):
        self.sizes.append(tuple(image.shape))
        levels = torch.tensor([20.0, 120.0, 220.0])[:, None, None] / 255
        return -(image[:, :1] - levels).abs() * 50


def folder(**options):
    return Component.of("folder", {"classes": 3, "size": (32, 32)} | options)


def judged(component, root, evaluation, *, loaders=0, network=None):
    data = dataset(component, {"root": str(root)})
    held = InMemory(data, (component, (), data.fingerprint(), 10**9, "memory"))
    judging = Judging(data, held.split("val"), Training(evaluation=evaluation), batch=2, loaders=loaders, pin=False)
    return judging(network or Reddest(), device=CPU)


def pixels_of(component, root):
    """Of how many labelled pixels the confusion matrix is: those of the files."""
    split = dataset(component, {"root": str(root)}).split("val")
    return sum(int((split.label(index) != 255).sum()) for index in range(len(split)))


@pytest.mark.parametrize("short", [None, 48])
@pytest.mark.parametrize("evaluation", ["whole", "sliding"])
def test_every_pixel_of_the_files_counts_once(varied, short, evaluation, monkeypatch):
    """One confusion matrix over the labels as they lie on disk, whatever the sizes of images."""
    seen = []

    def looked_at(confusion):
        seen.append(confusion)
        return scores(confusion)

    monkeypatch.setattr("runners.evaluate.scores", looked_at)
    component = folder(short=short)
    found = judged(component, varied, evaluation)
    (confusion,) = seen
    assert int(confusion.sum()) == pixels_of(component, varied)
    # Blocks of 8 px lose their edges where images are made smaller, and nothing else.
    assert found.pixel_accuracy > (0.6 if (short, evaluation) == (None, "whole") else 0.85)


@pytest.mark.parametrize("layout", ["folder", "cityscapes"])
def test_an_evaluation_without_any_resize_is_exact(layout, tmp_path, draw_varied):
    """Windows over images at their own size: a network that sees single pixels makes no mistake."""
    files = {
        "image": "leftImg8bit/{0}/bonn/{1}_leftImg8bit.png",
        "label": "gtFine/{0}/bonn/{1}_gtFine_labelTrainIds.png",
    }
    root = draw_varied(tmp_path, **(files if layout == "cityscapes" else {}))
    options = {"size": (32, 32)} | ({"classes": 3} if layout == "folder" else {})
    found = judged(Component.of(layout, options), root, "sliding")
    assert found.pixel_accuracy == 1.0
    assert found.class_iou[:3] == (1.0, 1.0, 1.0)


def test_whole_images_keep_their_proportions_with_sides_that_networks_can_halve(varied):
    """Sizes 40x60, 72x48, 33x95, 64x64 and 50x41: the shorter side becomes 48, and each side a multiple of 32."""
    network = Reddest()
    judged(folder(short=48, long=96), varied, "whole", network=network)
    # 48x72, 72x48, 33x96 (the longer side binds), 48x48, 59x48 before.
    expected = [(64, 64), (64, 64), (32, 96), (64, 64), (64, 64)]
    assert [size[2:] for size in network.sizes] == expected
    assert {size[:2] for size in network.sizes} == {(1, 3)}
    # A training size of 8 x 5 and 8 x 7 shows that multiples of 8 will do.
    network = Reddest()
    judged(folder(short=48, long=96, size=(40, 56)), varied, "whole", network=network)
    assert [size[2:] for size in network.sizes] == [(48, 72), (72, 48), (32, 96), (48, 48), (56, 48)]


def test_whole_images_that_are_stretched_come_in_the_training_size(varied):
    network = Reddest()
    judged(folder(size=(40, 56)), varied, "whole", network=network)
    assert network.sizes == [(1, 3, 40, 56)] * 5


def test_windows_have_the_training_size(varied):
    network = Reddest()
    judged(folder(short=48), varied, "sliding", network=network)
    assert {size[1:] for size in network.sizes} == {(3, 32, 32)}


@pytest.mark.parametrize("evaluation", ["whole", "sliding"])
def test_training_and_later_evaluation_give_the_same_figures(varied, evaluation):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1)).eval()
    data = dataset(folder(short=48), {"root": str(varied)})
    how = Inference(sliding=evaluation == "sliding")
    later = evaluate_split(network, data.split("val"), data.info, how, device=CPU)
    assert judged(folder(short=48), varied, evaluation, network=network) == later
    several = evaluate_split(
        network, data.split("val"), data.info, dataclasses.replace(how, scales=SCALES, flip=True), device=CPU
    )
    assert several != later
    assert sum(iou is not None for iou in several.class_iou) == 3


def test_several_scales_keep_the_proportions_and_begin_with_the_files(varied):
    """At half the size and at twice: sides follow the sample's, and one image has as many looks as there are scales."""
    network = Reddest()
    data = dataset(folder(short=64), {"root": str(varied)})
    evaluate_split(network, data.split("val"), data.info, Inference(scales=(0.5, 2.0)), device=CPU)
    # 40x60 becomes 64x96, 72x48 becomes 96x64.
    assert [size[2:] for size in network.sizes][:4] == [(32, 64), (128, 192), (64, 32), (192, 128)]
    heights = [size[2] for size in network.sizes]
    assert len(heights) == 2 * 5
    assert all(big >= 3 * small for small, big in zip(heights[::2], heights[1::2], strict=True))


def test_the_most_probable_class_is_that_of_the_probabilities():
    torch.manual_seed(0)
    network, image = nn.Conv2d(3, 5, 3, padding=1).eval(), torch.rand(3, 50, 41)
    for how in (Inference(), Inference(sliding=True), Inference(flip=True), Inference(scales=(0.5, 1.0))):
        sizes = {"size": (32, 32), "to": (75, 60), "how": how}
        for shape in (None, (40, 36)):
            found = classified(network, image, shape=shape, **sizes)
            assert torch.equal(found, predict(network, image, shape=shape, **sizes).argmax(dim=0))


def test_samples_of_several_sizes_are_not_judged_in_batches(varied):
    with pytest.raises(
        RunError, match=r"training\.evaluation needs whole or sliding.*Write training\.evaluation: whole"
    ):
        judged(folder(short=48), varied, "resized")


def test_a_network_of_one_size_says_so_before_it_is_trained(varied):
    class Fixed(nn.Module):
        def forward(self, image):
            raise BlockError("built for 32x32")

    data = dataset(folder(short=48), {"root": str(varied)})
    options = {"batch": 2, "loaders": 0, "pin": False}
    whole = Judging(data, data.split("val"), Training(evaluation="whole"), **options)
    with pytest.raises(BlockError, match=r"images of any size.*built for 32x32.*training\.evaluation: sliding"):
        whole.rehearse(Fixed(), device=CPU)
    Judging(data, data.split("val"), Training(evaluation="sliding"), **options).rehearse(Fixed(), device=CPU)


def train_folder(proposal, varied, evaluation, **options):
    component = folder(short=48, long=96)
    made = proposal(data=Component.of("shapes", {"size": (32, 32)}), evaluation=evaluation, **options)
    data = dataset(component, {"root": str(varied)})
    protocol = dataclasses.replace(
        made.protocol, data=component, data_fingerprint=data.fingerprint(), classes=3, size=data.info.size
    )
    return dataclasses.replace(made, protocol=protocol)


@pytest.mark.slow
@pytest.mark.parametrize("evaluation", ["whole", "sliding"])
def test_a_network_learns_from_samples_of_any_size(varied, work, proposal, carry_out, evaluation):
    made = train_folder(
        proposal,
        varied,
        evaluation,
        epochs=30,
        batch=5,
        scale=(0.5, 2.0),
        largest_class=0.75,
        photometric=True,
        learning_rate=1e-2,
    )
    epochs, outcome = carry_out(made, dataclasses.replace(work, place={"root": str(varied)}))
    assert isinstance(outcome, Finished)
    assert epochs[-1].miou > 0.45
    assert np.mean([e.loss for e in epochs[-5:]]) < epochs[0].loss
    assert all(iou is not None for iou in epochs[-1].class_iou)


@pytest.mark.slow
@pytest.mark.parametrize("evaluation", ["whole", "sliding"])
def test_loading_processes_change_no_number(varied, tmp_path, proposal, carry_out, evaluation):
    made = train_folder(proposal, varied, evaluation, batch=2, photometric=True, largest_class=0.75)
    seen = []
    for loaders in (0, 2):
        run = Work(place={"root": str(varied)}, folder=tmp_path / str(loaders), loaders=loaders)
        seen.append([(epoch.loss, epoch.miou, epoch.class_iou) for epoch in carry_out(made, run)[0]])
    assert len(seen[0]) == 2
    assert seen[0] == seen[1]


def test_a_trial_is_told_at_once_that_resized_will_not_do(varied, work, proposal, carry_out):
    made = train_folder(proposal, varied, "resized")
    with pytest.raises(RunError, match=r"Write training\.evaluation: whole"):
        carry_out(made, dataclasses.replace(work, place={"root": str(varied)}))


def test_a_real_network_of_one_size_fails_before_its_first_epoch(varied, work, proposal, carry_out):
    made = train_folder(proposal, varied, "whole", model="test_vit")
    with pytest.raises(BlockError, match=r"Write training\.evaluation: sliding"):
        carry_out(made, dataclasses.replace(work, place={"root": str(varied)}))


def test_where_there_are_no_files_whole_images_give_the_figures_of_batches():
    component = Component.of("shapes", {"size": (32, 48), "train": 4, "val": 5})
    torch.manual_seed(0)
    network = nn.Conv2d(3, 6, 1).eval()
    data = dataset(component, {})
    found = [
        Judging(data, data.split("val"), Training(evaluation=evaluation), batch=2, loaders=0, pin=False)(
            network, device=CPU
        )
        for evaluation in ("resized", "whole")
    ]
    assert found[0].miou == pytest.approx(found[1].miou, abs=1e-3)
    assert found[0].pixel_accuracy == pytest.approx(found[1].pixel_accuracy, abs=1e-3)
