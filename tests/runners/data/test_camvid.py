import os
from pathlib import Path

import pytest
import torch

from blocks.architecture import Component
from blocks.errors import DataError
from runners.data import dataset

ROOT = Path(os.environ.get("CAMVID") or Path(__file__).parents[3] / "../shared/data/camvid")

needs_camvid = pytest.mark.skipif(not (ROOT / "images").is_dir(), reason=f"no CamVid in {ROOT}; set CAMVID")


@needs_camvid
def test_it_is_all_there():
    data = dataset(Component("camvid"), {"root": str(ROOT)})
    assert (len(data.split("train")), len(data.split("val"))) == (367, 101)
    assert data.info.classes == 11
    assert len(data.fingerprint()) == 16


@needs_camvid
def test_labels_are_classes_and_unlabelled_is_ignored():
    split = dataset(Component.of("camvid", {"size": (120, 160)}), {"root": str(ROOT)}).split("train")
    counts = torch.zeros(256, dtype=torch.int64)
    for index in range(0, len(split), 8):
        image, label = split[index]
        assert image.shape == (3, 120, 160)
        counts += torch.bincount(label.flatten().int(), minlength=256)
    assert int(counts[11:255].sum()) == 0
    shares = counts / counts.sum()
    # What the folder's own description says, over all images.
    assert shares[3] == pytest.approx(0.317, abs=0.05)
    assert shares[255] == pytest.approx(0.04, abs=0.02)


def test_a_wrong_root_says_what_was_expected_and_found(tmp_path):
    (tmp_path / "CamVid").mkdir()
    with pytest.raises(DataError, match=r"images/train, labels/train below its root.*found=\['CamVid'\]"):
        dataset(Component("camvid"), {"root": str(tmp_path)}).fingerprint()
    with pytest.raises(DataError, match="no such folder"):
        dataset(Component("camvid"), {"root": str(tmp_path / "gone")}).fingerprint()
