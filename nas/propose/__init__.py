"""Optuna ask and tell: budget gate, identity, honest feedback."""

from __future__ import annotations

import optuna

from nas.propose.budget import MEASURED
from nas.propose.listed import ListedProposer
from nas.propose.mirror import Mirror
from nas.propose.parents import Parents
from nas.propose.progress import Progress, Running
from nas.propose.proposer import OptunaProposer

# What Optuna has to say at this level is about its own book-keeping, not about anyone's networks.
optuna.logging.set_verbosity(optuna.logging.WARNING)

__all__ = ["MEASURED", "ListedProposer", "Mirror", "OptunaProposer", "Parents", "Progress", "Running"]
