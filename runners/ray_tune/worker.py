"""The worker's side: one warm process that carries out one trial after another and shares nothing between them.

Torch and timm are imported by the first step, not with this module: Tune would give up a process that is slow to answer
for one that happens to be free.
"""

from __future__ import annotations

import socket
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ray import tune

from blocks.architecture import Component
from runners.deadline import Deadline, exiting
from runners.protocol import Epoch, Outcome, Proposal, Work
from runners.roles import Recipe

if TYPE_CHECKING:
    import torch


class Worker(tune.Trainable):  # type: ignore[misc]
    """Train one epoch a step; the config is a proposal and its job, a result holds `epoch`, `outcome` or both."""

    _next: dict[str, Any] | None = None

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first trial of this process."""
        self.reset_config(config)

    def take(self, config: dict[str, Any]) -> None:
        """Go on with this network from the next step on; the one in hand has ended."""
        self._next = config

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Drop whatever is left of the trial before and take the next; torch, timm and the decoded data stay."""
        self.cleanup()
        self._proposal: Proposal = new_config["proposal"]
        self._work: Work = new_config["work"]
        self._data: Component = new_config["data"]
        self._recipe: Recipe | None = new_config["recipe"]
        self._deadline = Deadline(self._work)
        self._next = None
        return True

    def cleanup(self) -> None:
        """End the trial in hand and give its memory back."""
        running = getattr(self, "_running", None)
        if running is not None:
            running.close()
        self._running: Generator[Epoch, None, Outcome] | None = None

    def step(self) -> dict[str, Any]:
        """Train and evaluate one epoch; a failure is a result like any other, so the process stays warm."""
        from runners.failure import failure
        from runners.ranks import LostRankError, placed

        if self._next is not None:
            self.reset_config(self._next)
        place, described = placed(self._work)
        where = {"host": socket.gethostname(), "device": described}
        result: dict[str, Any] = {**where}
        try:
            with exiting(self._deadline, self._work.traces(self._proposal.trial)):
                result |= self._advance(place)
            if "epoch" in result:
                result["epoch"] = replace(result["epoch"], **where)
            self._deadline.heard()
        except Exception as error:
            if "CUDA error" in str(error) or isinstance(error, LostRankError):
                # The process cannot use its GPU again after this, or one of several is gone; Ray replaces it.
                raise
            result |= {"outcome": failure(error)}
        return result

    def _advance(self, place: torch.device) -> dict[str, Any]:
        import torch

        from runners.data import dataset

        if self._running is None:
            torch.set_num_threads(max(1, int(self._work.cpu)))
            data = dataset(self._data, self._work.place)
            self._running = (self._recipe or _standard(self._work))(self._proposal, self._work, data, place)
        try:
            epoch = next(self._running)
            if epoch.epoch < self._proposal.epochs:
                return {"epoch": epoch}
            # The last epoch and the outcome travel together: no extra round trip.
            return {"epoch": epoch, "outcome": _rest(self._running)}
        except StopIteration as end:
            return {"outcome": end.value}


def _standard(work: Work) -> Recipe:
    if work.processes > 1:
        from runners.ray_tune.train import spread

        return spread
    from runners.recipe import train

    return train


def _rest(running: Generator[Epoch, None, Outcome]) -> Outcome:
    try:
        while True:
            next(running)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
