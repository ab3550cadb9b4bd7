"""What a prediction tells: a JSON record, or a row of a table."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from debye.crystals.model.predictor import Prediction
from debye.crystals.spectra.spectrum import Spectrum, trapezoid_weights
from debye.crystals.spectra.thermo import entropy, heat_capacity, zero_point_energy
from debye.units import frequency_factor


class Summary(NamedTuple):
    """A spectrum in four numbers."""

    mean_frequency: float
    """cm⁻¹."""
    heat_capacity: float
    """J/K per mole of atoms."""
    entropy: float
    """J/K per mole of atoms."""
    zero_point_energy: float
    """kJ per mole of atoms."""


def summary(total: Spectrum, temperature: float) -> Summary:
    """Mean frequency and, per atom, C_V, S and zero-point energy of one spectrum.

    Example:
        >>> [round(x, 2) for x in summary(Spectrum([0, 100, 200], [0.0, 0.03, 0.0]), 300.0)]
        [100.0, 24.36, 43.77, 1.89]
    """
    weights = _weights(tuple(total.frequency.tolist()), temperature)
    cell = (weights @ total.to("3N").density.double() / total.n_atoms).tolist()
    return Summary(total.mean_frequency.item(), *cell)


@lru_cache(maxsize=8)
def _weights(frequency: tuple[float, ...], temperature: float) -> Tensor:
    """Weights of the points in C_V, S and zero-point energy, (3, F).

    Each is linear in the density, so its values on the grid's hat functions, computed once, give
    that of any spectrum: thousands of crystals share one grid and one temperature.
    """
    axis = torch.tensor(frequency, dtype=torch.float64)
    hats = Spectrum(axis, torch.eye(len(axis)).double(), n_atoms=trapezoid_weights(axis) / 3)
    return torch.stack(
        [heat_capacity(hats, temperature), entropy(hats, temperature), zero_point_energy(hats)]
    )


def record(
    prediction: Prediction, *, unit: str = "cm-1", partial: str = "none", temperature: float = 300.0
) -> dict[str, Any]:
    """A prediction as numbers and text for JSON, units in the names of the keys.

    Args:
        prediction: What to tell.
        unit: Unit of ``frequency``; ``dos`` is in states per that unit, normalised to 3N.
        partial: ``element`` or ``site`` adds ``partial_dos``, whose rows add up to ``dos``.
        temperature: Of the heat capacity and the entropy, K.
    """
    crystal, total = prediction.crystal, prediction.total
    frequency, density = total.in_unit(unit)
    numbers = summary(total, temperature)
    told = {
        "source": crystal.source or crystal.name,
        "formula": crystal.formula,
        "n_atoms": crystal.n_atoms,
        "elements_unseen": list(prediction.elements_unseen),
        "warnings": list(prediction.warnings),
        "unit": unit,
        "normalisation": "3N",
        "frequency": _rounded(frequency),
        "dos": _rounded(density),
        f"mean_frequency_{unit}": round(numbers.mean_frequency * frequency_factor("cm-1", unit), 6),
        "temperature_K": temperature,
        "heat_capacity_per_atom_J/mol/K": round(numbers.heat_capacity, 6),
        "entropy_per_atom_J/mol/K": round(numbers.entropy, 6),
        "zero_point_energy_per_atom_kJ/mol": round(numbers.zero_point_energy, 6),
    }
    parts = split(prediction, partial)
    if parts is not None:
        rows = parts.in_unit(unit)[1]
        told["partial_dos"] = dict(zip(parts.labels, map(_rounded, rows), strict=True))
    return told


def split(prediction: Prediction, partial: str) -> Spectrum | None:
    """The partial spectra of ``element`` or ``site``; None for ``none``."""
    if partial == "none":
        return None
    return prediction.elements if partial == "element" else prediction.sites


def _rounded(values: Any) -> list[float]:  # noqa: ANN401 - a tensor of one axis
    """Seven digits, which is what single precision holds."""
    return [float(f"{x:.7g}") for x in values.tolist()]


def table_header(temperature: float, unit: str) -> str:
    """Titles of the columns of `table_row`."""
    return (
        f"{'formula':<22} {'atoms':>7} {f'mean / {unit}':>12} {f'C_V({temperature:g} K)':>12} "
        f"{'ZPE':>8}  source\n"
        f"{'':<22} {'':>7} {'':>12} {'J/K/mol-atom':>12} {'kJ/mol':>8}"
    )


def table_row(prediction: Prediction, temperature: float, unit: str) -> str:
    """One line of the table: formula, atoms, mean frequency, heat capacity, zero-point energy."""
    crystal, numbers = prediction.crystal, summary(prediction.total, temperature)
    mean = numbers.mean_frequency * frequency_factor("cm-1", unit)
    mark = " !" if prediction.warnings else ""
    return (
        f"{crystal.formula:<22} {crystal.n_atoms:>7g} {mean:>12.4g} "
        f"{numbers.heat_capacity:>12.3f} {numbers.zero_point_energy:>8.3f}  "
        f"{crystal.source or crystal.name}{mark}"
    )
