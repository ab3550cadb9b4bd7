"""The one table of quantities: the numbers that a density of states is worth, and how each is told.

    density (3N) ─ weights of the grid ─→ per mole of cells ─ basis ─→ a number in a named column

JSON records, tables, Parquet columns, rankings, designs, intervals and axes all take a quantity's
name, unit and value from here, so that one prediction at one temperature is one number wherever it
is told. Every quantity is linear in the density, ∫ g K dω, and K depends on the grid alone: the
weights are found once for thousands of crystals on one grid.

If every frequency were wrong by the same small factor 1 + δ, a quantity q would be wrong by
δ · ∂q/∂ln ω. With the expected error σ in cm⁻¹ and the mean frequency ω̄ this makes the scale

    s_q = σ / ω̄ · |∂q/∂ln ω|

of q's error. The slopes are quantities themselves: ω̄ for the mean frequency, the zero-point energy
for itself, T ∂C_V/∂T for C_V and C_V for S, the last two because both depend on ω/T alone. So an
interval of C_V closes at T = 0 and towards 3R, as it must.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from math import inf
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from debye.crystals.dos import thermo
from debye.crystals.dos.checks import or_one
from debye.crystals.dos.quadrature import trapezoid_weights
from debye.crystals.dos.spectrum import Spectrum
from debye.errors import InputError
from debye.units import R, frequency_factor

Weights = Callable[[Tensor, Tensor], Tensor]
"""Of a grid (F,) and temperatures (T,): what ``density @`` makes a quantity, (F, T) or (F, 1)."""
UNIT_TEXT = {"cm-1": "cm⁻¹"}
"""Units that read otherwise than they are written in names."""


class Basis(NamedTuple):
    """What an amount is divided by."""

    column: str
    """In the name of a column."""
    text: str
    """To be read, behind a unit."""


BASES = {
    "per-atom": Basis("mol_atoms", "mol-atom"),
    "per-formula-unit": Basis("mol_formula_units", "mol-formula-unit"),
    "per-mole-of-cells": Basis("mol_cells", "mol-cell"),
    "per-kg": Basis("kg", "kg"),
}
"""By name."""


def amount(
    basis: str,
    n_atoms: Tensor,
    formula_units: float | None = None,
    mass: float | None = None,
) -> Tensor:
    """How much of the basis one mole of cells is, (...).

    Args:
        basis: A name in `BASES`.
        n_atoms: Of the cell, (...).
        formula_units: Of the cell, for ``per-formula-unit``.
        mass: Of the cell, u, for ``per-kg``.

    Raises:
        InputError: An unknown basis, or one without its number.

    Example:
        >>> amount("per-kg", torch.tensor(2.0), mass=58.44).item()
        0.05844
    """
    what = f"cannot give quantities {basis!r}"
    if basis not in BASES:
        raise InputError(what, why=f"the choices are {', '.join(BASES)}", fix="choose one of them")
    atoms = n_atoms.cpu().double()
    if basis == "per-mole-of-cells":
        return torch.ones_like(atoms)
    if basis == "per-atom":
        return atoms
    name, number = ("mass", mass) if basis == "per-kg" else ("formula_units", formula_units)
    if number is None or not number > 0:
        why = f"{name} is {number}"
        raise InputError(what, why=why, fix=f"give {name}= of the cell, a positive number")
    return torch.full_like(atoms, number * 1e-3 if basis == "per-kg" else number)  # u is g/mol


@dataclass(frozen=True)
class Quantity:
    """A number that a density of states has.

    Args:
        name: As arguments and columns have it.
        label: Above a column of a table.
        symbol: On an axis, for matplotlib.
        unit: Of a mole of cells, or of itself where it is no amount.
        weights: What makes it of a density that counts states.
        slope: Likewise |∂q/∂ln ω|, by which its intervals are scaled; None if it has none.
        thermal: Whether it depends on the temperature.
        extensive: Whether it grows with the cell; else it is a mean over the states.
        most: What it cannot exceed, per mole of atoms.
    """

    name: str
    label: str
    symbol: str
    unit: str
    weights: Weights
    slope: Weights | None = None
    thermal: bool = True
    extensive: bool = True
    most: float = inf

    def column(
        self, basis: str = "per-atom", *, temperature: float | None = None, unit: str = "cm-1"
    ) -> str:
        """The name of its column, with its unit.

        Args:
            basis: What an amount is per.
            temperature: K, where columns of several stand side by side.
            unit: Of a frequency.

        Example:
            >>> QUANTITIES["heat_capacity"].column("per-kg", temperature=293.15)
            'heat_capacity_J_per_K_per_kg_at_293.15_K'
            >>> QUANTITIES["mean_frequency"].column(unit="THz", temperature=293.15)
            'mean_frequency_THz'
        """
        if not self.extensive:
            return f"{self.name}_{unit}"
        name = f"{self.name}_{self.unit.replace('/', '_per_')}_per_{BASES[basis].column}"
        if self.thermal and temperature is not None:
            return f"{name}_at_{temperature:.10g}_K"
        return name

    def unit_text(self, basis: str = "per-atom", *, unit: str = "cm-1") -> str:
        """Its unit, to be read.

        Example:
            >>> QUANTITIES["entropy"].unit_text("per-kg"), QUANTITIES["mean_frequency"].unit_text()
            ('J/K/kg', 'cm⁻¹')
        """
        return f"{self.unit}/{BASES[basis].text}" if self.extensive else UNIT_TEXT.get(unit, unit)

    def axis(self, basis: str = "per-atom", *, temperature: float | None = None) -> str:
        """Label of an axis.

        Example:
            >>> QUANTITIES["heat_capacity"].axis("per-kg", temperature=300)
            '$C_V$ at 300 K (J/K/kg)'
        """
        at = f" at {temperature:g} K" if self.thermal and temperature is not None else ""
        return f"{self.symbol}{at} ({self.unit_text(basis)})"

    def factor(self, unit: str) -> float:
        """From the unit of `OnGrid.value` to one of frequency, if it is a frequency; else 1.

        Raises:
            InputError: There is no such unit of frequency.
        """
        return 1.0 if self.extensive else frequency_factor(self.unit, unit)


def _first_moment(frequency: Tensor, temperatures: Tensor) -> Tensor:
    return (trapezoid_weights(frequency) * frequency)[:, None]


def _zero_point(frequency: Tensor, temperatures: Tensor) -> Tensor:
    return thermo.zero_point_weights(frequency)[:, None]


def _thermal(kernel: thermo.Kernel) -> Weights:
    return partial(thermo.thermal_weights, kernel=kernel)


QUANTITIES = {
    quantity.name: quantity
    for quantity in (
        Quantity(
            "mean_frequency", "mean frequency", "Mean frequency", "cm-1",
            _first_moment, _first_moment, thermal=False, extensive=False,
        ),
        Quantity(
            "heat_capacity", "C_V", "$C_V$", "J/K", _thermal(thermo.heat_capacity_kernel),
            _thermal(thermo.heat_capacity_slope_kernel), most=3 * R,
        ),
        Quantity(
            "entropy", "S", "$S$", "J/K", _thermal(thermo.entropy_kernel),
            _thermal(thermo.heat_capacity_kernel),
        ),
        Quantity("internal_energy", "U", "$U$", "kJ", _thermal(thermo.internal_energy_kernel)),
        Quantity("helmholtz_energy", "F", "$F$", "kJ", _thermal(thermo.helmholtz_energy_kernel)),
        Quantity(
            "zero_point_energy", "ZPE", "Zero-point energy", "kJ",
            _zero_point, _zero_point, thermal=False,
        ),
    )
}  # fmt: skip
"""By name."""
WITH_INTERVALS = tuple(name for name, quantity in QUANTITIES.items() if quantity.slope is not None)
"""Names of those that a calibrated model gives intervals for."""


class Property(NamedTuple):
    """A quantity per an amount: what crystals are ranked by and designed for."""

    quantity: Quantity
    basis: str = "per-atom"

    def column(self, temperature: float | None = None) -> str:
        """Its column among those of several temperatures."""
        return self.quantity.column(self.basis, temperature=temperature)

    @property
    def unit(self) -> str:
        """To be read."""
        return self.quantity.unit_text(self.basis)

    def axis(self, temperature: float | None = None) -> str:
        """Label of an axis."""
        return self.quantity.axis(self.basis, temperature=temperature)

    def text(self, temperature: float | None = None) -> str:
        """In words, with its unit.

        Example:
            >>> PROPERTIES["heat-capacity-per-kg"].text(300), PROPERTIES["mean-frequency"].text(300)
            ('C_V at 300 K (J/K/kg)', 'mean frequency (cm⁻¹)')
        """
        return self.axis(temperature).replace(self.quantity.symbol, self.quantity.label)

    def title(self, temperature: float) -> str:
        """Above a column of a table.

        Example:
            >>> PROPERTIES["entropy-per-atom"].title(300), PROPERTIES["mean-frequency"].title(300)
            ('S(300 K)', 'mean frequency')
        """
        at = f"({temperature:g} K)" if self.quantity.thermal else ""
        return f"{self.quantity.label}{at}"


PROPERTIES = {
    "heat-capacity-per-kg": Property(QUANTITIES["heat_capacity"], "per-kg"),
    "heat-capacity-per-atom": Property(QUANTITIES["heat_capacity"]),
    "entropy-per-atom": Property(QUANTITIES["entropy"]),
    "zero-point-energy-per-atom": Property(QUANTITIES["zero_point_energy"]),
    "mean-frequency": Property(QUANTITIES["mean_frequency"]),
}
"""By the names that the command line has for them."""


class OnGrid(NamedTuple):
    """Densities that count states on one grid, of which quantities are taken, in float64."""

    frequency: tuple[float, ...]
    density: Tensor
    """(..., F)."""

    @staticmethod
    def of(spectrum: Spectrum) -> OnGrid:
        """The cells of a spectrum, whatever its normalisation."""
        return OnGrid(tuple(spectrum.frequency.tolist()), spectrum.to("3N").density.cpu().double())

    def value(self, name: str, temperatures: tuple[float, ...] = ()) -> Tensor:
        """A quantity of each, per mole of what its density counts.

        Args:
            name: Of the quantity, in `QUANTITIES`.
            temperatures: K, (T,), as `kelvins` has checked them.

        Returns:
            (...), or (..., T) where it depends on the temperature.

        Example:
            >>> cell = OnGrid((0.0, 100.0, 200.0), torch.tensor([0.0, 0.06, 0.0]).double())
            >>> cell.value("mean_frequency").item(), cell.value("heat_capacity", (300.0,)).tolist()
            (100.0, [48.728...])
        """
        return self._per_cell(name, "weights", temperatures)

    def scale(self, name: str, error: Tensor, temperatures: tuple[float, ...] = ()) -> Tensor:
        """Scale of a quantity's error, s_q.

        Args:
            name: Of the quantity, one of `WITH_INTERVALS`.
            error: (...) expected error of the spectrum, cm⁻¹.
            temperatures: K, (T,).

        Returns:
            (...), or (..., T).
        """
        relative = error / self.value("mean_frequency")
        slope = self._per_cell(name, "slope", temperatures)
        return slope * (relative[..., None] if QUANTITIES[name].thermal else relative)

    def _per_cell(self, name: str, kind: str, temperatures: tuple[float, ...]) -> Tensor:
        # Summed row by row, so that a number does not depend on how many are found together.
        quantity = QUANTITIES[name]
        at = temperatures if quantity.thermal else ()
        found = (self.density[..., None, :] * _weights(name, kind, self.frequency, at)).sum(-1)
        found = found if quantity.thermal else found[..., 0]
        if quantity.extensive:
            return found
        axis = torch.tensor(self.frequency, dtype=torch.float64)
        return found / or_one((self.density * trapezoid_weights(axis)).sum(-1))


@lru_cache(maxsize=64)
def _weights(
    name: str, kind: str, frequency: tuple[float, ...], temperatures: tuple[float, ...]
) -> Tensor:
    """Weights of a grid's points, or slopes, (T, F) or (1, F)."""
    axis, T = (torch.tensor(x, dtype=torch.float64) for x in (frequency, temperatures))
    of: Weights = getattr(QUANTITIES[name], kind)
    return of(axis, T).mT.contiguous()


def kelvins(temperatures: Tensor | ArrayLike) -> tuple[float, ...]:
    """Temperatures as numbers: of one, of a list, a range or an array.

    Raises:
        InputError: One is negative or not finite, or they are no list.

    Example:
        >>> kelvins(300), kelvins(range(0, 200, 100))
        ((300.0,), (0.0, 100.0))
    """
    double = torch.zeros(0, dtype=torch.float64)
    return tuple(thermo.checked_temperatures(temperatures, double).reshape(-1).tolist())
