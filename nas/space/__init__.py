"""Search spaces: YAML in, candidates out."""

from __future__ import annotations

from nas.space.ablation import Ablation
from nas.space.files import shipped
from nas.space.questions import Choices, Question, Span
from nas.space.samplers import SAMPLERS
from nas.space.sections import COSTS, SENSES, Resources, Search
from nas.space.space import Space
from nas.space.tree import Candidate, Forbidden

__all__ = [
    "COSTS",
    "SAMPLERS",
    "SENSES",
    "Ablation",
    "Candidate",
    "Choices",
    "Forbidden",
    "Question",
    "Resources",
    "Search",
    "Space",
    "Span",
    "shipped",
]
