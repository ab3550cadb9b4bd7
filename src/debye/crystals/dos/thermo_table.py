"""Thermodynamics over a range of temperatures, per what the reader asks for."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import singledispatch
from typing import TYPE_CHECKING

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from debye.core.records import significant, significants
from debye.core.upward import Displayed
from debye.crystals.dos.quantities import QUANTITIES, OnGrid, amount, kelvins
from debye.crystals.dos.spectrum import Spectrum
from debye.errors import InputError

if TYPE_CHECKING:
    import pandas

Bounds = Mapping[str, tuple[Tensor, Tensor]]
THERMAL = tuple(name for name, quantity in QUANTITIES.items() if quantity.thermal)


@dataclass(frozen=True, eq=False, repr=False)
class Thermodynamics(Displayed):
    """Thermodynamic functions on a range of temperatures; see `thermodynamics`.

    Args:
        temperature: K, shape (T,).
        heat_capacity: J/K per amount, shape (..., T).
        entropy: J/K per amount, shape (..., T).
        internal_energy: kJ per amount, with its zero-point part, shape (..., T).
        helmholtz_energy: kJ per amount, shape (..., T).
        zero_point_energy: kJ per amount, shape (...).
        imaginary_fraction: Fraction of the states that was left out, shape (...).
        basis: What an amount is, a name in `debye.crystals.dos.quantities.BASES`.
        bounds: Lower and upper heat capacity and entropy, by these names, in their units and
            shapes, where they are known.

    Example:
        >>> thermodynamics(Spectrum([0, 100, 200], [0, 0.03, 0]), [100.0, 300.0])
        Thermodynamics(2 temperatures 100..300 K, per-atom, C_V 20.4..24.4 J/K/mol-atom)
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

    def __repr__(self) -> str:
        T, heat = self.temperature, self.heat_capacity
        count = f"{len(T)} temperature{'s'[: len(T) != 1]}"
        if heat.dim() != 1 or not len(T):
            return f"Thermodynamics({count}, {self.basis}, shape {tuple(heat.shape[:-1])})"
        ends = [f"{x[0].item():.3g}" + (f"..{x[-1].item():.3g}" if len(T) > 1 else "")
                for x in (T, heat)]  # fmt: skip
        unit = QUANTITIES["heat_capacity"].unit_text(self.basis)
        return f"Thermodynamics({count} {ends[0]} K, {self.basis}, C_V {ends[1]} {unit})"

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same numbers per the same amount."""
        if not isinstance(other, Thermodynamics):
            return NotImplemented
        tensors = [f.name for f in fields(self) if f.name not in ("basis", "bounds")]
        return (
            self.basis == other.basis
            and all(torch.equal(getattr(self, n), getattr(other, n)) for n in tensors)
            and self.bounds.keys() == other.bounds.keys()
            and all(
                torch.equal(a, b)
                for name, ends in self.bounds.items()
                for a, b in zip(ends, other.bounds[name], strict=True)
            )
        )

    __hash__ = None  # type: ignore[assignment]  # compared by value, and that is tensors

    def to_dict(self) -> dict[str, object]:
        """Numbers of seven digits as lists, with their units in the names, ready for JSON.

        Example:
            >>> dos = Spectrum([0, 100, 200], [0, 0.03, 0])
            >>> list(thermodynamics(dos, [300.0]).to_dict())[:3]
            ['basis', 'temperature_K', 'heat_capacity_J_per_K_per_mol_atoms']
        """
        column = {name: q.column(self.basis) for name, q in QUANTITIES.items() if q.extensive}
        return {
            "basis": self.basis,
            "temperature_K": [float(f"{T:.10g}") for T in self.temperature.tolist()],
            **{column[name]: _rounded(getattr(self, name)) for name in THERMAL},
            column["zero_point_energy"]: _rounded(self.zero_point_energy),
            "imaginary_fraction": _rounded(self.imaginary_fraction),
            **{
                f"{column[name]}_{edge}": _rounded(values)
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
        columns = self._columns()
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        return stream.getvalue()

    def to_frame(self) -> pandas.DataFrame:
        """A pandas table with one row per temperature, the columns of `to_csv`.

        What does not depend on the temperature stands in its ``attrs``.

        Raises:
            InputError: pandas is not installed, or the result is a batch.

        Example:
            >>> dos = Spectrum([0, 100, 200], [0, 0.03, 0])
            >>> thermodynamics(dos, [0, 300]).to_frame().index.tolist()
            [0.0, 300.0]
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise InputError(
                "cannot make a data frame",
                why="pandas is not installed",
                fix="run `pip install pandas`, or use to_dict()",
            ) from error
        columns = self._columns()
        frame = pd.DataFrame(columns).set_index("temperature_K")
        frame.attrs.update({k: v for k, v in self.to_dict().items() if k not in columns})
        return frame

    def _columns(self) -> dict[str, list[float]]:
        """What has a number for each temperature.

        Raises:
            InputError: The result is a batch.
        """
        if self.heat_capacity.dim() != 1:
            why = f"it holds a batch of shape {tuple(self.heat_capacity.shape[:-1])}"
            raise InputError("cannot make one table", why=why, fix="take one spectrum at a time")
        return {name: v for name, v in self.to_dict().items() if isinstance(v, list)}


