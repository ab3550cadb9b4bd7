"""What a prediction tells: a JSON record, or a row of a table."""

from __future__ import annotations

from typing import Any

from debye.crystals.predictor import Prediction
from debye.crystals.spectrum import Spectrum
from debye.crystals.thermo import entropy, heat_capacity, zero_point_energy
from debye.units import frequency_factor


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
        f"mean_frequency_{unit}": round(
            total.mean_frequency.item() * frequency_factor("cm-1", unit), 6
        ),
        "temperature_K": temperature,
        "heat_capacity_per_atom_J/mol/K": _at(heat_capacity(total, temperature) / total.n_atoms),
        "entropy_per_atom_J/mol/K": _at(entropy(total, temperature) / total.n_atoms),
        "zero_point_energy_per_atom_kJ/mol": _at(zero_point_energy(total) / total.n_atoms),
    }
    parts = split(prediction, partial)
    if parts is not None:
        rows = parts.in_unit(unit)[1]
        told["partial_dos"] = dict(zip(parts.labels, map(_rounded, rows), strict=True))
    return told


def split(prediction: Prediction, partial: str) -> Spectrum | None:
    """The partial spectra of ``element`` or ``site``; None for ``none``."""
    return {"none": None, "element": prediction.elements, "site": prediction.sites}[partial]


def _rounded(values: Any) -> list[float]:  # noqa: ANN401 - a tensor of one axis
    """Seven digits, which is what single precision holds."""
    return [float(f"{x:.7g}") for x in values.tolist()]


def _at(value: Any) -> float:  # noqa: ANN401 - a tensor of one number
    return round(value.item(), 6)


def table_header(temperature: float, unit: str) -> str:
    """Titles of the columns of `table_row`."""
    return (
        f"{'formula':<22} {'atoms':>7} {f'mean / {unit}':>12} {f'C_V({temperature:g} K)':>12} "
        f"{'ZPE':>8}  source\n"
        f"{'':<22} {'':>7} {'':>12} {'J/K/mol-atom':>12} {'kJ/mol':>8}"
    )


def table_row(prediction: Prediction, temperature: float, unit: str) -> str:
    """One line of the table: formula, atoms, mean frequency, heat capacity, zero-point energy."""
    crystal, total = prediction.crystal, prediction.total
    factor = frequency_factor("cm-1", unit)
    mark = " !" if prediction.warnings else ""
    return (
        f"{crystal.formula:<22} {crystal.n_atoms:>7g} "
        f"{total.mean_frequency.item() * factor:>12.4g} "
        f"{heat_capacity(total, temperature).item() / crystal.n_atoms:>12.3f} "
        f"{zero_point_energy(total).item() / crystal.n_atoms:>8.3f}  {crystal.source or crystal.name}{mark}"
    )
