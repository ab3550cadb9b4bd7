"""Refine a structure against a measured spectrum, by gradients through the network.

    values → FreeParameters → Graph → network → instrument → likelihood
    posterior ∝ likelihood · prior

Parameters are counted in widths of their priors, which are normal, but flat within the bounds
for fractions. Near its maximum the posterior is taken
as normal, with the covariance (1 + H)⁻¹, where H is the curvature of -log likelihood there; an
eigenvalue of H below about 1 marks a direction about which the spectrum says less than was
assumed. `sampled` walks through the posterior itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from debye.crystals.dos_io.measured import Measured
from debye.crystals.inversion.instrument import Resolution, response, seen
from debye.crystals.inversion.likelihood import (
    SHIPPED_ERROR,
    Fits,
    ModelError,
    Observation,
    fit,
    normal_half_width,
)
from debye.crystals.inversion.parameters import Array, FreeParameters
from debye.crystals.predict.predictor import Predictor
from debye.crystals.structure.crystal import Crystal
from debye.crystals.uncertainty.uncertainty import LEVEL, Interval
from debye.errors import ComputationError, InputError

STEP = 1e-3
"""Of the prior's width: for the curvature, from differences of the gradient."""
UNKNOWN = 0.7
"""Posterior over prior width above which a direction is called unknown to the spectrum."""
STARTS = 9
"""Values of each fraction that are tried as beginnings."""
MOST_ROUNDS = 200

Network = TypeVar("Network", bound=nn.Module)


class Objective:
    """-log posterior of a structure's parameters, up to a constant, with its gradient.

    Args:
        predictor: The model; it is evaluated in double precision.
        free_parameters: The structure and what is free in it.
        observed: The measured spectrum.
        resolution: Of the instrument.
        background: ``none``, ``constant`` or ``linear``.
        neutron: Weight the densities as neutrons do.
        error: Of the model; None if its predictions are exact.
    """

    def __init__(
        self,
        predictor: Predictor,
        free_parameters: FreeParameters,
        observed: Observation,
        *,
        resolution: Resolution | None = None,
        background: str = "linear",
        neutron: bool = False,
        error: ModelError | None = SHIPPED_ERROR,
    ) -> None:
        if not free_parameters.parameters:
            why = f"the symmetry of {free_parameters.name} leaves nothing, or nothing was freed"
            raise InputError("there is nothing to refine", why=why, fix="free something else of it")
        self.model = double(predictor.model)
        self.free_parameters, self.observed = free_parameters, observed
        self.background, self.error = background, error
        self.weights = free_parameters.weights(neutron=neutron)
        grid = torch.tensor(predictor.model.frequency, dtype=torch.float64)
        self.response = response(grid, observed.frequency, resolution or Resolution())
        self.width = torch.tensor(
            [p.width for p in free_parameters.parameters], dtype=torch.float64
        )
        self.pull = np.array([0.0 if p.flat else 1.0 for p in free_parameters.parameters])

    def density(self, values: Tensor) -> Tensor:
        """What the instrument sees of the structure at values (P,), on the model's grid, (F,)."""
        graph = self.free_parameters.graph(values, self.model.cutoff)
        return seen(self.model(graph).sites, graph.site, graph.fraction, self.weights)

    def fits(self, values: Tensor) -> Fits:
        """The spectrum at values (P,) laid on the measured one.

        Raises:
            InputError: The spectrum cannot be laid on the measured one.
        """
        curve = self.response @ self.density(values)
        return fit(self.observed, curve[None], background=self.background, error=self.error)

    def misfit(self, values: Tensor) -> Tensor:
        """-log likelihood at values (P,).

        Raises:
            InputError: The spectrum cannot be laid on the measured one.
        """
        return -self.fits(values).log_likelihood[0]

    def __call__(self, steps: Array) -> tuple[float, Array]:
        """-log posterior and its gradient at steps (P,), in widths of the priors."""
        value, gradient = value_and_gradient(self.misfit, steps, self.width)
        return value + self.prior(steps), gradient + self.pull * steps

    def prior(self, steps: Array) -> float:
        """-log prior at steps (P,), in widths of the priors."""
        return float(self.pull @ steps**2) / 2

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Least and greatest step of each parameter."""
        return [(p.low / p.width, p.high / p.width) for p in self.free_parameters.parameters]


def double(model: Network) -> Network:
    """A copy in double precision, which only its inputs give gradients."""
    return copy.deepcopy(model).cpu().double().eval().requires_grad_(False)


def value_and_gradient(
    function: Callable[[Tensor], Tensor], steps: Array, width: Tensor
) -> tuple[float, Array]:
    """A function of the parameters and its gradient, both at and in widths of the priors."""
    values = (torch.from_numpy(steps) * width).requires_grad_()
    value = function(values)
    (gradient,) = torch.autograd.grad(value, values)
    return value.item(), (gradient * width).numpy()


class Direction(NamedTuple):
    """One independent direction of the posterior."""

    words: str
    """Which parameters move together, such as ``strain xx+yy + 0.6 shift O4 along a (Å)``."""
    width_ratio: float
    """Posterior width over prior width: 1 where the spectrum says nothing, 0 where all."""


@dataclass(frozen=True)
class Refined:
    """What a refinement found.

    Args:
        free_parameters: What was free.
        values: At the maximum of the posterior, (P,).
        covariance: Of the values, (P, P).
        at_bound: Whether each value lies at its bound, where its error means little.
        directions: Of the posterior, the least known from the spectrum first.
        fits: The spectrum at the maximum laid on the measured one.
        before: The same at the beginning.
        observed: The measured spectrum.
        samples: Values drawn from the posterior, (S, P); none unless asked for.
    """

    free_parameters: FreeParameters
    values: Tensor
    covariance: Tensor
    at_bound: tuple[bool, ...]
    directions: tuple[Direction, ...]
    fits: Fits
    before: Fits
    observed: Observation
    samples: Tensor

    @property
    def crystal(self) -> Crystal:
        """The structure at the maximum of the posterior."""
        return self.free_parameters.crystal(self.values)

    @property
    def errors(self) -> Tensor:
        """Standard deviation of each value, (P,): of the samples, if there are any."""
        if len(self.samples):
            return self.samples.std(0)
        return self.covariance.diagonal().sqrt()

    def interval(self, level: float = LEVEL) -> Interval:
        """Where each value lies, (P,): by the samples, if there are any, else taken as normal.

        Raises:
            InputError: The level is no fraction between 0 and 1.
        """
        half = normal_half_width(level) * self.errors
        if not len(self.samples):
            return Interval(self.values - half, self.values + half)
        ends = self.samples.new_tensor([(1 - level) / 2, (1 + level) / 2])
        return Interval(*torch.quantile(self.samples, ends, dim=0))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the structure, what the spectrum cannot tell, where a bound was met."""
        unknown = [
            f"the spectrum hardly tells {d.words}: its posterior is"
            f" {100 * d.width_ratio:.0f} % as wide as its prior"
            for d in self.directions
            if d.width_ratio > UNKNOWN
        ]
        met = [
            f"{p.name} lies at its bound, so its error is no more than a guide"
            for p, at in zip(self.free_parameters.parameters, self.at_bound, strict=True)
            if at
        ]
        return (*self.free_parameters.notes, *unknown, *met)


