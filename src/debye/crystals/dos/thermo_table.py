"""Thermodynamics over a range of temperatures, per what the reader asks for."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field

from numpy.typing import ArrayLike
from torch import Tensor

from debye.crystals.dos import thermo
from debye.crystals.dos.spectrum import Spectrum
from debye.errors import InputError

BASES = {
    "per-atom": "mol_atoms",
    "per-formula-unit": "mol_formula_units",
    "per-mole-of-cells": "mol_cells",
    "per-kg": "kg",
}
"""What the amounts are divided by, and how the columns' names say so."""
Bounds = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Thermodynamics:
    """Thermodynamic functions on a range of temperatures; see `thermodynamics`.

    Args:
        temperature: K, shape (T,).
        heat_capacity: J/K per amount, shape (..., T).
        entropy: J/K per amount, shape (..., T).
        internal_energy: kJ per amount, with its zero-point part, shape (..., T).
        helmholtz_energy: kJ per amount, shape (..., T).
        zero_point_energy: kJ per amount, shape (...).
        imaginary_fraction: Share of the states that was left out, shape (...).
        basis: What an amount is, a name in `BASES`.
        bounds: Lower and upper heat capacity and entropy, by these names, in their units and
            shapes, where they are known.
    """

    temperature: Tensor
    heat_capacity: Tensor
    entropy: Tensor
    internal_energy: Tensor
    helmholtz_energy: Tensor
    zero_point_energy: Tensor
    imaginary_fraction: Tensor
    basis: str
    bounds: Bounds = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Numbers as lists, with their units in the names, ready for JSON.

        Example:
            >>> dos = Spectrum([0, 100, 200], [0, 0.03, 0])
            >>> list(thermodynamics(dos, [300.0]).to_dict())[:3]
            ['basis', 'temperature_K', 'heat_capacity_J_per_K_per_mol_atoms']
        """
        amount = BASES[self.basis]
        return {
            "basis": self.basis,
            "temperature_K": self.temperature.tolist(),
            f"heat_capacity_J_per_K_per_{amount}": self.heat_capacity.tolist(),
            f"entropy_J_per_K_per_{amount}": self.entropy.tolist(),
            f"internal_energy_kJ_per_{amount}": self.internal_energy.tolist(),
            f"helmholtz_energy_kJ_per_{amount}": self.helmholtz_energy.tolist(),
            f"zero_point_energy_kJ_per_{amount}": self.zero_point_energy.tolist(),
            "imaginary_fraction": self.imaginary_fraction.tolist(),
            **{
                f"{name}_J_per_K_per_{amount}_{edge}": values.tolist()
                for name, ends in self.bounds.items()
                for edge, values in zip(("lower", "upper"), ends, strict=True)
            },
        }

    def to_csv(self) -> str:
        """A table with one row per temperature and units in its header.

        Raises:
            InputError: The result is a batch; take one spectrum at a time.

        Example:
            >>> dos = Spectrum([0, 100, 200], [0, 0.03, 0])
            >>> print(thermodynamics(dos, [0.0], basis="per-mole-of-cells").to_csv().split(",")[1])
            heat_capacity_J_per_K_per_mol_cells
        """
        if self.heat_capacity.dim() != 1:
            why = f"it holds a batch of shape {tuple(self.heat_capacity.shape[:-1])}"
            raise InputError("cannot make one table", why=why, fix="take one spectrum at a time")
        columns = {n: v for n, v in self.to_dict().items() if isinstance(v, list)}
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        return stream.getvalue()


def thermodynamics(
    spectrum: Spectrum,
    temperatures: Tensor | ArrayLike,
    *,
    basis: str = "per-atom",
    formula_units: float | None = None,
    mass: float | None = None,
    bounds: Bounds | None = None,
) -> Thermodynamics:
    """Heat capacity, entropy and energies of a spectrum, per what is asked for.

    Args:
        spectrum: Any normalisation; shape (..., F).
        temperatures: K, ≥ 0, shape (T,).
        basis: ``per-atom``, ``per-formula-unit``, ``per-mole-of-cells`` or ``per-kg``.
        formula_units: Formula units among the spectrum's ``n_atoms``, for ``per-formula-unit``.
        mass: Mass of the spectrum's ``n_atoms``, u, for ``per-kg``.
        bounds: Lower and upper ``heat_capacity`` and ``entropy`` per mole of atoms, (..., T) each,
            to be given per the same amount.

    Returns:
        The functions, with the share of imaginary modes that had to be left out.

    Raises:
        InputError: An unknown basis, a basis without its number, or a bad temperature.

    Example:
        >>> cell = Spectrum([0, 100, 200], [0.0, 0.06, 0.0], n_atoms=2)
        >>> table = thermodynamics(cell, [300.0], basis="per-kg", mass=58.44)
        >>> {name: round(value[0], 1) for name, value in list(table.to_dict().items())[2:3]}
        {'heat_capacity_J_per_K_per_kg': 833.8}
    """
    amount = _amount(spectrum, basis, formula_units, mass)
    per_amount = (spectrum.n_atoms / amount)[..., None]
    T = thermo.checked_temperatures(temperatures, spectrum.density).reshape(-1)
    return Thermodynamics(
        temperature=T,
        heat_capacity=thermo.heat_capacity(spectrum, T) / amount[..., None],
        entropy=thermo.entropy(spectrum, T) / amount[..., None],
        internal_energy=thermo.internal_energy(spectrum, T) / amount[..., None],
        helmholtz_energy=thermo.helmholtz_energy(spectrum, T) / amount[..., None],
        zero_point_energy=thermo.zero_point_energy(spectrum) / amount,
        imaginary_fraction=spectrum.imaginary_fraction,
        basis=basis,
        bounds={
            name: (lower * per_amount, upper * per_amount)
            for name, (lower, upper) in (bounds or {}).items()
        },
    )


def _amount(
    spectrum: Spectrum, basis: str, formula_units: float | None, mass: float | None
) -> Tensor:
    """How much of the basis one mole of cells is, shape (...)."""
    what = f"cannot give quantities {basis!r}"
    if basis not in BASES:
        raise InputError(what, why=f"the choices are {', '.join(BASES)}", fix="choose one of them")
    one = spectrum.n_atoms.new_tensor(1.0).expand(spectrum.shape)
    if basis == "per-mole-of-cells":
        return one
    if basis == "per-atom":
        return spectrum.n_atoms
    name, number = ("mass", mass) if basis == "per-kg" else ("formula_units", formula_units)
    if number is None or not number > 0:
        why = f"{name} is {number}"
        raise InputError(what, why=why, fix=f"give {name}= of the cell, a positive number")
    return one * (number * 1e-3 if basis == "per-kg" else number)  # u is g/mol
