"""What a strategy would have found: a whole search on recorded learning curves, with the real sampler and stopper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from typing import Protocol as Interface

from blocks.architecture import Architecture
from blocks.errors import QueryError, law
from nas.propose import OptunaProposer, Progress
from nas.propose.candidates import protocol_of
from nas.space import Space
from nas.store import Store, as_text, choices_of
from nas.study.resume import epoch_of
from nas.study.work import info_of
from runners.halving import ParetoHalving
from runners.promotion import Promotion
from runners.protocol import Epoch, Finished, Outcome, Proposal, Protocol
from runners.roles import Proposer, Stopper
from runners.simulated import Moment, SimulatedRunner

_COSTS = ("params", "macs", "macs_conv", "activation_bytes")


class Landscape(Interface):
    """Where curves and costs come from: a recorded study, or a rule."""

    def curve(self, proposal: Proposal) -> Sequence[Epoch] | None:
        """The epochs of a network, or None where it is not known."""

    def cost(self, architecture: Architecture, protocol: Protocol) -> Mapping[str, int] | None:
        """What a network costs, or None where it is not known."""


@dataclass(frozen=True, slots=True)
class _Record:
    row: Mapping[str, Any]
    epochs: Sequence[Epoch]


class Recorded:
    """The curves of a study.

    A proposal is looked up by all of its choices, the training and the data among them; where these were trained with
    several seeds, the seed of the proposal, or else its remainder, picks one.

    Args:
        store: that holds the study.
        study: its name.

    Raises:
        QueryError: there is no such study, or no epoch in it.
    """

    def __init__(self, store: Store, study: str) -> None:
        found = store.find_study(study)
        imported = Space.loads(found["space"]) if "imported" in found["settings"] else None
        answers = {row["number"]: row["answers"] for row in store.told(found["id"])}
        self._records: dict[frozenset[tuple[str, str | None]], dict[int, _Record]] = {}
        for row in store.trials(found["id"]):
            if not row["epochs"] or row["state"] == "replayed":
                continue
            # An imported table says nothing of what its space fixes: the space does.
            chosen = store.choices(row["id"]) if imported is None else _spelled(imported, answers[row["number"]])
            record = _Record(row, [epoch_of(epoch) for epoch in store.epochs(row["id"])])
            self._records.setdefault(frozenset(chosen.items()), {})[row["seed"]] = record
        if not self._records:
            raise QueryError(law("A simulation", "a study with learning curves", {"study": study}, "Train some first"))

    def curve(self, proposal: Proposal) -> Sequence[Epoch] | None:
        """The recorded epochs."""
        found = self._found(proposal.architecture, proposal.protocol)
        if not found:
            return None
        seeds = sorted(found)
        seed = proposal.seed if proposal.seed in found else seeds[proposal.seed % len(seeds)]
        return found[seed].epochs

    def cost(self, architecture: Architecture, protocol: Protocol) -> Mapping[str, int] | None:
        """The recorded costs, which are not necessarily those of our components."""
        found = self._found(architecture, protocol)
        if not found:
            return None
        row = next(iter(found.values())).row
        return {name: row[name] for name in _COSTS if row[name] is not None}

    def finals(self) -> list[Mapping[str, Any]]:
        """The rows of all networks that were trained to their end."""
        every = (record.row for seeds in self._records.values() for record in seeds.values())
        return [row for row in every if row["state"] == "finished"]

    def _found(self, architecture: Architecture, protocol: Protocol) -> dict[int, _Record]:
        spelled = {path: as_text(value) for path, value in choices_of(architecture, protocol).items()}
        return self._records.get(frozenset(spelled.items()), {})


def _spelled(space: Space, answers: Mapping[str, Any]) -> dict[str, str | None]:
    candidate = space.choose(lambda question: answers[question.path])
    protocol = protocol_of(space, candidate, info_of(space), "")
    return {path: as_text(value) for path, value in choices_of(candidate.architecture, protocol).items()}


@dataclass(frozen=True, slots=True)
class Found:
    """A network that was trained to its end.

    Args:
        seconds: on the virtual clock. [s]
        epochs: that all trials together had been trained for by then. [count]
        proposal: the network.
        values: of its costs and of its last epoch, by name.
    """

    seconds: float
    epochs: int
    proposal: Proposal
    values: Mapping[str, float]


@dataclass(slots=True)
class Simulation:
    """One simulated search.

    Args:
        found: networks trained to their end, in that order.
        moments: everything that happened, in the order of the virtual clock.
        counts: trials by state; filled where the proposer is ours.
    """

    found: list[Found] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def epochs(self) -> int:
        """Trained in all. [count]"""
        return self.moments[-1].epochs if self.moments else 0

    @property
    def seconds(self) -> float:
        """The virtual clock at the end. [s]"""
        return self.moments[-1].seconds if self.moments else 0.0

    @property
    def unknown(self) -> int:
        """Trials that failed: no curve is recorded for them, or not to its end. [count]"""
        return self.counts["failed"]


def simulate(
    space: Space,
    landscape: Landscape,
    *,
    workers: int = 1,
    seed: int | None = None,
    epochs: int | None = None,
    stopper: Stopper | None = None,
) -> Simulation:
    """Search a space on recorded curves, as `sweep` would; nothing is recorded outside memory.

    Args:
        space: what may vary, the sampler, early stopping and the trials.
        landscape: where curves and costs come from.
        workers: trials at once. [count]
        seed: of the sampler; by default the space's.
        epochs: the search ends when so many have been trained; None ends it with its trials. [count]
        stopper: another early stopping than the space's.
    """
    if seed is not None:
        space = replace(space, search=replace(space.search, seed=seed))
    search = space.search
    if stopper is None and search.early_stopping is not None:
        stopper = ParetoHalving(search.early_stopping, space.objectives, seed=search.seed, trials=search.trials)
    progress = Progress(space.search.trials)
    with Store.open("sqlite://") as store:
        proposer = OptunaProposer(
            space,
            store,
            store.create_study(space.name, space="", objectives=space.objectives, budget=space.budget, seed=0),
            data=info_of(space),
            data_fingerprint="simulated",
            progress=progress,
            prepare=lambda architecture: None,
            cost=landscape.cost,
        )
        brief = _Brief(proposer)
        carried_out = Promotion(brief, stopper) if isinstance(stopper, ParetoHalving) else brief
        simulation = replayed(carried_out, landscape, stopper, workers=workers, epochs=epochs)
    # A state that all have left again is none to tell of.
    simulation.counts = +progress.counts
    return simulation


class _Brief:
    """A proposer around another one that reports a trial's last epoch alone: the curve is recorded elsewhere."""

    def __init__(self, inner: OptunaProposer) -> None:
        self._inner = inner
        self._last: dict[int, Epoch] = {}

    def propose(self) -> Proposal | None:
        """As the inner one."""
        return self._inner.propose()

    def over(self) -> bool:
        """As the inner one."""
        return self._inner.over()

    def left_over(self) -> Proposal | None:
        """As the inner one."""
        return self._inner.left_over()

    def again(self, trial: int) -> Proposal | None:
        """As the inner one."""
        return self._inner.again(trial)

    def started(self, trial: int, *, host: str, device: str) -> None:
        """Not worth a transaction."""

    def epoch(self, trial: int, epoch: Epoch) -> None:
        """Keep it until the trial ends; a model hears of it at once."""
        self._last[trial] = epoch
        if self._inner.model is not None:
            self._inner.model.hear(trial, epoch.epoch, asdict(epoch))

    def retried(self, trial: int, reason: str) -> None:
        """As the inner one."""
        self._inner.retried(trial, reason)

    def ended(self, trial: int, outcome: Outcome) -> None:
        """Report the last epoch, then the end."""
        if (last := self._last.pop(trial, None)) is not None:
            self._inner.epoch(trial, last)
        self._inner.ended(trial, outcome)


def replayed(
    proposer: Proposer, landscape: Landscape, stopper: Stopper | None, *, workers: int, epochs: int | None = None
) -> Simulation:
    """Let any proposer and any stopper search a landscape."""
    simulation = Simulation()
    proposals: dict[int, tuple[Proposal, Sequence[Epoch] | None]] = {}

    def curve(proposal: Proposal) -> Sequence[Epoch] | None:
        found = landscape.curve(proposal)
        proposals[proposal.trial] = (proposal, found)
        return found

    def watch(moment: Moment) -> None:
        simulation.moments.append(moment)
        if isinstance(moment.outcome, Finished):
            proposal, known = proposals[moment.trial]
            assert known  # it could not have finished without
            last = known[proposal.epochs - 1]
            values = {"miou": last.miou, "pixel_accuracy": last.pixel_accuracy, **proposal.known}
            simulation.found.append(Found(moment.seconds, moment.epochs, proposal, values))

    SimulatedRunner(curve, stopper, workers=workers, epochs=epochs, watch=watch).run(proposer)
    return simulation
