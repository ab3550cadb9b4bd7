"""What is kept of each structure: the columns, and the one function that fills them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from debye.crystals.predict.prediction import Prediction
from debye.crystals.predict.records import split, standing, summary
from debye.crystals.structure_io.read import FailedInput
from debye.crystals.uncertainty.uncertainty import LEVEL, Uncertainty

if TYPE_CHECKING:
    import pyarrow as pa


class Quantity(NamedTuple):
    """Something to rank by."""

    column: str
    """Its column, with its unit; thermal ones have a column for each temperature."""
    label: str
    """In a table."""
    symbol: str
    """In a figure."""
    unit: str
    interval: str
    """Its name in `debye.crystals.uncertainty.quantities`."""
    thermal: bool = True


QUANTITIES = {
    "heat-capacity-per-mass": Quantity(
        "heat_capacity_J_per_K_per_kg", "C_V", "$C_V$", "J/K/kg", "heat_capacity"
    ),
    "heat-capacity-per-atom": Quantity(
        "heat_capacity_J_per_K_per_mol_atoms", "C_V", "$C_V$", "J/K/mol-atom", "heat_capacity"
    ),
    "entropy-per-atom": Quantity(
        "entropy_J_per_K_per_mol_atoms", "S", "$S$", "J/K/mol-atom", "entropy"
    ),
    "zero-point-energy": Quantity(
        "zero_point_energy_kJ_per_mol_atoms",
        "ZPE",
        "Zero-point energy",
        "kJ/mol-atom",
        "zero_point_energy",
        thermal=False,
    ),
    "mean-frequency": Quantity(
        "mean_frequency_cm-1",
        "mean frequency",
        "Mean frequency",
        "cm⁻¹",
        "mean_frequency",
        thermal=False,
    ),
}
"""What `debye top` can rank by."""
EXPECTED_ERROR = "expected_error_cm-1"
"""Column of the Wasserstein distance to expect between spectrum and truth; null if unknown."""


def column_of(target: str, temperature: float) -> str:
    """The column of a quantity.

    Example:
        >>> column_of("heat-capacity-per-mass", 293.15)
        'heat_capacity_J_per_K_per_kg_at_293.15_K'
        >>> column_of("mean-frequency", 293.15)
        'mean_frequency_cm-1'
    """
    quantity = QUANTITIES[target]
    return f"{quantity.column}_at_{temperature:.10g}_K" if quantity.thermal else quantity.column


def ends_of(column: str) -> tuple[str, str]:
    """The columns of the interval around a quantity, of level `LEVEL`; null if unknown."""
    return f"{column}_lower", f"{column}_upper"


def row(prediction: Prediction, temperatures: Sequence[float], partial: str) -> dict[str, Any]:
    """A prediction as a row; what is told of one is decided here alone.

    Args:
        prediction: What the model says of a crystal.
        temperatures: K, of the thermal quantities.
        partial: ``element`` or ``site`` adds the partial spectra.
    """
    crystal, total = prediction.crystal, prediction.total
    kilograms = 1e-3 * crystal.mass / crystal.n_atoms  # of a mole of atoms; u is g/mol
    told: dict[str, Any] = {
        "id": crystal.source or crystal.name,
        "name": crystal.name,
        "formula": crystal.formula,
        "n_atoms": crystal.n_atoms,
        "elements": crystal.elements,
        "mass_per_atom_u": 1e3 * kilograms,
        "dos": total.density.numpy(),
        "elements_unseen": prediction.elements_unseen,
        "warnings": prediction.warnings,
    }
    for T in temperatures:
        numbers = summary(total, T)
        values = {
            "heat-capacity-per-mass": numbers.heat_capacity / kilograms,
            "heat-capacity-per-atom": numbers.heat_capacity,
            "entropy-per-atom": numbers.entropy,
            "zero-point-energy": numbers.zero_point_energy,
            "mean-frequency": numbers.mean_frequency,
        }
        told |= {column_of(target, T): value for target, value in values.items()}
    if prediction.uncertainty is not None:
        told |= standing(prediction.uncertainty)
        told |= _intervals(prediction.uncertainty, temperatures, kilograms)
    parts = split(prediction, partial)
    if parts is not None:
        told["partial_dos"] = list(zip(parts.labels, parts.density.numpy(), strict=True))
    return told


def _intervals(
    uncertainty: Uncertainty, temperatures: Sequence[float], kilograms: float
) -> dict[str, float]:
    """The ends of the interval around each quantity, by column."""
    told: dict[str, float] = {}
    for name in dict.fromkeys(quantity.interval for quantity in QUANTITIES.values()):
        interval = uncertainty.interval(name, temperatures, level=LEVEL)
        ends = [end.expand(len(temperatures)).tolist() for end in interval]
        for target, quantity in QUANTITIES.items():
            if quantity.interval == name:
                per = kilograms if target == "heat-capacity-per-mass" else 1.0
                for T, *pair in zip(temperatures, *ends, strict=True):
                    columns = ends_of(column_of(target, T))
                    told |= {c: end / per for c, end in zip(columns, pair, strict=True)}
    return told


def failed_row(failed: FailedInput) -> dict[str, Any]:
    """The row of a structure of which nothing could be predicted."""
    error = failed.error
    return {"id": failed.source, "error": f"{error.what}: {error.why}"}


def schema(temperatures: Sequence[float], partial: str) -> pa.Schema:
    """The columns of a part."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    spectrum = pa.list_(pa.float32())
    quantities = [column_of(target, T) for T in temperatures for target in QUANTITIES]
    columns = {
        "id": text,
        "name": text,
        "formula": text,
        "n_atoms": number,
        "elements": pa.list_(text),
        "mass_per_atom_u": number,
        "dos": spectrum,
        **({"partial_dos": pa.map_(text, spectrum)} if partial != "none" else {}),
        **{name: number for column in quantities for name in (column, *ends_of(column))},
        EXPECTED_ERROR: number,
        "expected_error_rank": number,
        "nearest_training_formula": text,
        "nearest_training_distance": number,
        "elements_unseen": pa.list_(text),
        "warnings": pa.list_(text),
        "error": text,
    }
    return pa.schema(list(columns.items()))


def table(
    items: Iterable[Prediction | FailedInput], temperatures: Sequence[float], partial: str
) -> pa.Table:
    """Predictions as a table, one row each, in their order."""
    import pyarrow as pa

    rows = [
        failed_row(item) if isinstance(item, FailedInput) else row(item, temperatures, partial)
        for item in items
    ]
    return pa.Table.from_pylist(rows, schema=schema(temperatures, partial))
