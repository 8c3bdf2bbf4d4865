"""What the contract suite runs over: every component of every slot, narrow, and with each choice turned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from blocks.architecture import SLOTS, Component, canonical_json
from blocks.catalogue import catalogue, component, component_type
from blocks.features import FeatureMap, Features, Shapes
from blocks.network import build_stage
from blocks.options import options_of

CLASSES = 5
_LEVELS = (FeatureMap(16, 4), FeatureMap(24, 8), FeatureMap(32, 16), FeatureMap(48, 32))
_MAP = FeatureMap(24, 4)


@dataclass(frozen=True)
class Case:
    """One component with its options, and how to build it, feed it and read what it wrote."""

    slot: str
    component: Component

    @property
    def key(self) -> str:
        """Slot, name and every option: what a recorded output is filed under."""
        return f"{self.slot} {canonical_json(self.component.plain())}"

    def __str__(self) -> str:
        usual = component(self.slot, self.component.name, _narrow(self.slot, self.component.name))
        turned = dict(set(self.component.options) - set(usual.options))
        return f"{self.slot}-{self.component.name}" + (f"-{json.dumps(turned, sort_keys=True)}" if turned else "")

    @property
    def type(self) -> type[nn.Module]:
        return component_type(self.slot, self.component.name)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Odd sizes, and sizes at which the maps of most levels have a single cell."""
        return ((61, 83), (64, 64)) if self.slot == "backbone" else ((61, 83), (32, 32), (5, 7))

    def build(self, size: tuple[int, int], *, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        source = Shapes(size=size, classes=CLASSES)
        if self.slot != "backbone":
            source = source._replace(pyramid=_LEVELS)
        if self.slot in {"refine", "head"}:
            source = source._replace(map=_MAP)
        return build_stage(self.slot, self.component, source)

    def features(self, size: tuple[int, int], *, batch: int = 2) -> Features:
        """Fixed features on the current device; odd levels are rounded up and even ones down, as encoders differ."""
        image = _waves(batch, 3, *size) / 2 + 0.5
        if self.slot == "backbone":
            return Features(image)
        maps = []
        for place, level in enumerate((*_LEVELS, _MAP)):
            sides = (-(-side // level.stride) if place % 2 else max(1, side // level.stride) for side in size)
            maps.append(_waves(batch, level.channels, *sides))
        f = Features(image, pyramid=tuple(maps[:-1]))
        return f._replace(map=maps[-1]) if self.slot in {"refine", "head"} else f

    def written(self, f: Features) -> tuple[Tensor, ...]:
        """What a stage of this slot answers for."""
        if self.slot in {"backbone", "context"}:
            return (*f.pyramid, *f.guide, *f.coarse)
        found = (f.logits if self.slot == "head" else f.map, *f.coarse)
        return tuple(t for t in found if t is not None)


def _waves(*size: int) -> Tensor:
    """Numbers in [-1, 1] that no generator's version changes; images of a batch and channels differ."""
    count = torch.Size(size).numel()
    return torch.sin(0.37 * torch.arange(count, dtype=torch.float32).remainder(9973)).reshape(size)


def _narrow(slot: str, name: str) -> dict[str, int]:
    """Widths that no paper has, so that what is tested is small, and does not rest on round numbers."""
    widths = (o for o in options_of(component_type(slot, name)).values() if o.name in WIDTHS and o.when is None)
    return {o.name: 24 for o in widths if isinstance(o.default, int) and o.default > 24}


def _cases(slot: str) -> Iterator[Case]:
    for name, kind in catalogue(slot).items():
        narrow = _narrow(slot, name)
        found = {component(slot, name, narrow): None}
        # A timm model's options are its own test's business: some would fetch weights. Refine is the contexts again.
        for option in options_of(kind).values() if slot not in {"backbone", "refine"} else ():
            switch = {option.when.option: option.when.values[0]} if option.when else {}
            for choice in option.choices or ((option.default,) if switch else ()):
                found[component(slot, name, narrow | switch | {option.name: choice})] = None
        yield from (Case(slot, each) for each in found)


def _firsts() -> Iterator[Case]:
    """Of each component the case with nothing turned."""
    for slot in SLOTS:
        for name in catalogue(slot):
            yield Case(slot, component(slot, name, _narrow(slot, name)))


WIDTHS = {"channels", "width", "keys", "values", "texture", "rank"}
CASES = [case for slot in SLOTS for case in _cases(slot)]
FIRSTS = list(_firsts())
DEFAULTS = [Case(slot, component(slot, name)) for slot in SLOTS for name in catalogue(slot)]
LOSSES = list(_cases("loss"))


@pytest.fixture(scope="session")
def catalogued() -> frozenset[str]:
    """The keys of all cases, whichever tests were selected."""
    return frozenset(case.key for case in (*CASES, *LOSSES))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Hand out cases by name.

    `case` is every choice of every stage, `first` each stage with nothing turned, both narrow; `plain` is each stage at
    its very defaults; `loss` every choice of every loss.
    """
    # That refine, which is the contexts again on another map, and turned options fit is seen fast; the rest when there
    # is time.
    fast = {"declares", "recorded"} & set(metafunc.function.__name__.split("_"))
    usual = {*FIRSTS, *DEFAULTS, *LOSSES}
    for name, cases in (("case", CASES), ("first", FIRSTS), ("plain", DEFAULTS), ("loss", LOSSES)):
        if name in metafunc.fixturenames:
            later = [not fast and (each.slot == "refine" or each not in usual) for each in cases]
            given = zip(cases, later, strict=True)
            metafunc.parametrize(
                name, [pytest.param(c, id=str(c), marks=[pytest.mark.slow] * slow) for c, slow in given]
            )
