"""From the root of a file to the parts of a `Space`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from blocks.architecture import NONE, SLOTS, Architecture, Component
from blocks.errors import SpaceError, nearest
from blocks.options import Option, options_of
from nas.space import count
from nas.space.ablation import ablation
from nas.space.components import Components
from nas.space.forbid import Rules
from nas.space.mistakes import Mark, Mistakes
from nas.space.nodes import Listing, Node, Scalar, Table, is_null, plain
from nas.space.questions import Choices
from nas.space.sections import Sections
from nas.space.tree import LOSSES, Fixed, Leaf, Part, Slot, Tree, questions
from nas.space.values import Values
from runners.training import Training

SECTIONS = (
    "name", "data", "shared", "architecture", "training", "objectives", "budget", "forbid", "search", "resources",
    "ablation", "published",
)  # fmt: skip
REST: Mapping[str, Option] = {"align_corners": Option("align_corners", bool, False)}
_EASY = 50_000  # steps of counting that reading a file may take


def built(root: Table, name: str, mistakes: Mistakes) -> dict[str, Any] | None:
    """Read every section; None where a mistake was noted."""
    for key in root:
        if key not in SECTIONS:
            mistakes.add(root.at(key), "A search space", "sections that exist", {"key": key}, nearest(key, SECTIONS))
    values = Values(mistakes)
    shared(root, values)
    sections = Sections(values, mistakes)
    data = required(root, "data", "Write data: shapes", mistakes)
    found = sections.data(data) if data else None
    read: dict[str, Any] = {
        "name": named(root, name, mistakes),
        "objectives": sections.objectives(root.entries.get("objectives")),
        "budget": sections.budget(root.entries.get("budget")),
        "search": sections.search(root.entries.get("search")),
        "resources": sections.resources(root.entries.get("resources")),
        "published": sections.published(root.entries.get("published")),
        "weights": sections.weights(root.entries.get("training")),
        "tree": _Trees(Components(values, mistakes), mistakes).tree(root),
    }
    if mistakes.found or found is None:
        return None
    answerable(read["tree"], read["search"].sampler.name, root, mistakes)
    sensible(read, root, mistakes)
    judged(read["tree"], found[0], root, mistakes)
    divisible(read["tree"], read["resources"].processes, root, mistakes)
    read["ablation"] = ablation(root.entries.get("ablation"), read["tree"], sections, mistakes)
    return read | {"data": found[0], "place": found[1]}


def shared(root: Table, values: Values) -> None:
    """Read the questions that several places take the one answer of."""
    node = root.entries.get("shared")
    if node is None or is_null(node):
        return
    if not isinstance(node, Table):
        values.mistakes.add(node.mark, "shared", "a mapping of names", {"shared": plain(node)}, "Write {width: 256}")
        return
    found = {key: values.leaf(value, f"shared.{key}", None) for key, value in node.entries.items()}
    values.shared.update(found)


def required(root: Table, key: str, remedy: str, mistakes: Mistakes) -> Node | None:
    """A section that every space has."""
    node = root.entries.get(key)
    if node is None or is_null(node):
        mark = root.at(key) if node else root.mark
        mistakes.add(mark, "A search space", f"the section `{key}`", {key: None}, remedy)
        return None
    return node


def named(root: Table, name: str, mistakes: Mistakes) -> str:
    """The name of the space; the file's own where none is written."""
    node = root.entries.get("name")
    if node is None:
        return name
    given = plain(node)
    if not isinstance(given, str) or not 0 < len(given) <= 100:
        mistakes.add(node.mark, "name", "text of 1 to 100 characters", {"name": given}, "Quote it if it is a number")
    return str(given)


def answerable(tree: Tree, sampler: str, root: Table, mistakes: Mistakes) -> None:
    """Note what only the whole tree can show: nothing is left, or a grid over continuous questions."""
    search = root.entries.get("search")
    mark = search.at("sampler") if isinstance(search, Table) and "sampler" in search else root.mark
    if sampler == "grid":
        for question in questions(tree):
            if not question.discrete:
                got = {"question": question.path}
                mistakes.add(mark, "The grid sampler", "discrete questions alone", got, "Give it a step")
    try:
        empty = bool(tree.rules) and not count.architectures(tree, work=_EASY)
    except SpaceError:
        empty = False  # too long to count here; sampling will tell
    if empty:
        needs = "an architecture that `forbid:` allows"
        mistakes.add(root.at("forbid"), "A search space", needs, {"architectures": 0}, "Forbid less")


