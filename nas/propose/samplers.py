"""Between a space's questions and Optuna: samplers by name, distributions, and values both ways."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler, nsgaii

from blocks.architecture import Component, freeze
from blocks.options import Value
from nas.space import Choices, Question

_CROSSOVERS: Mapping[str, Callable[[float], nsgaii.BaseCrossover]] = {
    "uniform": lambda swapping: nsgaii.UniformCrossover(swapping_prob=swapping),
    "blx_alpha": lambda _: nsgaii.BLXAlphaCrossover(),
    "sbx": lambda _: nsgaii.SBXCrossover(),
    "spx": lambda _: nsgaii.SPXCrossover(),
    "undx": lambda _: nsgaii.UNDXCrossover(),
    "vsbx": lambda _: nsgaii.VSBXCrossover(),
}


def _evolution(options: Mapping[str, Any]) -> dict[str, Any]:
    swapping = options["swapping"]
    return {
        "population_size": options["population"],
        "mutation_prob": options["mutation"],
        "crossover": _CROSSOVERS[options["crossover"]](swapping),
        "crossover_prob": options["crossover_probability"],
        "swapping_prob": swapping,
    }


def _nsga2(options: Mapping[str, Any], seed: int) -> BaseSampler:
    return NSGAIISampler(seed=seed, **_evolution(options))


def _nsga3(options: Mapping[str, Any], seed: int) -> BaseSampler:
    return NSGAIIISampler(seed=seed, dividing_parameter=options["divisions"], **_evolution(options))


def _tpe(options: Mapping[str, Any], seed: int) -> BaseSampler:
    return TPESampler(
        seed=seed,
        n_startup_trials=options["startup"],
        n_ei_candidates=options["candidates"],
        multivariate=options["multivariate"],
        group=options["multivariate"] and options["group"],
        warn_independent_sampling=False,
    )


def _gp(options: Mapping[str, Any], seed: int) -> BaseSampler:
    return GPSampler(
        seed=seed,
        n_startup_trials=options["startup"],
        deterministic_objective=options["deterministic"],
        warn_independent_sampling=False,
    )


def _by_chance(options: Mapping[str, Any], seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


# The grid is enumerated and the surrogate asked by the proposer, which hands Optuna every answer.
_BUILDERS: Mapping[str, Callable[[Mapping[str, Any], int], BaseSampler]] = {
    "random": _by_chance,
    "grid": _by_chance,
    "surrogate": _by_chance,
    "nsga2": _nsga2,
    "nsga3": _nsga3,
    "tpe": _tpe,
    "gp": _gp,
}


def sampler(component: Component, seed: int) -> BaseSampler:
    """Build Optuna's sampler from its name and settled options; `nas.space.samplers` holds their meaning and bounds."""
    with warnings.catch_warnings():
        # Several options of these samplers are marked experimental; a space names them on purpose.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return _BUILDERS[component.name](dict(component.options), seed)


def distribution(question: Question) -> BaseDistribution:
    """The question as Optuna's distribution."""
    domain = question.domain
    if isinstance(domain, Choices):
        return CategoricalDistribution([_scalar(v) for v in domain.values])
    if domain.kind == "int":
        step = 1 if domain.log or domain.step is None else int(domain.step)
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log, step=step)
    return FloatDistribution(float(domain.low), float(domain.high), log=domain.log, step=domain.step)


def ask(trial: optuna.Trial, question: Question) -> Value:
    """Put one question to Optuna."""
    domain = question.domain
    if isinstance(domain, Choices):
        choices = [_scalar(v) for v in domain.values]
        return domain.values[choices.index(trial.suggest_categorical(question.path, choices))]
    if domain.kind == "int":
        step = 1 if domain.log or domain.step is None else int(domain.step)
        return trial.suggest_int(question.path, int(domain.low), int(domain.high), log=domain.log, step=step)
    return trial.suggest_float(question.path, float(domain.low), float(domain.high), log=domain.log, step=domain.step)


def parameters(answers: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded answers as Optuna's parameters."""
    return {path: _scalar(freeze(value)) for path, value in answers.items()}


def _scalar(value: Value) -> bool | int | float | str | None:
    # Optuna's storages keep plain scalars only; a list travels as its JSON.
    return json.dumps(value) if isinstance(value, tuple) else value
