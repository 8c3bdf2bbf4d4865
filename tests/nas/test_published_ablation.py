"""CGRSeg's own ablation ships as a space: its arms, and their costs beside those that the paper prints."""

from __future__ import annotations

import pytest

from blocks.cost import cost_of
from nas import Space
from nas.ablation import planned

# GFLOPs that the paper prints for (context, align, head); those of the last six as one figure.
PRINTED = {
    ("none", "none", "linear"): 3.56,
    ("rca", "none", "linear"): 3.56 + 0.19,
    ("rca", "rca", "linear"): 3.56 + 0.19 + 0.17,
    **{
        (mixer, mixer, "dpg"): 4.0
        for mixer in ("rca", "self_attention", "conv_next", "inception_next", "coordinate", "gather_excite")
    },
}


def plan():
    # Costs do not depend on the data, which need not be on this machine.
    return planned(Space.load("ablations/cgrseg", sets=["data=shapes"]))


def architectures():
    for each in (arm.candidate.architecture for arm in plan().arms):
        yield (each.context["mixer"], each.align["mixer"], each.head.name), each


def test_its_baseline_calibrates_nothing_and_every_arm_says_what_it_adds():
    baseline, context, *_ = plan().arms
    assert (baseline.name, baseline.differences) == ("none", ())
    assert [str(each) for each in context.differences] == ["context.rcm_pyramid.mixer: none -> rca"]


def test_it_holds_the_arms_of_the_paper_and_no_other():
    assert [arm for arm, _ in architectures()] == list(PRINTED)


@pytest.mark.slow
def test_its_costs_are_those_of_the_paper():
    costs = {arm: cost_of(each, size=(512, 512), classes=150) for arm, each in architectures()}
    gigas = {arm: cost.macs_conv / 1e9 for arm, cost in costs.items()}
    assert gigas == pytest.approx(PRINTED, rel=0.03)
    base, context, both, *_ = costs.values()
    assert base.params == pytest.approx(6.08e6, rel=0.03)
    # What the printed figures count besides (biases, norms) is a hundredth of them: as much as these differences' rounding.
    steps = [(after.macs_conv - before.macs_conv) / 1e9 for before, after in ((base, context), (context, both))]
    assert steps == pytest.approx([0.19, 0.17], abs=0.011)


def test_the_whole_of_it_is_cgrseg_t():
    whole = dict(architectures())["rca", "rca", "dpg"]
    assert [whole] == list(Space.load("published/cgrseg_t", sets=["data=shapes"]).architectures())
