"""The real compiler, which takes half a minute for each: three methods that differ most in what they ask of it."""

from __future__ import annotations

import shutil

import pytest
import torch

from blocks.contexts.ccnet import CrissCross
from blocks.contexts.dnl import DisentangledNonLocal
from blocks.contexts.ppm import PyramidPooling
from blocks.features import FeatureMap

SOURCE = FeatureMap(24, 8)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.parametrize("method", [PyramidPooling, CrissCross, DisentangledNonLocal])
def test_it_compiles_and_learns_with_inductor(method):
    torch.manual_seed(0)
    torch.compiler.reset()
    module = method(SOURCE, channels=16)
    x = torch.randn(2, 24, 13, 9)
    plain = module(x)
    plain.square().mean().backward()
    expected = [parameter.grad.clone() for parameter in module.parameters()]
    module.zero_grad()
    compiled = torch.compile(module, fullgraph=True)(x)
    compiled.square().mean().backward()
    torch.testing.assert_close(compiled, plain, rtol=1e-3, atol=1e-4)
    for parameter, gradient in zip(module.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-2, atol=1e-4)
