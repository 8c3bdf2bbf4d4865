"""Files of weights in the layouts that people publish, made here at random."""

import os
import pickle
import re
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from timm.models import adapt_input_conv

from blocks.architecture import Architecture, Component
from blocks.catalogue import completed
from blocks.errors import BlockError, DataError
from blocks.network import Network
from runners.failure import failure
from runners.matching import shortened
from runners.weights import fingerprint_of, load, read

SIZE = (32, 32)
RESNET = "stages.backbone.model."


def network_of(model="test_resnet", *, seed=1, classes=5, channels=3, backbone="timm") -> Network:
    torch.manual_seed(seed)
    options = {"model": model} if backbone == "timm" else {}
    architecture = Architecture(
        backbone=Component.of(backbone, options), align=Component.of("bilinear", {"channels": 16})
    )
    return Network(completed(architecture), size=SIZE, classes=classes, image_channels=channels).eval()


def timm_model(model="test_resnet", **more):
    torch.manual_seed(0)
    sized = {"img_size": SIZE} if model == "test_vit" else {}
    return timm.create_model(model, **sized, **more).eval()


def written(folder: Path, content, name="weights.pth") -> Path:
    path = folder / name
    if name.endswith("safetensors"):
        save_file({key: value.contiguous().clone() for key, value in content.items()}, path)
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("model", ["test_resnet", "test_convnext", "test_vit", "test_efficientnet"])
def test_timms_own_names_fill_the_backbone(tmp_path, model, name):
    published, network = timm_model(model), network_of(model)
    matched = load(network, written(tmp_path, published.state_dict(), name))
    assert not [tensor for tensor in matched.missing if "backbone" in tensor]
    assert matched.missing
    assert matched.unexpected
    assert matched.wrong_shape == ()
    backbone = network.stages["backbone"]
    image = torch.rand(2, 3, *SIZE)
    _, wanted = published.forward_intermediates(image, indices=list(backbone.plan.indices))
    found = backbone.model(image)
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("model", ["test_resnet", "test_convnext", "test_vit"])
def test_names_of_features_only_fill_it_too(tmp_path, model):
    state = network_of(model, seed=0).stages["backbone"].model.state_dict()
    network = network_of(model)
    matched = load(network, written(tmp_path, state))
    assert matched.unexpected == ()
    found = network.stages["backbone"].model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_names_that_timm_joins_are_found(tmp_path):
    """`stem.conv1` becomes `stem_conv1` in timm's features."""
    architecture = completed(Architecture(backbone=Component.of("timm", {"model": "efficientvit_b0"})))
    network = Network(architecture, size=SIZE, classes=5)
    matched = load(network, written(tmp_path, timm_model("efficientvit_b0").state_dict()))
    assert not [name for name in matched.missing if "backbone" in name]


def test_torchvisions_resnet_is_taken(tmp_path):
    torch.manual_seed(0)
    published = torchvision.models.resnet18().eval()
    network = network_of("resnet18")
    matched = load(network, written(tmp_path, published.state_dict()))
    assert matched.unexpected == ("fc.weight", "fc.bias")
    image = torch.rand(2, 3, *SIZE)
    until = torch.nn.Sequential(*list(published.children())[:-2])
    assert torch.allclose(network.stages["backbone"].model(image)[-1], until(image), atol=1e-5)


@pytest.mark.parametrize("start", ["backbone.", "module.", "model.", "encoder.", "module.backbone.", "_orig_mod."])
def test_wrappers_are_stripped(tmp_path, start):
    state = {start + name: value for name, value in timm_model().state_dict().items()}
    state["decode_head.conv_seg.weight"] = torch.zeros(3)
    network = network_of()
    matched = load(network, written(tmp_path, state))
    assert matched.place == RESNET
    assert len(matched.loaded) == 90
    assert set(matched.unexpected) == {f"{start}fc.weight", f"{start}fc.bias", "decode_head.conv_seg.weight"}
    assert torch.equal(network.state_dict()[f"{RESNET}layer1.0.conv1.weight"], state[f"{start}layer1.0.conv1.weight"])


