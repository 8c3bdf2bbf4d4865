"""Least squares with contrasts: what the data say about a sum of coefficients, and whether they can say it at all.

scipy and numpy rather than statsmodels: a design with questions that change together has no full rank, and there each
contrast has to be checked for being estimable, which statsmodels' OLS leaves to its user.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

FREEDOM: Final = 5
"""Fewest residual degrees of freedom with which an interval is given."""

LEVEL: Final = 0.95
"""Of every interval."""

_RIDGE: Final = 1.0  # as if each effect had been seen once more, at nothing
_SINGULAR: Final = 1e-9  # of the largest eigenvalue; the designs hold -1, 0 and 1


@dataclass(frozen=True, slots=True)
class Estimate:
    """A contrast: its value, its interval and p-value where the data allow them, and whether they determine it."""

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    estimable: bool = True


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted design.

    Args:
        coefficients: one per column.
        inverse: of X'X, on the directions that the design spans.
        null: a basis of the directions that it does not span, one per column.
        freedom: residual degrees of freedom. [count]
        variance: of the residuals; NaN without freedom.
        shrunk: by ridge, because there were too few rows: then nothing can be judged.
    """

    coefficients: Array
    inverse: Array
    null: Array
    freedom: int
    variance: float
    shrunk: bool

    def estimate(self, contrast: Array) -> Estimate:
        """A sum of coefficients, with Student's interval where it is determined."""
        value = float(contrast @ self.coefficients)
        estimable = not self.hidden(contrast).any()
        if self.shrunk or not estimable or not self.variance > 0:
            return Estimate(value, estimable=estimable)
        error = float(np.sqrt(self.variance * (contrast @ self.inverse @ contrast)))
        reach = float(special.stdtrit(self.freedom, (1 + LEVEL) / 2)) * error
        p = float(2 * special.stdtr(self.freedom, -abs(value) / error))
        return Estimate(value, value - reach, value + reach, p)

    def hidden(self, contrast: Array) -> Mask:
        """Which columns the contrast cannot be told apart from; none where it is estimable."""
        across = self.null @ (self.null.T @ contrast)
        found: Mask = np.abs(across) > 1e-6 * np.linalg.norm(contrast)
        return found


def fit(design: Array, response: Array) -> Fit:
    """Fit by ordinary least squares.

    Where columns depend on one another, the coefficients are those of least norm (ridge in the limit of no penalty):
    contrasts that the data determine are not changed by it. With fewer than `FREEDOM` rows more than the rank, they are
    shrunk by ridge, all but the first column.

    Args:
        design: rows by columns; the first column is constant.
        response: one value per row.
    """
    gram = design.T @ design
    values, vectors = np.linalg.eigh(gram)
    spanned = values > _SINGULAR * values[-1]
    freedom = len(design) - int(spanned.sum())
    shrunk = freedom < FREEDOM
    if shrunk:
        penalty = np.full(len(gram), _RIDGE)
        penalty[0] = 0.0
        inverse: Array = np.linalg.inv(gram + np.diag(penalty)).astype(np.float64)
    else:
        inverse = (vectors[:, spanned] / values[spanned]) @ vectors[:, spanned].T
    coefficients: Array = inverse @ (design.T @ response)
    residual = response - design @ coefficients
    square = float(residual @ residual)
    # What rounding leaves of a perfect fit is no variance.
    noise = 1e-20 * float(response @ response)
    variance = square / freedom if freedom > 0 and square > noise else 0.0
    return Fit(coefficients, inverse, vectors[:, ~spanned], freedom, variance, shrunk)
