"""What is handed over between those who choose, those who run and those who remember. No torch is imported here."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from blocks.architecture import Architecture, Component, canonical_json, fingerprint
from blocks.options import Range, Value
from runners.identity import Parent
from runners.training import Training

Keep = Literal["front", "last", "all", "none"]
Spread = Literal["crowding", "epsilon_net"]
PerTrial = Literal["one", "ddp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Everything besides the architecture and the seed that changes a result. No path, device or worker count.

    Args:
        data: the data set's name and the options that change what it yields.
        data_fingerprint: of its files.
        size: height and width that networks are trained and evaluated at. [px]
        classes: how many classes are told apart. [count]
        image_channels: 1, 3 or 4. [count]
        training: options of `Training`, complete.
        main: losses on the logits, added up.
        coarse: losses on each of the coarse logits, added up.
        auxiliary: losses on what else the network gives, added up.
        weights: hash of the contents of the file that networks start from; empty where there is none.
    """

    data: Component
    data_fingerprint: str
    size: tuple[int, int]
    classes: int
    image_channels: int
    training: tuple[tuple[str, Value], ...]
    main: tuple[Component, ...]
    coarse: tuple[Component, ...]
    auxiliary: tuple[Component, ...] = ()
    weights: str = ""

    @functools.lru_cache(maxsize=64)  # noqa: B019 - a few small values; every trial of a study asks for the same
    def canonical(self) -> str:
        """The one JSON spelling: what `fingerprint` hashes and the store keeps."""
        plain = asdict(self) | {
            "data": self.data.plain(),
            "training": dict(self.training),
            "main": [c.plain() for c in self.main],
            "coarse": [c.plain() for c in self.coarse],
            "auxiliary": [c.plain() for c in self.auxiliary],
        }
        if not self.weights:
            del plain["weights"]  # as it was written before there were any
        return canonical_json(plain)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.canonical())

    def losses(self) -> tuple[tuple[str, Component], ...]:
        """Every loss with the slot whose catalogue holds it."""
        criteria = (("loss", component) for component in (*self.main, *self.coarse))
        return (*criteria, *(("auxiliary", component) for component in self.auxiliary))

    def recipe(self) -> Training:
        """The training options as the typed value (inactive ones at their defaults)."""
        return Training(**dict(self.training))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One network to train: what a proposer hands to a runner.

    Args:
        trial: its number in its study.
        architecture: the network, complete.
        protocol: how it is trained and judged.
        seed: of weights, shuffling and augmentation.
        known: objectives that are known before the first epoch, e.g. `{"macs": 1.2e9}`.
        limits: what the worker must measure before its first step and refuse when exceeded, e.g. `{"latency_ms": 20}`.
        done: epochs already recorded: training continues from the checkpoint when there is one. [count]
        parent: whose weights it begins with where there is no checkpoint, or None for a fresh start.
    """

    trial: int
    architecture: Architecture
    protocol: Protocol
    seed: int
    known: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    done: int = 0
    parent: Parent | None = None

    @property
    def epochs(self) -> int:
        """Epochs of the full schedule. [count]"""
        return int(dict(self.protocol.training)["epochs"])  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What one epoch of training and evaluation gave.

    Args:
        epoch: counted from 1.
        loss: mean over the epoch's steps.
        miou: mean over classes that occur, from one confusion matrix over the data set.
        pixel_accuracy: share of labelled pixels that are right.
        class_iou: one a class; None for a class that occurs neither in labels nor in predictions.
        learning_rate: at the epoch's last step.
        seconds: of training and evaluation.
        train_memory_bytes: high-water mark of this training: of the CUDA device, else of the process.
        latency_ms: median time of a forward pass, where an objective or a limit asks for it.
        peak_memory_bytes: of that forward pass.
        accumulation: parts that a batch was taken in, for want of memory: above 1, batch norms saw less. [count]
        log: what the worker logged and warned since the last report.
        host: the machine that trained it, where the runner was not told before.
        device: of that machine.
    """

    epoch: int
    loss: float
    miou: float
    pixel_accuracy: float
    class_iou: tuple[float | None, ...]
    learning_rate: float
    seconds: float
    train_memory_bytes: int
    latency_ms: float | None = None
    peak_memory_bytes: int | None = None
    accumulation: int = 1
    log: str = ""
    host: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """The full schedule was trained."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """Early stopping ended it at a rung."""

    rung: int  # epochs at which it was compared
    missing: float  # share of the rungs that it did not reach


@dataclass(frozen=True, slots=True)
class Paused:
    """Early stopping set it aside at a rung, with its checkpoint; it is proposed again or ends as `Stopped`."""

    rung: int  # epochs at which it was compared
    missing: float  # share of the rungs that it has not reached


@dataclass(frozen=True, slots=True)
class Failed:
    """It crashed or diverged; a crash is data, the search goes on.

    Args:
        reason: one line.
        traceback: all of it.
        log: what the worker logged before.
        hopeless: the data or the machine will not do, so that every other trial would end the same way.
    """

    reason: str
    traceback: str = ""
    log: str = ""
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """It exceeds a limit: which, by how much."""

    limit: str
    value: float
    allowed: float

    @property
    def excess(self) -> float:
        """Relative excess, always above 0."""
        return self.value / self.allowed - 1.0


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The sweep ended before the trial did; `--resume` continues it."""


