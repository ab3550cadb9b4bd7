"""What relaxation times say of the sample: how they go with q, diffusion, the size of particles."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.values import ByValue
from debye.speckle.xpcs.fit import Fit, student
from debye.speckle.xpcs.jackknife import jackknife_error
from debye.units import K_B

M2_PER_ANGSTROM2 = 1e-20


@dataclass(frozen=True, eq=False)
class PowerLaw(ByValue):
    """τ = τ₀ (q/q₀)^−n.

    Args:
        power: n.
        power_error: Its standard error.
        power_interval: (2,) within which it lies at 90 %.
        tau: τ₀ in s, at q₀, the geometric mean of the q that were fitted.
        tau_error: Its standard error.
        q: q₀.
        covariance: (2, 2) of log τ₀ and n.
    """

    power: float
    power_error: float
    power_interval: Tensor
    tau: float
    tau_error: float
    q: float
    covariance: Tensor

    def at(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """τ at q, and its standard error over itself: that of log τ.

        Args:
            q: In the unit of q₀.
        """
        x = (q / self.q).log()
        design = torch.stack([torch.ones_like(x), -x], -1)
        square = torch.einsum("...a,ab,...b->...", design, self.covariance, design)
        return self.tau * (-self.power * x).exp(), square.clamp(min=0).sqrt()


@dataclass(frozen=True, eq=False)
class Diffusion(ByValue):
    """D of Γ = 1/τ = D q².

    Args:
        value: D in Å²/s where q is in 1/Å, else in pixels²/s.
        error: Its standard error.
        interval: (2,) within which it lies at 90 %.
        unit: Of D.
        each: (N,) 1/(τ q²) of each bin.
    """

    value: float
    error: float
    interval: Tensor
    unit: str
    each: Tensor


def power_law(fit: Fit) -> PowerLaw:
    """The power with which τ falls with q: a straight line of log τ against log q.

    Bins are weighted by the errors of their τ; the errors of the law are those of its replicas, so
    that what bins share is in them.

    Args:
        fit: Of two bins of different q or more.

    Raises:
        InputError: There is one q alone.

    Example:
        >>> from debye.speckle.xpcs.simulate import brownian
        >>> from debye.speckle.xpcs.fit import fit
        >>> law = power_law(fit(brownian(frames=400, diffusion=0.2).correlate(), "single"))
        >>> abs(law.power - 2) < 3 * law.power_error
        True
    """
    fit = _whole(fit)
    log_tau, replicas, weight = _logarithms(fit)
    middle = float(fit.q.log().mean())
    x = fit.q.log() - middle
    if not float(x.abs().max()) > 1e-9:
        raise InputError(
            "cannot say how τ goes with q", why="all bins have one q", fix="fit bins of several q"
        )
    design = torch.stack([torch.ones_like(x), -x], 1)
    solve = torch.linalg.pinv(design * weight[:, None].sqrt()) * weight.sqrt()
    best, again = solve @ log_tau, replicas @ solve.T
    error = jackknife_error(again)
    tau = math.exp(best[0])
    return PowerLaw(
        float(best[1]),
        float(error[1]),
        student(best[1], again[:, 1], 0.9),
        tau,
        tau * float(error[0]),
        math.exp(middle),
        torch.cov(again.T, correction=0) * (len(again) - 1),
    )


def diffusion(fit: Fit) -> Diffusion:
    """D = 1/(τ q²), the mean over bins, weighted by the errors of their τ.

    Args:
        fit: Of one bin or more; D is that of Brownian motion only where `power_law` gives 2.

    Raises:
        InputError: The model has no τ.

    Example:
        >>> from debye.speckle.xpcs.simulate import brownian
        >>> from debye.speckle.xpcs.fit import fit
        >>> found = diffusion(fit(brownian(frames=400, diffusion=0.2).correlate(), "single"))
        >>> abs(found.value - 0.2) < 3 * found.error, found.unit
        (True, 'pixels²/s')
    """
    fit = _whole(fit)
    log_tau, replicas, weight = _logarithms(fit)
    part = weight / weight.sum()
    log_q2 = 2 * fit.q.log()
    best = -(log_tau + log_q2) @ part
    again = -(replicas + log_q2) @ part
    value = math.exp(best)
    return Diffusion(
        value,
        value * float(jackknife_error(again)),
        student(best, again, 0.9).exp(),
        {"1/Å": "Å²/s", "pixels": "pixels²/s"}.get(fit.unit, "length²/time"),
        (-log_tau - log_q2).exp(),
    )


def stokes_einstein(found: Diffusion, temperature: float, viscosity: float) -> tuple[float, float]:
    """Radius of spheres that diffuse so, R = k_B T / (6π η D), and its standard error, in nm.

    Args:
        found: D in Å²/s.
        temperature: T, K.
        viscosity: η, Pa s.

    Raises:
        InputError: D is in pixels, or a number is not positive.

    Reference:
        Einstein, Ann. Phys. 322, 549 (1905).

    Example:
        >>> water = Diffusion(4.29e8, 0.0, torch.zeros(2), "Å²/s", torch.zeros(1))
        >>> radius, _ = stokes_einstein(water, 293.15, 1.002e-3)
        >>> round(radius)
        50
    """
    if found.unit != "Å²/s":
        raise InputError(
            "cannot say how large the particles are",
            why=f"D is in {found.unit}",
            fix="give the q-map a geometry: distance, pixel size and wavelength",
        )
    for name, value in (("temperature", temperature), ("viscosity", viscosity)):
        if not 0 < value < math.inf:
            raise InputError(
                f"cannot use {name} = {value!r}", why="it must be positive", fix="correct it"
            )
    D = found.value * M2_PER_ANGSTROM2
    radius = 1e9 * K_B * temperature / (6 * math.pi * viscosity * D)
    return radius, radius * found.error / found.value


def _whole(fit: Fit) -> Fit:
    """The bins whose fits did not fail."""
    good = ~fit.failed
    if bool(good.all()):
        return fit
    return replace(fit, q=fit.q[good], values=fit.values[good], replicas=fit.replicas[:, good])


def _logarithms(fit: Fit) -> tuple[Tensor, Tensor, Tensor]:
    """(N,) log τ, (K, N) of its replicas, (N,) weights of the bins."""
    tau = fit.tau
    number = fit.names.index("tau")
    relative = fit.error[:, number] / tau
    replicas = tau.log() + fit.replicas[:, :, number] / tau - 1  # to first order, as they are
    usable = torch.isfinite(relative) & (relative > 0)
    return tau.log(), torch.where(usable, replicas, tau.log()), _weights(fit.q, relative, usable)


def _weights(q: Tensor, relative: Tensor, usable: Tensor) -> Tensor:
    """(N,) inverse variances, as a power of q; 0 where a bin's is unknown.

    A dozen sectors say an error to a fifth. Weights that followed them would prefer the bins whose
    errors happen to be told too small, and so would the error of the mean be.
    """
    if not bool(usable.any()):  # τ is held fixed
        return torch.ones_like(q)
    x, y = q[usable].log(), -2 * relative[usable].log()
    slope = torch.zeros((), dtype=q.dtype)
    if len(x) > 2 and float(x.std()) > 0:
        away = x - x.mean()
        slope = (away * y).sum() / away.square().sum()
    return torch.where(usable, (slope * (q.log() - x.mean()) + y.mean()).exp(), torch.zeros_like(q))