def sensible(read: Mapping[str, Any], root: Table, mistakes: Mistakes) -> None:
    """Note options that nothing else in the file gives a meaning to."""
    rounds(read["tree"], root, mistakes)
    search = root.entries.get("search")
    if not isinstance(search, Table):
        return
    if read["search"].sampler.name == "surrogate":
        scores = [name for name, goal in read["objectives"].items() if goal == "max"]
        if len(scores) != 1:
            needs, remedy = "one score among the objectives", "Write objectives: {miou: max, macs: min}, or take tpe"
            mistakes.add(search.at("sampler"), "The sampler surrogate", needs, {"scores": scores}, remedy)
    if read["search"].partial_order and not any(question.ordered for question in questions(read["tree"])):
        needs, remedy = "a question that is ordered", "Write {choice: [32, 64, 128], ordered: true}"
        mistakes.add(search.at("partial_order"), "search.partial_order", needs, {"ordered": 0}, remedy)
    if read["search"].inherit and read["resources"].keep == "none":
        needs, remedy = "checkpoints of finished trials", "Write resources: {keep: front}, or last for more of them"
        mistakes.add(search.at("inherit"), "search.inherit", needs, {"resources.keep": "none"}, remedy)
    if read["search"].gpu_hours is not None and not read["resources"].gpus:
        needs, remedy = "trials that have a GPU", "Write resources: {gpu: 1}, or limit search.hours"
        mistakes.add(search.at("gpu_hours"), "search.gpu_hours", needs, {"resources.gpu": 0}, remedy)


def rounds(tree: Tree, root: Table, mistakes: Mistakes) -> None:
    """Note a training whose rounds may have no step, whatever of it is asked."""
    leaves = {f.option.name: f.leaf for f in tree.training.fields}
    fewest = min((value for value in _reach(leaves["iterations"]) if value > 0), default=None)
    most, training = max(_reach(leaves["epochs"])), root.entries.get("training")
    if fewest is not None and fewest < most and isinstance(training, Table):
        got, remedy = {"iterations": fewest, "epochs": most}, "Write fewer epochs: rounds of iterations"
        mistakes.add(training.at("iterations"), "training.iterations", "a step for every epoch", got, remedy)


def _reach(leaf: Leaf) -> Sequence[Any]:
    """The values of a whole number between which all others lie, the least above 0 among them."""
    if isinstance(leaf, Fixed):
        return (leaf.value,)
    domain = leaf.question.domain
    return domain.values if isinstance(domain, Choices) else (*islice(domain, 2), domain.last)


def judged(tree: Tree, data: Component, root: Table, mistakes: Mistakes) -> None:
    """Note an evaluation in batches of one size where samples keep their proportions, and so differ in size."""
    options, subject = dict(data.options), f"data.{data.name}"
    short, long = options.get("short"), options.get("long")
    node = root.entries["data"]
    if isinstance(long, int) and (not isinstance(short, int) or long < short):
        got, remedy = {"short": short, "long": long}, "Write short, or drop long"
        mistakes.add(node.mark, f"{subject}.long", "a shorter side that is at most as long", got, remedy)
    leaf = next(field.leaf for field in tree.training.fields if field.option.name == "evaluation")
    resized = leaf.value == "resized" if isinstance(leaf, Fixed) else "resized" in leaf.question.domain
    if short is not None and resized:
        section = root.entries.get("training")
        mark = section.at("evaluation") if isinstance(section, Table) and "evaluation" in section else node.mark
        got, remedy = {"evaluation": "resized", f"{subject}.short": short}, "Write training.evaluation: whole"
        mistakes.add(mark, "training.evaluation", "whole or sliding, as samples differ in size", got, remedy)