Outcome = Finished | Stopped | Paused | Failed | Rejected | Interrupted


@dataclass(frozen=True, slots=True, kw_only=True)
class Halving:
    """Options of early stopping; the `early_stopping:` entry of a space.

    Args:
        grace: epochs that every trial gets. [count]
        eta: the best 1/eta of a rung goes on; the rungs lie at grace, grace x eta, grace x eta x eta, ... epochs.
        minimum: trials that a rung has seen before anyone is stopped there. [count]
        spread: who goes first among trials that do not dominate each other: those with the most room around them
            (`crowding`), or those that together cover the front most evenly (`epsilon_net`).
        brackets: trials are dealt out over so many ladders of rungs; each next one has eta times the grace, and fewer
            trials. Against rankings that turn over late; more than the ladder has rungs train some to the end. [count]
        promote: a stopped trial goes on later, from its checkpoint, when its rung has filled and it is now among the
            best 1/eta; until then it is `paused`. On recorded curves the front gets as good after fewer epochs; the
            checkpoints of those that wait need the disk.
        trust: a rung stops nobody before its ranking has proved itself: until the trials that finished are ranked by
            their scores at the rung as at their end, to this Kendall's tau at least; null trusts every rung at once.
            Where networks that learn slowly end best, nothing is stopped then.
        safe: a rung stops only what is hopeless, too: what a finished trial would still dominate if it gained as much
            until its end as any finished trial has gained from that rung on; nobody before ten have finished. It
            saves less than `1/eta` promises. For samplers whose proposals are mostly worth finishing, such as
            `surrogate`, and together with `trust`: where the better networks learn more slowly, those that finished
            first tell too little of what they will gain.
    """

    grace: Annotated[int, Range(1, 10_000)] = 1
    eta: Annotated[int, Range(2, 16)] = 3
    minimum: Annotated[int, Range(1, 1_000)] = 4
    spread: Spread = "crowding"
    brackets: Annotated[int, Range(1, 8)] = 1
    promote: bool = True
    trust: Annotated[float | None, Range(-1.0, 1.0)] = None
    safe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How this sweep is carried out here: what may differ between machines and never changes a result.

    Args:
        place: where the data lie: the data set's parameters before its `*`, e.g. `{"root": "/data/camvid"}`.
        folder: where trials keep checkpoints; on a cluster, a folder that all nodes see.
        cpu: CPUs per trial, fractions allowed. [count]
        gpu: GPUs per trial, fractions allowed. [count]
        per_trial: `ddp` trains each network in several processes, see `processes`.
        pack: each trial gets the share of a GPU that its memory needs; `gpu` is then the most.
        gpu_bytes: memory of each GPU for that; None asks the GPUs. [bytes]
        loaders: processes that load data, per trial; 0 loads in the trial's own process. [count]
        keep: which checkpoints stay.
        halving: early stopping, or None to train everything to its end.
        objectives: name -> `max` or `min`: what early stopping compares.
        concurrent: most trials at once, or None for as many as fit. [count]
        cache_bytes: decoded images that are kept; those beyond are decoded each time. [bytes]
        cache: folder of a machine's own where they are kept in files that all workers map; None is one in its temporary
            folder, `memory` keeps them in each worker's.
        checkpoint_minutes: how often an epoch in training is saved, too; 0 saves between epochs alone. [min]
        trial_seconds: most that one trial trains in one run; longer, and it has failed. None is no limit. [s]
        stalled_seconds: without an epoch after which a trial hangs and has failed. None waits for ever. [s]
        weights: the file that networks start from, where the protocol has a hash of one.
    """

    place: Mapping[str, str]
    folder: Path
    cpu: float = 1.0
    gpu: float = 0.0
    per_trial: PerTrial = "one"
    pack: bool = False
    gpu_bytes: float | None = None
    loaders: int = 0
    keep: Keep = "last"
    halving: Halving | None = None
    objectives: Mapping[str, str] = field(default_factory=lambda: {"miou": "max", "macs": "min"})
    concurrent: int | None = None
    cache_bytes: int = 2 << 30
    cache: str | None = None
    checkpoint_minutes: float = 10.0
    trial_seconds: float | None = None
    stalled_seconds: float | None = None
    weights: Path | None = None

    @property
    def processes(self) -> int:
        """In how many processes each network trains: one a GPU, or one a CPU where it has no GPU. [count]"""
        return processes(self.per_trial, cpu=self.cpu, gpu=self.gpu)

    def traces(self, trial: int) -> Path:
        """Where a trial that hung says in which line of code it did."""
        return self.folder / f"{trial:06d}" / "hang.txt"

    @property
    def saves(self) -> bool:
        """Whether trials write checkpoints: one that is paused needs its own, even where none stays in the end."""
        return self.keep != "none" or (self.halving is not None and self.halving.promote)

    def checkpoint(self, trial: int) -> Path:
        """Where a trial's checkpoint lies."""
        return self.folder / f"{trial:06d}" / "checkpoint.pt"


def processes(per_trial: PerTrial, *, cpu: float, gpu: float) -> int:
    """In how many processes one network trains on so many CPUs and GPUs. [count]"""
    return 1 if per_trial == "one" else max(1, int(gpu or cpu))
