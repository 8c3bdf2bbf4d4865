"""`nas export`: every format is read back by what it is for."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open

from blocks.architecture import Architecture
from blocks.network import Network
from nas.space import Space
from nas.store import Store
from nas.study.trained import trained as trained_network

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("trained")]


def network(folder, number):
    with Store.open(str(folder / "nas.db")) as store:
        return trained_network(store, "tiny", number, folder=folder / "nas_runs", device=torch.device("cpu"))


IMAGES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("number", [0, 1, 2])
def test_pt2_gives_the_same_logits_for_any_number_of_images(said, trained, number):
    done = said("export", "tiny", str(number), "--format", "pt2", "-o", "network.pt2")
    assert done.code == 0, done.err
    assert "any number of images" in done.err
    loaded = torch.export.load("network.pt2").module()
    own = network(trained, number).network
    for images in (1, 2, 3):
        torch.testing.assert_close(loaded(IMAGES[:images]), own(IMAGES[:images]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("number", [0, 1, 2])
def test_onnx_is_held_to_pytorch(said, trained, number):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    done = said("export", "tiny", str(number), "--format", "onnx", "-o", "network.onnx")
    assert done.code == 0, done.err
    assert done.out == ""
    assert "logits differ by at most" in done.err
    session = onnxruntime.InferenceSession("network.onnx", providers=["CPUExecutionProvider"])
    own = network(trained, number).network(IMAGES)
    (found,) = session.run(None, {"image": IMAGES.numpy()})
    assert (torch.from_numpy(found) - own).abs().max() < 1e-3
    assert found.std() > 0


def test_onnx_that_is_not_installed_says_how_to(said, trained, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = said("export", "tiny", "0", "--format", "onnx", "-o", "network.onnx")
    assert done.code == 2
    assert "pip install 'segnas[onnx]'" in done.err
    done = said("export", "tiny", "--format", "parquet", "-o", "trials.parquet")
    assert "pip install 'segnas[parquet]'" in done.err


def test_what_differs_from_the_network_is_not_left_behind(trained, monkeypatch):
    from blocks.errors import RunError
    from nas.report.exports import graphs

    monkeypatch.setattr(graphs, "TOLERANCE", -1.0)
    with pytest.raises(RunError, match="the logits of the network"):
        graphs.write_pt2(trained / "network.pt2", network(trained, 0))
    assert not (trained / "network.pt2").exists()


@torch.no_grad()
def test_safetensors_load_into_the_network_that_their_header_names(said, trained):
    assert said("export", "tiny", "1", "--format", "safetensors", "-o", "one.safetensors").code == 0
    with safe_open("one.safetensors", "pt") as file:
        facts = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    made = Network(
        Architecture.from_canonical(facts["architecture"]),
        size=tuple(json.loads(facts["size"])),
        classes=len(json.loads(facts["classes"])),
        image_channels=int(facts["image_channels"]),
    )
    made.load_state_dict(weights)
    torch.testing.assert_close(made.eval()(IMAGES), network(trained, 1).network(IMAGES))


def test_python_builds_the_network_in_a_process_of_its_own(said, trained):
    done = said("export", "tiny", "2", "--format", "python", "-o", "mine.py")
    assert done.code == 0, done.err
    assert "mine.safetensors" in done.err
    code = (
        "import torch, mine\n"
        "images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))\n"
        "with torch.no_grad(): torch.save(mine.build()(images), 'logits.pt')\n"
        "print(mine.ABOUT['network'], mine.CLASSES[4])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "test_resnet + psa + bilinear + linear sheep\n"
    with torch.no_grad():
        torch.testing.assert_close(torch.load("logits.pt"), network(trained, 2).network(IMAGES))
    ran = subprocess.run([sys.executable, "mine.py"], capture_output=True, text=True, check=False)
    assert "logits (1, 6, 64, 64)" in ran.stdout


@pytest.mark.parametrize("number", [0, 1, 2])
def test_yaml_is_the_very_same_training_without_questions(said, trained, number):
    done = said("export", "tiny", str(number), "--format", "yaml", "-o", "one.yaml")
    assert done.code == 0, done.err
    space = Space.load("one.yaml")
    assert (space.questions(), space.candidates()) == ((), 1)
    # To the store it is the network that it has: a sweep over it replays.
    from nas.study import sweep

    sweep(space, study="again", runner="local")
    with Store.open("nas.db") as store:
        (row,) = store.trials(store.find_study("again")["id"])
        original = store.trial(1, number)
    assert row["state"] == "replayed"
    assert (row["fingerprint"], row["protocol_fingerprint"]) == (
        original["fingerprint"],
        original["protocol_fingerprint"],
    )
    assert json.loads(said("cost", "one.yaml", "--format", "json").out)[0]["macs"] == original["macs"]


def test_a_table_of_the_study_has_columns_and_choices(said, trained):
    pd = pytest.importorskip("pandas")
    done = said("export", "tiny", "--format", "csv")
    found = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["number"] for row in found] == ["0", "1", "2"]
    assert [row["context.ppm.bins"] for row in found] == ["", "[1,2]", ""]
    assert {row["training.learning_rate"] for row in found} == {"0.003"}
    rows = json.loads(said("export", "tiny", "--format", "json").out)
    assert [row["context.ppm.channels"] for row in rows] == [None, 16, None]

    pytest.importorskip("pyarrow")
    assert said("export", "tiny", "--format", "parquet", "-o", "trials.parquet").code == 0
    frame = pd.read_parquet("trials.parquet")
    assert frame["number"].tolist() == [0, 1, 2]
    assert frame["context"].tolist() == ["none", "ppm", "psa"]
    assert frame["miou"].tolist() == pytest.approx([row["miou"] for row in rows])
    assert str(frame["context.ppm.channels"].dtype) == "Int64"
    assert str(frame["created"].dtype).startswith("datetime64")
    assert frame["outside"].tolist() == [False] * 3


def test_an_empty_study_is_an_empty_table(said, trained):
    with Store.open("nas.db") as store:
        store.create_study("empty", space="", objectives={"miou": "max"}, budget={}, seed=0)
    assert json.loads(said("export", "empty", "--format", "json").out) == []
    assert said("export", "empty", "--format", "csv").code == 0
    assert said("export", "empty", "--format", "parquet", "-o", "empty.parquet").code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["tiny", "0", "--format", "onx", "-o", "x"], "Did you mean 'onnx'"),
        (["tiny", "--format", "pt2", "-o", "x"], "a trial's number"),
        (["tiny", "0", "--format", "csv"], "no trial's number"),
        (["tiny", "0", "--format", "pt2"], "-o FILE.pt2"),
        (["tiny", "0", "--format", "pt2", "-o", "absent/x.pt2"], "a folder that exists"),
        (["tiny", "7", "--format", "yaml"], "It has 3, up to 2"),
        (["tniy", "--format", "csv"], "Did you mean 'tiny'"),
        (["tiny", "0", "--format", "pt2", "-o", "x", "--folder", "elsewhere"], "resources.keep"),
    ],
)
def test_mistakes_get_one_message_and_exit_2(said, trained, words, says):
    done = said("export", *words)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert "Traceback" not in done.err


HOSTILE = '"""\nraise SystemExit("owned")\n# {file} \\'


