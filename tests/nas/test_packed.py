"""Several trials on one GPU through a real Ray, whose GPU is a number; only the training is made up."""

from __future__ import annotations

import time

import pytest

from blocks.errors import RunError
from nas.propose import OptunaProposer, Progress
from nas.space import Space
from nas.store import Store
from nas.study import work_of
from runners.data import dataset
from runners.protocol import Epoch, Finished

# The second in the grid, with the large batch, needs most of the GPU; the others an eighth.
SPACE = """
data: {shapes: {size: [64, 64]}}
architecture:
  backbone: {timm: {model: test_resnet}}
  align: {bilinear: {channels: {choice: [8, 16, 32, 64]}}}
training: {epochs: 2, batch: {choice: [2, 65536]}}
forbid: [{align.bilinear.channels: [16, 32, 64], training.batch: 65536}]
search: {sampler: grid, trials: 20, early_stopping: none}
resources: {gpu: auto, gpu_bytes: 80e9, cpu: 0.5}
"""
NETWORKS = 5


def waiting(proposal, work, data, device):
    """Says in its log what it was granted; the trials after the large one wait until there are two of them."""
    figures = {"loss": 0.0, "miou": 0.1, "pixel_accuracy": 0.0, "learning_rate": 0.0, "seconds": 0.0}
    yield Epoch(epoch=1, class_iou=(), train_memory_bytes=0, log=f"gpu={work.gpu}", **figures)
    if proposal.trial > 1:
        work.folder.mkdir(exist_ok=True)
        (work.folder / f"{proposal.trial}.here").touch()
        patience = time.monotonic() + 60
        while len(list(work.folder.glob("*.here"))) < 2 and time.monotonic() < patience:
            time.sleep(0.05)
    yield Epoch(epoch=2, class_iou=(), train_memory_bytes=0, **figures)
    return Finished()


@pytest.fixture
def ray_with_a_gpu(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # stay on loopback
    import ray

    ray.init(address="local", num_gpus=1, num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def swept(space, folder):
    from runners.ray_tune import RayRunner

    with Store.open(str(folder / "nas.db")) as store:
        study = store.create_study("s", space=space.text, objectives=space.objectives, budget={}, seed=0)
        data = dataset(space.data, {})
        known = {"data": data.info, "data_fingerprint": data.fingerprint()}
        proposer = OptunaProposer(space, store, study, progress=Progress(space.search.trials), **known)
        assert RayRunner(work_of(space, folder), space.data, recipe=waiting).run(proposer)
        rows = store.trials(study)
        return {row["number"]: row | {"log": store.trial(study, row["number"])["log"]} for row in rows}


def overlap(one, other):
    return one["started"] < other["ended"] and other["started"] < one["ended"]


@pytest.mark.ray
@pytest.mark.slow
def test_small_trials_share_the_gpu_and_a_large_one_has_it_alone(tmp_path, ray_with_a_gpu):
    rows = swept(Space.loads(SPACE), tmp_path)
    assert [row["state"] for row in rows.values()] == ["finished"] * NETWORKS
    large = [row for row in rows.values() if row["log"].strip() == "gpu=1.0"]
    small = [row for row in rows.values() if row["log"].strip() == "gpu=0.125"]
    assert (len(large), len(small)) == (1, NETWORKS - 1)
    assert any(overlap(one, other) for one in small for other in small if one is not other)
    assert not any(overlap(large[0], other) for other in small)


@pytest.mark.ray
@pytest.mark.slow
def test_gpus_whose_memory_nobody_knows_are_asked_for_it(tmp_path, ray_with_a_gpu):
    import torch

    if torch.cuda.is_available():
        pytest.skip("here CUDA tells")
    with pytest.raises(RunError, match=r"resources.gpu: auto needs CUDA GPUs.*resources\.gpu_bytes"):
        swept(Space.loads(SPACE, sets=["resources.gpu_bytes=null"]), tmp_path)


@pytest.mark.ray
@pytest.mark.slow
def test_sixths_of_a_gpu_are_six(ray_with_a_gpu):
    ray = ray_with_a_gpu
    from runners.packing import SHARES

    @ray.remote(num_cpus=0)
    class Place:
        def here(self):
            return True

    for share in SHARES:
        places = [Place.options(num_gpus=share).remote() for _ in range(round(1 / share))]
        ready, waiting = ray.wait([place.here.remote() for place in places], num_returns=len(places), timeout=30)
        assert (len(ready), waiting) == (len(places), [])
        for place in places:
            ray.kill(place)
