"""What every align promises: one to six levels of any channels, strides that repeat or are no powers of two apart."""

from __future__ import annotations

import pytest
import torch

from blocks.architecture import Component
from blocks.catalogue import catalogue
from blocks.errors import BlockError
from blocks.features import FeatureMap, Features, Shapes
from blocks.network import build_stage

PYRAMIDS = {
    "one level": ((24, 8),),
    "two branches of one stride": ((16, 8), (40, 8)),
    "detail and semantics": ((16, 8), (40, 32)),
    "dilated": ((12, 4), (16, 8), (20, 8), (24, 8)),
    "no powers of two": ((9, 3), (7, 5), (30, 14)),
    "six levels": ((8, 2), (12, 4), (16, 8), (20, 16), (24, 32), (28, 64)),
}


@pytest.mark.parametrize("levels", PYRAMIDS.values(), ids=PYRAMIDS)
@pytest.mark.parametrize("name", catalogue("align"))
def test_it_serves_any_pyramid(name, levels):
    size = (45, 70)
    source = Shapes(size=size, classes=3, pyramid=tuple(FeatureMap(*level) for level in levels))
    try:
        stage = build_stage("align", Component(name), source).eval()
    except BlockError as error:
        assert str(error).endswith(("?", "."))
        pytest.skip(f"it says: {error}")
    maps = tuple(torch.randn(1, c, -(-size[0] // stride), -(-size[1] // stride)) for c, stride in levels)
    given = stage(Features(torch.zeros(1, 3, *size), pyramid=maps))
    channels, stride = stage.out.map
    assert given.map.shape == (1, channels, -(-size[0] // stride), -(-size[1] // stride))
