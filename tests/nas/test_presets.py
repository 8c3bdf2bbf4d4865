"""Recipes by name: what they hold, what a space takes of them, and what becomes of their values."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from blocks.errors import SpaceError
from blocks.options import options_of
from nas.space import Space, shipped
from nas.space.files import recipes
from nas.space.nodes import plain
from nas.space.presets import preset
from runners.data import DATASETS
from runners.training import Training

REFERENCE = Path(__file__).parents[2] / "../shared/reference/published.json"
SPACE = """
data: {%s}
architecture: {backbone: {timm: {model: test_resnet}}}
training: {%s}
"""

MMSEGMENTATION = {
    **{"epochs": 10, "optimizer": "sgd", "momentum": 0.9, "decay": "all", "schedule": "poly", "power": 0.9},
    **{"learning_rate": 0.01, "weight_decay": 5e-4, "warmup": 0.0, "floor": 0.01, "clip": 0.0},
    **{"scale": (0.5, 2.0), "largest_class": 0.75, "photometric": True, "norms": "synced", "evaluation": "whole"},
}
ATTENTION = {
    **{"epochs": 10, "iterations": 160_000, "batch": 16, "optimizer": "adamw", "head_rate": 10.0},
    **{"weight_decay": 0.01, "schedule": "poly", "power": 1.0, "warmup": 1_500 / 160_000, "clip": 0.0},
    **{"scale": (0.5, 2.0), "largest_class": 0.75, "photometric": True, "norms": "synced", "evaluation": "whole"},
}
STDC = {
    **{"epochs": 60, "iterations": 60_000, "batch": 48, "optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.01},
    **{"head_rate": 10.0, "weight_decay": 5e-4, "schedule": "poly", "power": 0.9, "warmup": 1_000 / 60_000},
    **{"clip": 0.0, "scale": (0.125, 1.5), "jitter": 0.5, "evaluation": "whole"},
}
PUBLISHED = {
    "cityscapes_80k": ("cityscapes", (512, 1024), 1024, 2048, MMSEGMENTATION | {"iterations": 80_000, "batch": 8}),
    "ade20k_160k": ("ade20k", (512, 512), 512, 2048, MMSEGMENTATION | {"iterations": 160_000, "batch": 16}),
    "cgrseg_ade20k": ("ade20k", (512, 512), 512, 2048, ATTENTION | {"learning_rate": 1.2e-4}),
    "segformer_ade20k": ("ade20k", (512, 512), 512, 2048, ATTENTION | {"learning_rate": 6e-5}),
    "stdc_cityscapes": ("cityscapes", (512, 1024), 1024, 2048, STDC),
}
OWN = {
    "camvid_quick": (
        *("camvid", (180, 240), 180, 240),
        {
            **{"epochs": 15, "iterations": 3_000, "batch": 8, "optimizer": "adamw", "learning_rate": 3e-3},
            **{"weight_decay": 0.02, "schedule": "one_cycle", "ema": 0.99, "scale": (0.5, 2.0), "jitter": 0.3},
            **{"class_weights": "inverse_log", "evaluation": "whole"},
        },
    ),
}
SCHEDULES = {  # iterations, images a step, rate, decay, crop
    "cityscapes_40k": (40_000, 8, 0.01, 5e-4, (512, 1024)),
    "cityscapes_160k": (160_000, 8, 0.01, 5e-4, (512, 1024)),
    "ade20k_80k": (80_000, 16, 0.01, 5e-4, (512, 512)),
    "voc2012_20k": (20_000, 16, 0.01, 5e-4, (512, 512)),
    "voc2012_40k": (40_000, 16, 0.01, 5e-4, (512, 512)),
    "pascal_context_40k": (40_000, 16, 0.004, 1e-4, (480, 480)),
    "pascal_context_80k": (80_000, 16, 0.004, 1e-4, (480, 480)),
    "coco_stuff10k_20k": (20_000, 16, 0.01, 5e-4, (512, 512)),
    "coco_stuff10k_40k": (40_000, 16, 0.01, 5e-4, (512, 512)),
    "coco_stuff164k_80k": (80_000, 16, 0.01, 5e-4, (512, 512)),
    "coco_stuff164k_160k": (160_000, 16, 0.01, 5e-4, (512, 512)),
    "segformer_cityscapes": (160_000, 8, 6e-5, 0.01, (1024, 1024)),
    "segnext_ade20k": (160_000, 16, 6e-5, 0.01, (512, 512)),
    "bisenetv2_cityscapes": (160_000, 16, 0.05, 5e-4, (1024, 1024)),
    "ddrnet_cityscapes": (120_000, 12, 0.01, 5e-4, (1024, 1024)),
}
ZOO = {  # the model zoo's entry for the first figure that is stated
    "cityscapes_40k": "pspnet_r50-d8_4xb2-40k_cityscapes-512x1024",
    "cityscapes_80k": "pspnet_r50-d8_4xb2-80k_cityscapes-512x1024",
    "cityscapes_160k": "fcn_hr18_4xb2-160k_cityscapes-512x1024",
    "ade20k_80k": "pspnet_r50-d8_4xb4-80k_ade20k-512x512",
    "ade20k_160k": "pspnet_r50-d8_4xb4-160k_ade20k-512x512",
    "voc2012_20k": "pspnet_r50-d8_4xb4-20k_voc12aug-512x512",
    "voc2012_40k": "pspnet_r50-d8_4xb4-40k_voc12aug-512x512",
    "pascal_context_40k": "deeplabv3plus_r50-d8_4xb4-40k_pascal-context-480x480",
    "pascal_context_80k": "deeplabv3plus_r50-d8_4xb4-80k_pascal-context-480x480",
    "coco_stuff10k_20k": "pspnet_r50-d8_4xb4-20k_coco-stuff10k-512x512",
    "coco_stuff10k_40k": "pspnet_r50-d8_4xb4-40k_coco-stuff10k-512x512",
    "coco_stuff164k_80k": "pspnet_r50-d8_4xb4-80k_coco-stuff164k-512x512",
    "coco_stuff164k_160k": "pspnet_r50-d8_4xb4-160k_coco-stuff164k-512x512",
    "segformer_cityscapes": "segformer_mit-b0_8xb1-160k_cityscapes-1024x1024",
    "segnext_ade20k": "segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512",
    "bisenetv2_cityscapes": "bisenetv2_fcn_4xb4-ohem-160k_cityscapes-1024x1024",
}


def space_of(training, data="shapes: {size: [64, 64]}", sets=()):
    return Space.loads(SPACE % (data, training), sets=sets)


def trained(space):
    return dict(space.sample(random.Random(0)).training)


def equal(ours, theirs):
    return ours == pytest.approx(theirs) if isinstance(theirs, float) else ours == theirs


def mistakes(training, data="shapes: ", sets=()):
    with pytest.raises(SpaceError) as raised:
        space_of(training, data, sets)
    return str(raised.value)


@pytest.mark.parametrize("name", PUBLISHED | OWN)
def test_a_preset_is_what_was_published_or_measured(name):
    data, size, short, long, expected = (PUBLISHED | OWN)[name]
    space = space_of(f"preset: {name}", f"{data}: {{root: x}}")
    defaults = {key: option.default for key, option in options_of(Training).items()}
    values = trained(space)
    assert set(expected) <= set(values)
    wrong = {key: value for key, value in values.items() if not equal(value, (defaults | expected)[key])}
    assert not wrong
    options = dict(space.data.options)
    assert (options["size"], options["short"], options["long"]) == (size, short, long)


def test_the_losses_of_a_preset_are_what_was_published():
    candidate = space_of("preset: cityscapes_80k").sample(random.Random(0))
    (auxiliary,) = candidate.auxiliary
    assert (auxiliary.name, dict(auxiliary.options)["weight"], dict(auxiliary.options)["at"]) == (
        *("auxiliary_head", 0.4),
        ("level_3",),
    )
    stdc = space_of("preset: stdc_cityscapes").sample(random.Random(0))
    assert [loss.name for loss in (*stdc.main, *stdc.auxiliary)] == ["ohem", "auxiliary_head", "detail"]
    assert {"weight": 1.0, "threshold": 0.7, "min_kept": 1 / 16}.items() <= dict(stdc.main[0].options).items()
    for name in ("cgrseg_ade20k", "segformer_ade20k"):
        plain = space_of(f"preset: {name}").sample(random.Random(0))
        assert ([loss.name for loss in plain.main], plain.auxiliary) == (["cross_entropy"], ())


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    found = preset(name)
    space = space_of(f"preset: {name}", f"{found.data}: {{root: x}}")
    values = trained(space)
    wanted = SCHEDULES[name]
    assert (values["iterations"], values["batch"], values["learning_rate"], values["weight_decay"]) == wanted[:4]
    assert dict(space.data.options)["size"] == wanted[4]
    # Where the rate ends: mmsegmentation's SGD schedules end at 1e-4, but for DDRNet's.
    if values["optimizer"] == "sgd":
        assert values["floor"] * values["learning_rate"] == pytest.approx(0.0 if name.startswith("ddrnet") else 1e-4)


@pytest.mark.skipif(not REFERENCE.is_file(), reason="no table of published results here")
@pytest.mark.parametrize("name", ZOO)
def test_what_is_stated_was_reported(name):
    zoo = {entry["name"]: entry for entry in json.loads(REFERENCE.read_text())["mmseg_zoo"]}
    stated = float(re.search(r"0\.\d+", preset(name).reported)[0])
    assert stated == pytest.approx(zoo[ZOO[name]]["miou"] / 100, abs=1e-6)


@pytest.mark.parametrize("name", recipes())
def test_every_preset_can_be_read_for_its_own_data(name):
    found = preset(name)
    assert set(found.options) <= set(options_of(DATASETS[found.data]))
    space = space_of(f"preset: {name}", f"{found.data}: {{root: x}}")
    for option, value in dict(plain(found.options)).items():
        held = dict(space.data.options)[option]
        assert (list(held) if isinstance(held, tuple) else held) == value
    assert found.source
    assert found.path.read_text().startswith("# ")


def test_every_preset_is_checked_here():
    proxies = {name for name in recipes() if name.endswith("_proxy")}
    assert {*PUBLISHED, *OWN, *SCHEDULES} == recipes().keys() - proxies


@pytest.mark.parametrize("name", sorted(name for name in recipes() if name.endswith("_proxy")))
def test_a_proxy_is_its_preset_in_small(name):
    small, whole = preset(name), preset(name.removesuffix("_proxy"))
    ours, theirs = (dict(plain(found.training)) for found in (small, whole))
    assert ours["iterations"] * 10 == theirs["iterations"]
    assert ours["subset"] == 0.25
    changed = {key for key in ours if ours[key] != theirs.get(key)}
    assert changed - {"epochs"} == {"iterations", "subset"}
    for side in ("size", "short", "long"):
        ours, theirs = (dict(plain(found.options))[side] for found in (small, whole))
        assert [2 * n for n in ours] == theirs if side == "size" else 2 * ours == theirs


def test_presets_are_no_spaces():
    assert not [name for name in shipped() if name.startswith("presets") or name in recipes()]


def test_what_the_file_says_wins():
    values = trained(space_of("batch: 4, preset: cityscapes_80k, schedule: cosine"))
    assert (values["batch"], values["schedule"], values["iterations"]) == (4, "cosine", 80_000)
    assert "power" not in values  # of the polynomial decay
    losses = space_of("preset: cityscapes_80k, losses: {main: dice}").sample(random.Random(0))
    assert [loss.name for loss in (*losses.main, *losses.auxiliary)] == ["dice", "auxiliary_head"]
    assert space_of("preset: cityscapes_80k, losses: {auxiliary: []}").sample(random.Random(0)).auxiliary == ()


def test_a_question_takes_the_place_of_a_value():
    space = space_of("preset: ade20k_160k, learning_rate: {float: [0.001, 0.1], log: true}")
    assert [question.path for question in space.questions()] == ["training.learning_rate"]
    space = space_of("preset: ade20k_160k, optimizer: {choice: [sgd, adamw]}")
    momenta = {c.answers["training.optimizer"]: dict(c.training).get("momentum") for c in space.enumerate()}
    assert momenta == {"sgd": 0.9, "adamw": None}


def test_the_same_values_by_hand_are_the_same_recipe():
    named = space_of("preset: cgrseg_ade20k, batch: 8", "ade20k: {root: x}")
    assert "preset" not in named.text
    again = Space.loads(named.text)
    assert again.sample(random.Random(0)) == named.sample(random.Random(0))
    assert again.data == named.data


def test_other_data_take_crop_and_sizes_and_keep_their_own():
    own = space_of("preset: cityscapes_80k", "folder: {root: x, classes: 3, long: 4096}")
    options = dict(own.data.options)
    assert (options["size"], options["short"], options["long"], options["classes"]) == ((512, 1024), 1024, 4096, 3)
    drawn = space_of("preset: cityscapes_80k", "shapes: ")
    assert dict(drawn.data.options)["size"] == (512, 1024)
    short = Space.loads("data: shapes\narchitecture: {backbone: stdc1}\ntraining: {preset: ade20k_80k}")
    assert dict(short.data.options)["size"] == (512, 512)
    assert dict(space_of("preset: cityscapes_80k").data.options)["size"] == (64, 64)


def test_a_preset_takes_the_place_of_a_written_recipe_and_leaves_what_stands_on_one(tmp_path):
    (tmp_path / "written.yaml").write_text(SPACE % ("shapes: ", "epochs: 3, ema: 0.9, learning_rate: 0.5"))
    (tmp_path / "named.yaml").write_text(SPACE % ("shapes: ", "preset: cityscapes_80k, batch: 2"))
    (tmp_path / "over.yaml").write_text("extends: written.yaml\ntraining: {preset: ade20k_80k, batch: 1}\n")
    values = trained(Space.load(tmp_path / "over.yaml"))
    assert (values["epochs"], values["ema"], values["learning_rate"], values["batch"]) == (10, 0.0, 0.01, 1)
    sets = ["training.batch=3", "training.preset=cityscapes_80k_proxy"]
    values = trained(Space.load(tmp_path / "written.yaml", sets=sets))
    assert (values["iterations"], values["ema"], values["batch"]) == (8_000, 0.0, 3)
    space = Space.load(tmp_path / "named.yaml", sets=sets[1:])
    assert (trained(space)["iterations"], trained(space)["batch"]) == (8_000, 2)
    assert dict(space.data.options)["size"] == (256, 512)
    (tmp_path / "under.yaml").write_text("extends: named.yaml\ntraining: {learning_rate: 0.3}\n")
    values = trained(Space.load(tmp_path / "under.yaml"))
    assert (values["iterations"], values["learning_rate"]) == (80_000, 0.3)


def test_mistakes_say_where_they_are():
    assert "space:4:20: training.preset: A preset needs a name that exists: got preset='cityscapes_8k'" in (
        said := mistakes("preset: cityscapes_8k")
    )
    assert "Did you mean 'cityscapes_80k'?" in said
    assert "training.preset needs the name of one preset" in mistakes("preset: {choice: [ade20k_80k, ade20k_160k]}")
    assert "training.preset needs the name of one preset: got preset=3" in mistakes("preset: 3")
    assert "training.momentum needs optimizer to be sgd" in mistakes(
        "preset: cityscapes_80k, optimizer: adamw, momentum: 0.5"
    )
    assert "space:4:36: training.batches" not in (said := mistakes("preset: cityscapes_80k, batches: 3"))
    assert "space:4:36: training needs options that exist: got option='batches'" in said
    assert "--set training.preset=ade" in mistakes("", sets=["training.preset=ade"])


def test_a_recipe_is_not_taken_for_a_space():
    with pytest.raises(SpaceError, match=r"It is a recipe: write training: {preset: ade20k_80k}\."):
        Space.load("ade20k_80k")


def test_epochs_alone_could_mean_two_things():
    assert (
        "space:4:36: training.epochs needs `iterations` beside it, in which the preset cityscapes_80k counts: got epochs=5."
        " Write iterations: 0 for so many passes over the images, or 80000 for so many rounds of evaluation."
    ) in mistakes("preset: cityscapes_80k, epochs: 5")
    values = trained(space_of("preset: cityscapes_80k, epochs: 5, iterations: 0"))
    assert (values["epochs"], values["iterations"]) == (5, 0)
