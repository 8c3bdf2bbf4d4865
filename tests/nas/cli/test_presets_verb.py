"""`nas presets`."""

import json


def test_all_are_listed(said):
    rows = json.loads(said("presets", "--format", "json").out)
    by_name = {row["preset"]: row for row in rows}
    assert list(by_name).index("cityscapes_40k") < list(by_name).index("cityscapes_160k")
    row = by_name["cgrseg_ade20k"]
    assert (row["data"], row["crop"], row["iterations"], row["batch"]) == ("ade20k", "512x512", 160_000, 16)
    assert (row["optimizer"], row["learning_rate"], row["schedule"]) == ("adamw", 1.2e-4, "poly")
    assert row["source"].startswith("nizhenliang/CGRSeg")


def test_one_is_shown_with_every_value_and_what_it_does_not_reproduce(said):
    shown = said("presets", "stdc_cityscapes").out
    assert "Not reproduced:" in shown
    assert "Reported mIoU: STDC1-Seg50 0.722" in shown
    assert "Source: MichaelFan01/STDC-Seg" in shown
    values = {
        row["option"]: row["value"] for row in json.loads(said("presets", "cityscapes_40k", "--format", "json").out)
    }
    assert (values["training.iterations"], values["training.optimizer"]) == (40_000, "sgd")
    assert values["data.cityscapes.short"] == 1024
    assert json.loads(values["training.losses.auxiliary"])["auxiliary_head"]["weight"] == 0.4


def test_an_unknown_one_gets_the_nearest(said):
    code, _, error = said("presets", "ade20_160k")
    assert code == 2
    assert error.startswith(
        "nas: A preset needs a name that exists: got preset='ade20_160k'. Did you mean 'ade20k_160k'?"
    )
