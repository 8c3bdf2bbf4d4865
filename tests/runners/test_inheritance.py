"""What a network takes over from another: by component, name and shape."""

from pathlib import Path

import pytest
import torch

from blocks.architecture import Architecture, Component
from blocks.cost import costs_by_part
from blocks.network import Network
from runners import checkpoint
from runners.failure import failure
from runners.identity import Parent, identity
from runners.inheritance import Orphaned, akin, in_common, inherit, shared
from runners.protocol import Protocol, Work

SIZE = (32, 32)


def network_of(model: str = "test_resnet", context: str = "none", channels: int = 16) -> Architecture:
    return Architecture(
        backbone=Component.of("timm", {"model": model}),
        context=Component.of(context, {"channels": channels} if context == "ppm" else {}),
        align=Component.of("bilinear", {"channels": 16}),
    )


PROTOCOL = Protocol(
    data=Component.of("shapes", {"size": SIZE}),
    data_fingerprint="0123456789abcdef",
    size=SIZE,
    classes=3,
    image_channels=3,
    training=(("epochs", 1),),
    main=(Component.of("cross_entropy"),),
    coarse=(),
)


def built(architecture: Architecture, seed: int) -> Network:
    torch.manual_seed(seed)
    return Network(architecture, size=SIZE, classes=3)


def costs(architecture: Architecture) -> dict[str, int]:
    return {slot: cost.params for slot, cost in costs_by_part(architecture, size=SIZE, classes=3).items()}


def test_slots_are_akin_by_component_and_timms_by_model():
    own = network_of(context="ppm")
    assert akin(own, network_of(context="ppm", channels=8)) == {"backbone", "context", "align", "refine", "head"}
    assert akin(own, network_of(model="test_efficientnet")) == {"align", "refine", "head"}


def test_an_equal_network_is_taken_over_whole():
    whole = costs(network_of(context="psa"))
    assert in_common(network_of(context="psa"), network_of(context="psa"), PROTOCOL) == sum(whole.values())


def test_a_new_context_of_the_same_width_leaves_all_other_parts():
    parts = costs(network_of(context="psa"))
    assert parts["context"] > 0
    count = in_common(network_of(context="psa"), network_of(), PROTOCOL)
    assert count == sum(parts.values()) - parts["context"]


def test_tensors_of_other_shapes_are_left_out():
    own, other = (dict.fromkeys(("stages.context.w", "stages.context.b"), (n,)) for n in (8, 4))
    other["stages.context.b"] = (8,)
    assert shared(own, other, {"context"}) == ("stages.context.b",)
    assert shared(own, other, {"head"}) == ()


def parent_at(tmp_path: Path, *, average: bool) -> tuple[Parent, Work, Network]:
    """A finished trial with a checkpoint; its averaged weights are other than its last."""
    work = Work(place={}, folder=tmp_path)
    last, judged = built(network_of(), seed=1), built(network_of(), seed=2)
    supervised = {f"network.{name}": tensor for name, tensor in last.state_dict().items()}
    fit = {"supervised": supervised, "average": judged.state_dict() if average else None}
    checkpoint.save(work.checkpoint(7), {"fit": fit}, identity="parent")
    return Parent(trial=7, identity="parent", architecture=network_of()), work, judged if average else last


@pytest.mark.parametrize("average", [False, True])
def test_the_weights_that_the_parent_was_judged_by_are_taken(tmp_path, average):
    parent, work, judged = parent_at(tmp_path, average=average)
    own = network_of(context="psa")
    found = inherit(built(own, seed=3), own, parent, work)
    theirs = judged.state_dict()
    assert {name.split(".")[1] for name in found} == {"backbone", "align", "head"}
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in found.items())
    assert set(found) == set(theirs)


def test_what_is_counted_is_what_is_taken(tmp_path):
    parent, work, _ = parent_at(tmp_path, average=False)
    for own in (network_of(context="psa"), network_of(model="test_efficientnet")):
        network = built(own, seed=3)
        found = inherit(network, own, parent, work)
        taken = sum(tensor.numel() for name, tensor in network.named_parameters() if name in found)
        assert taken == in_common(own, parent.architecture, PROTOCOL) > 0


def test_a_parent_without_its_checkpoint_fails_the_trial_alone(tmp_path):
    parent, work, _ = parent_at(tmp_path, average=False)
    own = network_of()
    work.checkpoint(7).write_bytes(b"half")
    with pytest.raises(Orphaned, match="damaged"):
        inherit(built(own, seed=3), own, parent, work)
    work.checkpoint(7).unlink()
    with pytest.raises(
        Orphaned, match=r"parent's checkpoint: got parent=7, missing=.*checkpoint\.pt.*keep: last"
    ) as raised:
        inherit(built(own, seed=3), own, parent, work)
    assert not failure(raised.value).hopeless


def test_the_checkpoint_of_another_result_is_not_taken(tmp_path):
    parent, work, _ = parent_at(tmp_path, average=False)
    stranger = Parent(trial=7, identity="another", architecture=parent.architecture)
    own = network_of()
    with pytest.raises(Orphaned, match="belongs to another result"):
        inherit(built(own, seed=3), own, stranger, work)


def test_the_key_of_a_result_tells_its_parent():
    def key(parent: Parent | None) -> str:
        return identity(network_of(), PROTOCOL, 0, {"head.linear": 1}, parent)

    one, other = (Parent(trial=0, identity=of, architecture=network_of()) for of in ("a", "b"))
    elsewhere = Parent(trial=9, identity="a", architecture=network_of())
    assert len({key(None), key(one), key(other)}) == 3
    assert key(elsewhere) == key(one)