def _rounded(values: Tensor) -> object:
    """Numbers of seven digits, as deeply nested as the tensor."""
    if values.dim() == 0:
        return significant(values.item())
    if values.dim() == 1:
        return significants(values.tolist())
    return [_rounded(row) for row in values]


@singledispatch
def thermodynamics(
    given: object,
    temperatures: Tensor | ArrayLike,
    *,
    basis: str = "per-atom",
    formula_units: float | None = None,
    mass: float | None = None,
    bounds: Bounds | None = None,
) -> Thermodynamics:
    """Heat capacity, entropy and energies of a spectrum or a prediction, per what is asked for.

    Args:
        given: A `Spectrum` of any normalisation, shape (..., F); or a `Prediction`, which knows
            its own formula units, mass and bounds.
        temperatures: K, ≥ 0: a number, a list, a range, an array, (T,).
        basis: ``per-atom``, ``per-formula-unit``, ``per-mole-of-cells`` or ``per-kg``.
        formula_units: Formula units among the spectrum's ``n_atoms``, for ``per-formula-unit``.
        mass: Mass of the spectrum's ``n_atoms``, u, for ``per-kg``.
        bounds: Lower and upper ``heat_capacity`` and ``entropy`` per mole of atoms, (..., T) each,
            to be given per the same amount.

    Returns:
        The functions in double precision, with the fraction of imaginary modes that was left out.

    Raises:
        InputError: An unknown basis, a basis without its number, a bad temperature, or something
            that is no spectrum.

    Example:
        >>> cell = Spectrum([0, 100, 200], [0.0, 0.06, 0.0], n_atoms=2)
        >>> table = thermodynamics(cell, 300, basis="per-kg", mass=58.44)
        >>> {name: round(value[0], 1) for name, value in list(table.to_dict().items())[2:3]}
        {'heat_capacity_J_per_K_per_kg': 833.8}
    """
    raise InputError(
        f"no thermodynamics of a {type(given).__name__}",
        why="it is neither a Spectrum nor a Prediction",
        fix="predict it first with debye.predict, or make it a debye.Spectrum",
    )


@thermodynamics.register
def _of_spectrum(
    given: Spectrum,
    temperatures: Tensor | ArrayLike,
    *,
    basis: str = "per-atom",
    formula_units: float | None = None,
    mass: float | None = None,
    bounds: Bounds | None = None,
) -> Thermodynamics:
    moles = amount(basis, given.n_atoms, formula_units, mass)
    T, cells = kelvins(temperatures), OnGrid.of(given)
    per_amount = (given.n_atoms.cpu().double() / moles)[..., None]

    def of(name: str) -> Tensor:
        return cells.value(name, T) / moles[..., None]

    return Thermodynamics(
        temperature=torch.tensor(T, dtype=torch.float64),
        heat_capacity=of("heat_capacity"),
        entropy=of("entropy"),
        internal_energy=of("internal_energy"),
        helmholtz_energy=of("helmholtz_energy"),
        zero_point_energy=cells.value("zero_point_energy") / moles,
        imaginary_fraction=given.imaginary_fraction,
        basis=basis,
        bounds={
            name: (lower * per_amount, upper * per_amount)
            for name, (lower, upper) in (bounds or {}).items()
        },
    )
