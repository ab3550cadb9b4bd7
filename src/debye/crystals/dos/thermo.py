"""Harmonic thermodynamics: every quantity is ∫ g(ω) K(ω, T) dω with its own kernel K.

Functions return (..., T) for a `Spectrum` of shape (..., F) and temperatures of shape (T,), per
mole of what the spectrum counts: of cells of ``n_atoms`` atoms. `thermodynamics` gives them per
atom, per formula unit, per mole of cells or per kilogram. Imaginary modes have no harmonic
thermodynamics and are left out; `Spectrum.imaginary_fraction` is their fraction.

With x = h c ω / k_B T the kernels are written in e^-x, which is small where e^x would overflow,
so that T = 0 is the exact limit and every gradient is finite.

Reference: D. C. Wallace, Thermodynamics of Crystals (Wiley, 1972).

At the end the Debye model, and the temperatures that stand for a spectrum in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from debye.crystals.dos.checks import real_tensor
from debye.crystals.dos.quadrature import integration_weights
from debye.crystals.dos.spectrum import Spectrum
from debye.errors import InputError
from debye.units import CM1_TO_J, CM1_TO_K, N_A, C, H, R, U

KJ_PER_MOL = 1e-3 * N_A * CM1_TO_J
"""Energy of one wavenumber, kJ/mol."""
A2_U_CM1 = 1e20 * H / (8 * math.pi**2 * U * C * 100.0)
"""ħ/2mω for 1 u and 1 cm⁻¹, Å²: half of it is a direction's zero-point ⟨u²⟩."""
X_MAX = 1e4
"""Where x stops: e^-x has long been 0, and x² e^-x is 0 instead of ∞ · 0."""
COLDEST = 1e-12
"""Temperature, K, below which T counts as zero in x: every node is then far beyond X_MAX."""

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]
"""K(ω, x, T) of ω (Q, 1), x (Q, T) and T (T,), for one state."""


def heat_capacity(spectrum: Spectrum, temperatures: Tensor | ArrayLike) -> Tensor:
    """Heat capacity at constant volume, C_V = R ∫ g x² e^-x / (1 - e^-x)² dω.

    Args:
        spectrum: Any normalisation; shape (..., F).
        temperatures: K, ≥ 0, shape (T,) or ().

    Returns:
        J/(K mol), per mole of cells, shape (..., T) or (...).

    Raises:
        InputError: A temperature is negative or not finite.

    Example:
        >>> dos = Spectrum([0, 100, 200, 300], [0.0, 1.0, 2.0, 0.0], normalisation="max")
        >>> [round(c, 3) for c in heat_capacity(dos, [0.0, 300.0, 1e5]).tolist()]
        [0.0, 23.492, 24.943]
    """
    return _thermal(spectrum.to("3N"), temperatures, heat_capacity_kernel)


def entropy(spectrum: Spectrum, temperatures: Tensor | ArrayLike) -> Tensor:
    """Entropy, S = R ∫ g [x / (e^x - 1) - ln(1 - e^-x)] dω.

    Args:
        spectrum: Any normalisation; shape (..., F).
        temperatures: K, ≥ 0, shape (T,) or ().

    Returns:
        J/(K mol), per mole of cells, shape (..., T) or (...).

    Raises:
        InputError: A temperature is negative or not finite.

    Example:
        >>> dos = Spectrum([0, 100, 200, 300], [0.0, 1.0, 2.0, 0.0], normalisation="max")
        >>> round(entropy(dos, 300.0).item(), 3)
        32.923
    """
    return _thermal(spectrum.to("3N"), temperatures, entropy_kernel)


def internal_energy(spectrum: Spectrum, temperatures: Tensor | ArrayLike) -> Tensor:
    """Internal energy with its zero-point part, U = N_A ∫ g h c ω [1/2 + 1 / (e^x - 1)] dω.

    Args:
        spectrum: Any normalisation; shape (..., F).
        temperatures: K, ≥ 0, shape (T,) or ().

    Returns:
        kJ/mol, per mole of cells, shape (..., T) or (...).

    Raises:
        InputError: A temperature is negative or not finite.

    Example:
        >>> dos = Spectrum([0, 100, 200, 300], [0.0, 1.0, 2.0, 0.0], normalisation="max")
        >>> round(internal_energy(dos, 300.0).item(), 4)
        7.933
    """
    return _thermal(spectrum.to("3N"), temperatures, internal_energy_kernel)


