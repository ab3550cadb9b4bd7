"""How far a predicted spectrum may lie from the true one: the model's part of the misfit.

A network misplaces modes along the axis and misjudges the height of its peaks, and it does both
more for some crystals than for others. The size of such an error e, a difference of densities
that integrate to 1 over the window of the comparison, is measured by

    d²(e) = (1/ω₁) ∫ E(ω)² dω + (1/χ₁) ∫ e(ω)² / (p(ω) + p₀) dω,   E(ω) = ∫₀^ω e

with p the predicted density: states at the wrong place, and a misshape as of Pearson's χ². Over
the crystals its square follows a distribution with a heavy tail,

    L(e) = (1 + d²(e))^-k  =  ∫ dτ τ^(k-1) e^-τ / Γ(k) · exp(-τ d²(e)),

which is a mixture of normal errors of all sizes 1/τ; so measured noise, which is normal, joins
under the integral. p₀ is held where noise does no harm; the
other three numbers are those under which the true structure among decoys has
the highest mean log-probability (`calibrated`); that makes probabilities of a ranking mean what
they say, and counts the points of a spectrum, whose errors go together, as the few they are.

How likely a measured spectrum is under predicted ones, scale and background fitted.

    y = a·p + b₀ + b₁ x + a·e + n      p predicted, e the model's error, n noise, x along the window

The comparison is made on the points of the model's grid that the measurement covers, each
standing for the mean over its cell; p integrates to 1 over them. Scale and background are the
generalised least-squares solution, whose covariance comes with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import torch
from torch import Tensor

from debye.crystals.dos.quadrature import resampled, trapezoid_weights
from debye.crystals.dos_io.measured import Measured, likely_units
from debye.errors import InputError
from debye.units import frequency_factor

NODES = 12
"""Sizes of the model's error that are summed over where there is noise too."""
COVERAGE = 1.4
"""Over the normal approximation: 68 % of the validation rows' mean frequencies lie inside."""


def normal_half_width(level: float) -> float:
    """Half the interval that holds a fraction ``level`` of a normal distribution, in its σ.

    Raises:
        InputError: The level is no fraction between 0 and 1.

    Example:
        >>> round(normal_half_width(0.9), 4)
        1.6449
    """
    if not 0 < level < 1:
        why = "it is no fraction between 0 and 1"
        raise InputError(f"no interval of level {level:g}", why=why, fix="choose one such as 0.9")
    return NormalDist().inv_cdf((1 + level) / 2)


