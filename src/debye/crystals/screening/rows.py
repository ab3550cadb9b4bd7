"""What is kept of each structure: the columns, and the one function that fills them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from debye.crystals.model.predictor import Prediction
from debye.crystals.model.records import split, summary
from debye.crystals.structures.reading import Rejected

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
    thermal: bool = True


QUANTITIES = {
    "heat-capacity-per-mass": Quantity("heat_capacity_J_per_K_per_kg", "C_V", "$C_V$", "J/K/kg"),
    "heat-capacity-per-atom": Quantity(
        "heat_capacity_J_per_K_per_mol_atoms", "C_V", "$C_V$", "J/K/mol-atom"
    ),
    "entropy-per-atom": Quantity("entropy_J_per_K_per_mol_atoms", "S", "$S$", "J/K/mol-atom"),
    "zero-point-energy": Quantity(
        "zero_point_energy_kJ_per_mol_atoms",
        "ZPE",
        "Zero-point energy",
        "kJ/mol-atom",
        thermal=False,
    ),
    "mean-frequency": Quantity(
        "mean_frequency_cm-1", "mean frequency", "Mean frequency", "cm⁻¹", thermal=False
    ),
}
"""What `debye top` can rank by."""


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
    parts = split(prediction, partial)
    if parts is not None:
        told["partial_dos"] = list(zip(parts.labels, parts.density.numpy(), strict=True))
    return told


def failed_row(rejected: Rejected) -> dict[str, Any]:
    """The row of a structure of which nothing could be predicted."""
    refusal = rejected.refusal
    return {"id": rejected.source, "error": f"{refusal.what}: {refusal.why}"}


def schema(temperatures: Sequence[float], partial: str) -> pa.Schema:
    """The columns of a part."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    spectrum = pa.list_(pa.float32())
    columns = {
        "id": text,
        "name": text,
        "formula": text,
        "n_atoms": number,
        "elements": pa.list_(text),
        "mass_per_atom_u": number,
        "dos": spectrum,
        **({"partial_dos": pa.map_(text, spectrum)} if partial != "none" else {}),
        **{column_of(target, T): number for T in temperatures for target in QUANTITIES},
        "elements_unseen": pa.list_(text),
        "warnings": pa.list_(text),
        "error": text,
    }
    return pa.schema(list(columns.items()))


def table(
    items: Iterable[Prediction | Rejected], temperatures: Sequence[float], partial: str
) -> pa.Table:
    """Predictions as a table, one row each, in their order."""
    import pyarrow as pa

    rows = [
        failed_row(item) if isinstance(item, Rejected) else row(item, temperatures, partial)
        for item in items
    ]
    return pa.Table.from_pylist(rows, schema=schema(temperatures, partial))