def test_names_stay_names_in_python_and_yaml(trained):
    """Whatever a study is called, the files say so and run nothing of it."""
    import ast
    import dataclasses

    from nas.report.exports.space_file import space_file
    from nas.report.exports.weights import write_python

    path = trained / 'na"""me.py'
    write_python(path, dataclasses.replace(network(trained, 0), study=HOSTILE))
    tree = ast.parse(path.read_text())
    assert [type(node).__name__ for node in tree.body if isinstance(node, ast.Raise)] == []
    (about,) = (n for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "ABOUT")
    assert ast.literal_eval(about.value)["study"] == HOSTILE

    with Store.open("nas.db") as store:
        study, row = store.find_study("tiny"), store.trial(1, 0)
    text = space_file({**study, "name": "odd: name\n# [x]"}, row)
    assert Space.loads(text).name == "odd: name # [x]-0"


def test_a_network_that_depends_on_how_many_images_there_are_is_written_for_one(trained):
    import dataclasses

    from blocks.architecture import Component
    from nas.report.exports.graphs import write_pt2

    found = network(trained, 0)
    value = dataclasses.replace(found.architecture, context=Component("smoothed_dilation"))
    odd = Network(value, size=(64, 64), classes=6).eval()
    written = write_pt2(trained / "odd.pt2", dataclasses.replace(found, network=odd))
    assert written.batch == "one image"
    assert "takes one image at once" in written.words
