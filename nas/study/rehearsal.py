"""`--dry-run`: what a sweep would run, and how long that takes, from one measured trial."""

from __future__ import annotations

import random
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from blocks.cost import Cost, cost_of
from blocks.errors import BlockError, RunError
from nas.propose.candidates import protocol_of
from nas.space import Candidate, Space
from nas.study.weights import pinned
from nas.study.work import work_of
from runners.data import DataSet, dataset
from runners.device import device, threads
from runners.halving import rungs
from runners.protocol import Epoch, Proposal, Work
from runners.recipe import train

_SAMPLES = 24


def rehearse(space: Space) -> list[dict[str, Any]]:
    """Sample candidates, train the one of median cost for one epoch, and scale its time to the others by their MACs.

    Returns:
        Rows of `what` and `value`.

    Raises:
        RunError: no sample fits the budget.
    """
    space = pinned(space)
    data = dataset(space.data, space.places())
    work = replace(work_of(space, Path(tempfile.gettempdir())), keep="none", halving=None)
    fitting, share = _fitting(space, data)
    measured = sorted(fitting, key=lambda pair: pair[1].macs)[len(fitting) // 2]
    epoch = _one_epoch(space, data, work, measured[0])
    # Loading and augmentation take the same time for every network: small ones take longer than this says.
    scale = fmean(cost.macs for _, cost in fitting) / measured[1].macs
    epochs = fmean(int(dict(candidate.training)["epochs"]) for candidate, _ in fitting)  # type: ignore[arg-type]
    least = _stopped_early(space, epochs)
    total = space.search.trials * epochs * epoch.seconds * scale
    return [
        {"what": "trials to train", "value": space.search.trials},
        {"what": "sampler", "value": space.search.sampler.name},
        {"what": "share of samples within budget", "value": f"{share:.0%} of {_SAMPLES}"},
        {"what": "epochs at most", "value": f"{space.search.trials * epochs:.0f}"},
        {"what": "epochs with early stopping, about", "value": f"{space.search.trials * least:.0f}"},
        {"what": "measured network", "value": measured[0].architecture.summary()},
        {"what": "its time per epoch", "value": f"{epoch.seconds:.1f} s"},
        {"what": "hours of one place at most", "value": f"{total / 3600:.2f}"},
        {"what": "hours with early stopping, about", "value": f"{total * least / epochs / 3600:.2f}"},
        {
            "what": "each trial gets",
            "value": f"{work.cpu:g} CPU, {_share(work)} GPU; divide the hours by trials at once",
        },
    ]


def _fitting(space: Space, data: DataSet) -> tuple[list[tuple[Candidate, Cost]], float]:
    rng = random.Random(space.search.seed)
    found = []
    for _ in range(_SAMPLES):
        candidate = space.sample(rng)
        try:
            cost = cost_of(
                candidate.architecture,
                size=data.info.size,
                classes=data.info.classes,
                image_channels=data.info.image_channels,
            )
        except BlockError:
            continue
        known = asdict(cost)
        if all(known[name] <= limit for name, limit in space.budget.items() if name in known):
            found.append((candidate, cost))
    if not found:
        raise RunError(f"A sweep needs networks within its budget: none of {_SAMPLES} samples is. Raise the budget.")
    return found, len(found) / _SAMPLES


def _one_epoch(space: Space, data: DataSet, work: Work, candidate: Candidate) -> Epoch:
    protocol = protocol_of(space, candidate, data.info, data.fingerprint())
    proposal = Proposal(trial=0, architecture=candidate.architecture, protocol=protocol, seed=space.search.seed)
    with threads(work.cpu):
        running = train(proposal, work, data, device(work))
        try:
            return next(running)
        finally:
            running.close()


def _share(work: Work) -> str:
    return "its share of a" if work.pack else f"{work.gpu:g}"


def _stopped_early(space: Space, epochs: float) -> float:
    """Mean epochs of a trial when each rung lets the best 1/eta go on. [count]"""
    options = space.search.early_stopping
    if options is None:
        return epochs
    levels = [*rungs(options, int(epochs)), epochs]
    mean, share, before = 0.0, 1.0, 0.0
    for level in levels:
        mean += share * (level - before)
        share, before = share / options.eta, level
    return mean