def refine(objective: Objective) -> Refined:
    """Find the maximum of the posterior and describe it.

    Fractions are begun from a row of values, because a spectrum may have several that fit.

    Args:
        objective: What to minimise.

    Raises:
        ComputationError: No beginning leads to a finite posterior.
    """
    best = min((_descended(objective, start) for start in _starts(objective)), key=lambda r: r[0])
    if not np.isfinite(best[0]):
        why = "the spectrum of the structure would have to be turned upside down to fit"
        raise ComputationError("the refinement found nothing", why=why, fix="allow less background")
    steps = best[1]
    curvature = _curvature(objective, steps)
    values = torch.from_numpy(steps) * objective.width
    posterior = torch.linalg.inv(torch.eye(len(steps)).double() + curvature)
    low, high = np.array(objective.bounds).T
    with torch.no_grad():
        fits, before = objective.fits(values), objective.fits(torch.zeros_like(values))
    return Refined(
        objective.free_parameters,
        values,
        objective.width[:, None] * posterior * objective.width,
        tuple(((steps - low < 1e-3) | (high - steps < 1e-3)).tolist()),
        _directions(objective.free_parameters, curvature),
        fits,
        before,
        objective.observed,
        values.new_zeros(0, len(values)),
    )


def refined_over(
    predictor: Predictor,
    free_parameters: FreeParameters,
    measured: Measured,
    resolutions: Sequence[Resolution],
    *,
    window: tuple[float, float] | None = None,
    background: str = "linear",
    neutron: bool = False,
    error: ModelError | None = SHIPPED_ERROR,
    samples: int = 0,
    seed: int = 0,
) -> tuple[Refined, Resolution]:
    """Refine with each of some resolutions, and keep the one of the highest posterior.

    Arguments are those of `Observation.of`, `Objective` and `refine`. The error of a calibrated
    model is as large as is expected of the structure at the beginning.

    Raises:
        InputError: The measurement has too few points in the window, or a resolution, element or
            structure cannot be used.
        ComputationError: No beginning leads to a finite posterior.
    """
    start = torch.zeros(len(free_parameters.parameters), dtype=torch.float64)
    uncertainty = predictor.as_labels().predict(free_parameters.crystal(start)).uncertainty
    if error is not None and uncertainty is not None:
        error = error.scaled(uncertainty.size.item())
    grid = torch.tensor(predictor.model.frequency, dtype=torch.float64)
    observed = Observation.of(measured, grid, window)
    tried = []
    for resolution in resolutions:
        objective = Objective(
            predictor,
            free_parameters,
            observed,
            resolution=resolution,
            background=background,
            neutron=neutron,
            error=error,
        )
        found = refine(objective)
        cost = _cost(objective, (found.values / objective.width).numpy())
        tried.append((cost, resolution, objective, found))
    _, resolution, objective, found = min(tried, key=lambda entry: entry[0])
    if samples:
        found = replace(found, samples=sampled(objective, found, samples, seed))
    return found, resolution


