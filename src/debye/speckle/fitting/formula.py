"""The law in words: which named functions, few of them, say the same as the fitted term.

A fitted term and its covariance Σ are all that is left of the frames: without the prior's precision
P they say bᵀ c − ½ cᵀ H c of the coefficients, H = Σ⁻¹ − P and b = Σ⁻¹ c. `debye.speckle.fitting.
sparse` searches sums of few functions for each component; together they are then compared by

    ln Z = ln L(θ) + ln p(θ) + ½ ln |2π Σ_θ|,   p(a) = N(0, S²), p(k) ∝ 1/k

at their most probable amplitudes a and shapes k. Given the frames, ln L is that of the counts, to
which formulas are fitted, and from the best of which the search goes on: that is far sharper.

Reference: Brunton, Proctor & Kutz, PNAS 113, 3932 (2016), on sparse laws; MacKay, Neural Comput. 4,
415 (1992), on their evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from debye.core.records import SCHEMA
from debye.errors import ComputationError
from debye.speckle.data.frames import Frames
from debye.speckle.dynamics.named import Named, NamedSum
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.fitting.naming import (
    Flexible,
    Weighed,
    flexible,
    key,
    library_of,
    polished,
    shorter,
    shortest,
    sums_of,
    trials_of,
)
from debye.speckle.fitting.plan import Stage
from debye.speckle.fitting.refit import Refit
from debye.speckle.values import expect

CERTAIN = 0.9
"""Probability from which on a formula is the law's."""
FINALISTS = 10
"""Formulas that are fitted to frames at a time, at most."""
LOOKS = 4
"""How often the frames are looked at anew from the best formula so far, at most."""
WITHIN = 30.0
"""How much less ln Z a finalist may have than the best, by the fitted term alone."""


@dataclass(frozen=True, eq=False, repr=False)
class Candidate:
    """A formula for the term, and how probable it is.

    Attributes:
        term: The sum of named functions, its numbers those of the frames.
        errors: Standard errors of its amplitudes, then shapes.
        log_marginal: Logarithm of its evidence, up to a constant common to all.
        misfit: 2 ln(likelihood of the flexible term / of the formula), χ² where the formula holds.
        coefficients: How many coefficients of the flexible term the frames tell: what the misfit
            is about where the formula holds.
        odds: Probability among the candidates.
    """

    term: NamedSum
    errors: Tensor
    log_marginal: float
    misfit: float
    coefficients: float
    odds: float = 0.0

    def __repr__(self) -> str:
        return f"Candidate({self.text}, odds {self.odds:.3g})"

    @property
    def text(self) -> str:
        """The formula with its errors."""
        return self.term.written(self.errors)

    @property
    def latex(self) -> str:
        """The formula for LaTeX, with its errors."""
        return self.term.written(self.errors, latex=True)

    @property
    def p(self) -> float:
        """How often a misfit as large would come by chance if the formula held."""
        freedom = torch.tensor(max(self.coefficients - len(self.errors), 1.0)).double()
        half = torch.tensor(max(self.misfit, 0.0) / 2).double()
        return float(torch.special.gammaincc(freedom / 2, half))


@dataclass(frozen=True, eq=False, repr=False)
class Formulas:
    """The formulas that may be the law, the most probable first.

    Attributes:
        candidates: The formulas.
        refitted: Whether they were fitted to frames, not only to the fitted term.
    """

    candidates: tuple[Candidate, ...]
    refitted: bool = False

    def __repr__(self) -> str:
        return f"Formulas({self.verdict})"

    @property
    def best(self) -> Candidate:
        """The most probable one."""
        return self.candidates[0]

    @property
    def named(self) -> bool:
        """Whether one formula is the law's: far more probable than the others, and fitting."""
        return self.best.odds >= CERTAIN and self.best.p >= 1e-3

    @property
    def verdict(self) -> str:
        """One plain sentence."""
        best = self.best
        if best.p < 1e-3:
            return (
                "no sum of these functions is the law: the best, "
                f"{best.text}, misfits by χ² = {best.misfit:.0f} of {best.coefficients:.0f}"
            )
        if not self.named:
            several = "; or ".join(c.text for c in self.candidates[:3] if c.odds > 0.05)
            return f"several formulas do as well: {several}"
        return f"{best.text} (odds {best.odds:.3g})"

    def lines(self) -> list[str]:
        """The verdict, then every candidate with its odds and misfit."""
        rows = [
            f"{c.odds:8.3f}  {c.misfit:8.1f} of {c.coefficients:<5.0f}{c.text}"
            for c in self.candidates
        ]
        return [self.verdict, "", "    odds    misfit of coefficients", *rows]

    def as_json(self) -> dict[str, Any]:
        """Every formula with its odds, errors and misfit."""
        rows = [
            {
                "formula": c.text,
                "latex": c.latex,
                "odds": c.odds,
                "misfit": c.misfit,
                "coefficients": c.coefficients,
                "p": c.p,
            }
            for c in self.candidates
        ]
        return {
            "schema": SCHEMA,
            "named": self.named,
            "verdict": self.verdict,
            "refitted": self.refitted,
            "candidates": rows,
        }


