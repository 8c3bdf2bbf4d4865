"""What every component promises, over the whole catalogue."""

from __future__ import annotations

import inspect
import itertools
import json
import math
from typing import get_args, get_origin

import pytest
import torch
from torch import Tensor, nn

from blocks import catalogue as catalogues
from blocks.architecture import Component
from blocks.catalogue import catalogue, component
from blocks.features import FeatureMap, Features, current
from blocks.options import Option, options_of

KINDS = [pytest.param(slot, name, id=f"{slot}-{name}") for slot in catalogues.KINDS for name in catalogue(slot)]


class Traced(nn.Module):
    """A stage as tracers want it: tensors in, tensors out."""

    def __init__(self, stage: nn.Module, case) -> None:
        super().__init__()
        self.stage = stage
        self.case = case

    def forward(self, image: Tensor, pyramid: tuple[Tensor, ...], map: Tensor | None) -> tuple[Tensor, ...]:
        return self.case.written(self.stage(Features(image, pyramid=pyramid, map=map)))


def traceable(case, size: tuple[int, int]) -> tuple[Traced, tuple[object, ...]]:
    f = case.features(size)
    return Traced(case.build(size), case), (f.image, f.pyramid, f.map)


def learn(case, stage: nn.Module, f: Features) -> None:
    """Train one step towards smaller outputs and check what every parameter received."""
    outputs = case.written(stage.train()(f))
    loss = torch.stack([output.float().square().mean() for output in outputs]).sum()
    if loss.requires_grad:
        loss.backward()
    for name, parameter in stage.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert parameter.grad.isfinite().all(), f"{name} has a gradient that is not finite"


def agree(ours: Tensor, theirs: Tensor) -> None:
    """Equal but for rounding, which grows with the largest number of a map: deep encoders have some of 20 untrained."""
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * max(1.0, theirs.abs().max().item()))


def test_it_gives_what_it_declares(case):
    declares(case, case.sizes)


def test_it_gives_what_it_declares_at_its_defaults(plain):
    declares(plain, plain.sizes[:1])


def declares(case, sizes: tuple[tuple[int, int], ...]) -> None:
    for size in sizes:
        stage, f = case.build(size), case.features(size)
        given = stage(f)
        declared: list[tuple[FeatureMap, Tensor]] = [
            *zip(stage.out.pyramid, given.pyramid, strict=True),
            *zip(stage.out.guide, given.guide, strict=True),
        ]
        if stage.out.map is not None:
            declared.append((stage.out.map, given.map))
        for (channels, stride), tensor in declared:
            assert tensor.shape[:2] == (2, channels)
            for side, full in zip(tensor.shape[2:], size, strict=True):
                assert abs(side - full / stride) < 1, f"stride {stride} makes {side} of {full}"
        assert len(given.coarse) == stage.out.coarse
        logits = (*given.coarse, *([given.logits] if case.slot == "head" else []))
        for each in logits:
            assert each.shape[:2] == (2, stage.out.classes)
            # A head that reads the image gives logits as fine.
            assert each.shape[2:] in {current(f).shape[2:], size if each is given.logits else None}


def test_what_it_does_not_write_stays(case):
    size = case.sizes[0]
    f = case.features(size)
    given = case.build(size)(f)
    assert given.image is f.image
    if case.slot != "backbone":
        kept = len(f.pyramid) - (case.slot == "context")
        assert all(ours is theirs for ours, theirs in zip(given.pyramid[:kept], f.pyramid[:kept], strict=True))


def test_every_parameter_learns_at_odd_sizes(case):
    learn(case, case.build((61, 83)), case.features((61, 83)))


def test_every_parameter_learns_at_batch_1_on_the_smallest_maps(case):
    size = case.sizes[-1]
    learn(case, case.build(size), case.features(size, batch=1))


def test_an_image_does_not_see_its_batch(case):
    size = case.sizes[0]
    stage, f = case.build(size).eval(), case.features(size, batch=3)
    alone = Features(f.image[1:2], tuple(m[1:2] for m in f.pyramid), map=None if f.map is None else f.map[1:2])
    for together, apart in zip(case.written(stage(f)), case.written(stage(alone)), strict=True):
        agree(together[1:2], apart)


