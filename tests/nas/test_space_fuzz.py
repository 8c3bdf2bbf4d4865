"""Whatever stands in a file: a space, or a SpaceError, soon; never a traceback, a hang or code that runs."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks.errors import SpaceError
from nas.space import Space, shipped

# Nothing that is read may hang: a guard, far above what any of these takes.
pytestmark = pytest.mark.timeout(120)

SEEDS = [path.read_bytes() for path in shipped().values()] + [
    b"""\
data: {shapes: {size: [64, 64]}}
shared: {width: {int: [16, 64], step: 16}}
architecture:
  backbone: {timm: {model: {choice: [resnet18, resnet34]}}}
  context: &context {choice: {none: , ppm: {channels: {shared: width}, bins: {choice: [[1, 2], [1, 2, 4]]}}, psa: }}
  refine: *context
  head: {choice: [linear, ssa]}
  align_corners: {choice: [true, false]}
training:
  optimizer: {choice: [adamw, sgd]}
  momentum: {float: [0.5, 0.9], step: 0.1}
  learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
  losses: {main: [cross_entropy, {dice: {weight: 0.5}}], coarse: {choice: [ohem, dice]}}
objectives: {miou: max, flops: min}
budget: {macs: 10.0e9, params: 20.0e6}
forbid:
  - {context: psa, head: ssa}
  - {context.ppm.bins: [1, 2], training.optimizer: sgd}
search: {sampler: {nsga2: {population: 8}}, trials: 5, early_stopping: {pareto_asha: {eta: 2}}, seed: 1}
resources: {cpu: 0.5, gpu: 0, loaders: 0, concurrent: null, keep: front}
"""
]
TOKENS = [
    *(b"&a ", b"*a", b"!!python/object/apply:os.system ['exit']", b"!!str ", b"!", b"<<: *a\n", b"---\n", b"...\n"),
    *(
        b"%YAML 1.1\n",
        b"%TAG ! x\n",
        b"[" * 200,
        b"{a: " * 200,
        b"- " * 500,
        b"? ",
        b"| \n",
        b">-\n",
        b"\t",
        b"'",
        b'"',
    ),
    *(
        b"9" * 400,
        b"1e999",
        b".nan",
        b"-.inf",
        b"0x" + b"f" * 50,
        b"0o7",
        b"1_000",
        b"yes",
        b"null",
        b"~",
        b": ",
        b"\r",
    ),
    *(b"\x00", b"\xff", b"\xef\xbb\xbf", "\u2028".encode(), "😀".encode(), b'"\\x00"', b'"\\uD800"', b'"\\UFFFFFFFF"'),
    *(b"choice: ", b"int: [1, 2]", b"float: [0, 1]", b"shared: width", b"{choice: [1, 2]}", b"extends: quickstart\n"),
    *(b"{}", b"[]", b"-1", b"0", b"true", b"1.5", b"[1, [2, [3]]]", b"{a: {b: {c: d}}}", b"forbid: ", b"data: ", b"#"),
]


def survives(text: bytes | str) -> None:
    """Read it, and use it if it is a space."""
    try:
        space = Space.loads(text)
        space.sample(random.Random(0))
        space.count()
        assert Space.loads(space.text).tree == space.tree
    except SpaceError as error:
        assert str(error)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid space after a few accidents: cuts, noise, swapped lines, foreign tokens."""
    text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        at, to = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        match draw(st.sampled_from(["cut", "drop", "noise", "token", "repeat", "line", "value"])):
            case "cut":
                text = text[:at]
            case "drop":
                text = text[:at] + text[min(to, at + 20) :]
            case "noise":
                text = text[:at] + draw(st.binary(min_size=1, max_size=8)) + text[at:]
            case "token":
                text = text[:at] + draw(st.sampled_from(TOKENS)) + text[at:]
            case "repeat":
                text = text[:to] + text[at:to] + text[to:]
            case "line":
                lines = text.splitlines(keepends=True)
                if lines:
                    lines.insert(draw(st.integers(0, len(lines))), lines[draw(st.integers(0, len(lines) - 1))])
                text = b"".join(lines)
            case "value":
                head, colon, tail = text[at:].partition(b": ")
                text = text[:at] + head + colon + draw(st.sampled_from(TOKENS)) + tail[tail.find(b"\n") :]
    return text


