"""What a space file means."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.architecture import Architecture, Component
from blocks.catalogue import completed, component
from blocks.errors import SpaceError
from blocks.options import Value
from nas.space import Candidate, Choices, Forbidden, Question, Space, Span, shipped
from runners.protocol import Halving

DESIGN = """
name: camvid-small
data:
  camvid: {root: "${CAMVID}", size: [120, 160]}
architecture:
  backbone:
    timm: {model: {choice: [resnet18, mobilenetv3_small_100]}}
  context:
    choice:
      none:
      ppm:
        bins: {choice: [[1, 2, 3, 6], [1, 2, 4]]}
      psa:
        mode: {choice: [parallel, sequential]}
  align: {choice: [bilinear, ifa]}
  head: {choice: [linear, ssa]}
training:
  epochs: 8
  learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
objectives: {miou: max, macs: min}
budget: {macs: 10.0e9, params: 20.0e6}
search: {sampler: nsga2, trials: 60, early_stopping: pareto_asha, seed: 0}
resources: {cpu: 1, gpu: 0}
"""
SMALL = "data: shapes\narchitecture: {backbone: timm}\n"


def first(question: Question) -> Value:
    return question.domain.first


def answering(**answers: Value) -> Callable[[Question], Value]:
    """Answer questions by the last part of their path, others with their first answer."""
    return lambda question: answers.get(question.path.split(".")[-1], question.domain.first)


def small(*lines: str) -> Space:
    return Space.loads(SMALL + "\n".join(lines))


def test_the_space_of_the_design_means_what_it_says() -> None:
    space = Space.loads(DESIGN)
    assert space.name == "camvid-small"
    assert space.data.name == "camvid"
    assert space.data["size"] == (120, 160)
    assert space.place == {"root": "${CAMVID}"}
    assert space.objectives == {"miou": "max", "macs": "min"}
    assert space.budget == {"macs": 10e9, "params": 20e6}
    assert space.search.sampler.name == "nsga2"
    assert (space.search.trials, space.search.seed, space.search.early_stopping) == (60, 0, Halving())
    assert (space.resources.cpu, space.resources.gpu, space.resources.loaders) == (1.0, 0.0, 0)
    assert [q.path for q in space.questions()] == [
        "architecture.backbone.timm.model",
        "architecture.context",
        "architecture.context.ppm.bins",
        "architecture.context.psa.mode",
        "architecture.align",
        "architecture.head",
        "training.learning_rate",
    ]
    assert space.questions()[-1].domain == Span("float", 1e-4, 1e-2, None, True)
    assert space.count() == 2 * (1 + 2 + 2) * 2 * 2


def test_only_questions_that_exist_are_asked() -> None:
    space, asked = Space.loads(DESIGN), list[str]()

    def ask(question: Question) -> Value:
        asked.append(question.path)
        return "psa" if question.path == "architecture.context" else question.domain.first

    candidate = space.choose(ask)
    assert "architecture.context.psa.mode" in asked
    assert "architecture.context.ppm.bins" not in asked
    assert candidate.architecture.context == component("context", "psa", {"mode": "parallel"})
    assert list(candidate.answers) == asked


def test_a_candidate_is_complete_and_equals_any_other_spelling() -> None:
    candidate = small("training: {epochs: 3}").choose(first)
    assert candidate.architecture == completed(Architecture(backbone=Component("timm")))
    training = dict(candidate.training)
    assert training["epochs"] == 3
    assert list(training) == sorted(training)
    assert "momentum" not in training
    assert candidate.main == (component("loss", "cross_entropy"),)
    assert candidate.coarse == (component("loss", "cross_entropy", {"weight": 0.4}),)


def test_losses_are_added_up_or_chosen() -> None:
    space = small(
        "training:",
        "  losses:",
        "    main: [cross_entropy, {dice: {weight: {choice: [0.5, 1]}}}]",
        "    coarse: {choice: [ohem, dice]}",
    )
    candidate = space.choose(answering(weight=1.0, coarse="dice"))
    assert [c.name for c in candidate.main] == ["cross_entropy", "dice"]
    assert candidate.main[1]["weight"] == 1.0
    assert [c.name for c in candidate.coarse] == ["dice"]
    assert (space.count(), space.settings()) == (1, 4)


def test_a_conditional_option_of_the_recipe_is_asked_when_it_exists() -> None:
    space = small("training: {optimizer: {choice: [adamw, sgd]}, momentum: {choice: [0.5, 0.9]}}")
    assert space.settings() == 1 + 2
    assert "training.momentum" not in space.choose(answering(optimizer="adamw")).answers
    assert space.choose(answering(optimizer="sgd", momentum=0.9)).answers["training.momentum"] == 0.9


@pytest.mark.parametrize(
    ("domain", "size", "inside", "outside"),
    [
        (Span("int", 1, 9, 2), 5, 9, 8),
        (Span("float", 0.1, 0.5, 0.1), 5, 0.30000000000000004, 0.35),
        (Span("int", 1, 100, 1, True), 100, 10, 0),
        (Span("float", 1e-4, 1e-2, None, True), None, 5e-3, 0.1),
        (Choices((1, "a", True, None, (1, 2))), 5, (1, 2), 2),
    ],
)
def test_domains(domain: Choices | Span, size: int | None, inside: Value, outside: Value) -> None:
    assert domain.size == size
    assert inside in domain
    assert outside not in domain
    if size is not None:
        assert len(list(domain)) == size


def test_answers_are_put_on_the_grid_and_strange_ones_refused() -> None:
    space = small("training: {jitter: {float: [0.1, 0.5], step: 0.1}}")
    assert dict(space.choose(lambda q: 0.30000000000000004).training)["jitter"] == 0.3
    with pytest.raises(ValueError, match="jitter"):
        space.choose(lambda q: 0.35)


def test_whole_numbers_written_for_a_float_are_floats() -> None:
    space = small("training: {weight_decay: 0, clip: {choice: [1, 2]}}")
    training = dict(space.choose(first).training)
    assert all(isinstance(training[name], float) for name in ("weight_decay", "clip"))


def test_one_question_answers_several_places() -> None:
    space = Space.loads(
        "data: shapes\n"
        "shared: {width: {choice: [64, 128]}}\n"
        "architecture:\n"
        "  backbone: timm\n"
        "  context: {ppm: {channels: {shared: width}}}\n"
        "  align: {bilinear: {channels: {shared: width}}}\n"
    )
    candidate = space.choose(answering(width=128))
    assert candidate.architecture.context["channels"] == candidate.architecture.align["channels"] == 128
    assert candidate.answers == {"shared.width": 128}
    assert space.count() == 2


class TestForbid:
    SPACE = (
        "data: shapes\n"
        "architecture:\n"
        "  backbone: timm\n"
        "  context: {choice: {none:, psa:, ppm: {bins: {choice: [[1, 2], [1, 2, 4]]}}}}\n".replace(":,", ": ,")
        + "  head: {choice: [linear, ssa]}\n"
        "training: {batch: {choice: [4, 8]}}\n"
    )

    def architectures(self, forbid: str, *sets: str) -> set[tuple[str, Value, str]]:
        space = Space.loads(self.SPACE + f"forbid: {forbid}\n", sets=sets)
        found = {
            (a.context.name, dict(a.context.options).get("bins"), a.head.name)
            for a in (c.architecture for c in space.enumerate())
        }
        assert space.count() == len(found)
        return found

    def test_all_that_an_entry_says_must_hold(self) -> None:
        found = self.architectures("[{context: psa, head: ssa}]")
        assert ("psa", None, "ssa") not in found
        assert ("psa", None, "linear") in found
        assert len(found) == 7

    def test_a_list_is_one_value_where_the_option_takes_lists(self) -> None:
        found = self.architectures("[{context.ppm.bins: [1, 2], architecture.head: linear}]")
        assert ("ppm", (1, 2), "linear") not in found
        assert len(found) == 7

    def test_a_list_is_alternatives_everywhere_else(self) -> None:
        assert len(self.architectures("[{context: [psa, none], head: ssa}]")) == 6
        assert len(self.architectures("[{context.ppm.bins: [[1, 2], [1, 2, 4]], head: ssa}]")) == 6

    def test_it_holds_for_what_is_fixed_too(self) -> None:
        found = self.architectures("[{context: psa, head: ssa}]", "architecture.head=ssa")
        assert {context for context, _, _ in found} == {"none", "ppm"}

    def test_an_architecture_exists_if_some_training_allows_it(self) -> None:
        assert len(self.architectures("[{context: psa, training.batch: 4}]")) == 8
        assert len(self.architectures("[{context: psa, training.batch: [4, 8]}]")) == 6

    def test_the_walk_says_so(self) -> None:
        space = Space.loads(self.SPACE + "forbid: [{context: psa, head: ssa}]")
        with pytest.raises(Forbidden) as caught:
            space.choose(answering(context="psa", head="ssa"))
        assert caught.value.answers["architecture.context"] == "psa"

    def test_samples_keep_to_it(self) -> None:
        space = Space.loads(self.SPACE + "forbid: [{context: [psa, none]}]")
        chance = random.Random(0)
        assert {space.sample(chance).architecture.context.name for _ in range(50)} == {"ppm"}


def test_samples_reach_everything_and_repeat_with_the_seed() -> None:
    space = Space.loads(DESIGN)

    def drawn(seed: int) -> list[Candidate]:
        chance = random.Random(seed)
        return [space.sample(chance) for _ in range(400)]

    assert len({c.architecture for c in drawn(0)}) == space.count()
    assert drawn(1) == drawn(1)


def test_enumeration_needs_discrete_questions() -> None:
    space = Space.loads(DESIGN)
    with pytest.raises(SpaceError, match=r"training\.learning_rate"):
        space.enumerate()
    assert len(set(space.architectures())) == space.count()
    stepped = Space.loads(DESIGN, sets=["training.learning_rate={float: [0.001, 0.003], step: 0.001}"])
    assert len(list(stepped.enumerate())) == stepped.candidates() == 3 * space.count()


class TestExtends:
    def write(self, folder: Path, name: str, text: str) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def test_sections_merge_and_answers_are_replaced(self, tmp_path: Path) -> None:
        self.write(tmp_path, "base.yaml", DESIGN)
        path = self.write(
            tmp_path,
            "own.yaml",
            "extends: base.yaml\narchitecture: {context: psa}\nbudget: {params: null, flops: 1.0e9}\n"
            "training: {epochs: 2}\nobjectives: {miou: max, params: min}\n",
        )
        space = Space.load(path)
        assert space.name == "camvid-small"
        assert space.count() == 2 * 2 * 2
        assert space.choose(first).architecture.context == component("context", "psa")
        assert space.objectives == {"miou": "max", "params": "min"}
        assert dict(space.choose(first).training)["epochs"] == 2

    def test_shipped_spaces_can_be_extended(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "own.yaml", "extends: quickstart\nsearch: {trials: 3}\n")
        assert Space.load(path).search.trials == 3
        assert Space.load(path).count() == Space.load("quickstart").count()

    def test_paths_start_at_the_file(self, tmp_path: Path) -> None:
        self.write(tmp_path, "a/base.yaml", SMALL)
        assert Space.load(self.write(tmp_path, "b/own.yaml", "extends: ../a/base.yaml\n")).data.name == "shapes"

    @pytest.mark.timeout(20)
    def test_circles_are_found(self, tmp_path: Path) -> None:
        self.write(tmp_path, "a.yaml", "extends: b.yaml\n" + SMALL)
        path = self.write(tmp_path, "b.yaml", "extends: a.yaml\n")
        with pytest.raises(SpaceError, match="extends needs no circle"):
            Space.load(path)

    def test_mistakes_name_the_file_they_stand_in(self, tmp_path: Path) -> None:
        self.write(tmp_path, "base.yaml", "training: {epochs: many}\n")
        path = self.write(tmp_path, "own.yaml", "extends: base.yaml\ndata: shape\narchitecture: {backbone: timm}\n")
        with pytest.raises(SpaceError) as caught:
            Space.load(path)
        lines = str(caught.value).splitlines()
        assert any("base.yaml:1:20: training.epochs needs int" in line for line in lines)
        assert any("own.yaml:2:7: data needs" in line and "Did you mean 'shapes'?" in line for line in lines)


class TestSet:
    @pytest.mark.parametrize(
        ("argument", "found"),
        [
            ("data.camvid.root=/data", lambda s: s.place["root"] == "/data"),
            ("training.epochs=3", lambda s: dict(s.choose(first).training)["epochs"] == 3),
            ("budget.macs=1e9", lambda s: s.budget["macs"] == 1e9),
            ("architecture.context=psa", lambda s: s.count() == 8),
            ("architecture.context.choice.ppm.bins=[1, 2]", lambda s: s.count() == 32),
            ("search.sampler={tpe: {startup: 4}}", lambda s: s.search.sampler["startup"] == 4),
            ("search.sampler.nsga2.population=8", lambda s: s.search.sampler["population"] == 8),
            ("search.early_stopping=none", lambda s: s.search.early_stopping is None),
            ("forbid=[{head: ssa}]", lambda s: s.count() == 20),
            ("name=other", lambda s: s.name == "other"),
        ],
    )
    def test_one_value_changes(self, argument: str, found: Callable[[Space], bool]) -> None:
        assert found(Space.loads(DESIGN, sets=[argument]))

    @pytest.mark.parametrize(
        "argument", ["epochs", "=3", "a..b=3", "training.epochs.x=3", "training.epochs=[", "bogus=1"]
    )
    def test_mistakes_name_the_argument(self, argument: str) -> None:
        with pytest.raises(SpaceError) as caught:
            Space.loads(DESIGN, sets=[argument])
        assert f"--set {argument}: " in str(caught.value)

    def test_the_last_one_wins(self) -> None:
        space = Space.loads(DESIGN, sets=["training.epochs=3", "training.epochs=5"])
        assert dict(space.choose(first).training)["epochs"] == 5


def test_the_text_is_the_whole_space(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(DESIGN)
    (tmp_path / "own.yaml").write_text("extends: base.yaml\nforbid: [{head: ssa, context: psa}]\n")
    space = Space.load(tmp_path / "own.yaml", ["training.epochs=2", 'name="Straßenszenen 🚗 x: y"'])
    again = Space.loads(space.text)
    assert again.tree == space.tree
    assert again.text == space.text
    fields = ("name", "data", "place", "objectives", "budget", "search", "resources")
    assert all(getattr(again, f) == getattr(space, f) for f in fields)


def test_places_are_expanded_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    space = Space.loads(DESIGN)
    monkeypatch.delenv("CAMVID", raising=False)
    with pytest.raises(SpaceError, match=r"export CAMVID=PATH or --set data\.camvid\.root=PATH"):
        space.places()
    monkeypatch.setenv("CAMVID", "/data/camvid")
    assert space.places() == {"root": "/data/camvid"}


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_spaces_are_valid(name: str) -> None:
    space = Space.load(name)
    assert space.count() > 1 or space.search.trials == 1  # one network, for `nas train`
    assert {"miou", "macs"} <= set(space.objectives)


def test_defaults() -> None:
    space = small()
    assert space.objectives == {"miou": "max", "macs": "min"}
    assert space.budget == {}
    assert space.search.early_stopping is None
    assert space.resources.keep == "last"
    assert (space.count(), space.settings(), space.questions()) == (1, 1, ())


def test_what_is_published_of_a_network_is_not_said_of_those_that_extend_it(tmp_path):
    known = "published: {follows: it, data: ADE20K, size: [64, 64], classes: 150}"
    (tmp_path / "known.yaml").write_text(f"data: shapes\narchitecture: {{backbone: stdc1}}\n{known}\n")
    (tmp_path / "mine.yaml").write_text("extends: known.yaml\narchitecture: {context: ppm}\n")
    assert Space.load(tmp_path / "known.yaml").published.classes == 150
    assert Space.load(tmp_path / "mine.yaml").published is None
