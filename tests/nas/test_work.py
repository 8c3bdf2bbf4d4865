"""What a runner is told of a space's resources."""

from pathlib import Path

import pytest

from nas.space import Space
from nas.study import work_of

SPACE = "data: {shapes: {}}\narchitecture: {backbone: {timm: {model: resnet18}}}\n"


def work(resources: str):
    return work_of(Space.loads(SPACE + f"resources: {resources}\n"), Path("runs"))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("null", None),
        ("memory", "memory"),
        ("/scratch/decoded", "/scratch/decoded"),
        ("decoded", str(Path("decoded").absolute())),
        ('"${SCRATCH}/decoded"', "/mnt/fast/decoded"),
    ],
)
def test_where_decoded_images_are_kept(written, meant, monkeypatch):
    monkeypatch.setenv("SCRATCH", "/mnt/fast")
    assert work(f"{{cache: {written}}}").cache == meant


def test_how_many_decoded_images_are_kept():
    assert work("{}").cache_bytes == 2 * 2**30
    assert work("{cache_bytes: 0}").cache_bytes == 0
