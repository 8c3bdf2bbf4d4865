"""Options, wherever they are declared: components, data sets, the training."""

from __future__ import annotations

import pytest

from blocks.catalogue import KINDS, catalogue
from blocks.options import complete
from runners.data import DATASETS
from runners.training import Training

TAKERS = [kind for slot in KINDS for kind in catalogue(slot).values()] + [*DATASETS.values(), Training]


@pytest.mark.parametrize("kind", TAKERS, ids=lambda kind: kind.__name__)
def test_what_was_completed_can_be_completed_again(kind):
    once = complete(kind, {}, subject="it")
    assert complete(kind, once, subject="it") == once
