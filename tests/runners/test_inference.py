"""Whole images, windows, flips and scales: each against what it must equal."""

import pytest
import torch
from torch import nn

from blocks.errors import DataError
from runners.data import DataInfo, Folder
from runners.data.contract import opened, palette
from runners.data.shapes import Shapes
from runners.evaluate import evaluate_split
from runners.inference import SCALES, Inference, predict, slide, whole

CPU = torch.device("cpu")


class Blurred(nn.Module):
    """Two classes from a neighbourhood: symmetric from left to right, and sees what padding brings."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, padding=1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_((self.conv.weight + self.conv.weight.flip(-1)) / 2)

    def forward(self, image):
        return self.conv(image)


class Painted(nn.Module):
    """Tells what each pixel is from this pixel alone."""

    def forward(self, image):
        return torch.stack((1 - image[:, 0], image[:, 0]), dim=1) * 10


@pytest.fixture
def image():
    return torch.rand(3, 40, 56, generator=torch.Generator().manual_seed(0))


def test_a_window_as_large_as_the_image_is_the_whole_of_it(image):
    torch.testing.assert_close(slide(Painted(), image, window=(40, 56)), whole(Painted(), image))
    network = Blurred()
    torch.testing.assert_close(slide(network, image, window=(40, 56)), whole(network, image))
    one, other = (
        predict(network, image, size=(40, 56), to=(40, 56), how=Inference(sliding=sliding)) for sliding in (True, False)
    )
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("window", [(16, 16), (40, 17), (7, 56), (39, 55)])
def test_windows_cover_every_pixel_and_overlaps_are_averaged(image, window):
    found = slide(Painted(), image, window=window)
    torch.testing.assert_close(found, whole(Painted(), image))


def test_windows_step_by_two_thirds_and_the_last_ends_where_the_image_does():
    seen = []

    class Watched(nn.Module):
        def forward(self, crops):
            seen.extend(crops[:, 0, 0, 0].tolist())
            return crops

    ramp = torch.arange(100.0).expand(3, 1, 100)
    slide(Watched(), ramp, window=(1, 30))
    assert seen == [0, 20, 40, 60, 70]


def test_padding_never_counts(image):
    """Half of a padded window is black: were it counted, class 0 would win there."""
    found = slide(Painted(), image, window=(64, 100))
    assert found.shape == (2, 40, 56)
    torch.testing.assert_close(found, whole(Painted(), image))


def test_the_flip_of_a_symmetric_network_changes_nothing(image):
    network = Blurred()
    plain, flipped = (predict(network, image, size=(40, 56), to=(40, 56), how=Inference(flip=f)) for f in (False, True))
    torch.testing.assert_close(plain, flipped)

    with torch.no_grad():
        network.conv.weight[0, :, :, 0] += 1.0
    one = predict(network, image, size=(40, 56), to=(40, 56), how=Inference())
    mirrored = predict(network, image.flip(-1), size=(40, 56), to=(40, 56), how=Inference()).flip(-1)
    both = predict(network, image, size=(40, 56), to=(40, 56), how=Inference(flip=True))
    torch.testing.assert_close(both, (one + mirrored) / 2)
    assert not torch.allclose(both, one)


@pytest.mark.parametrize("sliding", [False, True])
def test_probabilities_of_several_scales_are_averaged_at_the_size_of_the_label(image, sliding):
    how = Inference(sliding=sliding, scales=SCALES)
    found = predict(Painted(), image, size=(32, 32), to=(80, 112), how=how)
    assert found.shape == (2, 80, 112)
    torch.testing.assert_close(found.sum(dim=0), torch.ones(80, 112))
    each = [
        predict(Painted(), image, size=(32, 32), to=(80, 112), how=Inference(sliding=sliding, scales=(s,)))
        for s in SCALES
    ]
    torch.testing.assert_close(found, torch.stack(each).mean(dim=0))


class Pairs:
    """Three samples; what is ignored is drawn the wrong way, and must not count."""

    def __init__(self, *, ignored: bool = False) -> None:
        self.ignored = ignored

    def __len__(self):
        return 3

    def __getitem__(self, index):
        label = torch.zeros(32, 32, dtype=torch.uint8)
        label[:, 16:] = 1
        image = (label * 255).expand(3, -1, -1).clone()
        if index == 1:
            image[:, :8] = 255 - image[:, :8]  # a quarter of it is wrong
        label[16:] = 255
        return image, torch.full_like(label, 255) if self.ignored else label


TWO = DataInfo(("a", "b"), palette(2), 3, (32, 32))


def test_one_confusion_matrix_over_the_split():
    found = evaluate_split(Painted(), Pairs(), TWO, Inference(), device=CPU)
    # Of 3 x 256 labelled pixels of each class, 128 are taken for the other.
    assert found.class_iou == (pytest.approx(640 / 896), pytest.approx(640 / 896))
    assert found.pixel_accuracy == pytest.approx(640 / 768)


def test_a_split_without_labels_is_an_error():
    with pytest.raises(DataError, match="labelled pixels"):
        evaluate_split(Painted(), Pairs(ignored=True), TWO, Inference(), device=CPU)


def test_scenes_to_test_with_are_none_that_a_search_saw():
    shapes = Shapes(size=(32, 32), train=4, val=4)
    first = [shapes.split(name)[0][0] for name in ("train", "val", "test")]
    assert len(shapes.split("test")) == 4
    assert not any(torch.equal(a, b) for a, b in ((first[2], first[0]), (first[2], first[1])))


def folders(root, *splits):
    from PIL import Image

    for split in splits:
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
            Image.new("L" if kind == "labels" else "RGB", (16, 16)).save(root / kind / split / "one.png")
    return root


def test_a_split_that_is_not_there_is_an_error_with_those_that_are(tmp_path):
    data = Folder(str(folders(tmp_path, "train", "val")), classes=2)
    with pytest.raises(DataError, match=r"the split test: got splits=\['train', 'val'\]"):
        opened(data, "test", "Data set folder")
    before = data.fingerprint()
    folders(tmp_path, "test")
    assert len(opened(data, "test", "Data set folder")) == 1
    assert data.fingerprint() == before  # results of a search stay what they were


def test_what_a_search_chose_by_is_nothing_to_test_with(tmp_path):
    data = Folder(str(folders(tmp_path, "train", "test")), classes=2, val="test")
    with pytest.raises(DataError, match="no search has seen"):
        opened(data, "test", "Data set folder")