def divisible(tree: Tree, processes: int, root: Table, mistakes: Mistakes) -> None:
    """Note a batch that leaves some of a trial's processes without an image."""
    leaf = next(field.leaf for field in tree.training.fields if field.option.name == "batch")
    if (least := min(_reach(leaf))) < processes:
        needs, remedy = f"an image for each of {processes} processes", "Raise it, or lower resources.gpu"
        mistakes.add(root.at("resources"), "training.batch", needs, {"batch": least}, remedy)


@dataclass(slots=True)
class _Trees:
    """Reads the sections that ask: architecture, training, forbid."""

    components: Components
    mistakes: Mistakes

    def tree(self, root: Table) -> Tree | None:
        slots, rest = self.architecture(required(root, "architecture", "Write the slots below it", self.mistakes))
        node = root.entries.get("training")
        training = self.components.part(node, "training", options_of(Training), besides=("losses", "weights"))
        written = node.entries.get("losses") if isinstance(node, Table) else None
        main, coarse, auxiliary = self.losses(written, root.mark)
        rules = Rules(self.mistakes, self.components.values.shared, REST, options_of(Training))
        return Tree(slots, rest, training, main, coarse, auxiliary, rules.rules(root.entries.get("forbid")))

    def architecture(self, node: Node | None) -> tuple[tuple[Slot, ...], Part]:
        known = (*SLOTS, *REST)
        if node is None or not isinstance(node, Table):
            if node is not None:
                got, remedy = {"value": plain(node)}, f"Slots: {', '.join(known)}"
                self.mistakes.add(node.mark, "architecture", "a mapping of slots", got, remedy)
            return (), Part("architecture")
        for key in node:
            if key not in known:
                self.mistakes.add(node.at(key), "architecture", "slots that exist", {"key": key}, nearest(key, known))
        defaults = {slot: c.name for slot, c in Architecture(backbone=NONE).slots()}
        slots: list[Slot | None] = []
        for kind in SLOTS:
            written = node.entries.get(kind)
            if written is None and kind == "backbone":
                got = {"backbone": None}
                self.mistakes.add(
                    node.mark, "architecture", "a backbone", got, "Write backbone: {timm: {model: resnet18}}"
                )
                continue
            slots.append(
                self.components.slot(written or Scalar(defaults[kind], node.mark), f"architecture.{kind}", kind)
            )
        rest = Table({k: v for k, v in node.entries.items() if k in REST}, node.mark, node.keys)
        return tuple(s for s in slots if s), self.components.part(rest, "architecture", REST)

    def losses(self, node: Node | None, mark: Mark) -> list[tuple[Slot, ...]]:
        """Read what supervises the logits, the coarse logits, and what else the network gives."""
        defaults: dict[str, Node] = {
            "main": Scalar("cross_entropy", mark),
            "coarse": Table({"cross_entropy": Table({"weight": Scalar(0.4, mark)}, mark)}, mark),
            "auxiliary": Listing((), mark),
        }
        written: Mapping[str, Node] = {}
        if isinstance(node, Table):
            written = node.entries
            for key in set(node) - set(LOSSES):
                remedy = nearest(key, LOSSES)
                self.mistakes.add(node.at(key), "training.losses", "keys that exist", {"key": key}, remedy)
        elif node is not None and not is_null(node):
            remedy = "Write {main: cross_entropy}"
            self.mistakes.add(node.mark, "training.losses", "a mapping", {"value": plain(node)}, remedy)
        return [self.sum(written.get(key, default), key) for key, default in defaults.items()]

    def sum(self, node: Node, key: str) -> tuple[Slot, ...]:
        """Read one loss or a list of losses that are added up."""
        path = f"training.losses.{key}"
        items = node.items if isinstance(node, Listing) else (node,)
        if not items and key == "main":
            self.mistakes.add(node.mark, path, "at least one loss", {key: []}, "Write main: cross_entropy")
        slots = [self.components.slot(item, path, LOSSES[key]) for item in items]
        names = [name for slot in slots if slot for name in slot.parts]
        for item, slot in zip(items, slots, strict=True):
            for name in slot.parts if slot else ():
                if names.count(name) > 1:
                    self.mistakes.add(item.mark, path, "each loss once", {"loss": name}, "Set its weight instead")
        return tuple(s for s in slots if s)
