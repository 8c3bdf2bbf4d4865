import ast
import warnings
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks.errors import QueryError
from nas.store import Store

# Of the `filled` study: 0 none, 1 and 2 ppm, 3 psa, 4 psa (running, another model), 5 aspp (interrupted, no epoch).
ANSWERS = [
    ("context == 'ppm'", [1, 2]),
    ("params < 25e6 and context == 'ppm'", [1]),
    ("not context == 'ppm'", [0, 3, 4, 5]),
    ("context in ['none', 'aspp']", [0, 5]),
    ("context not in ('none', 'aspp')", [1, 2, 3, 4]),
    ("context in []", []),
    ("context.ppm.channels in [256, None]", [0, 2, 3, 4, 5]),
    ("context.ppm.channels not in [256, None]", [1]),
    ("context not in []", [0, 1, 2, 3, 4, 5]),
    ("context.ppm.channels in [training.epochs, 512, 'x']", [1]),
    ("0.3 < miou <= 0.4", [1, 2]),
    ("0.5 > miou", [0, 1, 2, 4]),
    ("miou is None", [5]),
    ("miou == None", [5]),
    ("miou is not None and (context == 'none' or context == 'psa')", [0, 3, 4]),
    ("not (miou > 0.3)", [0, 4, 5]),  # what is missing is not larger
    ("flops >= 3e9", [2, 3]),
    ("macs == 2000000000", [1]),
    ("macs > -1", [0, 1, 2, 3, 4, 5]),
    ("macs_conv < macs", [0, 1, 2, 3, 4, 5]),
    ("miou < miou_best", [0]),
    ("model != 'resnet18'", [4]),
    ("state in ['running', 'interrupted']", [4, 5]),
    ("context.ppm.channels == 256", [2]),
    ("context.ppm.channels >= 256", [1, 2]),
    ("context.ppm.channels != 256", [0, 1, 3, 4, 5]),
    ("context.ppm.channels is None", [0, 3, 4, 5]),
    ("context.ppm.channels in [1, 512]", [1]),
    ("context.ppm.bins == [1, 2, 3, 6]", [1, 2]),
    ("context.ppm.bins in [[1, 2], [1, 2, 3, 6]]", [1, 2]),
    ("context.psa.mode == 'parallel'", [3, 4]),
    ("context.psa.gate == True", [3, 4]),
    ("training.learning_rate > 5e-3", [2]),
    ("training.scale == [0.5, 2.0] and training.scale == [0.5, 2]", [0, 1, 2, 3, 4, 5]),
    ("context.ppm.channels < training.epochs", []),
    ("created > '2020-01-01' and created < '2200-01-01 08:30'", [0, 1, 2, 3, 4, 5]),
    ("  context\n== 'ppm'  ", [1, 2]),
    ("context == 'it\\'s' or host == 'x\"; DROP TABLE trial; --'", []),
    ("study == 'camvid' and number == 3", [3]),
]


@pytest.mark.parametrize(("where", "numbers"), ANSWERS)
def test_a_condition_selects(filled: Store, filled_id: int, where: str, numbers: list[int]) -> None:
    assert [row["number"] for row in filled.trials(filled_id, where)] == numbers


