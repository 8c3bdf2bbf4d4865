"""The recipe `camvid_quick` on the real scenes, in small: a few steps of it, from the command line's own functions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nas import sweep
from nas.space import Space

CAMVID = Path(os.environ.get("CAMVID") or Path(__file__).parents[2] / "../shared/data/camvid")
SMALL = ["training.iterations=24", "training.epochs=1", "training.subset=0.1", "training.batch=4", "resources.cpu=1"]


@pytest.mark.skipif(not CAMVID.is_dir(), reason="the CamVid scenes are not here: set CAMVID")
def test_a_few_steps_learn_the_large_classes(monkeypatch, tmp_path):
    monkeypatch.setenv("CAMVID", str(CAMVID))
    space = Space.load("camvid_stdc1", sets=[*SMALL, "data.camvid.size=[96, 128]", "data.camvid.short=96"])
    assert dict(space.data.options)["long"] == 240
    study = sweep(space, runner="local", store=str(tmp_path / "nas.db"), folder=tmp_path / "runs")
    (trial,) = study.trials().to_dict("records")
    assert trial["state"] == "finished"
    # Sky and road are learnt within so few steps; all else is worth less than a tenth then.
    assert trial["miou"] > 0.08
