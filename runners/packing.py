"""How many trials share a GPU: each gets the share that its memory needs, as far as that is known.

What a training needs is predicted from the network's cost, and corrected by what the trainings before it have really
taken. Shares come in a few sizes, so that a warm worker finds a next trial of its own.
"""

from __future__ import annotations

import contextlib
from collections import deque
from statistics import median
from typing import Final

from blocks.errors import BlockError
from runners.protocol import Epoch, Proposal

SHARES: Final = (1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 6, 1 / 8)
"""Of a GPU. Below an eighth trials slow each other down more than they save."""

MARGIN: Final = 1.2
"""What a trial is granted beyond what is expected: fragments, workspaces, a larger crop at evaluation."""

_PROCESS_BYTES = 600e6  # a CUDA context and its libraries, per process
_STATE_BYTES = 16  # per parameter: weights, gradients and two moments of AdamW, four bytes each
_REMEMBERED = 20  # measurements that the correction looks back on
_UNMEASURED = 1.5  # cautious, until there is one
_HALF = {"bfloat16", "float16"}


def predicted_bytes(proposal: Proposal) -> float:
    """What a training step of a network is expected to hold on its device. [bytes]

    As `runners.memory.foretold` has it. Of a network that cannot be built here, what its known cost says: parameters
    with their gradients and moments, and the activations of one batch.
    """
    from runners.memory import foretold  # brings torch

    with contextlib.suppress(BlockError):
        return float(foretold(proposal.architecture, proposal.protocol).peak)
    training = proposal.protocol.recipe()
    size = 0.5 if training.precision in _HALF else 1.0
    activations = proposal.known["activation_bytes"] * training.batch * size
    return float(proposal.known["params"] * _STATE_BYTES + activations)


class Packing:
    """Grants shares of GPUs and learns from what was measured.

    Args:
        gpu_bytes: memory of each GPU. [bytes]
        gpus: how many there are. [count]
    """

    def __init__(self, gpu_bytes: float, gpus: float) -> None:
        self._gpu_bytes = gpu_bytes
        self._gpus = gpus
        self._granted: dict[int, float] = {}  # by trial
        self._ratios: deque[float] = deque(maxlen=_REMEMBERED)

    @property
    def full(self) -> bool:
        """Whether not even the least share is left; one trial more may be asked for that has to wait for its share."""
        return sum(self._granted.values()) + SHARES[-1] > self._gpus + 1e-9

    @property
    def correction(self) -> float:
        """Measured over predicted: the median of late."""
        return median(self._ratios) if self._ratios else _UNMEASURED

    def grant(self, proposal: Proposal) -> float:
        """The share that a trial gets until `release`."""
        self._granted[proposal.trial] = self.share(proposal)
        return self._granted[proposal.trial]

    def release(self, proposal: Proposal) -> None:
        """A trial has ended."""
        self._granted.pop(proposal.trial, None)

    def share(self, proposal: Proposal) -> float:
        """The least share whose memory holds a trial; a whole GPU where nothing is known of it."""
        if not {"params", "activation_bytes"} <= proposal.known.keys():
            return 1.0
        needed = predicted_bytes(proposal) * self.correction * MARGIN + _PROCESS_BYTES
        return next((share for share in reversed(SHARES) if needed <= share * self._gpu_bytes), 1.0)

    def measured(self, proposal: Proposal, epoch: Epoch) -> None:
        """Take in the high-water mark of an epoch, where the batch was whole."""
        if epoch.accumulation == 1 and epoch.train_memory_bytes > 0 and proposal.known.get("activation_bytes"):
            self._ratios.append(epoch.train_memory_bytes / predicted_bytes(proposal))
