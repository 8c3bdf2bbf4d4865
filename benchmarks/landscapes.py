"""Synthetic landscapes for `benchmarks/search.py`: spaces whose learning curves follow a rule instead of a training.

A landscape is a real search space and a rule for curves and costs. Every effect is drawn once from a generator seeded
with the landscape's name and the choice, so that a network has the same curve in every run. The rules were fixed before
any strategy was tuned on them; they differ in what makes early stopping hard.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from blocks.architecture import Architecture
from nas.space import Space
from nas.store import choices_of
from runners.protocol import Epoch, Proposal, Protocol

EPOCHS = 16
SPACE = f"""
name: synthetic
data: {{shapes: {{size: [64, 64]}}}}
architecture:
  backbone:
    timm: {{model: {{choice: [resnet10t, resnet18, mobilenetv3_small_050, mobilenetv4_conv_small_050]}}}}
  context:
    choice:
      none:
      ppm: {{bins: {{choice: [[1, 2, 3, 6], [1, 2, 4], [2, 6]]}}}}
      aspp: {{rates: {{choice: [[6, 12, 18], [3, 6, 9], [2, 4]]}}}}
      psa: {{mode: {{choice: [parallel, sequential]}}}}
  align: {{bilinear: {{mode: {{choice: [sum, concat]}}, channels: {{choice: [16, 32, 64, 128]}}}}}}
training: {{epochs: {EPOCHS}, learning_rate: {{choice: [5.0e-4, 2.0e-3, 8.0e-3]}}}}
search: {{sampler: random, trials: 100}}
"""
_ASKED = (
    *("backbone.timm.model", "context", "context.ppm.bins", "context.aspp.rates", "context.psa.mode"),
    *("align.bilinear.mode", "align.bilinear.channels", "training.learning_rate"),
)
_COSTLY = _ASKED[:-1]  # the learning rate costs nothing


@dataclass(frozen=True, slots=True)
class Rule:
    """What makes a landscape.

    Args:
        crossing: how much slower the better networks learn; 0 is all at one pace. [e-foldings per unit of quality]
        noise: standard deviation of the mIoU of one epoch.
        rugged: share of the quality that comes from pairs of choices, not from choices.
        late: share of the networks that learn nothing in the first half of the schedule.
    """

    crossing: float = 0.0
    noise: float = 0.003
    rugged: float = 0.2
    late: float = 0.0


RULES: Mapping[str, Rule] = {
    "aligned": Rule(),
    "crossing": Rule(crossing=4.0),
    "noisy": Rule(crossing=0.7, noise=0.02),
    "rugged": Rule(crossing=0.7, rugged=0.7),
    "late": Rule(crossing=0.7, late=0.15),
}


class Landscape:
    """Curves and costs for the candidates of `SPACE`.

    Args:
        name: one of `RULES`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.space = Space.loads(SPACE)
        self._rule = RULES[name]

    def cost(self, architecture: Architecture, protocol: Protocol) -> dict[str, int]:
        """Parameters, MACs and the like, from 10 million to some billion MACs."""
        chosen = self._chosen(architecture, protocol)
        decades = 8.2 + sum(0.35 * self._effect("cost", p, v) for p, v in chosen.items() if p in _COSTLY)
        macs = int(10**decades)
        return {"params": macs // 50, "macs": macs, "macs_conv": macs, "activation_bytes": macs // 10}

    def curve(self, proposal: Proposal) -> list[Epoch]:
        """The whole learning curve."""
        rule = self._rule
        chosen = self._chosen(proposal.architecture, proposal.protocol)
        macs = self.cost(proposal.architecture, proposal.protocol)["macs"]
        quality = self._quality(chosen, macs)
        final = 0.1 + 0.6 / (1.0 + math.exp(-quality))
        pace = 2.5 * math.exp(
            0.3 * rule.crossing * quality + 0.2 * self._effect("pace", "", str(sorted(chosen.items())))
        )
        noise = random.Random(f"{self.name} noise {sorted(chosen.items())}")
        starts = EPOCHS // 2 if noise.random() < rule.late else 0
        seconds = 1.0 + macs / 1e8
        found = []
        for epoch in range(1, EPOCHS + 1):
            learnt = 1.0 - math.exp(-max(0, epoch - starts) / (pace if not starts else pace / 2))
            miou = max(0.0, final * (0.1 + 0.9 * learnt) + noise.gauss(0.0, rule.noise))
            found.append(epoch_of(epoch, miou, seconds))
        return found

    def _quality(self, chosen: Mapping[str, str], macs: int) -> float:
        single = [self._effect("quality", p, v) for p, v in chosen.items()]
        items = sorted(chosen.items())
        pairs = [self._effect("pair", f"{a}{b}", "") for n, a in enumerate(items) for b in items[:n]]
        mixed = math.sqrt(1 - self._rule.rugged) * sum(single) / math.sqrt(len(single))
        mixed += math.sqrt(self._rule.rugged) * sum(pairs) / math.sqrt(len(pairs))
        # Larger networks are better, with diminishing returns: else the front would be one point.
        return 0.6 * mixed + 0.7 * (math.log10(macs) - 8.2)

    def _effect(self, kind: str, path: str, value: str) -> float:
        return _drawn(f"{self.name if kind != 'cost' else 'all'} {kind} {path}={value}")

    def _chosen(self, architecture: Architecture, protocol: Protocol) -> dict[str, str]:
        every = choices_of(architecture, protocol)
        return {path: str(every[path]) for path in _ASKED if path in every}


@cache
def _drawn(seed: str) -> float:
    return random.Random(seed).gauss(0.0, 1.0)


def epoch_of(number: int, miou: float, seconds: float) -> Epoch:
    """An epoch of which nothing but the mIoU and the time is known."""
    unknown = float("nan")
    return Epoch(
        epoch=number,
        loss=unknown,
        miou=miou,
        pixel_accuracy=unknown,
        class_iou=(),
        learning_rate=unknown,
        seconds=seconds,
        train_memory_bytes=0,
    )