@dataclass(frozen=True)
class ModelError:
    """The distribution of a model's errors; the defaults are the shipped model's.

    Args:
        shift: ω₁, cm⁻¹.
        shape: χ₁.
        floor: p₀, per cm⁻¹.
        order: k.
        count: Independent numbers that an error counts as: 2k ⟨d²/(1 + d²)⟩ over true structures,
            with which their likelihood is highest at the size that they have. Here the misfits'
            quantiles are those of the benchmark, 1.41 for 50 % and 2.87 for 90 %.
    """

    shift: float = 0.32
    shape: float = 0.14
    floor: float = 2e-5
    order: float = 4.0
    count: float = 5.1

    def scaled(self, size: float) -> ModelError:
        """The distribution of errors that are larger by a factor."""
        return replace(self, shift=self.shift * size**2, shape=self.shape * size**2)

    def precision(self, frequency: Tensor, density: Tensor) -> Tensor:
        """Matrix Λ with d²(e) = eᵀ Λ e, (..., n, n).

        Args:
            frequency: Points of comparison, cm⁻¹, (n,).
            density: Predicted densities p, each of integral 1, (..., n).
        """
        w = trapezoid_weights(frequency)
        sums = torch.tril(w.expand(len(w), -1))  # E = sums @ e
        misplaced = sums.T @ (w[:, None] * sums) / self.shift
        misshapen = w / (density.clamp(min=0.0) + self.floor) / self.shape
        return misplaced + torch.diag_embed(misshapen)

    def deviation(self, frequency: Tensor, density: Tensor, kernel: Tensor) -> float:
        """How far Σ K e of a spectrum may be off: in 68 of 100 cases by less than this.

        Args:
            frequency: cm⁻¹, (F,).
            density: Predicted, of integral 1, (F,).
            kernel: K, the change of a property with the density at each point, (F,).
        """
        spread = torch.linalg.inv(self.precision(frequency, density)) / (2 * (self.order - 1))
        w = trapezoid_weights(frequency)
        K = kernel - w * (w @ spread @ kernel) / (w @ spread @ w)  # errors make no states
        return COVERAGE * float(K @ spread @ K) ** 0.5

    def sizes(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes τ of the mixture and the logarithms of their weights, (NODES,) each."""
        log = torch.linspace(-7.0, math.log(8 * self.order), NODES).to(like)
        weight = self.order * log - log.exp() + (log[1] - log[0]).log() - math.lgamma(self.order)
        return log.exp(), weight

    def log_likelihood(self, square: Tensor) -> Tensor:
        """-k log(1 + d²), where there is no noise."""
        return -self.order * torch.log1p(square)


SHIPPED_ERROR = ModelError()
"""The shipped model's, as `benchmarks/inversion.py` finds it."""


BACKGROUNDS = {"none": 0, "constant": 1, "linear": 2}
"""Number of coefficients of each kind of background."""
LEAST_POINTS = 6
"""Points of comparison below which nothing can be found."""
AT_ONCE = 32
"""Candidates compared together, which bounds the memory."""
LEAST_SCALE = 0.02
"""Of the measured integral; a candidate that explains less explains nothing."""


@dataclass(frozen=True)
class Observation:
    """A measured spectrum on the points of a model's grid, scaled to an integral of 1.

    Args:
        frequency: Points of comparison, cm⁻¹, (n,).
        intensity: Mean over the cell of each, (n,).
        covariance: Of the intensities, from the measured errors, (n, n); None if unknown.
        area: What the intensities were divided by.
    """

    frequency: Tensor
    intensity: Tensor
    covariance: Tensor | None
    area: float

    @classmethod
    def of(
        cls, measured: Measured, grid: Tensor, window: tuple[float, float] | None = None
    ) -> Observation:
        """Average a measurement over the cells of a grid.

        Args:
            measured: On its own axis.
            grid: Of the model, cm⁻¹, (F,).
            window: Part of the axis to compare, cm⁻¹; all that was measured if None.

        Raises:
            InputError: Fewer than six points of the grid lie in the window and the measured range,
                or nothing was measured there.

        Example:
            >>> dos = Measured(torch.arange(0.0, 210.0, 10.0), torch.ones(21))
            >>> len(Observation.of(dos, torch.arange(0.0, 1020.0, 20.0)).frequency)
            11
        """
        grid, axis = grid.double(), measured.frequency
        low, high = window or (-float("inf"), float("inf"))
        low, high = max(low, float(axis[0])), min(high, float(axis[-1]))
        slack = 1e-6 * float(grid[-1])
        onto = grid[(grid >= low - slack) & (grid <= high + slack)]
        if len(onto) < LEAST_POINTS:
            raise _no_overlap(measured, grid, (low, high), len(onto))
        to_cells = _averages(axis, onto)
        values = to_cells @ measured.intensity
        area = float(values @ trapezoid_weights(onto))
        if area <= 0:
            why = f"its integral from {onto[0]:g} to {onto[-1]:g} cm⁻¹ is {area:.3g}"
            fix = "give the intensities without subtracting more than the background"
            raise InputError("the measured spectrum is empty", why=why, fix=fix)
        noise = None
        if measured.error is not None:
            noise = (to_cells * measured.error.square()) @ to_cells.T / area**2
            noise = noise + 1e-9 * noise.diagonal().mean() * torch.eye(len(onto), dtype=noise.dtype)
        return cls(onto, values / area, noise, area)


@dataclass(frozen=True)
class Fits:
    """Predicted spectra laid on a measured one, a row for each of C candidates.

    Args:
        log_likelihood: Up to a constant that all share, (C,).
        coefficients: Scale, then background, in units of the observation, (C, 1 + b).
        covariance: Of the coefficients, (C, 1 + b, 1 + b).
        curve: What should have been observed, (C, n).
        misfit: √(d²) of what is left, in typical errors of the model; χ² per point if it has none.
    """

    log_likelihood: Tensor
    coefficients: Tensor
    covariance: Tensor
    curve: Tensor
    misfit: Tensor


def fit(
    observed: Observation,
    predicted: Tensor,
    *,
    background: str = "linear",
    error: ModelError | None = None,
    size: Tensor | None = None,
) -> Fits:
    """Lay predicted spectra on an observation.

    Args:
        observed: What was measured.
        predicted: Densities as the instrument would report them, any scale, (C, n).
        background: ``none``, ``constant`` or ``linear``.
        error: Of the model; None if the predictions are exact and only noise is to be explained.
        size: How much larger than usual each candidate's error is, (C,); 1 if None.

    Raises:
        InputError: There is neither noise nor an error of the model, or an unknown background.
    """
    if error is None and observed.covariance is None:
        why = "the spectrum has no errors, and the predictions were declared exact"
        fix = "give the errors as a third column, or leave the model its error"
        raise InputError("nothing says how large a misfit matters", why=why, fix=fix)
    if background not in BACKGROUNDS:
        why = f"the kinds are {', '.join(BACKGROUNDS)}"
        raise InputError(f"no background {background!r}", why=why, fix="choose one of them")
    sizes = torch.ones(len(predicted), dtype=torch.float64) if size is None else size.double()
    parts = [
        _fit(observed, rows, BACKGROUNDS[background], error, s)
        for rows, s in zip(predicted.double().split(AT_ONCE), sizes.split(AT_ONCE), strict=True)
    ]
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    return Fits(*(torch.cat(column) for column in columns))


def _fit(
    observed: Observation, predicted: Tensor, n_background: int, error: ModelError | None, s: Tensor
) -> Fits:
    w, noise = trapezoid_weights(observed.frequency), observed.covariance
    density = predicted / (predicted @ w).clamp(min=1e-30)[:, None]
    X = torch.cat([density[..., None], _background(observed, n_background, len(density))], -1)
    if error is None:
        assert noise is not None  # noqa: S101 - checked by `fit`
        M = torch.linalg.inv(noise).expand(len(density), -1, -1)
    else:
        precision = error.precision(observed.frequency, density) / s[:, None, None] ** 2
        spread = torch.linalg.inv(precision)  # of the model's errors, times 2 τ
        usual = spread / (2 * error.order)
        M = torch.linalg.inv(usual + noise) if noise is not None else 2 * error.order * precision
    covariance = torch.linalg.inv(X.mT @ M @ X)
    y = observed.intensity.expand(len(density), -1)[..., None]
    beta = covariance @ X.mT @ M @ y
    scale = beta[:, 0, 0]
    rest = y - X @ beta
    used = scale.clamp(min=LEAST_SCALE)
    if error is None:
        square = (rest.mT @ M @ rest)[:, 0, 0]
        log_likelihood, misfit = -square / 2, square / len(w)
    else:
        square = (rest.mT @ precision @ rest)[:, 0, 0] / used**2
        misfit = square.clamp(min=0.0).sqrt()
        if noise is None:
            log_likelihood = error.log_likelihood(square)
        else:
            log_likelihood = _with_noise(rest, spread * used[:, None, None] ** 2, noise, error)
    if error is not None:  # what may err by more explains more, and says less
        log_likelihood = log_likelihood - error.count * s.log()
    # A candidate that must be turned upside down to fit explains nothing.
    nothing = torch.full_like(log_likelihood, -float("inf"))
    log_likelihood = torch.where(scale > LEAST_SCALE, log_likelihood, nothing)
    return Fits(log_likelihood, beta[..., 0], covariance, (X @ beta)[..., 0], misfit)


def _with_noise(rest: Tensor, spread: Tensor, noise: Tensor, error: ModelError) -> Tensor:
    """Logarithm of ∫ dτ π(τ) exp(-½ rᵀ (S/2τ + Σ)⁻¹ r), (C,)."""
    tau, weight = error.sizes(rest)
    both = spread[:, None] / (2 * tau[:, None, None]) + noise  # [candidate, node, n, n]
    whitened = torch.linalg.solve_triangular(
        torch.linalg.cholesky(both), rest[:, None].expand(-1, len(tau), -1, -1), upper=False
    )
    return torch.logsumexp(weight - whitened.square().sum((-2, -1)) / 2, -1)


def _background(observed: Observation, n: int, rows: int) -> Tensor:
    """Columns 1, x, … with x from -1 to 1 along the window, of integral about 1, (rows, n, b)."""
    omega = observed.frequency
    width = omega[-1] - omega[0]
    edges = torch.cat([omega[:1], (omega[1:] + omega[:-1]) / 2, omega[-1:]])
    x = (edges[1:] + edges[:-1] - 2 * omega[0]) / width - 1  # the means over the cells
    columns = [x**power / width for power in range(n)]
    stacked = torch.stack(columns, -1) if columns else omega.new_zeros(len(omega), 0)
    return stacked.expand(rows, -1, -1)


def _averages(axis: Tensor, onto: Tensor) -> Tensor:
    """Matrix of the means over the cells of ``onto`` of a curve linear between its points."""
    inside = onto.clamp(axis[0], axis[-1])
    rows = [resampled(axis, _unit_rows(at, axis), inside) for at in _pieces(len(axis))]
    return torch.cat(rows).T


def _pieces(n: int, length: int = 256) -> list[range]:
    return [range(k, min(k + length, n)) for k in range(0, n, length)]


def _unit_rows(rows: range, axis: Tensor) -> Tensor:
    out = axis.new_zeros(len(rows), len(axis))
    out[torch.arange(len(rows)), torch.tensor(list(rows))] = 1.0
    return out


def _no_overlap(
    measured: Measured, grid: Tensor, window: tuple[float, float], points: int
) -> InputError:
    end = float(measured.frequency[-1]) * frequency_factor("cm-1", measured.unit)
    others = [unit for unit in likely_units(end) if unit != measured.unit]
    guess = f"; an axis that ends at {end:g} may be in {' or '.join(others)}" if others else ""
    return InputError(
        "the measured range and the model's hardly overlap",
        why=(
            f"{points} of the model's points, {grid[0]:g} to {grid[-1]:g} cm⁻¹, lie between "
            f"{window[0]:.4g} and {window[1]:.4g} cm⁻¹, and {LEAST_POINTS} are needed"
            f"; the energies were read in {measured.unit}{guess}"
        ),
        fix="check the unit and the window",
    )
