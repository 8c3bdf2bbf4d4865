"""The gate before training: what is over budget is turned down, and a search without hope ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict

from blocks.architecture import Architecture
from blocks.cost import cost_of
from blocks.errors import RunError
from runners.protocol import Outcome, Protocol, Rejected

MEASURED = frozenset({"latency_ms", "peak_memory_bytes"})  # known only on the worker's device
_HOPELESS = 60  # candidates in a row that do not fit


def built_cost(architecture: Architecture, protocol: Protocol) -> dict[str, int]:
    """The cost of a network as this project builds it.

    Raises:
        BlockError: it cannot be built.
    """
    cost = cost_of(architecture, size=protocol.size, classes=protocol.classes, image_channels=protocol.image_channels)
    return asdict(cost)


class Budget:
    """Limits, and how the last candidates fared.

    Args:
        limits: cost -> the most that a candidate may have.
    """

    def __init__(self, limits: Mapping[str, float]) -> None:
        self._limits = dict(limits)
        self._misses = 0
        self._least: dict[str, float] = {}

    @property
    def measured(self) -> dict[str, float]:
        """The limits that a worker checks on its device, before the first step."""
        return {name: limit for name, limit in self._limits.items() if name in MEASURED}

    def exceeded(self, cost: Mapping[str, float]) -> Rejected | None:
        """The limit that is exceeded most, if any is."""
        limits = [(name, limit) for name, limit in self._limits.items() if name in cost and cost[name] > limit]
        broken = [Rejected(name, float(cost[name]), limit) for name, limit in limits]
        return max(broken, key=lambda rejected: rejected.excess, default=None)

    def hit(self) -> None:
        """A candidate is in training."""
        self._misses = 0

    def miss(self, outcome: Outcome) -> None:
        """A candidate did not fit, or could not be built."""
        self._misses += 1
        if isinstance(outcome, Rejected):
            self._least[outcome.limit] = min(outcome.value, self._least.get(outcome.limit, math.inf))

    def check(self, *, last: bool) -> None:
        """End a search that would go on for ever without training anything.

        Args:
            last: there are no more candidates, and none was trained.

        Raises:
            RunError: so it is; the message says what to raise.
        """
        if self._misses < _HOPELESS and not (last and self._misses):
            return
        if not self._least:
            raise RunError(
                f"A sweep needs networks that can be built: the last {self._misses} cannot. See `nas trials`."
            )
        raised = [
            f"budget.{name} is {self._limits[name]:.4g}, the least that was proposed {value:.4g}"
            for name, value in self._least.items()
        ]
        raise RunError(
            f"A sweep needs networks within its budget: the last {self._misses} candidates exceed it. "
            f"Raise the budget or offer smaller networks: {'; '.join(raised)}."
        )
