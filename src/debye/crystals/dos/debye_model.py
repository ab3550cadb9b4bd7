"""The Debye model, and the temperatures that stand for a spectrum in it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from debye.crystals.dos.quadrature import integration_weights
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos.thermo import heat_capacity
from debye.errors import InputError
from debye.units import CM1_TO_K, R

DEFINITIONS = {
    "second-moment": "θ = √(5/3 ⟨ω²⟩): the Debye spectrum of the same second moment",
    "low-frequency": "θ from g ≈ a ω² fitted up to a quarter of the highest frequency (phonopy)",
    "heat-capacity": "θ(T): the Debye model of the same C_V at a temperature",
}
"""The Debye temperature is not unique; each definition has a name."""
PANELS = 16
"""Gauss–Legendre panels of 8 nodes for the Debye integral, on 0..min(y, 60)."""
BISECTIONS = 60
"""Halvings of ln y: from 12 decades to 1e-16."""


def debye_heat_capacity(y: Tensor) -> Tensor:
    """Heat capacity of the Debye model over 3 N k_B, (3/y³) ∫_0^y x⁴ eˣ / (eˣ - 1)² dx.

    Args:
        y: θ / T > 0, any shape.

    Returns:
        Between 1 (y → 0) and 4π⁴/5 y⁻³ (y → ∞), the shape of ``y``.

    Example:
        >>> y = torch.tensor([1e-3, 1.0, 10.0], dtype=torch.float64)
        >>> debye_heat_capacity(y)
        tensor([1.0000, 0.9517, 0.0758], dtype=torch.float64)
    """
    node, weight = np.polynomial.legendre.leggauss(8)
    at = y.new_tensor(((np.arange(PANELS)[:, None] + (node + 1) / 2) / PANELS).ravel())
    part = y.new_tensor(np.tile(weight / 2 / PANELS, PANELS))
    end = y[..., None].clamp(max=60.0)  # beyond, x⁴ e^-x has ended
    x = end * at  # [..., node]
    oscillator = (x / -torch.expm1(-x)) ** 2 * torch.exp(-x)
    return 3 * (end / y[..., None] * part * (x / y[..., None]) ** 2 * oscillator).sum(-1)


def debye_temperature(
    spectrum: Spectrum,
    definition: str = "second-moment",
    *,
    temperature: float | None = None,
    fit_below: float | None = None,
) -> Tensor:
    """Debye temperature by one of three definitions.

    ``second-moment``: k θ = h c √(5/3 ⟨ω²⟩), over the real modes (as in abipy).
    ``low-frequency``: least squares of g = a ω² over 0 < ω ≤ ``fit_below``, then
    ω_D = (9 n_atoms / a)^⅓ (phonopy's ``--debye``).
    ``heat-capacity``: the θ of the Debye model that has the spectrum's C_V at ``temperature``.

    Args:
        spectrum: Any normalisation; shape (..., F).
        definition: A name in `DEFINITIONS`.
        temperature: K, > 0; for ``heat-capacity`` alone.
        fit_below: cm⁻¹; for ``low-frequency`` alone. A quarter of the highest frequency that
            has more than 0.1 % of the peak, if None.

    Returns:
        K, shape (...); differentiable.

    Raises:
        InputError: An unknown definition, an argument of another one, a temperature that is not
            positive, or no states to fit.

    Example:
        >>> omega = torch.linspace(0, 200, 401, dtype=torch.float64)
        >>> dos = Spectrum(omega, 9 * omega**2 / 200**3)  # Debye's own, ω_D = 200 cm⁻¹ = 287.8 K
        >>> [round(debye_temperature(dos, name).item(), 1) for name in list(DEFINITIONS)[:2]]
        [287.8, 287.8]
        >>> round(debye_temperature(dos, "heat-capacity", temperature=40.0).item(), 1)
        287.8
    """
    _check_arguments(definition, temperature, fit_below)
    if definition == "second-moment":
        return _second_moment(spectrum)
    if temperature is None:
        return _low_frequency(spectrum.to("3N"), fit_below)
    return _heat_capacity(spectrum.to("3N"), temperature)


def _check_arguments(definition: str, temperature: float | None, fit_below: float | None) -> None:
    what = f"no Debye temperature {definition!r}"
    if definition not in DEFINITIONS:
        why = "; ".join(f"{name}: {meaning}" for name, meaning in DEFINITIONS.items())
        raise InputError(what, why=f"the definitions are {why}", fix="choose one of them")
    if (temperature is None) == (definition == "heat-capacity"):
        why = "'heat-capacity' needs a temperature, and no other definition takes one"
        raise InputError(what, why=why, fix="give temperature= with 'heat-capacity' alone")
    if temperature is not None and not (temperature > 0 and np.isfinite(temperature)):
        why = f"the temperature is {temperature:g} K"
        raise InputError(what, why=why, fix="give one above zero; 1 K shows the limit")
    if fit_below is not None and definition != "low-frequency":
        raise InputError(what, why="only 'low-frequency' fits", fix="leave fit_below out")


def _second_moment(spectrum: Spectrum) -> Tensor:
    def powers(omega: Tensor) -> Tensor:
        return torch.stack([torch.ones_like(omega), omega**2], -1)

    states, second = (spectrum.density @ integration_weights(spectrum.frequency, powers)).unbind(-1)
    return CM1_TO_K * (5 / 3 * second / states).sqrt()


def _low_frequency(spectrum: Spectrum, fit_below: float | None) -> Tensor:
    omega, density = spectrum.frequency, spectrum.density
    if fit_below is None:
        occupied = density > 1e-3 * density.amax(-1, keepdim=True)
        end = (occupied * omega).amax(-1, keepdim=True) / 4
    else:
        end = omega.new_tensor([fit_below])
    fitted = (omega > 0) & (omega <= end * (1 + 1e-9))  # [..., frequency]
    a = (fitted * density * omega**2).sum(-1) / (fitted * omega**4).sum(-1)
    if not bool((a > 0).all()):  # also where no point lies below: 0 / 0
        why = f"no states at the points below {end.max().item():g} cm⁻¹"
        raise InputError("no Debye temperature 'low-frequency'", why=why, fix="raise fit_below")
    return CM1_TO_K * (9 * spectrum.n_atoms / a) ** (1 / 3)


def _heat_capacity(spectrum: Spectrum, temperature: float) -> Tensor:
    """Bisect ln(θ/T), then take one Newton step, which carries the gradient."""
    real = spectrum.density @ integration_weights(spectrum.frequency, torch.ones_like)
    goal = heat_capacity(spectrum, temperature) / (R * real)  # per oscillator
    low, high = torch.full_like(goal, -8.0), torch.full_like(goal, 20.0)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        too_warm = debye_heat_capacity(middle.exp()) > goal.detach()
        low, high = torch.where(too_warm, middle, low), torch.where(too_warm, high, middle)
    y = ((low + high) / 2).exp().detach()
    step = 1e-4 * y
    slope = (debye_heat_capacity(y + step) - debye_heat_capacity(y - step)) / (2 * step)
    return temperature * (y + (goal - debye_heat_capacity(y)) / slope)