def helmholtz_energy(spectrum: Spectrum, temperatures: Tensor | ArrayLike) -> Tensor:
    """Helmholtz energy, F = ∫ g [N_A h c ω / 2 + R T ln(1 - e^-x)] dω = U - T S.

    Args:
        spectrum: Any normalisation; shape (..., F).
        temperatures: K, ≥ 0, shape (T,) or ().

    Returns:
        kJ/mol, per mole of cells, shape (..., T) or (...).

    Raises:
        InputError: A temperature is negative or not finite.

    Example:
        >>> dos = Spectrum([0, 100, 200, 300], [0.0, 1.0, 2.0, 0.0], normalisation="max")
        >>> round(helmholtz_energy(dos, 300.0).item(), 4)
        -1.9439
    """
    return _thermal(spectrum.to("3N"), temperatures, helmholtz_energy_kernel)


def zero_point_energy(spectrum: Spectrum) -> Tensor:
    """Zero-point energy, ½ N_A ∫ g h c ω dω.

    Args:
        spectrum: Any normalisation; shape (..., F).

    Returns:
        kJ/mol, per mole of cells, shape (...).

    Example:
        >>> dos = Spectrum([0, 100, 200, 300], [0.0, 1.0, 2.0, 0.0], normalisation="max")
        >>> round(zero_point_energy(dos).item(), 4)
        3.0239
    """
    return spectrum.to("3N").density @ zero_point_weights(spectrum.frequency)


def mean_square_displacement(
    spectrum: Spectrum, temperatures: Tensor | ArrayLike, mass: Tensor | ArrayLike
) -> Tensor:
    """Mean square displacement along one direction, ⟨u²⟩ = ħ/(2m) · ⅓ ∫ g/ω coth(x/2) dω.

    The spectrum is an atom's own, three states; one of several atoms gives their mean. The mean
    is over directions too: ⟨u²⟩ = ⟨|u|²⟩ / 3.

    Args:
        spectrum: Density of a site, or of sites, shape (..., F).
        temperatures: K, ≥ 0, shape (T,) or ().
        mass: Of the site's atom, u, shape () or (...).

    Returns:
        Å², shape (..., T) or (...).

    Raises:
        InputError: A temperature is negative or not finite, or a mass is not positive.

    Example:
        >>> dos = Spectrum([0, 100, 200, 300], [0.0, 1.0, 2.0, 0.0], normalisation="max")
        >>> round(mean_square_displacement(dos, 300.0, mass=26.98).item(), 5)
        0.01925
    """
    T = checked_temperatures(temperatures, spectrum.density)
    masses = real_tensor(mass, "mass").to(spectrum.density)
    if not bool(((masses > 0) & masses.isfinite()).all()):
        why = "a mass must be a positive number of u"
        raise InputError("cannot compute a displacement", why=why, fix="give each site's mass")
    per_direction = _thermal(
        spectrum.to("3"), T, lambda omega, x, T: (1 + 2 * _bose(x)) / (3 * omega)
    )
    scaled = masses[..., None] if T.dim() else masses
    return A2_U_CM1 * per_direction / scaled


def b_factor(
    spectrum: Spectrum, temperatures: Tensor | ArrayLike, mass: Tensor | ArrayLike
) -> Tensor:
    """Isotropic displacement factor of crystallography, B = 8 π² ⟨u²⟩.

    Arguments and shapes as for `mean_square_displacement`.

    Returns:
        Å², shape (..., T) or (...).

    Raises:
        InputError: As for `mean_square_displacement`.

    Example:
        >>> dos = Spectrum([0, 100, 200, 300], [0.0, 1.0, 2.0, 0.0], normalisation="max")
        >>> round(b_factor(dos, 300.0, mass=26.98).item(), 3)
        1.52
    """
    return 8 * math.pi**2 * mean_square_displacement(spectrum, temperatures, mass)


