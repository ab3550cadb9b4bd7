"""The law in words: which named functions, few of them, say the same as the fitted term.

A fitted term and its covariance Σ are all that is left of the frames: without the prior's precision
P they say bᵀ c − ½ cᵀ H c of the coefficients, H = Σ⁻¹ − P and b = Σ⁻¹ c. `debye.speckle.
conclusions.sparse` searches sums of few functions for each component; together they are then
compared by

    ln Z = ln L(θ) + ln p(θ) + ½ ln |2π Σ_θ|,   p(a) = N(0, S²), p(k) ∝ 1/k

at their most probable amplitudes a and shapes k.

That Gaussian was taken where the term came to rest, which is not where a formula would: far from
there it is too sure. So, given the frames, formulas are fitted to them, and from the best of them
the frames are looked at again,

    ln L(z) = ln L(z_f) − gᵀ (z − z_f) − ½ (z − z_f)ᵀ H (z − z_f)

with g and H those of the frames for the formula plus a spline that is 0.

Reference: Brunton, Proctor & Kutz, PNAS 113, 3932 (2016), on sparse laws; MacKay, Neural Comput. 4,
415 (1992), on their evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from debye.core.records import SCHEMA
from debye.errors import ComputationError
from debye.speckle.conclusions.naming import (
    Flexible,
    Trial,
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
from debye.speckle.conclusions.sparse import Gaussian
from debye.speckle.data.frames import Frames, Window
from debye.speckle.dynamics.named import Named, NamedSum
from debye.speckle.dynamics.systems import System
from debye.speckle.fitting.experiment import Experiment
from debye.speckle.fitting.fit import RESOLUTION
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.fitting.gauss_newton import GaussNewton, to_vector
from debye.speckle.fitting.instrument import mean_count
from debye.speckle.fitting.plan import Stage
from debye.speckle.fitting.prior import Prior, joined, ridge
from debye.speckle.fitting.smoothness import reduced
from debye.speckle.fitting.starts import Starts, StartsToo
from debye.speckle.scattering.noise import likelihood
from debye.speckle.values import arguments, expect

CERTAIN = 0.9
"""Probability from which on a formula is the law's."""
FINALISTS = 10
"""Formulas that are fitted to frames at a time, at most."""
LOOKS = 4
"""How often the frames are looked at anew from the best formula so far, at most."""
WITHIN = 30.0
"""How much less ln Z a finalist may have than the best, by the fitted term alone."""
WINDOW = 24
"""Frames of each run that formulas are fitted to, at most, where nobody says otherwise."""
PORTION = 8
"""Runs that are integrated together: a formula has few numbers, whose derivatives take no room."""
STEPS = 12
"""Gauss–Newton steps of one formula, at most."""


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
                top = max(w.log_marginal for w in fitted.values())
                hopeless = one.log_marginal < top - WITHIN  # and a part of it fits no better
                trial = None if hopeless else shorter(term, one, len(functions))
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


class Beside(nn.Module):
    """A spline beside a formula that is held."""

    def __init__(self, formula: nn.Module, spline: nn.Module) -> None:
        super().__init__()
        self.formula, self.spline = formula.requires_grad_(False), spline
        self.cutoff = getattr(spline, "cutoff", None)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both."""
        return self.formula(x) + self.spline(x)


class Refit:
    """Fits formulas to frames in the place of a system's term.

    What else the system has is held as it was fitted; what was unknown of the instrument and of
    first states is fitted with every formula.

    Args:
        fitted: The system.
        frames: What it was fitted to.
        windows: Which of them; all runs from their first frame on by default.

    Raises:
        InputError: The states at the starts of the windows are not known.
    """

    def __init__(self, fitted: FittedSystem, frames: Frames, windows: Stage | None) -> None:
        self.fitted, self.mask = fitted, frames.mask
        runs = len(frames.data)
        stage = windows or Stage(min(frames.count, WINDOW), runs, portion=min(runs, PORTION))
        self.pieces = stage.windows(frames)
        self.likelihood = likelihood("poisson" if frames.photons else "exact")
        instrument, self.beside = fitted.instrument, Prior(torch.zeros(0, 0), torch.zeros(0))
        if instrument and instrument.free:
            self.beside = instrument.prior(mean_count(frames.data, frames.mask))
        error = float(fitted.card.get("start_error", 0.0))
        self.starts = Starts.of(self.pieces, error) if error else None

    def fit_of(self, term: nn.Module) -> GaussNewton[Window]:
        """The fit of a system with another term."""
        kept = {k: deepcopy(v) for k, v in arguments(self.fitted.system).items()}
        for part in kept.values():
            if isinstance(part, nn.Module):
                part.requires_grad_(False)
        system: System = type(self.fitted.system)(**kept | {self.fitted.system.term_name: term})
        parts = deepcopy((self.fitted.scattering, self.fitted.solver))
        instrument = deepcopy(self.fitted.instrument)
        given = self.starts.given if self.starts else {}
        starts = {k: self.fitted.starts.get(k, x).detach().clone() for k, x in given.items()}
        experiment = Experiment(system, *parts, self.fitted.gain, instrument, starts)
        kind: Callable[..., GaussNewton[Window]] = GaussNewton
        if self.starts:
            kind = partial(StartsToo, starts=self.starts)
        compared = (experiment.compared, self.mask, self.likelihood)
        return kind(experiment, *compared, resolution=RESOLUTION)

    def top(self) -> float:
        """Ln L of the fitted term, up to the constant that all have in common."""
        whole = self.fit_of(deepcopy(self.fitted.system.term).requires_grad_())
        return -whole.loss(to_vector(whole.model), self.pieces) * whole.pixels(self.pieces)

    def weighed(self, trial: Trial) -> Weighed | None:
        """A formula with its most probable numbers; None where it blows up in the frames."""
        fit = self.fit_of(trial.term)
        fit.known = joined([trial.prior, self.beside])
        try:
            steps = list(fit.run(self.pieces, STEPS, rtol=1.0))
        except ComputationError:
            return None
        cost = fit.known.cost(to_vector(fit.model)[: fit.size])
        own = torch.arange(len(to_vector(trial.term)))
        A, _ = reduced(fit.curvature, 0 * fit.curvature[0], own, *_nothing(fit.curvature))
        return Weighed(trial, cost - steps[-1].loss * fit.pixels(self.pieces), A)

    def seen_from(self, flexible: Flexible, trial: Trial) -> Flexible:
        """What the frames say of the term, as they are seen from a formula.

        Raises:
            ComputationError: The formula blows up in the frames.
        """
        spline = deepcopy(flexible.term).requires_grad_()
        for p in spline.parameters():
            p.data.zero_()
        fit = self.fit_of(Beside(deepcopy(trial.term), spline))
        H, g = fit.linearised(to_vector(fit.model), self.pieces)
        vector = to_vector(fit.model)[: fit.size]
        size = len(to_vector(spline))
        known = joined([ridge(0.0, size), self.beside])
        H, b = reduced(H, -g, torch.arange(size), known.precision, known.mean - vector)
        L, at = flexible.root, flexible.at
        H = L.mT @ H[at[:, None], at] @ L
        with torch.no_grad():
            values = trial.term(flexible.points)
        z = flexible.projected(values if values.ndim == 2 else values[:, None])
        return flexible._replace(gaussian=Gaussian(H, L.mT @ b[at] + H @ z), mean=z)


def _nothing(A: Tensor) -> tuple[Tensor, Tensor]:
    """A prior that adds nothing to what is known of as many numbers."""
    return torch.zeros_like(A), torch.zeros_like(A[0])
