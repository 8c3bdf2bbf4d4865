"""Simulated searches as rows: how far they were after so many epochs, and what they found."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
from scipy import stats

from blocks.architecture import fingerprint
from nas.analysis.fronts import front
from nas.analysis.yardstick import Yardstick, at
from nas.report.tables import Rows
from nas.store import as_text
from nas.study.simulation import Found, Simulation
from runners.protocol import Protocol

_STEPS = 10


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the mean (Student's t); for a single value, that value."""
    if len(values) < 2 or np.ptp(values) == 0:
        return values[0], values[0]
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    return float(low), float(high)


def course(simulations: Sequence[Simulation], yardstick: Yardstick) -> list[dict[str, object]]:
    """A row for each tenth of the epochs: the mean over the seeds of what had been found by then, and when that was."""
    paths = [yardstick.path([found.values for found in each.found]) for each in simulations]
    longest = max(each.epochs for each in simulations)
    rows: list[dict[str, object]] = []
    for step in range(1, _STEPS + 1):
        epochs = round(longest * step / _STEPS)
        shares = [
            at(path, [found.epochs for found in each.found], epochs)
            for each, path in zip(simulations, paths, strict=True)
        ]
        low, high = interval(shares)
        rows.append(
            {
                "epochs": epochs,
                "hours": fmean(_clock(each, epochs) for each in simulations) / 3600.0,
                "finished": fmean(sum(found.epochs <= epochs for found in each.found) for each in simulations),
                "hypervolume": fmean(shares),
                # A share is between 0 and 1, which Student's t does not know.
                "low": max(low, 0.0),
                "high": min(high, 1.0),
            }
        )
    return rows


def _clock(simulation: Simulation, epochs: int) -> float:
    """When so many epochs had been trained, or the end. [s]"""
    return next((m.seconds for m in simulation.moments if m.epochs >= epochs), simulation.seconds)


def fronts(simulations: Sequence[Simulation], objectives: Mapping[str, str]) -> list[dict[str, object]]:
    """The front of all that the seeds have found; `seeds` is how many of them had the network on their own front."""
    counted: Counter[str] = Counter()
    every: dict[str, dict[str, object]] = {}
    for each in simulations:
        own = front([_row(found) for found in each.found], objectives, states=None)
        counted.update(str(row["identity"]) for row in own)
        every |= {str(row["identity"]): row for row in own}
    best = front(list(every.values()), objectives, states=None)
    return [
        {k: v for k, v in row.items() if k != "identity"} | {"seeds": counted[str(row["identity"])]} for row in best
    ]


def _row(found: Found) -> dict[str, object]:
    architecture, protocol = found.proposal.architecture, found.proposal.protocol
    components: dict[str, object] = {slot: component.name for slot, component in architecture.slots()}
    model = dict(architecture.backbone.options).get("model")
    values = {name: found.values[name] for name in ("miou", "macs", "params") if name in found.values}
    rest = {name: value for name, value in found.values.items() if name not in values and not math.isnan(value)}
    key = {"identity": fingerprint(architecture.fingerprint + protocol.fingerprint)}
    return values | components | {"model": as_text(model) if model else None} | _training(protocol) | rest | key


def _training(protocol: Protocol) -> dict[str, object]:
    return {"learning_rate": dict(protocol.training).get("learning_rate")}


def summary(simulations: Sequence[Simulation], shown: Rows) -> str:
    """A line for people."""
    last = shown[-1]
    counts: Counter[str] = sum((each.counts for each in simulations), Counter())
    states = ", ".join(f"{count / len(simulations):g} {state}" for state, count in counts.most_common())
    epochs, hours = fmean(each.epochs for each in simulations), fmean(each.seconds for each in simulations) / 3600.0
    return (
        f"{len(simulations)} seeds, on average: {states}; {epochs:.0f} epochs in {hours:.2f} virtual hours, "
        f"{last['hypervolume']:.1%} of the recorded hypervolume"
    )