@pytest.mark.parametrize(
    ("where", "column", "says"),
    [
        ("param < 5", 1, "Did you mean 'params'"),
        ("params < 5 and contxt == 'ppm'", 16, "Did you mean 'context'"),
        ("context.ppm.chanels == 5", 1, "Did you mean 'context.ppm.channels'"),
        ("context == 5", 12, "a text to compare context with"),
        ("miou == 'high'", 9, "a number to compare miou with"),
        ("context == params", 12, "to compare context with"),
        ("created > 'yesterday'", 11, "a date"),
        ("miou < None", 8, "to compare the size of"),
        ("context.ppm.bins < [1]", 20, "to compare the size of"),
        ("params", 1, "comparisons"),
        ("1 < 2", 1, "a column or an option on one side"),
        ("'ppm' in context", 10, "a list of values"),
        ("context in 'ppm'", 12, "a list of values"),
        ("miou > (0.5 if True else 1)", 9, "comparisons"),
        ("miou > 0.5 + 0.1", 8, "comparisons"),
        ("__import__('os').system('x') == 1", 1, "comparisons"),
        ("context.ppm.__class__ == 1", 1, "an option that some trial has"),
        ("(lambda: 1)() == 1", 1, "comparisons"),
        ("[x for x in context] == 1", 1, "comparisons"),
        ("f'{context}' == 'a'", 1, "comparisons"),
        ("context == b'ppm'", 12, "comparisons"),
        ("context == 'é' and (missin > 1)", 21, "Did you mean 'missing'"),
        ("context == 'a\\0b'", 12, "printable"),
        ("params < 1e999", 10, "finite"),
        ("params < 99999999999999999999", 10, "64 bits"),
        ("params <", 9, "comparisons"),
        ("params << 5", 1, "comparisons"),
        ("params = 5", 8, "comparisons"),
        ("", 1, "comparisons"),
    ],
)
def test_a_mistake_is_pointed_at(filled: Store, filled_id: int, where: str, column: int, says: str) -> None:
    with pytest.raises(QueryError) as caught:
        filled.trials(filled_id, where)

    message, _, pointer = str(caught.value).splitlines()
    assert says in message
    assert f"column {column}," in message
    assert pointer.index("^") == 4 + column - 1


@pytest.mark.parametrize(
    "where",
    [
        "(" * 5000 + "1" + ")" * 5000,
        "not " * 2000 + "miou > 1",
        "miou > " + "-" * 5000 + "1",
        "context == " + "[" * 3000 + "]" * 3000,
        "a" + ".b" * 4000 + " == 1",
        "miou > 1 and " * 5000 + "miou > 1",
        "miou > " + "9" * 9000,
        "miou > 0 \0",
        "context == '\ud800'",
        "id" + "<id" * 1200,
    ],
)
def test_huge_and_odd_conditions_are_refused(filled: Store, filled_id: int, where: str) -> None:
    with pytest.raises(QueryError):
        filled.trials(filled_id, where)


def test_long_but_flat_conditions_are_answered(filled: Store, filled_id: int) -> None:
    assert len(filled.trials(filled_id, " and ".join(["macs > 1"] * 500))) == 6
    assert len(filled.trials(filled_id, f"number in {list(range(1500))}")) == 6


def test_an_option_of_another_study_can_be_named(filled: Store, filled_id: int, add: Callable[..., int]) -> None:
    other = filled.create_study("other", space="", objectives={"miou": "max"}, budget={}, seed=0)
    add(filled, other)
    assert filled.trials(other, "context.ppm.channels == 256") == []


NAMES = [
    "miou",
    "context",
    "params",
    "state",
    "created",
    "context.ppm.bins",
    "training.learning_rate",
    "nobody",
    "study",
]
ATOMS = st.one_of(
    st.sampled_from(NAMES),
    st.integers().map(repr),
    st.floats().map(repr),
    st.text(max_size=6).map(repr),
    st.lists(st.one_of(st.integers(), st.text(max_size=3), st.booleans()), max_size=3).map(repr),
    st.sampled_from(["None", "True", "()", "{}", "{1, 2}", "x.y.z", "..."]),
)
SIGNS = st.sampled_from([" < ", " <= ", " == ", " != ", " in ", " not in ", " is ", " is not ", " + ", " > ", ","])
CONDITIONS = st.recursive(
    st.builds(lambda a, sign, b: a + sign + b, ATOMS, SIGNS, ATOMS),
    lambda inner: st.one_of(
        st.builds(lambda a, joint, b: f"({a}){joint}({b})", inner, st.sampled_from([" and ", " or "]), inner),
        inner.map(lambda a: f"not ({a})"),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.one_of(CONDITIONS, st.text(max_size=40)))
def test_whatever_is_asked_is_answered_or_refused(filled: Store, filled_id: int, where: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            rows = filled.trials(filled_id, where)
        except QueryError:
            return
    # What was answered was a comparison, and every row comes from this study.
    assert isinstance(ast.parse(" ".join(where.split("\n")).strip(), mode="eval").body, ast.expr)
    assert {row["study"] for row in rows} <= {"camvid"}
