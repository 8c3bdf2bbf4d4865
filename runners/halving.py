"""Early stopping that respects the whole front: successive halving, ranked by non-domination and spread.

`runners.rung.goes_on` decides, a pure function of the points that a rung has seen; `ParetoHalving` only remembers which
trial has reached which rung, and every runner uses the same one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from runners.protocol import Epoch, Halving, Paused, Proposal, Stopped
from runners.rung import Rung, Values, goes_on

__all__ = ["ParetoHalving", "bracket_of", "goes_on", "rungs"]


def rungs(options: Halving, epochs: int, bracket: int = 0) -> tuple[int, ...]:
    """List the epochs at which trials of a schedule are compared: below its end, each eta times the one before."""
    levels, level = [], options.grace * options.eta**bracket
    while level < epochs:
        levels.append(level)
        level *= options.eta
    return tuple(levels)


def bracket_of(options: Halving, trial: int, seed: int) -> int:
    """Deal a trial out to a bracket: by its number and the study's seed alone, so that every run agrees.

    The shares are those of Hyperband (Li et al., 2018, alg. 1): a longer grace for fewer trials, so that each bracket
    costs about as many epochs.
    """
    last = options.brackets - 1
    shares = np.array([options.eta ** (last - s) / (last - s + 1) for s in range(options.brackets)])
    drawn = np.random.SeedSequence([seed, trial]).generate_state(1)[0] / 2**32
    return int(np.searchsorted(np.cumsum(shares) / shares.sum(), drawn, side="right"))


class ParetoHalving:
    """Remember who reached which rung with which objectives, and who waits there.

    Args:
        options: grace, eta, minimum and the others.
        objectives: name -> `max` or `min`; a name is looked up in `Proposal.known`, else in the epoch's metrics.
        seed: of the study: it deals the trials out to the brackets.
        trials: the most that will ever reach a rung, or None where nobody knows: with it, a trial that can never be
            promoted ends at once. [count]
    """

    def __init__(
        self, options: Halving, objectives: Mapping[str, str], *, seed: int = 0, trials: int | None = None
    ) -> None:
        self._options = options
        self._objectives = dict(objectives)
        self._seed = seed
        self._places = math.inf if trials is None else -(-trials // options.eta)
        self._rungs: dict[tuple[int, int], Rung] = {}  # by epochs and bracket

    # A trial at a rung

    def goes_on(self, proposal: Proposal, epoch: Epoch) -> bool:
        """Record the trial where this epoch is a rung, and say whether it trains another epoch."""
        if epoch.epoch == proposal.epochs:
            self.finish(proposal.trial, proposal.known, epoch)
        if epoch.epoch not in self._ladder(proposal):
            return True
        self.record(proposal.trial, proposal.known, epoch)
        return proposal.trial in self._rung(proposal.trial, epoch.epoch).best()

    def stopped(self, proposal: Proposal, epoch: Epoch) -> Stopped | Paused:
        """Word the outcome of a trial that does not go on after this epoch; where it may later, it waits from now."""
        return self._end(proposal, epoch.epoch)

    def comes_back(self, proposal: Proposal) -> Stopped | Paused | None:
        """Judge a trial that an earlier run has brought to a rung, in case it ended there; None if it goes on."""
        if proposal.done not in self._ladder(proposal):
            return None
        rung = self._rung(proposal.trial, proposal.done)
        if proposal.trial not in rung or proposal.trial in rung.best():
            return None
        return self._end(proposal, proposal.done)

    def record(self, trial: int, known: Mapping[str, float], epoch: Epoch) -> None:
        """Remember a trial at a rung, without judging it."""
        self._rung(trial, epoch.epoch).add(trial, self._values(known, epoch))

    def finish(self, trial: int, known: Mapping[str, float], epoch: Epoch) -> None:
        """Remember how a trial has ended its schedule: what the rungs that it has passed are measured by."""
        for rung in self._rungs.values():
            rung.finish(trial, self._values(known, epoch))

    def _values(self, known: Mapping[str, float], epoch: Epoch) -> Values:
        values = asdict(epoch) | dict(known)
        found = (math.nan if values.get(name) is None else float(values[name]) for name in self._objectives)
        signs = (-1.0 if goal == "max" else 1.0 for goal in self._objectives.values())
        return tuple(sign * value for sign, value in zip(signs, found, strict=True))

    # Trials that wait

    def wait(self, trial: int, stopped: Stopped) -> None:
        """Remember that a trial, recorded at this rung, waits for its promotion."""
        self._rung(trial, stopped.rung).wait(trial, stopped)

    def promotable(self) -> int | None:
        """The first trial at the highest rung where one waits that is now among the best 1/eta, or None."""
        for _, rung in sorted(self._rungs.items(), key=lambda entry: entry[0], reverse=True):
            if found := rung.promotable():
                return min(found)
        return None

    def promote(self, trial: int) -> None:
        """A trial waits no longer: it goes on."""
        next(rung for rung in self._rungs.values() if trial in rung.waiting()).leave(trial)

    def lost(self) -> list[tuple[int, Stopped]]:
        """Let go of those that can never be promoted: more dominate them than a full rung has places."""
        return self._left(self._places)

    def rest(self) -> list[tuple[int, Stopped]]:
        """Let go of all that wait: no one comes any more."""
        return self._left(0)

    def _left(self, dominators: float) -> list[tuple[int, Stopped]]:
        return [(t, rung.leave(t)) for rung in self._rungs.values() for t in rung.waiting(dominators)]

    def _end(self, proposal: Proposal, reached: int) -> Stopped | Paused:
        levels = self._ladder(proposal)
        # The end of the schedule is the last rung.
        left = sum(level > reached for level in levels) + 1
        stopped = Stopped(rung=reached, missing=left / (len(levels) + 1))
        if not self._options.promote:
            return stopped
        self.wait(proposal.trial, stopped)
        return Paused(stopped.rung, stopped.missing)

    def _rung(self, trial: int, reached: int) -> Rung:
        bracket = bracket_of(self._options, trial, self._seed)
        return self._rungs.setdefault((reached, bracket), Rung(self._options))

    def _ladder(self, proposal: Proposal) -> tuple[int, ...]:
        bracket = bracket_of(self._options, proposal.trial, self._seed)
        return rungs(self._options, proposal.epochs, bracket)