@pytest.mark.parametrize("keys", [("state_dict",), ("model",), ("state_dict_ema",), ("model", "state_dict")])
def test_containers_are_opened(tmp_path, keys):
    state = timm_model().state_dict()
    content = state
    for key in reversed(keys):
        content = {"epoch": 3, key: content}
    found = read(written(tmp_path, content))
    assert found.keys() == state.keys()


def test_averaged_weights_go_before_the_last_ones(tmp_path):
    found = read(written(tmp_path, {"state_dict": {"a": torch.zeros(1)}, "state_dict_ema": {"a": torch.ones(1)}}))
    assert found["a"] == 1


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_our_own_checkpoints_give_what_they_were_judged_by(proposal, carry_out, work, ema):
    asked = proposal(ema=ema)
    carry_out(asked, work)
    path = work.checkpoint(0)
    fit = torch.load(path, weights_only=True)["fit"]
    wanted = fit["average"] or {name.removeprefix("network."): value for name, value in fit["supervised"].items()}
    protocol = asked.protocol
    network = Network(asked.architecture, size=protocol.size, classes=protocol.classes)
    matched = load(network, path)
    assert matched.missing == matched.wrong_shape == ()
    assert matched.place == ""
    assert all(torch.equal(value, wanted[name]) for name, value in network.state_dict().items())


def test_other_classes_leave_the_last_layer_as_it_was(tmp_path):
    path = written(tmp_path, network_of(seed=0, classes=7).state_dict(), "ours.safetensors")
    network = network_of()
    before = network.state_dict()["stages.head.classifier.weight"].clone()
    matched = load(network, path)
    assert ("stages.head.classifier.bias", (5,), (7,)) in matched.wrong_shape
    assert matched.missing == matched.unexpected == ()
    assert torch.equal(network.state_dict()["stages.head.classifier.weight"], before)
    assert "2 of wrong shape (stages.head.classifier.weight (7, 16, 1, 1) for (5, 16, 1, 1)" in matched.summary()


@pytest.mark.parametrize("channels", [1, 4])
def test_a_first_convolution_of_timms_is_adapted_as_timm_does(tmp_path, channels):
    state = timm_model().state_dict()
    network = network_of(channels=channels)
    matched = load(network, written(tmp_path, state))
    assert matched.adapted == (f"{RESNET}conv1.0.weight",)
    found = network.state_dict()[f"{RESNET}conv1.0.weight"]
    assert torch.equal(found, adapt_input_conv(channels, state["conv1.0.weight"]))


def test_any_other_first_convolution_is_of_wrong_shape(tmp_path):
    path = written(tmp_path, network_of(backbone="stdc1", seed=0).state_dict())
    matched = load(network_of(backbone="stdc1", channels=1), path)
    assert matched.adapted == ()
    assert [name for name, own, found in matched.wrong_shape if (own[1], found[1]) == (1, 3)]


def test_a_file_of_something_else_is_refused_with_names_of_both(tmp_path):
    with pytest.raises(BlockError, match=r"weights of this backbone.*conv1\.0\.weight.*cls_token"):
        load(network_of(), written(tmp_path, timm_model("test_vit").state_dict()))


@pytest.mark.parametrize("model", ["resnet34", "resnet50"])
def test_a_backbone_that_is_filled_in_part_alone_is_refused(tmp_path, model):
    network = network_of(model)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(BlockError, match=r"got filled='\d+ of \d+ tensors'"):
        load(network, written(tmp_path, torchvision.models.resnet18().state_dict()))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class _Runs:
    """What a pickle can do to whoever opens it."""

    def __init__(self, marker):
        self._marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self._marker),)


@pytest.mark.parametrize("layout", ["torch", "pickle"])
def test_a_file_that_would_run_code_is_refused_and_does_not(tmp_path, layout):
    marker, path = tmp_path / "ran", tmp_path / "weights.pth"
    content = {"state_dict": timm_model().state_dict(), "config": _Runs(marker)}
    if layout == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps({"config": _Runs(marker)}, protocol=2))
    with pytest.raises(DataError, match=re.escape("it would run posix.mkdir")):
        read(path)
    assert not marker.exists()
    torch.load(path, weights_only=False) if layout == "torch" else pickle.loads(path.read_bytes())
    assert marker.exists(), "the file is harmless, and the test shows nothing"


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_file_that_was_cut_off_is_an_error(tmp_path, name):
    path = written(tmp_path, timm_model().state_dict(), name)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="A file of weights needs tensors, whole"):
        read(path)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], 7])
