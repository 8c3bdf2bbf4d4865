"""Designs: which arms there are, in what they differ, and what is refused with its place in the file."""

from __future__ import annotations

import pytest

from blocks.errors import SpaceError
from nas.ablation import differences, planned
from nas.ablation.arm import Difference, unasked
from nas.space import Space
from nas.space.ablation import candidate_of

TEXT = """
data: {shapes: {size: [32, 32]}}
shared: {width: {choice: [8, 16]}}
architecture:
  backbone: {timm: {model: {choice: [test_resnet, test_efficientnet]}}}
  context: {choice: {none: , ppm: {channels: {choice: [16, 32]}, bins: {choice: [[1, 2], [1, 3]]}}}}
  align: {bilinear: {channels: {shared: width}}}
  head: {choice: [linear, ssa]}
"""


def plan(ablation, text=TEXT):
    return planned(Space.loads(f"{text}ablation: {ablation}\n", "s"))


def arms(ablation, text=TEXT):
    return {arm.name: [str(each) for each in arm.differences] for arm in plan(ablation, text).arms}


def test_one_at_a_time_changes_one_answer_of_the_baseline():
    found = arms(
        "{design: one_at_a_time, baseline: {context: ppm, context.ppm.bins: [1, 3]}, over: [context, context.ppm.bins, head]}"
    )
    assert found == {
        "baseline": [],
        "context=none": ["context: ppm -> none"],
        "context.ppm.bins=[1,2]": ["context.ppm.bins: [1,3] -> [1,2]"],
        "head=ssa": ["head: linear -> ssa"],
    }


def test_the_first_answers_are_the_baseline_where_nothing_is_said():
    found = plan("{}")
    assert (found.baseline, found.arms[0].name) == ("baseline", "baseline")
    assert found.arms[0].candidate.architecture.backbone["model"] == "test_resnet"
    assert [arm.name for arm in found.arms[1:]] == [
        "backbone.timm.model=test_efficientnet",
        "context=ppm",
        "shared.width=16",
        "head=ssa",
    ]


def test_answers_of_the_baseline_hold_for_what_an_arm_opens():
    found = plan("{baseline: {context: none, context.ppm.channels: 32}, over: context}")
    assert found.arms[1].candidate.architecture.context["channels"] == 32
    assert [str(each) for each in found.arms[1].differences] == ["context: none -> ppm"]


def test_a_shared_question_is_one_change_wherever_it_is_used():
    assert arms("{over: shared.width}")["shared.width=16"] == ["align.bilinear.channels: 8 -> 16"]


def test_leave_one_out_takes_away_what_can_be_none_and_what_has_a_stand_in():
    assert list(arms("{design: leave_one_out, baseline: {context: ppm, head: ssa}}")) == ["baseline", "without context"]
    found = arms("{design: leave_one_out, baseline: {context: ppm, head: ssa}, without: {head: linear}}")
    assert found["without head"] == ["head: ssa -> linear"]
    boolean = TEXT.replace("head:", "align_corners: {choice: [false, true]}\n  head:")
    assert arms("{design: leave_one_out, baseline: {align_corners: true}}", boolean)["without align_corners"] == [
        "align_corners: true -> false"
    ]


def test_pairs_have_each_change_and_each_two_that_can_be_made_together():
    found = plan("{design: pairs, baseline: {context: ppm}, over: [context, context.ppm.channels, head]}")
    names = [arm.name for arm in found.arms]
    # Without a context there are no channels to change.
    assert names == [
        "baseline",
        "context=none",
        "context.ppm.channels=32",
        "head=ssa",
        "context=none, head=ssa",
        "context.ppm.channels=32, head=ssa",
    ]
    assert [len(arm.differences) for arm in found.arms] == [0, 1, 1, 1, 2, 2]


def test_a_factorial_is_every_candidate_of_the_space_once():
    space = Space.loads(TEXT + "ablation: {design: factorial, baseline: {context: ppm}}\n")
    found = planned(space)
    assert len(found.arms) == space.candidates() == 2 * (1 + 4) * 2 * 2
    assert {arm.candidate.architecture for arm in found.arms} == set(space.architectures())
    assert len({arm.name for arm in found.arms}) == len(found.arms)


def test_what_forbid_does_not_allow_is_left_out_and_said():
    found = plan("{design: pairs, over: [context, head]}", TEXT + "forbid: [{context: ppm, head: ssa}]\n")
    assert [arm.name for arm in found.arms] == ["baseline", "context=ppm", "head=ssa"]
    assert found.left_out == ("context=ppm, head=ssa",)


def test_named_arms_say_what_differs_from_a_named_baseline():
    found = plan(
        "{baseline: plain, arms: {plain: {context: none}, both: {context: ppm, head: ssa}, head: {head: ssa}}}"
    )
    assert found.baseline == "plain"
    assert {arm.name: len(arm.differences) for arm in found.arms} == {"plain": 0, "both": 2, "head": 1}


def test_with_a_design_arms_name_its_members_and_must_be_members():
    assert "wide" in arms("{design: one_at_a_time, over: shared.width, arms: {wide: {shared.width: 16}}}")
    with pytest.raises(
        SpaceError, match=r"s:9:20: A named arm needs to differ from the baseline as the design has it.*arm='both'"
    ):
        plan("{design: one_at_a_time, arms: {both: {context: ppm, head: ssa}}}")