def checked_temperatures(temperatures: Tensor | ArrayLike, like: Tensor) -> Tensor:
    """Temperatures as a tensor of the spectrum's kind, refused where they mean nothing.

    Raises:
        InputError: They are no list of numbers, negative or not finite.
    """
    found = real_tensor(temperatures, "temperatures").to(like)
    if found.dim() > 1:
        why = f"their shape is {tuple(found.shape)}"
        raise InputError("cannot use the temperatures", why=why, fix="give a list of them")
    if not bool(((found >= 0) & found.isfinite()).all()):
        why = "a temperature is negative or not finite"
        raise InputError(
            "cannot use the temperatures", why=why, fix="give them in kelvin, 0 or above"
        )
    return found


def thermal_weights(frequency: Tensor, temperatures: Tensor, kernel: Kernel) -> Tensor:
    """Weights W that make ``density @ W`` the integral ∫ g K dω over the real modes, (F, T).

    Args:
        frequency: Points, cm⁻¹, (F,).
        temperatures: K, ≥ 0, (T,).
        kernel: Such as `heat_capacity_kernel`.
    """

    def sampled(node: Tensor) -> Tensor:
        omega = node[:, None]
        x = (CM1_TO_K * omega / temperatures.clamp(min=COLDEST)).clamp(max=X_MAX)
        return kernel(omega, x, temperatures).expand(x.shape)  # [node, temperature]

    return integration_weights(frequency, sampled)


def zero_point_weights(frequency: Tensor) -> Tensor:
    """Weights of the zero-point energy, kJ/mol, of a density in states per cm⁻¹, (F,)."""
    return KJ_PER_MOL * integration_weights(frequency, lambda omega: omega / 2)


def _thermal(spectrum: Spectrum, temperatures: Tensor | ArrayLike, kernel: Kernel) -> Tensor:
    given = checked_temperatures(temperatures, spectrum.density)
    weights = thermal_weights(spectrum.frequency, given.reshape(-1), kernel)
    found = spectrum.density @ weights
    return found if given.dim() else found[..., 0]


def heat_capacity_kernel(omega: Tensor, x: Tensor, T: Tensor) -> Tensor:
    """Of C_V, J/(K mol)."""
    return R * _einstein(x)


def heat_capacity_slope_kernel(omega: Tensor, x: Tensor, T: Tensor) -> Tensor:
    """Of T ∂C_V/∂T = R ∫ g c(x) [x coth(x/2) - 2] dω, J/(K mol).

    c is the kernel of C_V, a function of x ∝ ω/T alone, so this is also what C_V loses where
    every frequency rises by one factor, -∂C_V/∂ln ω. (What S loses is C_V itself.)
    """
    return R * _einstein(x) * (x / _tanh(x) - 2)


def entropy_kernel(omega: Tensor, x: Tensor, T: Tensor) -> Tensor:
    """Of S, J/(K mol)."""
    return R * (x * _bose(x) - _log(x))


def internal_energy_kernel(omega: Tensor, x: Tensor, T: Tensor) -> Tensor:
    """Of U, kJ/mol."""
    return KJ_PER_MOL * omega * (0.5 + _bose(x))


def helmholtz_energy_kernel(omega: Tensor, x: Tensor, T: Tensor) -> Tensor:
    """Of F, kJ/mol."""
    return KJ_PER_MOL * omega / 2 + 1e-3 * R * T * _log(x)


def _einstein(x: Tensor) -> Tensor:
    """Heat capacity of one oscillator over k_B, x² e^-x / (1 - e^-x)²."""
    return (x / -torch.expm1(-x)) ** 2 * torch.exp(-x)


def _tanh(x: Tensor) -> Tensor:
    """tanh(x/2), in e^-x as the other kernels."""
    return -torch.expm1(-x) / (1 + torch.exp(-x))


def _bose(x: Tensor) -> Tensor:
    """Quanta of one oscillator, 1 / (e^x - 1)."""
    return torch.exp(-x) / -torch.expm1(-x)


def _log(x: Tensor) -> Tensor:
    """Thermal part of one oscillator's F over k_B T, ln(1 - e^-x)."""
    return torch.log(-torch.expm1(-x))


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
