"""Trials of several processes, as a space asks for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.errors import SpaceError
from nas.space import Space
from nas.study import work_of

SPACE = """
data: {shapes: {size: [32, 32]}}
architecture: {backbone: {timm: {model: test_resnet}}}
training: {epochs: 2, batch: 4}
"""


def read(resources, **training):
    sets = [f"resources={resources}", *(f"training.{name}={value}" for name, value in training.items())]
    return Space.loads(SPACE, sets=sets)


def test_a_space_says_how_many_processes_train_a_network():
    assert read("{gpu: 4}").resources.processes == 1
    four = read("{gpu: 4, cpu: 8, per_trial: ddp}")
    assert four.resources.processes == work_of(four, Path("here")).processes == 4
    assert work_of(read("{cpu: 2, per_trial: ddp}"), Path("here")).processes == 2
    assert read("{gpu: 1, per_trial: ddp}").resources.processes == 1


@pytest.mark.parametrize(
    ("resources", "complaint"),
    [
        ("{gpu: auto, per_trial: ddp}", r"resources.gpu needs a whole number of GPUs .*: got gpu='auto'"),
        ("{gpu: 0.5, per_trial: ddp}", r"resources.gpu needs a whole number of GPUs .*: got gpu=0.5"),
        ("{cpu: 1.5, per_trial: ddp}", r"resources.cpu needs a whole number of CPUs .*: got cpu=1.5"),
        ("{gpu: 2, per_trial: dpp}", r"resources.per_trial needs .*ddp"),
    ],
)
def test_what_cannot_be_split_into_processes_is_refused(resources, complaint):
    with pytest.raises(SpaceError, match=complaint):
        read(resources)


@pytest.mark.parametrize("batch", ["4", "{choice: [16, 4]}", "{int: [4, 32]}"])
def test_every_batch_has_an_image_for_each_process(batch):
    assert read("{gpu: 4, per_trial: ddp}", batch=batch)
    with pytest.raises(SpaceError, match=r"training.batch needs an image for each of 5 processes: got batch=4"):
        read("{gpu: 5, per_trial: ddp}", batch=batch)