def test_arms_survive_a_round_trip_through_the_stored_text():
    space = Space.loads(
        TEXT + "ablation: {baseline: {context.ppm.bins: [1, 3]}, seeds: 5, arms: {a: {context: ppm}}}\n"
    )
    again = Space.loads(space.text)
    assert again.ablation == space.ablation
    assert planned(again) == planned(space)


# The section, and what comes out.
MISTAKES = {
    "unknown place": ("{baseline: {contxt: none}}", "9:23: ablation.baseline needs places where the space asks a question: got place='contxt'. Did you mean 'context'?"),
    "fixed place": ("{baseline: {refine: none}}", "9:23: ablation.baseline needs places where the space asks a question: got place='refine'."),
    "outside the space": ("{baseline: {context: psa}}", "9:32: ablation.baseline needs an answer that the space offers, one of none, ppm: got context='psa'. Known: none, ppm."),
    "number outside": ("{arms: {a: {shared.width: 12}}}", "9:37: ablation.arms.a needs an answer that the space offers, one of 8, 16: got shared.width=12. Add it there."),
    "unknown design": ("{design: pair}", "9:20: ablation.design needs one of listed, one_at_a_time, leave_one_out, pairs, factorial: got design='pair'. Did you mean 'pairs'?"),
    "unknown key": ("{desing: pairs}", "9:12: ablation needs keys that exist: got key='desing'. Did you mean 'design'?"),
    "unknown baseline": ("{baseline: plane, arms: {plain: {head: ssa}}}", "9:22: ablation.baseline needs answers, or the name of an arm: got baseline='plane'. Did you mean 'plain'?"),
    "equal arms": ("{arms: {a: {head: ssa}, b: {head: ssa}}}", "9:35: ablation needs arms that differ: got arm='b', same_as='a'. Remove one of them."),
    "same as the baseline": ("{baseline: {head: ssa}, arms: {a: {head: ssa}}}", "9:42: ablation needs arms that differ: got arm='a', same_as='baseline'. Remove one of them."),
    "question that is not asked": ("{arms: {a: {head: ssa, context.ppm.channels: 32}}}", "9:19: ablation needs answers to questions that the arm has: got arm='a', place='context.ppm.channels'. Remove it, or choose the component that asks it."),
    "the same place twice": ("{baseline: {head: ssa, architecture.head: ssa}}", "9:34: ablation.baseline needs each place once: got place='architecture.head'. Remove one of them."),
    "no seeds": ("{seeds: 0}", "9:19: ablation.seeds needs int from 1 to 1000: got seeds=0. Change the value."),
    "listed without arms": ("{design: listed}", "9:11: ablation needs arms to list: got arms=0. Write arms: {NAME: {PLACE: VALUE}}, or another design."),
    "no mapping": ("[head]", "9:11: ablation needs a mapping: got value=['head']."),
    "two baselines": ("{baseline: {head: ssa}, arms: {baseline: {}}}", "9:11: ablation.arms needs names that the baseline does not have: got arm='baseline'. Name it otherwise, or write baseline: baseline."),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_has_its_place_and_a_remedy(case):
    section, message = MISTAKES[case]
    with pytest.raises(SpaceError) as caught:
        plan(section)
    assert f"s:{message}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2


def test_a_forbidden_arm_is_a_mistake():
    with pytest.raises(SpaceError, match=r"s:10:19: ablation needs arms that `forbid:` allows: got arm='a'"):
        plan("{arms: {a: {context: ppm, head: ssa}}}", TEXT + "forbid: [{context: ppm, head: ssa}]\n")


def test_what_only_the_design_can_show_has_the_designs_place():
    with pytest.raises(SpaceError, match=r"s:9:20: An ablation needs an arm beside the baseline.*left_out=0.*without"):
        plan("{design: leave_one_out}")
    continuous = TEXT + "training: {learning_rate: {float: [1.0e-4, 1.0e-2]}}\n"
    with pytest.raises(SpaceError, match=r"s:10:11: An ablation needs questions that have a list of answers.*over"):
        plan("{baseline: {head: ssa}}", continuous)
    with pytest.raises(SpaceError, match=r"s:10:18: ablation.over needs questions that have a list"):
        plan("{over: training.learning_rate}", continuous)
    assert len(plan("{over: head}", continuous).arms) == 2
    with pytest.raises(SpaceError, match="at most 100000 combinations"):
        plan("{design: factorial}", TEXT + "training: {batch: {int: [1, 60000]}}\n")
    with pytest.raises(SpaceError, match="at most 1000 arms"):
        plan("{over: training.batch}", TEXT + "training: {batch: {int: [1, 60000]}}\n")


def test_a_space_without_the_section_says_how_to_write_it():
    with pytest.raises(SpaceError, match="Write ablation:"):
        planned(Space.loads(TEXT))


def test_differences_are_of_values_and_options_of_another_component_are_part_of_it():
    space = Space.loads(TEXT)
    plain, other = (
        candidate_of(space.tree, answers) for answers in ({}, {"architecture.context": "ppm", "shared.width": 16})
    )
    found = differences(plain, other)
    assert found == (Difference("context", "none", "ppm"), Difference("align.bilinear.channels", 8, 16))
    assert unasked(found, {"architecture.context"}, space.tree) == ["align.bilinear.channels"]
    assert unasked(found, {"architecture.context", "shared.width"}, space.tree) == []
