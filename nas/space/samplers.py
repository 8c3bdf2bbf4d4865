"""The samplers a space may name and the options they take. Who builds them is in `nas.propose`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal

from blocks.options import Range

Crossover = Literal["uniform", "blx_alpha", "sbx", "spx", "undx", "vsbx"]
Probability = Annotated[float, Range(0.0, 1.0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Random:
    """Each answer by chance. The baseline that every other sampler has to beat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Every combination once; all questions must be discrete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NSGA2:
    """Evolution by non-domination and crowding distance: for two objectives.

    Args:
        population: candidates per generation. [count]
        mutation: probability that an answer is drawn anew; null is 1 / the number of questions.
        crossover: how two parents mix their numbers; listed values always mix uniformly.
        crossover_probability: that a child has two parents.
        swapping: probability of taking an answer from the other parent.
    """

    population: Annotated[int, Range(2, 10_000)] = 16
    mutation: Annotated[float | None, Range(0.0, 1.0)] = None
    crossover: Crossover = "uniform"
    crossover_probability: Probability = 0.9
    swapping: Probability = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class NSGA3:
    """Evolution by non-domination and reference points: for three objectives and more.

    Args:
        population: candidates per generation. [count]
        mutation: probability that an answer is drawn anew; null is 1 / the number of questions.
        crossover: how two parents mix their numbers; listed values always mix uniformly.
        crossover_probability: that a child has two parents.
        swapping: probability of taking an answer from the other parent.
        divisions: of each objective between the reference points. [count]
    """

    population: Annotated[int, Range(2, 10_000)] = 16
    mutation: Annotated[float | None, Range(0.0, 1.0)] = None
    crossover: Crossover = "uniform"
    crossover_probability: Probability = 0.9
    swapping: Probability = 0.5
    divisions: Annotated[int, Range(1, 100)] = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TPE:
    """Tree-structured Parzen estimator: models good and bad answers apart.

    Args:
        startup: random candidates before the model speaks. [count]
        candidates: drawn from the model, of which the best is taken. [count]
        multivariate: model the answers jointly.
        group: with `multivariate`, model the questions of each branch of a conditional space together.
    """

    startup: Annotated[int, Range(1, 100_000)] = 10
    candidates: Annotated[int, Range(1, 100_000)] = 24
    multivariate: bool = True
    group: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class GP:
    """Gaussian process with expected (hypervolume) improvement: for few trials and expensive ones.

    Args:
        startup: random candidates before the model speaks. [count]
        deterministic: the same network always scores the same, so that the model needs no noise term.
    """

    startup: Annotated[int, Range(1, 100_000)] = 10
    deterministic: bool = False


SAMPLERS: Mapping[str, type] = MappingProxyType(
    {"random": Random, "grid": Grid, "nsga2": NSGA2, "nsga3": NSGA3, "tpe": TPE, "gp": GP}
)