def _starts(objective: Objective) -> list[Array]:
    """The beginning, and where there is one fraction, values along it."""
    n = len(objective.free_parameters.parameters)
    fractions = [i for i, p in enumerate(objective.free_parameters.parameters) if p.change.any()]
    if len(fractions) != 1:
        return [np.zeros(n)]
    low, high = objective.bounds[fractions[0]]
    starts = np.zeros((STARTS, n))
    starts[:, fractions[0]] = np.linspace(low, high, STARTS)
    return sorted(starts, key=lambda start: objective(start)[0])[:2]


def _descended(objective: Objective, start: Array) -> tuple[float, Array]:
    from scipy.optimize import minimize

    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=objective.bounds,
        options={"maxiter": MOST_ROUNDS},
    )
    return float(found.fun), np.asarray(found.x)


def _curvature(objective: Objective, steps: Array) -> Tensor:
    """Second derivatives of -log likelihood, in widths of the priors, none below zero, (P, P)."""
    low, high = np.array(objective.bounds).T
    inside = np.clip(steps, low + STEP, high - STEP)
    rows = []
    for unit in np.eye(len(steps)):
        ahead, behind = (
            value_and_gradient(objective.misfit, inside + sign * STEP * unit, objective.width)[1]
            for sign in (1, -1)
        )
        rows.append((ahead - behind) / (2 * STEP))
    H = torch.from_numpy(np.array(rows))
    eigenvalues, vectors = torch.linalg.eigh((H + H.T) / 2)
    return vectors @ torch.diag(eigenvalues.clamp(min=0.0)) @ vectors.T


def _directions(free_parameters: FreeParameters, curvature: Tensor) -> tuple[Direction, ...]:
    eigenvalues, vectors = torch.linalg.eigh(curvature)  # ascending: the least known first
    names = [p.name for p in free_parameters.parameters]
    return tuple(
        Direction(_in_words(vector.tolist(), names), float((1 + curve) ** -0.5))
        for curve, vector in zip(eigenvalues, vectors.T, strict=True)
    )


def _in_words(vector: list[float], names: list[str]) -> str:
    """The chief parameters of a direction, the first with a plus.

    Example:
        >>> _in_words([-0.8, 0.1, 0.6], ["a", "b", "c"])
        'a − 0.75 c'
    """
    order = sorted(range(len(vector)), key=lambda i: -abs(vector[i]))
    chief = [i for i in order if abs(vector[i]) > 0.3 * abs(vector[order[0]])]
    text = names[chief[0]]
    for i in chief[1:]:
        ratio = vector[i] / vector[chief[0]]
        text += f" {'+' if ratio > 0 else '−'} {abs(ratio):.2g} {names[i]}"
    return text


def sampled(objective: Objective, found: Refined, n: int, seed: int = 0) -> Tensor:
    """Draw from the posterior by a random walk (Metropolis) from its maximum, (n, P).

    Steps are drawn from the normal approximation, scaled by 2.38/√P (Gelman, Roberts and Gilks,
    Bayesian Statistics 5, 599, 1996); beyond the bounds the posterior is zero.
    """
    rng = np.random.default_rng(seed)
    width = objective.width.numpy()
    covariance = found.covariance.numpy() / np.outer(width, width)
    factor = np.linalg.cholesky(covariance) * 2.38 / np.sqrt(len(width))
    low, high = np.array(objective.bounds).T
    here = np.clip(found.values.numpy() / width, low, high)
    cost, drawn = _cost(objective, here), []
    for _ in range(n):
        there = here + factor @ rng.normal(size=len(width))
        if np.all((there >= low) & (there <= high)):
            proposed = _cost(objective, there)
            if np.log(rng.uniform()) < cost - proposed:
                here, cost = there, proposed
        drawn.append(here * width)
    return torch.from_numpy(np.array(drawn))


@torch.no_grad()
def _cost(objective: Objective, steps: Array) -> float:
    values = torch.from_numpy(steps) * objective.width
    return float(objective.misfit(values)) + objective.prior(steps)
