"""What intervals are given for, and how each quantity feels an error of the spectrum.

If every frequency were wrong by the same small factor 1 + δ, a quantity q would be wrong by
δ · ∂q/∂ln ω. With the expected error σ in cm⁻¹ and the mean frequency ω̄ this makes the scale

    s_q = σ / ω̄ · |∂q/∂ln ω|

of q's error. The slopes are quantities themselves: ω̄ for the mean frequency, the zero-point energy
for itself, T ∂C_V/∂T for C_V and C_V for S, the last two because both depend on ω/T alone. So an
interval of C_V closes at T = 0 and towards 3R, as it must.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import NamedTuple

from torch import Tensor

from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos.thermo import (
    entropy,
    heat_capacity,
    heat_capacity_slope,
    weights_of,
    zero_point_energy,
)
from debye.units import R


def first_moment(spectrum: Spectrum) -> Tensor:
    """∫ ω g dω / 3: the mean frequency of a spectrum that counts one atom, cm⁻¹."""
    return spectrum.density @ (spectrum.weights * spectrum.frequency) / 3


class Quantity(NamedTuple):
    """A number that a spectrum has, linear in its density, per atom."""

    unit: str
    value: Callable[..., Tensor]
    """Of a `Spectrum`, and of temperatures if it depends on them."""
    slope: Callable[..., Tensor]
    """|∂q/∂ln ω|, likewise."""
    thermal: bool
    """Whether it depends on the temperature."""
    most: float = inf
    """What it cannot exceed."""


QUANTITIES = {
    "mean_frequency": Quantity("cm-1", first_moment, first_moment, thermal=False),
    "zero_point_energy": Quantity("kJ/mol", zero_point_energy, zero_point_energy, thermal=False),
    "heat_capacity": Quantity(
        "J/mol/K", heat_capacity, heat_capacity_slope, thermal=True, most=3 * R
    ),
    "entropy": Quantity("J/mol/K", entropy, heat_capacity, thermal=True),
}
"""By name; per mole of atoms where it is an amount."""


class OnGrid(NamedTuple):
    """Densities per atom on their grid, which quantities are taken of."""

    frequency: tuple[float, ...]
    density: Tensor
    """(..., F) in float64, integrating to 3."""

    def value(self, name: str, temperatures: Sequence[float] = ()) -> Tensor:
        """(...), or (..., T) for a quantity that depends on the temperature."""
        return self._of(QUANTITIES[name].value, name, temperatures)

    def scale(self, name: str, error: Tensor, temperatures: Sequence[float] = ()) -> Tensor:
        """Scale of the quantity's error.

        Args:
            name: Of the quantity.
            error: (...) expected error of the spectrum, cm⁻¹.
            temperatures: K, (T,).

        Returns:
            (...), or (..., T).
        """
        relative = error / self.value("mean_frequency")
        slope = self._of(QUANTITIES[name].slope, name, temperatures)
        return slope * (relative[..., None] if QUANTITIES[name].thermal else relative)

    def _of(
        self, quantity: Callable[..., Tensor], name: str, temperatures: Sequence[float]
    ) -> Tensor:
        more = (tuple(temperatures),) if QUANTITIES[name].thermal else ()
        return self.density @ weights_of(quantity, self.frequency, *more)
