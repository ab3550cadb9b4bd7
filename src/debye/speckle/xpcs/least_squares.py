"""Least squares of g2, with replicas to first order and a χ² of residuals that hang together."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from debye.errors import ComputationError
from debye.speckle.xpcs.models import Model, averaged


class Problem(NamedTuple):
    """Numbers u that give the parameters of several bins, to be found."""

    model: Model
    time: np.ndarray
    """(D,) s."""
    width: np.ndarray
    """(D, 2) for `averaged`."""
    expand: Callable[[np.ndarray], np.ndarray]
    """(U,) → (N, P)."""
    start: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def g2(self, u: np.ndarray) -> np.ndarray:
        """(N, D)."""
        rows = self.expand(u)
        return np.stack([averaged(self.model, self.time, self.width, row) for row in rows])


class Solved(NamedTuple):
    """What a problem's best numbers are."""

    u: np.ndarray
    replicas: np.ndarray
    """(K, U)."""
    chi2: float
    expected: float
    p_value: float


def solve(problem: Problem, g2: np.ndarray, replicas: np.ndarray, error: np.ndarray) -> Solved:
    """Least squares of a problem, of its replicas to first order, and how good it is.

    Near the best u, without a sector u changes by (JᵀJ)⁻¹Jᵀδ, with J the derivative of g2 over the
    error and δ what g2 changes by, over the error.

    Args:
        problem: What is to be found.
        g2: (N, D).
        replicas: (K, N, D).
        error: (N, D).

    Raises:
        ComputationError: It does not converge.
    """
    from scipy.optimize import least_squares

    def residual(u: np.ndarray) -> np.ndarray:
        return ((problem.g2(u) - g2) / error).ravel()

    start = np.clip(problem.start, problem.low, problem.high)
    try:
        found = least_squares(residual, start, bounds=(problem.low, problem.high), x_scale="jac")
    except (ValueError, np.linalg.LinAlgError) as reason:
        raise ComputationError(
            "cannot fit g2", why=str(reason), fix="bound the parameters, or fit other delays"
        ) from reason
    if not found.success or not np.isfinite(found.x).all():
        raise ComputationError(
            "cannot fit g2",
            why=f"the fit does not converge: {found.message}",
            fix="fix or bound a parameter, or fit fewer delays or another model",
        )
    free = found.active_mask == 0  # what lies at its bound has no freedom
    inverse = np.zeros((len(found.x), found.fun.size))
    inverse[free] = np.linalg.pinv(found.jac[:, free])
    change = ((replicas - replicas.mean(0)) / error).reshape(len(replicas), -1)
    moved = change @ inverse.T
    left = change - moved @ found.jac.T
    chi2 = float((found.fun**2).sum())
    expected, p_value = goodness(chi2, left)
    return Solved(
        found.x, np.clip(found.x + moved, problem.low, problem.high), chi2, expected, p_value
    )


def goodness(chi2: float, left: np.ndarray) -> tuple[float, float]:
    """Expected χ² of residuals that are not independent, and the chance of a worse one.

    With S the jackknife covariance of the residuals over their errors, χ² has mean tr S and
    variance 2 tr S²; both are freed of the bias of K replicas, and of that of dividing by errors
    that are themselves judged from K sectors. Then χ² over its mean is as F of ν = (tr S)²/tr S²
    and (K − 1) ν freedoms (Satterthwaite).

    Args:
        chi2: Σ of squared residuals over errors.
        left: (K, residual) replicas of the residuals over errors, less their mean.

    Returns:
        The mean of χ² and the p-value.

    Reference:
        Satterthwaite, Biometrics Bull. 2, 110 (1946); Bai and Saranadasa, Stat. Sinica 6, 311
        (1996), for tr S².
    """
    from scipy.special import fdtrc

    count, n = len(left), len(left) - 1
    gram = left @ left.T * (n / count)
    first, second = float(np.trace(gram)), float((gram**2).sum())
    if first <= 0 or n < 5:
        return float("nan"), float("nan")
    square = n**2 / ((n - 1) * (n + 2)) * (second - first**2 / n)
    freedom = (first**2 - 2 * square / n) / max(square, first**2 / left.shape[1])
    freedom = float(np.clip(freedom, 1.0, left.shape[1]))
    expected = first * n / (n - 2)
    ratio = chi2 / expected * (n * freedom / (n * freedom - 2))
    return expected, float(fdtrc(freedom, n * freedom, ratio))