def test_a_file_without_tensors_is_an_error(tmp_path, content):
    with pytest.raises(DataError, match="needs a state dict"):
        read(written(tmp_path, content))


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["missing", "folder"])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path, make):
    path = tmp_path / "weights.pth"
    make(path)
    for asked in (fingerprint_of, read):
        with pytest.raises(DataError, match=rf"needs a file that can be read.*{path.name}"):
            asked(path)


def test_the_hash_is_of_the_contents(tmp_path):
    one, other = tmp_path / "a", tmp_path / "b"
    one.write_bytes(b"x")
    other.write_bytes(b"x")
    first = fingerprint_of(one)
    assert fingerprint_of(other) == first
    one.write_bytes(b"longer")
    assert fingerprint_of(one) != first


def test_many_names_are_shortened():
    assert shortened(map(str, range(12))) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 2 more"
    assert shortened("ab") == "a, b"


# In a trial


@pytest.fixture
def started(proposal, work, tmp_path):
    """A proposal that starts from weights, and the work that says where they lie."""
    path = written(tmp_path, timm_model().state_dict())

    def made(trial=0, **options):
        asked = proposal(trial, **options)
        return replace(asked, protocol=replace(asked.protocol, weights=fingerprint_of(path)))

    return made, replace(work, weights=path)


def test_a_trial_starts_from_the_weights_and_says_so(started, proposal, carry_out, numbers):
    made, work = started
    epochs, _ = carry_out(made(), work)
    assert "weights weights.pth: 90 tensors loaded into stages.backbone.model; " in epochs[0].log
    assert "2 unexpected (fc.weight, fc.bias)" in epochs[0].log
    assert "weights" not in epochs[1].log
    scratch, _ = carry_out(proposal(1), work)
    assert "weights" not in scratch[0].log
    assert numbers(scratch) != numbers(epochs)
    again, _ = carry_out(made(2), work)
    assert numbers(again) == numbers(epochs)


def test_it_goes_on_where_the_file_was_moved_to(started, carry_out, numbers):
    made, work = started
    whole, _ = carry_out(made(0), work)
    carry_out(made(1), work, until=1)
    continued = made(1, done=1)
    moved = replace(work, weights=work.weights.rename(work.weights.with_name("moved.bin")))
    rest, _ = carry_out(continued, moved)
    assert numbers(rest) == numbers(whole[1:])


@pytest.mark.parametrize("how", ["missing", "other", "unsaid"])
def test_a_worker_without_the_file_is_beyond_hope(started, carry_out, how):
    made, work = started
    asked = made()
    if how == "missing":
        work.weights.unlink()
    elif how == "other":
        work.weights.write_bytes(b"other")
    else:
        work = replace(work, weights=None)
    with pytest.raises(DataError) as error:
        carry_out(asked, work)
    failed = failure(error.value)
    assert failed.hopeless
    assert how == "unsaid" or str(work.weights) in failed.reason


def test_a_network_that_the_file_does_not_fit_has_failed_alone(started, carry_out):
    made, work = started
    with pytest.raises(BlockError) as error:
        carry_out(made(model="test_efficientnet"), work)
    assert not failure(error.value).hopeless


def test_where_the_file_lies_travels_to_the_workers(started):
    _, work = started
    assert pickle.loads(pickle.dumps(work)).weights == work.weights


def test_protocols_without_weights_keep_their_fingerprints(started, proposal):
    made, _ = started
    plain, weighted = proposal().protocol, made().protocol
    assert '"weights":' not in plain.canonical()
    assert f'"weights":"{weighted.weights}"' in weighted.canonical()
    assert weighted.fingerprint != plain.fingerprint
