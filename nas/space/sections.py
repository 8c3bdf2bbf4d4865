"""The sections that ask nothing: the data, what is optimised, what a candidate may cost, the search, the machine."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from blocks.architecture import Component
from blocks.errors import nearest
from blocks.options import Option, Range, Value, When, is_active, options_of, supplied
from nas.space.components import ordered, unmet
from nas.space.mistakes import Mark, Mistakes
from nas.space.nodes import Listing, Node, Scalar, Table, is_null, literal, plain
from nas.space.published import Measured, Published, Reported
from nas.space.samplers import SAMPLERS
from nas.space.tree import Fixed
from nas.space.values import Values
from runners.data import DATASETS
from runners.protocol import Halving, Keep, PerTrial, processes

ALIASES = {"flops": "macs"}
COSTS = ("macs", "macs_conv", "params", "activation_bytes", "latency_ms", "peak_memory_bytes")
SENSES: Mapping[str, str] = {"miou": "max", "pixel_accuracy": "max", **dict.fromkeys(COSTS, "min")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How the space is searched.

    Args:
        sampler: name and options, complete; see `nas.space.samplers`.
        trials: candidates that are trained, over-budget ones aside. [count]
        hours: most hours on the clock of one run; a resumed one has them anew. null is no limit. [h]
        gpu_hours: most hours of training in this study, times the GPUs per trial; where these are `auto`, each counts
            as one. null is no limit. [h]
        epochs: most epochs of training in this study. null is no limit. [count]
        early_stopping: successive halving, or None to train everything to its end.
        partial_order: leave out candidates that the results so far show to be hopeless, if a network that is at most as
            wide and deep as another in every question that is `ordered`, and equal to it elsewhere, is neither slower
            nor more accurate.
        inherit: a new network begins with the weights that the nearest finished one of this study has for the parts
            which both have, and is recorded as its child. What it reaches it owes to trainings before its own, too:
            results depend on the order of the trials and are not comparable with those of fresh starts, in whose place
            they are never taken. Early stopping compares both kinds all the same. Searches alone inherit; ablations,
            whose arms must differ in nothing else, refuse to.
        seed: of the sampler, and the first of the trainings.
    """

    sampler: Component
    trials: Annotated[int, Range(1, 1_000_000)] = 50
    hours: Annotated[float | None, Range(1e-4, 1e6)] = None
    gpu_hours: Annotated[float | None, Range(1e-4, 1e7)] = None
    epochs: Annotated[int | None, Range(1, 100_000_000)] = None
    partial_order: bool = False
    inherit: bool = False
    early_stopping: Halving | None = None
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a trial gets of the machine; never changes a result, but for the noise that `per_trial` tells of.

    Args:
        cpu: CPUs per trial, fractions allowed. [count]
        gpu: GPUs per trial, fractions allowed; `auto` runs as many trials on each GPU as its memory holds: every one
            gets the share that its network needs, by its cost and by what others were measured to take. [count]
        gpu_bytes: memory of each GPU, for `auto`; null asks the GPUs. [bytes]
        per_trial: `ddp` trains each network in several processes, one a GPU, or one a CPU where `gpu` is 0, each with
            its share of every batch. The batch stays what it is, and so do the images in it: results are those of one
            process within noise. But batch norms see a share of the batch alone, unless they are synchronised.
        loaders: processes that load data, per trial; 0 loads in the trial's own process. [count]
        cache: folder on a disk of each machine's own where decoded images are kept for all workers; null is one in the
            system's temporary folder, `memory` keeps them in the memory of each worker.
        cache_bytes: decoded images that are kept; those beyond are decoded each time. [bytes]
        concurrent: most trials at once; null is as many as fit. [count]
        keep: which checkpoints stay.
        checkpoint_minutes: how often an epoch in training is saved, too; 0 saves between epochs alone. [min]
        trial_minutes: most that one trial trains in one run; longer, and it has failed. null is no limit. [min]
        stalled_minutes: without an epoch, after which a trial hangs and has failed. Give it several times what an epoch
            takes. null waits for ever. [min]
    """

    cpu: Annotated[float, Range(0.01, 4096)] = 1.0
    gpu: Annotated[float | Literal["auto"], Range(0.0, 4096)] = 0.0
    gpu_bytes: Annotated[float | None, Range(1e6, 1e15), When("gpu", "auto")] = None
    per_trial: PerTrial = "one"
    loaders: Annotated[int, Range(0, 256)] = 0
    cache: str | None = None
    cache_bytes: Annotated[int, Range(0, 10**15)] = 2 << 30
    concurrent: Annotated[int | None, Range(1, 100_000)] = None
    keep: Keep = "last"
    checkpoint_minutes: Annotated[float, Range(0.0, 1e6)] = 10.0
    trial_minutes: Annotated[float | None, Range(1e-3, 1e6)] = None
    stalled_minutes: Annotated[float | None, Range(1e-3, 1e6)] = None

    @property
    def gpus(self) -> float:
        """The most that one trial gets. [count]"""
        return 1.0 if self.gpu == "auto" else self.gpu

    @property
    def processes(self) -> int:
        """In how many each network trains. [count]"""
        return processes(self.per_trial, cpu=self.cpu, gpu=self.gpus)


@dataclass(slots=True)
class Sections:
    """Reads them, noting every mistake on the way."""

    values: Values
    mistakes: Mistakes

    def settings(
        self, node: Node | None, path: str, schema: Mapping[str, Option], besides: tuple[str, ...] = ()
    ) -> dict[str, Value]:
        """Read fixed options, fill in defaults, drop those that do not exist; `besides` are keys read elsewhere."""
        given: dict[str, Value] = {}
        marks: dict[str, Mark] = {}
        for key, value, mark in self.entries(node, path, schema):
            if key in besides:
                continue
            if key not in schema:
                self.mistakes.add(mark, path, "keys that exist", {"key": key}, nearest(key, [*schema, *besides]))
            elif isinstance(value, Table):
                self.mistakes.add(value.mark, f"{path}.{key}", "one value, no question", {key: plain(value)}, "Fix it")
            elif isinstance(leaf := self.values.leaf(value, f"{path}.{key}", schema[key]), Fixed):
                given[key], marks[key] = leaf.value, mark
        # What has no default and was not given, or given wrongly, is missing; that it is was noted.
        known = [o for o in ordered(schema) if o.name in given or not o.required]
        full = {o.name: given[o.name] if o.name in given else o.normal(o.default) for o in known}
        active = {name: value for name, value in full.items() if is_active(schema[name], full)}
        for name in (name for name in given if name not in active):
            when = schema[name].when
            if when is not None and given[name] is not None:
                self.mistakes.add(marks[name], f"{path}.{name}", *unmet(when, full.get(when.option)))
        return active

    def entries(self, node: Node | None, path: str, known: Iterable[str]) -> list[tuple[str, Node, Mark]]:
        """The entries of a mapping: none if nothing was written."""
        if isinstance(node, Table):
            return [(key, value, node.at(key)) for key, value in node.entries.items()]
        if node is not None and not is_null(node):
            self.mistakes.add(
                node.mark, path, "a mapping", {"value": plain(node)}, f"Keys: {', '.join(known) or 'none'}"
            )
        return []

    def named(self, node: Node, path: str, known: Mapping[str, Any]) -> tuple[str, Node | None] | None:
        """Read `name` or `{name: {option: value}}`."""
        name, options, mark = None, None, node.mark
        if isinstance(node, Scalar):
            name = node.value
        elif isinstance(node, Table) and len(node.entries) == 1:
            ((name, options),) = node.entries.items()
            mark = node.at(name)
        if isinstance(name, str) and name in known:
            return name, options
        remedy = nearest(name, known) if isinstance(name, str) else f"Known: {', '.join(sorted(known))}"
        got = name or (list(node) if isinstance(node, Table) else plain(node))
        self.mistakes.add(mark, path, "one name that exists", {path.rpartition(".")[2]: got}, remedy)
        return None

    def data(self, node: Node) -> tuple[Component, dict[str, str]] | None:
        """Read the data set: its options, and apart from them the places where it lies."""
        named = self.named(node, "data", DATASETS)
        if named is None:
            return None
        name, options = named
        kind, path = DATASETS[name], f"data.{name}"
        places = supplied(kind)
        chosen = self.settings(options, path, options_of(kind), places)
        place: dict[str, str] = {}
        for key in places:
            value = options.entries.get(key) if isinstance(options, Table) else None
            if isinstance(value, Scalar) and isinstance(value.value, str) and value.value:
                place[key] = value.value
            elif value is not None or inspect.signature(kind).parameters[key].default is inspect.Parameter.empty:
                got = {key: None if value is None else plain(value)}
                remedy = f'Write {key}: "${{{name.upper()}}}" or --set {path}.{key}=PATH'
                self.mistakes.add((value or node).mark, f"{path}.{key}", "a path", got, remedy)
        return Component.of(name, chosen), place

    def objectives(self, node: Node | None) -> dict[str, str]:
        """Read what is optimised: name -> `max` or `min`."""
        if node is None or is_null(node):
            return {"miou": "max", "macs": "min"}
        found: dict[str, str] = {}
        for name, key, value in self.figures(node, "objectives", SENSES):
            if literal(value) == SENSES[name]:
                found[name] = SENSES[name]
            else:
                remedy = f"Write {key}: {SENSES[name]}"
                self.mistakes.add(value.mark, f"objectives.{key}", SENSES[name], {key: plain(value)}, remedy)
        if isinstance(node, Table) and not node.entries:
            self.mistakes.add(
                node.mark, "objectives", "at least one", {"objectives": {}}, "Write {miou: max, macs: min}"
            )
        return found

    def budget(self, node: Node | None) -> dict[str, float]:
        """Read what a candidate may cost at most; null lifts a limit that an extended file sets."""
        found: dict[str, float] = {}
        for name, key, value in self.figures(node, "budget", COSTS):
            path, positive = f"budget.{key}", Option(key, float, 1.0, Range(1e-9))
            if isinstance(value, Table):
                self.mistakes.add(value.mark, path, "a number", {key: plain(value)}, "Write one number")
            elif not is_null(value) and (limit := self.values.fixed(literal(value), value.mark, path, positive)):
                found[name] = float(limit.value)  # type: ignore[arg-type]
        return found

    def figures(self, node: Node | None, path: str, known: Iterable[str]) -> list[tuple[str, str, Node]]:
        """Read a mapping of figures as (its one name, key as written, value)."""
        found: dict[str, tuple[str, str, Node]] = {}
        for key, value, mark in self.entries(node, path, known):
            name = ALIASES.get(key, key)
            if name not in known:
                remedy = nearest(key, [*known, *ALIASES])
                self.mistakes.add(mark, path, "figures that exist", {"key": key}, remedy)
            elif name in found:
                self.mistakes.add(mark, path, "each figure once", {"key": key}, f"It is {name}, which is there already")
            else:
                found[name] = (name, key, value)
        return list(found.values())

    def search(self, node: Node | None) -> Search:
        """Read the sampler, the limits, the seed and early stopping."""
        nested = ("sampler", "early_stopping")
        schema = {name: option for name, option in options_of(Search).items() if name not in nested}
        numbers: dict[str, Any] = self.settings(node, "search", schema, nested)
        entries = node.entries if isinstance(node, Table) else {}
        sampler, stopping = self.sampler(entries.get("sampler")), self.stopping(entries.get("early_stopping"))
        return Search(sampler=sampler, early_stopping=stopping, **numbers)

    def sampler(self, node: Node | None) -> Component:
        named = ("nsga2", None) if node is None or is_null(node) else self.named(node, "search.sampler", SAMPLERS)
        name, options = named or ("nsga2", None)
        chosen = self.settings(options, f"search.sampler.{name}", options_of(SAMPLERS[name]))
        if chosen.get("crossover") in {"spx", "undx"} and chosen.get("population") == 2:
            got = {"crossover": chosen["crossover"], "population": 2}
            mark, remedy = (node or options).mark, "Raise the population"  # type: ignore[union-attr]
            self.mistakes.add(mark, f"search.sampler.{name}", "three parents for this crossover", got, remedy)
        return Component.of(name, chosen)

    def stopping(self, node: Node | None) -> Halving | None:
        if node is None or is_null(node):
            return None
        named = self.named(node, "search.early_stopping", {"none": None, "pareto_asha": Halving})
        if named is None or named[0] == "none":
            return None
        options: dict[str, Any] = self.settings(named[1], "search.early_stopping.pareto_asha", options_of(Halving))
        return Halving(**options)

    def resources(self, node: Node | None) -> Resources:
        """Read what a trial gets of the machine."""
        options: dict[str, Any] = self.settings(node, "resources", options_of(Resources))
        found = Resources(**options)
        if found.per_trial == "ddp" and isinstance(node, Table):
            self._whole(found, node)
        return found

    def _whole(self, found: Resources, node: Table) -> None:
        """Note what cannot be split into processes: each has a whole GPU, or a whole CPU."""
        key, value = ("gpu", found.gpu) if found.gpu else ("cpu", found.cpu)
        if value == "auto" or value != int(value):
            needs = f"a whole number of {key.upper()}s for resources.per_trial: ddp"
            self.mistakes.add(node.at(key), f"resources.{key}", needs, {key: value}, "Write 2, or per_trial: one")

    def weights(self, training: Node | None) -> str:
        """Read `training.weights`: where the file lies that networks start from, or nothing."""
        node = training.entries.get("weights") if isinstance(training, Table) else None
        if node is None or is_null(node):
            return ""
        if isinstance(node, Scalar) and isinstance(node.value, str) and node.value:
            return node.value
        remedy = 'Write weights: "${WEIGHTS}/resnet18.safetensors"; several files are several studies'
        self.mistakes.add(node.mark, "training.weights", "one path", {"weights": plain(node)}, remedy)
        return ""

    def published(self, node: Node | None) -> Published | None:
        """Read what others print about the network."""
        if node is None or is_null(node):
            return None
        nested = ("measured", "reported")
        simple = {name: option for name, option in options_of(Published).items() if name not in nested}
        facts: dict[str, Any] = self.settings(node, "published", simple, nested)
        entries = node.entries if isinstance(node, Table) else {}
        required = {name: option for name, option in simple.items() if option.required}
        for name in required.keys() - entries.keys():
            remedy = f"Write {name}: {required[name].type}"
            self.mistakes.add(node.mark, "published", f"`{name}`", {name: None}, remedy)
        if (measured := entries.get("measured")) is not None:
            facts["measured"] = Measured(**self._facts(measured, "published.measured", Measured))
        listed = entries.get("reported")
        items = listed.items if isinstance(listed, Listing) else (listed,) if listed is not None else ()
        facts["reported"] = tuple(Reported(**self._facts(item, "published.reported", Reported)) for item in items)
        return None if required.keys() - facts.keys() else Published(**facts)

    def _facts(self, node: Node, path: str, kind: type) -> dict[str, Any]:
        return dict(self.settings(node, path, options_of(kind)))
