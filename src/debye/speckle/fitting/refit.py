"""Formulas in the place of a fitted term, held against the frames themselves.

The Gaussian that a fitted term leaves was taken where the term came to rest, which is not where a
formula would: far from there it is too sure. So formulas are fitted to the frames, and from the
best of them the frames are looked at again,

    ln L(z) = ln L(z_f) − gᵀ (z − z_f) − ½ (z − z_f)ᵀ H (z − z_f)

with g and H those of the frames for the formula plus a spline that is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from debye.errors import ComputationError
from debye.speckle.data.frames import Frames, Window
from debye.speckle.dynamics.systems import System
from debye.speckle.fitting.experiment import Experiment
from debye.speckle.fitting.fit import RESOLUTION
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.fitting.gauss_newton import GaussNewton, to_vector
from debye.speckle.fitting.instrument import mean_count
from debye.speckle.fitting.naming import Flexible, Trial, Weighed
from debye.speckle.fitting.plan import Stage
from debye.speckle.fitting.prior import Prior, joined, ridge
from debye.speckle.fitting.smoothness import reduced
from debye.speckle.fitting.sparse import Gaussian
from debye.speckle.fitting.starts import Starts, StartsToo
from debye.speckle.scattering.noise import likelihood
from debye.speckle.values import arguments

WINDOW = 24
"""Frames of each run that formulas are fitted to, at most, where nobody says otherwise."""
PORTION = 8
"""Runs that are integrated together: a formula has few numbers, whose derivatives take no room."""
STEPS = 12
"""Gauss–Newton steps of one formula, at most."""


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
