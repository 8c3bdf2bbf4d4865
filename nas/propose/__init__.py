"""Optuna ask and tell: budget gate, identity, honest feedback."""

from __future__ import annotations

from nas.propose.mirror import Mirror
from nas.propose.progress import Progress, Running
from nas.propose.proposer import MEASURED, OptunaProposer

__all__ = ["MEASURED", "Mirror", "OptunaProposer", "Progress", "Running"]
