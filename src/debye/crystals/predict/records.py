"""What a prediction tells: a JSON record, or a row of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos.thermo import entropy, heat_capacity, weights_of, zero_point_energy
from debye.crystals.predict.prediction import Prediction
from debye.crystals.uncertainty.uncertainty import LEVEL, Uncertainty
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
    axis = tuple(total.frequency.tolist())
    of_temperature = [weights_of(q, axis, temperature) for q in (heat_capacity, entropy)]
    weights = torch.stack([*of_temperature, weights_of(zero_point_energy, axis)])
    cell = (weights @ total.to("3N").density.double() / total.n_atoms).tolist()
    return Summary(total.mean_frequency.item(), *cell)


def record(
    prediction: Prediction,
    *,
    unit: str = "cm-1",
    partial: str = "none",
    temperature: float = 300.0,
    level: float = LEVEL,
) -> dict[str, Any]:
    """A prediction as numbers and text for JSON, units in the names of the keys.

    Args:
        prediction: What to tell.
        unit: Unit of ``frequency``; ``dos`` is in states per that unit, normalised to 3N.
        partial: ``element`` or ``site`` adds ``partial_dos``, whose rows add up to ``dos``.
        temperature: Of the heat capacity and the entropy, K.
        level: Of the intervals, which a calibrated model gives.
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
    band = prediction.band(level)
    if prediction.uncertainty is not None and band is not None:
        told |= trust(prediction.uncertainty, unit=unit, temperature=temperature, level=level)
        told["dos_lower"], told["dos_upper"] = (
            _rounded(edge * frequency_factor(unit, "cm-1")) for edge in band
        )
    parts = split(prediction, partial)
    if parts is not None:
        rows = parts.in_unit(unit)[1]
        told["partial_dos"] = dict(zip(parts.labels, map(_rounded, rows), strict=True))
    return told


def trust(
    uncertainty: Uncertainty,
    *,
    unit: str = "cm-1",
    temperature: float = 300.0,
    level: float = LEVEL,
) -> dict[str, Any]:
    """How far a prediction can be trusted, as the part of its `record` that a table has room for.

    The expected error and its rank among the training crystals, the training crystal nearest in
    composition, and the ends of each interval beside the names of the numbers.
    """
    factor = frequency_factor("cm-1", unit)
    told = standing(uncertainty) | {"interval_level": level}
    for name, key, scale in (
        ("mean_frequency", f"mean_frequency_{unit}", factor),
        ("heat_capacity", "heat_capacity_per_atom_J/mol/K", 1.0),
        ("entropy", "entropy_per_atom_J/mol/K", 1.0),
        ("zero_point_energy", "zero_point_energy_per_atom_kJ/mol", 1.0),
    ):
        interval = uncertainty.interval(name, [temperature], level=level)
        told[f"{key}_lower"], told[f"{key}_upper"] = (
            round(scale * end.item(), 6) for end in interval
        )
    return told


def standing(uncertainty: Uncertainty) -> dict[str, Any]:
    """The expected error of a prediction, its rank, and the training crystal nearest to it."""
    told: dict[str, Any] = {
        "expected_error_cm-1": round(uncertainty.expected_error.item(), 4),
        "expected_error_rank": round(uncertainty.rank, 2),
    }
    if uncertainty.applicability is not None:
        told["nearest_training_formula"] = uncertainty.applicability.nearest
        told["nearest_training_distance"] = round(uncertainty.applicability.distance, 4)
    return told


def split(prediction: Prediction, partial: str) -> Spectrum | None:
    """The partial spectra of ``element`` or ``site``; None for ``none``."""
    if partial == "none":
        return None
    return prediction.elements if partial == "element" else prediction.sites


def _rounded(values: Any) -> list[float]:  # noqa: ANN401 - a tensor of one axis
    """Seven digits, which is what single precision holds."""
    return [float(f"{x:.7g}") for x in values.tolist()]


def table_header(temperature: float, unit: str, level: float | None = None) -> str:
    """Titles of the columns of `table_row`; with a level where the model is calibrated."""
    titles = [f"mean / {unit}", f"C_V({temperature:g} K)", "ZPE"]
    units = ["", "J/K/mol-atom", "kJ/mol"]
    if level is not None:
        titles = [titles[0], "±", titles[1], "±", titles[2], "error"]
        units = ["", f"{100 * level:g} %", units[1], f"{100 * level:g} %", units[2], "cm-1"]
    return f"{_columns('formula', 'atoms', titles)}  source\n{_columns('', '', units)}"


def table_row(
    prediction: Prediction, temperature: float, unit: str, level: float | None = None
) -> str:
    """One line of the table.

    Formula, atoms, mean frequency, heat capacity and zero-point energy; with a level, also half
    the intervals of the first two and the expected error of the spectrum. An exclamation mark
    where there are warnings.
    """
    crystal, numbers = prediction.crystal, summary(prediction.total, temperature)
    factor = frequency_factor("cm-1", unit)
    values = [
        f"{numbers.mean_frequency * factor:.4g}",
        f"{numbers.heat_capacity:.3f}",
        f"{numbers.zero_point_energy:.3f}",
    ]
    if level is not None and prediction.uncertainty is not None:
        sure = prediction.uncertainty
        mean = sure.interval("mean_frequency", level=level).half.item() * factor
        heat = sure.interval("heat_capacity", [temperature], level=level).half.item()
        error = f"{sure.expected_error.item():.3g}"
        values = [values[0], f"{mean:.2g}", values[1], f"{heat:.2g}", values[2], error]
    mark = " !" if prediction.warnings else ""
    row = _columns(crystal.formula, f"{crystal.n_atoms:g}", values)
    return f"{row}  {crystal.source or crystal.name}{mark}"


def _columns(formula: str, atoms: str, values: Sequence[str]) -> str:
    """Cells of a line, each as wide as its numbers need."""
    widths = [12, 12, 8] if len(values) == 3 else [12, 6, 12, 6, 8, 6]
    cells = "".join(f" {value:>{width}}" for value, width in zip(values, widths, strict=True))
    return f"{formula:<22} {atoms:>7}{cells}"
