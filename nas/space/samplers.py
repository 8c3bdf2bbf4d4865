"""The samplers a space may name, the options they take, and the defaults that fit a budget of some hundred trials.

Who builds them is in `nas.propose`. `nas blocks samplers` prints this as a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal

from blocks.architecture import Component
from blocks.options import Range

Crossover = Literal["uniform", "blx_alpha", "sbx", "spx", "undx", "vsbx"]
_GENERATIONS = 10
_POPULATION = (6, 50)
Probability = Annotated[float, Range(0.0, 1.0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Random:
    """Each answer by chance. The baseline that every other sampler has to beat.

    Why:
        Nothing to choose. It needs no results, so any number of trials may run at once.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Every combination once; all questions must be discrete.

    Why:
        Nothing to choose. For spaces that the budget covers: it begins with the answers that the file lists first.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class NSGA2:
    """Evolution by non-domination and crowding distance: for two objectives.

    Args:
        population: candidates per generation; null is a tenth of the trials, from 6 to 50. [count]
        mutation: probability that an answer is drawn anew; null is 1 / the number of questions.
        crossover: how two parents mix their numbers; listed values always mix uniformly.
        crossover_probability: that a child has two parents.
        swapping: probability of taking an answer from the other parent.

    Why:
        The first generation is drawn by chance and each later one learns only from those before it, so a budget should
        hold some ten. With Optuna's own 50, only ten of 60 trials learn anything: on recorded curves and on random
        landscapes that was no better than chance, while populations of 6 and 10, the smallest tried, were the best.
    """

    population: Annotated[int | None, Range(2, 10_000)] = None
    mutation: Annotated[float | None, Range(0.0, 1.0)] = None
    crossover: Crossover = "uniform"
    crossover_probability: Probability = 0.9
    swapping: Probability = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class NSGA3:
    """Evolution by non-domination and reference points: for three objectives and more.

    Args:
        population: candidates per generation; null is a tenth of the trials, from 6 to 50. [count]
        mutation: probability that an answer is drawn anew; null is 1 / the number of questions.
        crossover: how two parents mix their numbers; listed values always mix uniformly.
        crossover_probability: that a child has two parents.
        swapping: probability of taking an answer from the other parent.
        divisions: of each objective between the reference points. [count]

    Why:
        The population as for nsga2. Three divisions give 10 reference points with three objectives: about as many as a
        generation has members.
    """

    population: Annotated[int | None, Range(2, 10_000)] = None
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

    Why:
        Starting with 5 to 20 random candidates made no difference that could be measured at 60 trials, and 40 was worse
        on random landscapes. Joint models by branch, because the options of a component only mean something together.
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

    Why:
        Ten random candidates, as Optuna has it; not measured here. Proposals take seconds each, and longer the more
        results there are: for trials of many minutes. Training is noisy, so the model keeps its noise term.
    """

    startup: Annotated[int, Range(1, 100_000)] = 10
    deterministic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Surrogate:
    """A model of the score over choices and epochs: expected hypervolume improvement where costs are known.

    Args:
        startup: candidates spread over the cost range before the model speaks. [count]

    Why:
        Three to eight candidates before the model speaks made no difference that could be measured over 12 seeds. On
        the recorded CamVid curves it found more than any other sampler for its epochs, without early stopping
        (docs/search.md). A proposal takes some tenths of a second: for trials of minutes.
    """

    startup: Annotated[int, Range(2, 100_000)] = 6


SAMPLERS: Mapping[str, type] = MappingProxyType(
    {"random": Random, "grid": Grid, "nsga2": NSGA2, "nsga3": NSGA3, "tpe": TPE, "gp": GP, "surrogate": Surrogate}
)


def settled(sampler: Component, trials: int) -> Component:
    """The sampler with what it leaves open derived from the number of trials."""
    options = dict(sampler.options)
    if options.get("population", 0) is None:
        options["population"] = population(trials)
    return Component.of(sampler.name, options)


def population(trials: int) -> int:
    """Candidates per generation of an evolution that is to see some ten generations. [count]"""
    least, most = _POPULATION
    return min(max(round(trials / _GENERATIONS), least), most)
