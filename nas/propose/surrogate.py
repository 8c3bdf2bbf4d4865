"""A Gaussian process over what was chosen and how far it was trained: what unfinished trials are worth.

Networks that share choices score alike, so each question has an effect of its own and all together have a joint one;
and a trial's score after a few epochs says something of its last one, the more the nearer. Both are in one covariance,
whose strengths are fitted to what is known: where early epochs mislead, they count for little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from blocks.options import Value
from nas.space import Choices, Question
from nas.space.questions import key

Array = NDArray[np.float64]
_JITTER = 1e-6
_STEPS = 25  # of the fit
_FITTED = 200  # scores that the fit takes in: it costs their third power
_MEAN_REACH = 1.5  # halvings of the schedule over which the mean curve changes


class Encoder:
    """Answers as numbers, and how far two of them are apart, question by question.

    Args:
        questions: of the space.
    """

    def __init__(self, questions: Sequence[Question]) -> None:
        self._questions = tuple(questions)
        self._ranked = np.array([_ranked(question) for question in questions], dtype=bool)

    def __call__(self, answers: Mapping[str, Value]) -> Array:
        """One number a question; NaN where it was not asked."""
        return np.array([_place(q, answers[q.path]) if q.path in answers else np.nan for q in self._questions])

    def distances(self, a: Array, b: Array) -> Array:
        """How far apart the answers to each question are, from 0 to 1: (questions, len(a), len(b))."""
        left, right = a.T[:, :, None], b.T[:, None, :]
        apart = np.where(self._ranked[:, None, None], np.abs(left - right), left != right)
        silent = np.isnan(left) | np.isnan(right)
        return np.where(silent, np.isnan(left) != np.isnan(right), apart).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Seen:
    """Scores by network and progress.

    Args:
        places: (n, questions), as the encoder gives them.
        left: (n,) halvings of the schedule that were left: 0 at its end, 1 at its half.
        trials: (n,) which trial each belongs to.
        values: (n,) its scores.
    """

    places: Array
    left: Array
    trials: Array
    values: Array


class Surrogate:
    """Predicts the last score of a network from all scores at hand.

    Args:
        encoder: of the answers.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._settings: Array | None = None
        self._fitted: tuple[bytes, ...] = ()

    def fit(self, seen: Seen) -> None:
        """Fit the strengths of all effects (maximum a posteriori).

        They follow from what is seen alone, never from an earlier fit: a resumed search finds the same ones.
        """
        seen = _thinned(seen)
        sight = tuple(part.tobytes() for part in (seen.places, seen.left, seen.trials, seen.values))
        if sight == self._fitted:
            return
        apart, values = self._pairs(seen, seen), torch.from_numpy(_standard(seen.values)[0])
        prior = _prior(seen.places.shape[1])

        def loss(settings: Array) -> tuple[float, Array]:
            point = torch.tensor(settings, requires_grad=True)
            covariance = _covariance(point, *apart) + _noise(point, len(values))
            factor, failed = torch.linalg.cholesky_ex(covariance)
            if failed:
                return 1e10, np.zeros_like(settings)
            weights = torch.cholesky_solve(values[:, None], factor)[:, 0]
            likelihood = -0.5 * values @ weights - factor.diagonal().log().sum()
            found = -likelihood + 0.5 * ((point - torch.from_numpy(prior)) ** 2).sum() / _PRIOR_WIDTH**2
            found.backward()
            assert point.grad is not None
            return found.item(), point.grad.numpy()

        done = minimize(loss, prior, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS})
        self._settings, self._fitted = np.asarray(done.x), sight

    def predict(self, seen: Seen, places: Array, trials: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the last score.

        Args:
            seen: everything that is known; the strengths are those of the last `fit`.
            places: (m, questions) networks.
            trials: (m,) the trial of each, so that its own scores count; -1 for a new one.
        """
        assert self._settings is not None
        point = torch.from_numpy(self._settings)
        values, middle, scale = _standard(seen.values)
        asked = Seen(places, np.zeros(len(places)), trials, np.zeros(len(places)))
        factor = torch.linalg.cholesky(_covariance(point, *self._pairs(seen, seen)) + _noise(point, len(values)))
        between = _covariance(point, *self._pairs(seen, asked))
        whitened = torch.linalg.solve_triangular(factor, between, upper=False)
        mean = whitened.T @ torch.linalg.solve_triangular(factor, torch.from_numpy(values)[:, None], upper=False)
        own = _variance(point, places.shape[1])
        spread = (own - (whitened**2).sum(0)).clamp(min=1e-8).sqrt()
        return mean[:, 0].numpy() * scale + middle, spread.numpy() * scale

    def _pairs(self, a: Seen, b: Seen) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        apart = torch.from_numpy(self._encoder.distances(a.places, b.places))
        same = (a.trials[:, None] == b.trials[None, :]) & (a.trials[:, None] >= 0)
        return apart, torch.from_numpy(same.astype(np.float64)), torch.from_numpy(a.left), torch.from_numpy(b.left)


# Settings, all as logarithms: a strength for each question, then these.
_JOINT, _REACH, _OWN, _MEMORY, _GROWTH, _NOISE = range(-6, 0)
_PRIOR_WIDTH = 1.0


def _prior(questions: int) -> Array:
    return np.array([math.log(0.5 / questions)] * questions + [math.log(v) for v in (0.3, 2.0, 0.05, 3.0, 1.0, 0.02)])


def _covariance(point: Tensor, apart: Tensor, same: Tensor, left: Tensor, right: Tensor) -> Tensor:
    strengths = point[: len(apart)].exp()
    alike = torch.einsum("q,qab->ab", strengths, 1.0 - apart)
    relevance = strengths / strengths.mean()
    joint = point[_JOINT].exp() * torch.exp(-point[_REACH].exp() * torch.einsum("q,qab->ab", relevance, apart) / 3)
    gap = (left[:, None] - right[None, :]).abs()
    memory = torch.exp(-gap / point[_MEMORY].exp())
    size = torch.exp(point[_GROWTH] * (left[:, None] + right[None, :]) / 4)
    mean = 1.0 + 3.0 * torch.exp(-0.5 * (gap / _MEAN_REACH) ** 2)
    return mean + (alike + joint + point[_OWN].exp() * same) * memory * size


def _variance(point: Tensor, questions: int) -> Tensor:
    """Of a score at the end of the schedule."""
    return 4.0 + point[:questions].exp().sum() + point[_JOINT].exp() + point[_OWN].exp()


def _noise(point: Tensor, count: int) -> Tensor:
    return (point[_NOISE].exp() + _JITTER) * torch.eye(count, dtype=torch.float64)


def _standard(values: Array) -> tuple[Array, float, float]:
    """Values with mean 0 and standard deviation 1, that mean, and that deviation."""
    middle, scale = float(values.mean()), float(values.std())
    if scale <= 1e-9 * abs(middle):
        # All equal, but for rounding: they say nothing of how far another may lie from them.
        scale = abs(middle) or 1.0
    return (values - middle) / scale, middle, scale


def _thinned(seen: Seen) -> Seen:
    """At most so many scores as a fit takes in, evenly from all of them."""
    if len(seen.values) <= _FITTED:
        return seen
    kept = np.linspace(0, len(seen.values) - 1, _FITTED).astype(int)
    return Seen(seen.places[kept], seen.left[kept], seen.trials[kept], seen.values[kept])


def _ranked(question: Question) -> bool:
    domain = question.domain
    if not isinstance(domain, Choices):
        return True
    return domain.size > 1 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in domain.values)


def _place(question: Question, value: Any) -> float:
    domain = question.domain
    if isinstance(domain, Choices):
        if not _ranked(question):
            return float([key(v) for v in domain.values].index(key(value)))
        return sorted(domain.values).index(value) / (domain.size - 1)  # type: ignore[type-var]
    low, high, at = float(domain.low), float(domain.high), float(value)
    if domain.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low) if high > low else 0.0