def test_one_seed_gives_one_network(case):
    first, second = (case.build(case.sizes[0], seed=7).state_dict() for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_it_builds_and_runs_on_meta(case):
    size = case.sizes[0]
    real = case.written(case.build(size)(case.features(size)))
    with torch.device("meta"):
        stage = case.build(size)
        given = case.written(stage(case.features(size)))
    assert all(tensor.is_meta for tensor in itertools.chain(stage.parameters(), stage.buffers(), given))
    assert [tensor.shape for tensor in given] == [tensor.shape for tensor in real]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_it_runs_under_autocast(case, training):
    size = case.sizes[0]
    stage, f = case.build(size).train(training), case.features(size)
    exact = case.written(stage(f))
    with torch.autocast("cpu", torch.bfloat16):
        rough = case.written(stage(f))
    assert all(tensor.isfinite().all() for tensor in rough)
    if not training:
        for ours, theirs in zip(rough, exact, strict=True):
            error = (ours.float() - theirs).norm() / theirs.norm()
            assert error < 0.1, f"bfloat16 is off by {error:.2f} of the output"


def test_it_runs_in_channels_last(first):
    size = first.sizes[0]
    f, last = first.features(size), torch.channels_last
    stage = first.build(size).eval()
    exact = first.written(stage(f))
    pyramid = tuple(x.contiguous(memory_format=last) for x in f.pyramid)
    image, map = (x if x is None else x.contiguous(memory_format=last) for x in (f.image, f.map))
    given = first.written(stage.to(memory_format=last)(Features(image, pyramid, map=map)))
    for ours, theirs in zip(given, exact, strict=True):
        agree(ours, theirs)


@pytest.mark.slow
def test_it_exports(case):
    module, inputs = traceable(case, case.sizes[0])
    module.eval()
    exported = torch.export.export(module, inputs).module()
    for ours, theirs in zip(module(*inputs), exported(*inputs), strict=True):
        agree(ours, theirs)


@pytest.mark.slow
def test_it_compiles_whole(first):
    module, inputs = traceable(first, first.sizes[0])
    module.eval()
    torch.compiler.reset()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    for ours, theirs in zip(module(*inputs), compiled(*inputs), strict=True):
        agree(ours, theirs)


def test_its_value_survives_json(case):
    text = json.dumps(case.component.plain())
    again = Component.from_plain(json.loads(text))
    assert again == case.component
    assert component(case.slot, again.name, dict(again.options)) == case.component


def test_a_loss_is_a_finite_scalar_that_teaches_the_logits(loss):
    criterion = loss.type(5, **dict(loss.component.options))
    logits = torch.linspace(-2, 2, 2 * 5 * 7 * 3).reshape(2, 5, 7, 3).requires_grad_()
    labels = torch.arange(2 * 7 * 3).reshape(2, 7, 3) % 5
    labels[0, 0] = 255
    value = criterion(logits, labels)
    value.backward()
    assert value.shape == ()
    assert value > 0
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().sum() > 0
    assert not logits.grad[0, :, 0].any(), "ignored pixels teach nothing"


def test_a_loss_without_a_label_is_nothing(loss):
    criterion = loss.type(5, **dict(loss.component.options))
    logits = torch.ones(1, 5, 3, 2, requires_grad=True)
    value = criterion(logits, torch.full((1, 3, 2), 255))
    value.backward()
    assert value == 0
    assert not logits.grad.any()


@pytest.mark.parametrize(("slot", "name"), KINDS)
def test_its_docstring_says_what_must_be_said(slot, name):
    kind = catalogue(slot)[name]
    text = inspect.cleandoc(kind.__doc__ or "")
    first, _, rest = text.partition("\n")
    assert first.endswith("."), "the first line is a sentence of its own"
    assert not rest or rest.startswith("\n")
    for section in ("Shape", "Args", "Source", "Deviations"):
        assert f"\n{section}:\n    " in text, f"no section {section}"
    listed = text.partition("\nArgs:\n")[2].partition("\n\n")[0]
    for parameter in inspect.signature(kind).parameters:
        assert f"    {parameter}: " in listed, f"Args do not tell about {parameter}"


@pytest.mark.parametrize(("slot", "name"), KINDS)
def test_it_has_a_version(slot, name):
    version = catalogue(slot)[name].version
    assert type(version) is int
    assert version >= 1


@pytest.mark.parametrize(("slot", "name"), KINDS)
def test_its_options_are_bounded_and_have_defaults(slot, name):
    kind = catalogue(slot)[name]
    kinds = {p.kind for p in inspect.signature(kind).parameters.values()}
    assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    for option in options_of(kind).values():
        assert not option.required, f"{option.name} has no default"
        assert option.problem(option.default) is None, f"the default of {option.name} is none of its values"
        assert is_bounded(option), f"{option.name} has no bounds"
        if option.when:
            parent = options_of(kind)[option.when.option]
            assert all(parent.problem(value) is None for value in option.when.values)


def is_bounded(option: Option) -> bool:
    """Numbers, alone or in tuples, need two bounds; what is listed or text needs none."""
    hints = {option.hint, *get_args(option.hint)} if get_origin(option.hint) in {tuple} else {option.hint}
    if not hints & {int, float}:
        return True
    return option.range is not None and all(map(math.isfinite, (option.range.low, option.range.high)))