plain: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=10),
        st.sampled_from(["none", "ppm", "psa", "timm", "shapes", "cross_entropy", "nsga2", "${CAMVID}"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["choice", "int", "float", "step", "log", "shared", "ppm", "timm"]), inner),
        st.dictionaries(st.text(max_size=8), inner, max_size=3),
    ),
    max_leaves=12,
)
WHOLE: dict[str, Any] = json.loads(
    """{"data": {"shapes": {"size": [64, 64]}}, "shared": {"width": {"int": [16, 64]}},
    "architecture": {"backbone": {"timm": {"model": {"choice": ["resnet18", "resnet34"]}}},
      "context": {"choice": {"none": null, "ppm": {"channels": {"shared": "width"}, "bins": [1, 2]}}}},
    "training": {"epochs": 2, "losses": {"main": ["dice"], "coarse": "ohem"}}, "objectives": {"miou": "max"},
    "budget": {"macs": 1}, "forbid": [{"context": "none", "training.epochs": [1, 2]}],
    "search": {"sampler": {"tpe": {"startup": 2}}, "trials": 2, "early_stopping": {"pareto_asha": {"eta": 2}}},
    "resources": {"cpu": 1}, "name": "a"}"""
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every path into nested dicts and lists."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from places(inner, (*path, key))


def with_value(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    if not path:
        return new
    first, *rest = path
    if isinstance(value, dict):
        return {k: with_value(v, tuple(rest), new) if k == first else v for k, v in value.items()}
    return [with_value(v, tuple(rest), new) if i == first else v for i, v in enumerate(value)]


# Not a space with one wrong value: one with a value of another type wherever a value can stand.
mistyped = st.tuples(st.sampled_from(list(places(WHOLE))), plain).map(lambda at: with_value(WHOLE, *at))

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=4000, deadline=None, suppress_health_check=list(HealthCheck))


@given(damaged())
@QUICK
def test_damaged_text(text: bytes) -> None:
    survives(text)


@given(mistyped)
@QUICK
def test_values_of_another_type(value: Any) -> None:
    survives(json.dumps(value, ensure_ascii=False))


@given(st.lists(st.tuples(st.sampled_from(["a", "data", "training.epochs", "architecture.context", ""]), st.text())))
@QUICK
def test_any_set(pairs: list[tuple[str, str]]) -> None:
    sets = [f"{path}={value}" for path, value in pairs]
    try:
        Space.load("quickstart", sets)
    except SpaceError as error:
        assert "--set" in str(error)


@pytest.mark.slow
@given(st.one_of(damaged(), st.binary(max_size=200), st.text(max_size=200)))
@LONG
def test_damaged_text_at_length(text: bytes | str) -> None:
    survives(text)


@pytest.mark.slow
@given(mistyped)
@LONG
def test_values_of_another_type_at_length(value: Any) -> None:
    survives(json.dumps(value, ensure_ascii=False))


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!<x>", "!!map", "!!set"]
)
def test_no_tag_is_obeyed(tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpaceError, match="plain values, no tags"):
        Space.loads(f"data: shapes\narchitecture: {{backbone: timm}}\nname: {tag} ['touch obeyed']\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        *("a: " + "[" * 100_000, "a: " + "{b: " * 50_000, "- " * 100_000, "? " * 100_000, "&a " * 80_000),
        *("x: [" + "a, " * 80_000 + "]", "\n".join(f"k{i}: {i}" for i in range(20_000)), "a: '" + "''" * 120_000 + "'"),
        *(
            "a: |\n" + " x\n" * 80_000,
            "a: " + "x\n " * 80_000,
            "#" * 250_000,
            "\n" * 250_000,
            "!" * 250_000,
            "*" * 250_000,
        ),
        *("data: " + "x" * 250_000, "data: " + "9" * 250_000, "data: 0x" + "f" * 250_000, "data: 1e" + "9" * 250_000),
        *("a" * 250_000 + ": b", "data: [" + "[1, 2]," * 30_000 + "]", '"' + "\\x41" * 60_000 + '": 1', "%" * 250_000),
    ],
    ids=lambda text: text[:12],
)
def test_bombs_are_refused_soon(text: str) -> None:
    with pytest.raises(SpaceError):
        Space.loads(text)


@pytest.mark.slow
def test_many_rules_and_choices_are_read_soon() -> None:
    numbers = {"choice": list(range(16, 2000))}
    architecture = {
        "backbone": "timm",
        "context": {"ppm": {"channels": numbers}},
        "refine": {"ppm": {"channels": numbers}},
    }
    forbid = [{"context.ppm.channels": i, "refine.ppm.channels": i} for i in range(16, 2000)]
    survives(json.dumps({"data": "shapes", "architecture": architecture, "forbid": forbid}))