def find_formula(
    fitted: FittedSystem,
    frames: Frames | None = None,
    library: Sequence[str | Named] | None = None,
    *,
    windows: Stage | None = None,
) -> Formulas:
    """Put the fitted term of a system into words: sums of named functions, with their odds.

    Args:
        fitted: A system whose term, a `SplineFlow` or a `PairSpline`, was fitted to counts.
        frames: What it was fitted to. Formulas are then fitted to them too, which tells apart
            what the fitted term alone cannot.
        library: The functions that may stand in a sum: names of `POSITIONS` or `DISTANCES`, or
            `Named` of your own; all by default.
        windows: Which frames; all runs from their first frame on, up to 24 frames, by default.

    Returns:
        The formulas, the most probable first, and whether one is the law's.

    Raises:
        InputError: The term is no spline, it has no covariance, or a function of the library is
            unknown or stands in it twice.
        ComputationError: No formula can be integrated through the frames.
    """
    term = flexible(expect(fitted, FittedSystem, "fitted"))
    functions = library_of(term.term, library)
    found = _searched(term, functions)
    if frames is None:
        return Formulas(_candidates(found, term.gaussian.log_likelihood(term.mean), term))
    refit = Refit(fitted, expect(frames, Frames, "frames"), windows)
    found = _on_frames(refit, term, found, functions)
    return Formulas(_candidates(shortest(found), refit.top(), term), refitted=True)


def _searched(term: Flexible, functions: Sequence[Named]) -> list[Weighed]:
    """The formulas that are like a fitted term, the most probable first."""
    sums = sums_of(term, functions)
    found = [polished(term, trial) for trial in trials_of(term, sums, len(functions))]
    return sorted(shortest(found), key=lambda w: -w.log_marginal)


def _on_frames(
    refit: Refit, term: Flexible, found: Sequence[Weighed], functions: Sequence[Named]
) -> list[Weighed]:
    """Formulas fitted to frames, from the best of which the frames have no better one to tell.

    Raises:
        ComputationError: No formula can be integrated through them.
    """
    fitted = dict[str, Weighed]()
    for _ in range(LOOKS):
        least = found[0].log_marginal - WITHIN
        for w in found[:FINALISTS]:
            trial = w.trial if w.log_marginal >= least else None
            while trial and key(trial) not in fitted and (one := refit.weighed(trial)):
                fitted[one.key] = one
                trial = shorter(term, one, len(functions))
        if not fitted:
            raise ComputationError(
                "no formula fits these frames",
                why="each of them blows up within a window",
                fix="give the frames that the system was fitted to, or shorter windows",
            )
        best = max(fitted.values(), key=lambda w: w.log_marginal)
        found = _searched(refit.seen_from(term, best.trial), functions)
        if found[0].key in fitted:
            break
    return list(fitted.values())


def _candidates(found: Sequence[Weighed], top: float, term: Flexible) -> tuple[Candidate, ...]:
    """The formulas with their odds, the most probable first."""
    values = torch.tensor([w.log_marginal for w in found], dtype=torch.float64)
    odds = torch.softmax(values, 0)
    made = []
    for k in values.argsort(descending=True).tolist():
        w = found[k]
        covariance = torch.linalg.pinv(w.curvature, hermitian=True)
        errors = covariance.diagonal().clamp(min=0).sqrt()
        misfit = 2 * (top - w.log_likelihood)
        made.append(
            Candidate(w.trial.term, errors, float(values[k]), misfit, term.seen, float(odds[k]))
        )
    return tuple(made)
