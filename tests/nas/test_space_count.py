"""Counting must agree with an enumeration that knows nothing of it, whatever interferes with whatever."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks.errors import SpaceError
from nas.space import Candidate, Space

CONTEXTS = ("none", "ppm", "aspp", "psa")


def leaf(*values: Any) -> st.SearchStrategy[Any]:
    """A fixed value or a choice among the first few."""
    return st.one_of(st.just(values[0]), st.integers(1, len(values)).map(lambda n: {"choice": list(values[:n])}))


width = st.one_of(
    leaf(64, 32, 128),
    st.just({"int": [32, 64], "step": 16}),
    st.just({"shared": "width"}),
)
contexts = {
    "none": st.none(),
    "ppm": st.fixed_dictionaries({}, optional={"channels": width, "bins": leaf([1, 2], [1, 2, 4])}),
    "aspp": st.fixed_dictionaries({}, optional={"channels": width}),
    "psa": st.fixed_dictionaries({}, optional={"mode": leaf("parallel", "sequential")}),
}


def chosen(parts: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    names = st.lists(st.sampled_from(list(parts)), min_size=1, unique=True)
    several = names.flatmap(lambda n: st.fixed_dictionaries({name: parts[name] for name in n}))
    return several.map(lambda options: {"choice": options})


# `momentum` exists for sgd alone and `power` for poly alone.
trainings = st.one_of(
    st.fixed_dictionaries({}, optional={"batch": leaf(8, 4, 16), "epochs": leaf(2, 3)}),
    st.fixed_dictionaries(
        {"optimizer": st.just({"choice": ["adamw", "sgd"]}), "momentum": leaf(0.5, 0.9)},
        optional={"learning_rate": st.just({"float": [1e-4, 1e-2]}), "batch": st.just({"shared": "width"})},
    ),
    st.fixed_dictionaries(
        {"schedule": st.just({"choice": ["poly", "cosine"]}), "power": leaf(0.5, 0.9, 1.0)},
        optional={"losses": st.just({"main": {"choice": ["cross_entropy", "dice"]}})},
    ),
)
conditions = st.dictionaries(
    st.sampled_from(
        [
            *("architecture.context", "architecture.refine", "architecture.head", "architecture.align_corners"),
            *("architecture.context.ppm.channels", "architecture.context.ppm.bins", "architecture.context.psa.mode"),
            *("training.optimizer", "training.momentum", "training.batch", "training.power", "training.losses.main"),
        ]
    ),
    st.integers(0, 3),
    min_size=1,
    max_size=3,
)
POOL: Mapping[str, tuple[Any, ...]] = {
    "architecture.context": ("ppm", ["psa", "aspp"], "none", "aspp"),
    "architecture.refine": ("none", "psa", ["psa", "none"], "psa"),
    "architecture.head": ("linear", "ssa", "linear", "ssa"),
    "architecture.align_corners": (True, False, [True, False], True),
    "architecture.context.ppm.channels": (64, [32, 48], 32, 128),
    "architecture.context.ppm.bins": ([1, 2], [[1, 2], [1, 2, 4]], [1, 2, 4], [1, 2, 3, 6]),
    "architecture.context.psa.mode": ("parallel", "sequential", ["parallel"], "sequential"),
    "training.optimizer": ("adamw", "sgd", "adamw", "sgd"),
    "training.momentum": (0.5, 0.9, [0.5, 0.9], 0.9),
    "training.batch": (8, [8, 4], 32, 64),
    "training.power": (0.9, 0.5, [0.5, 1], 1.0),
    "training.losses.main": ("dice", "cross_entropy", "ohem", ["dice", "ohem"]),
}
spaces = st.fixed_dictionaries(
    {
        "data": st.just("shapes"),
        "shared": st.just({"width": {"choice": [32, 64]}}),
        "architecture": st.fixed_dictionaries(
            {
                "backbone": st.just("timm"),
                "context": chosen(contexts),
                "refine": chosen({"none": st.none(), "psa": st.none()}),
            },
            optional={"head": st.just({"choice": ["linear", "ssa"]}), "align_corners": leaf(False, True)},
        ),
        "training": trainings,
    }
)
rules = st.lists(conditions.map(lambda c: {path: POOL[path][i] for path, i in c.items()}), max_size=3)


def holds(candidate: Candidate, path: str, wanted: Any) -> bool:
    """Whether a condition holds, found from the candidate alone."""
    match path.split("."):
        case ["training", "losses", "main"]:
            found = [c.name for c in candidate.main]
        case ["training", option]:
            found = [dict(candidate.training)[option]] if option in dict(candidate.training) else []
        case ["architecture", "align_corners"]:
            found = [candidate.architecture.align_corners]
        case ["architecture", slot]:
            found = [getattr(candidate.architecture, slot).name]
        case ["architecture", slot, name, option]:
            component = getattr(candidate.architecture, slot)
            found = [component[option]] if component.name == name else []
    lists = path.endswith(".bins")
    several = isinstance(wanted, list) and (not lists or isinstance(wanted[0], list))
    values = wanted if several else [wanted]
    return any(f == (tuple(v) if lists else v) for f in found for v in values)


def trained(candidate: Candidate) -> object:
    # The one continuous question is counted as one answer.
    return tuple(o for o in candidate.training if o[0] != "learning_rate"), candidate.main, candidate.coarse


@given(spaces, rules)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_count_is_what_an_enumeration_finds(plain: dict[str, Any], forbid: list[dict[str, Any]]) -> None:
    training = plain["training"]
    countable = plain | {"training": training | ({"learning_rate": 1e-3} if "learning_rate" in training else {})}
    allowed = [
        c
        for c in Space.loads(json.dumps(countable)).enumerate()
        if not any(all(holds(c, path, wanted) for path, wanted in rule.items()) for rule in forbid)
    ]
    text = json.dumps(plain | {"forbid": forbid})
    if not allowed:
        with pytest.raises(SpaceError, match="an architecture that `forbid:` allows"):
            Space.loads(text)
        return
    space = Space.loads(text)
    architectures = {c.architecture for c in allowed}
    assert space.count() == len(architectures)
    assert space.settings() == len({trained(c) for c in allowed})
    assert space.candidates() == len({(c.architecture, trained(c)) for c in allowed})
    listed = list(space.architectures())
    assert len(listed) == len(architectures)
    assert set(listed) == architectures


def test_a_huge_space_is_counted_at_once() -> None:
    widths = {"int": [16, 1015]}
    plain = {
        "data": "shapes",
        "architecture": {
            "backbone": {"timm": {"model": {"choice": ["resnet18", "resnet34", "resnet50"]}}},
            "context": {"choice": {"none": None, "ppm": {"channels": widths}, "aspp": {"channels": widths}}},
            "align": {"choice": {"bilinear": {"channels": widths}, "ifa": {"channels": widths, "width": widths}}},
            "refine": {"choice": {"none": None, "ppm": {"channels": widths}}},
        },
        "forbid": [
            {"context.ppm.channels": 17, "refine.ppm.channels": [17, 18]},
            {"context": "none", "refine": "none"},
        ],
    }
    count = Space.loads(json.dumps(plain)).count()
    both = (1 + 1000 + 1000) * (1 + 1000) - 2 - 1
    assert count == 3 * both * (1000 + 1000 * 1000)


def test_shared_question_is_counted_once() -> None:
    plain = {
        "data": "shapes",
        "shared": {"width": {"int": [16, 64], "step": 16}},
        "architecture": {
            "backbone": "timm",
            "context": {"choice": {"none": None, "ppm": {"channels": {"shared": "width"}}}},
            "refine": {"choice": {"none": None, "aspp": {"channels": {"shared": "width"}}}},
        },
    }
    assert Space.loads(json.dumps(plain)).count() == 1 + 4 + 4 + 4


def entangled(answers: int) -> str:
    """Three shared questions of which no two may have the same answer."""
    shared = {f"w{i}": {"choice": list(range(16, 16 + answers))} for i in range(3)}
    slots = {"context": "ppm", "refine": "aspp", "align": "bilinear"}
    architecture: dict[str, Any] = {"backbone": "timm"}
    for i, (slot, name) in enumerate(slots.items()):
        architecture[slot] = {name: {"channels": {"shared": f"w{i}"}}}
    pairs = list(itertools.combinations([f"shared.w{i}" for i in range(3)], 2))
    forbid = [dict.fromkeys(pair, 16 + i) for i in range(answers) for pair in pairs]
    return json.dumps({"data": "shapes", "shared": shared, "architecture": architecture, "forbid": forbid})


def test_rules_that_interact_everywhere_are_counted() -> None:
    assert Space.loads(entangled(12)).count() == 12 * 11 * 10


@pytest.mark.slow
@pytest.mark.timeout(60)  # it must not hang
def test_rules_too_entangled_to_count_say_so_soon() -> None:
    with pytest.raises(SpaceError, match="interact less"):
        Space.loads(entangled(300)).count()
