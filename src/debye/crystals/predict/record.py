"""What is told of a prediction: a JSON record, a row of a Parquet table, a line of text.

All three take their numbers from one function, `numbers`, and their names and units from
`debye.crystals.dos.quantities`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from debye.core.records import SCHEMA, significant, significants
from debye.crystals.dos.quantities import (
    PROPERTIES,
    UNIT_TEXT,
    WITH_INTERVALS,
    OnGrid,
    Property,
    amount,
    kelvins,
)
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos.thermo_table import Thermodynamics
from debye.crystals.predict.prediction import Prediction
from debye.crystals.structure_io.read import FailedInput
from debye.crystals.uncertainty.uncertainty import LEVEL, Uncertainty
from debye.units import frequency_factor

if TYPE_CHECKING:
    import pyarrow as pa

EXPECTED_ERROR = "expected_error_cm-1"
"""Column of the Wasserstein distance to expect between spectrum and truth; null if unknown."""
UNSTABLE = "unstable_probability"
"""Column of how likely a mode is imaginary; null if the model cannot tell."""
OF_RECORDS = tuple(
    PROPERTIES[name]
    for name in (
        "mean-frequency",
        "heat-capacity-per-atom",
        "entropy-per-atom",
        "zero-point-energy-per-atom",
    )
)
"""What a record holds; a screening holds all `PROPERTIES`."""


def bounds_of(column: str) -> tuple[str, str]:
    """The columns of the interval around a quantity; null if unknown."""
    return f"{column}_lower", f"{column}_upper"


def numbers(
    prediction: Prediction,
    properties: Iterable[Property],
    temperatures: Sequence[float],
    *,
    unit: str = "cm-1",
    level: float = LEVEL,
    several: bool = False,
) -> dict[str, float]:
    """Quantities of a prediction by their columns, with the ends of their intervals if known.

    Args:
        prediction: Of one crystal.
        properties: Which quantities, per what.
        temperatures: K, of the thermal ones.
        unit: Of frequencies.
        level: Of the intervals.
        several: Whether the columns name the temperature.

    Raises:
        InputError: A bad temperature, or a level that is not tabulated.
    """
    T, found = kelvins(temperatures), dict[str, float]()
    cell = OnGrid.of(prediction.total)
    for wanted in properties:
        quantity, basis = wanted
        moles, atoms = _amounts(prediction, wanted)
        columns = [cell.value(quantity.name, T) / moles]
        if prediction.uncertainty is not None and quantity.name in WITH_INTERVALS:
            ends = prediction.uncertainty.interval(quantity.name, T, level=level)
            columns += [end * (atoms / moles) for end in ends]
        each = [(quantity.factor(unit) * column).reshape(-1).tolist() for column in columns]
        for at, *ends_too in zip(T if quantity.thermal else (None,), *each, strict=True):
            name = quantity.column(basis, temperature=at if several else None, unit=unit)
            found |= zip((name, *bounds_of(name)), map(significant, ends_too), strict=False)
    return found


def _amounts(prediction: Prediction, wanted: Property) -> tuple[Tensor, Tensor]:
    """How much of its basis, and how many moles of atoms, a mole of cells is; 1 for a mean."""
    crystal, atoms = prediction.crystal, prediction.total.n_atoms.double()
    if not wanted.quantity.extensive:
        return torch.ones_like(atoms), torch.ones_like(atoms)
    return amount(wanted.basis, atoms, crystal.n_formula_units, crystal.mass), atoms


def record(
    prediction: Prediction,
    *,
    unit: str = "cm-1",
    partial: str = "none",
    temperature: float = 300.0,
    level: float = LEVEL,
    shown: Prediction | None = None,
) -> dict[str, Any]:
    """A prediction as numbers and text for JSON, units in the names of the keys.

    Args:
        prediction: What to tell.
        unit: Unit of ``frequency``; ``dos`` is in states per that unit, normalised to 3N.
        partial: ``element`` or ``site`` adds ``partial_dos``, whose rows add up to ``dos``.
        temperature: Of the heat capacity and the entropy, K.
        level: Of the intervals, which a calibrated model gives.
        shown: The same on another axis, `Prediction.on_axis`, whose spectrum is told; the
            quantities are of the whole one.

    Raises:
        InputError: A bad temperature, an unknown unit, or a level that is not tabulated.
    """
    shown = shown or prediction
    frequency, density = shown.total.in_unit(unit)
    found = {
        "schema": SCHEMA,
        **described(shown),
        "unit": unit,
        "normalisation": "3N",
        "frequency": significants(frequency.tolist()),
        "dos": significants(density.tolist()),
        "temperature_K": temperature,
        **numbers(prediction, OF_RECORDS, [temperature], unit=unit, level=level),
    }
    band = shown.band(level)
    if prediction.uncertainty is not None and band is not None:
        found |= {"interval_level": level, **expected_error(prediction.uncertainty)}
        found |= {} if prediction.unstable is None else {UNSTABLE: round(prediction.unstable, 3)}
        for name, edge in zip(bounds_of("dos"), band, strict=True):
            found[name] = significants((edge * frequency_factor(unit, "cm-1")).tolist())
    parts = split(shown, partial)
    if parts is not None:
        rows = parts.in_unit(unit)[1].tolist()
        found["partial_dos"] = dict(zip(parts.labels, map(significants, rows), strict=True))
    return found


def thermo_record(
    prediction: Prediction, table: Thermodynamics, level: float = LEVEL
) -> dict[str, Any]:
    """The thermodynamics of a prediction as numbers and text for JSON.

    Args:
        prediction: Of one crystal.
        table: Its thermodynamics.
        level: Of the table's bounds.
    """
    found = {"schema": SCHEMA, **described(prediction)}
    if table.bounds:
        found["interval_level"] = level
    return found | table.to_dict()


def described(prediction: Prediction) -> dict[str, Any]:
    """Of which crystal a record is, and what to know before relying on it."""
    crystal = prediction.crystal
    return {
        "source": crystal.source or crystal.name,
        "formula": crystal.formula,
        "n_atoms": crystal.n_atoms,
        **({} if prediction.lattice == "given" else {"lattice": prediction.lattice}),
        "elements_unseen": list(prediction.elements_unseen),
        "warnings": list(prediction.warnings),
    }


def expected_error(uncertainty: Uncertainty) -> dict[str, Any]:
    """The expected error of a prediction, its rank, and the training crystal nearest to it."""
    found: dict[str, Any] = {
        EXPECTED_ERROR: round(uncertainty.expected_error.item(), 4),
        "expected_error_rank": round(uncertainty.rank, 2),
    }
    if uncertainty.applicability is not None:
        found["nearest_training_formula"] = uncertainty.applicability.nearest
        found["nearest_training_distance"] = round(uncertainty.applicability.distance, 4)
    return found


def split(prediction: Prediction, partial: str) -> Spectrum | None:
    """The partial spectra of ``element`` or ``site``; None for ``none``."""
    if partial == "none":
        return None
    return prediction.elements if partial == "element" else prediction.sites


# Rows of a Parquet table.


def row(
    prediction: Prediction, temperatures: Sequence[float], partial: str, level: float = LEVEL
) -> dict[str, Any]:
    """A prediction as a row of the table that a screening keeps.

    Args:
        prediction: What the model says of a crystal.
        temperatures: K, of the thermal quantities.
        partial: ``element`` or ``site`` adds the partial spectra.
        level: Of the intervals.

    Raises:
        InputError: A bad temperature, or a level that is not tabulated.
    """
    crystal = prediction.crystal
    found: dict[str, Any] = {
        "id": crystal.source or crystal.name,
        "name": crystal.name,
        "formula": crystal.formula,
        "n_atoms": crystal.n_atoms,
        "elements": crystal.elements,
        "mass_per_atom_u": crystal.mass / crystal.n_atoms,
        "dos": prediction.published.sum().density.numpy(),
        "elements_unseen": prediction.elements_unseen,
        "warnings": prediction.warnings,
        **numbers(prediction, PROPERTIES.values(), temperatures, level=level, several=True),
    }
    if prediction.uncertainty is not None:
        found |= expected_error(prediction.uncertainty) | {UNSTABLE: prediction.unstable}
    parts = split(replace(prediction, sites=prediction.published), partial)
    if parts is not None:
        found["partial_dos"] = list(zip(parts.labels, parts.density.numpy(), strict=True))
    return found


def failed_row(failed: FailedInput) -> dict[str, Any]:
    """The row of a structure of which nothing could be predicted."""
    error = failed.error
    return {"id": failed.source, "error": f"{error.what}: {error.why}"}


def schema(temperatures: Sequence[float], partial: str) -> pa.Schema:
    """The columns of a table."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    spectrum = pa.list_(pa.float32())
    quantities = [p.column(T) for T in temperatures for p in PROPERTIES.values()]
    columns = {
        "id": text,
        "name": text,
        "formula": text,
        "n_atoms": number,
        "elements": pa.list_(text),
        "mass_per_atom_u": number,
        "dos": spectrum,
        **({"partial_dos": pa.map_(text, spectrum)} if partial != "none" else {}),
        **{name: number for column in quantities for name in (column, *bounds_of(column))},
        EXPECTED_ERROR: number,
        "expected_error_rank": number,
        UNSTABLE: number,
        "nearest_training_formula": text,
        "nearest_training_distance": number,
        "elements_unseen": pa.list_(text),
        "warnings": pa.list_(text),
        "error": text,
    }
    return pa.schema(list(columns.items()))


def table(
    items: Iterable[Prediction | FailedInput],
    temperatures: Sequence[float],
    partial: str,
    level: float = LEVEL,
) -> pa.Table:
    """Predictions as a table, one row each, in their order.

    Raises:
        InputError: A bad temperature, or a level that is not tabulated.
    """
    import pyarrow as pa

    rows = [
        failed_row(item)
        if isinstance(item, FailedInput)
        else row(item, temperatures, partial, level)
        for item in items
    ]
    return pa.Table.from_pylist(rows, schema=schema(temperatures, partial))


# Lines of text.

_SHOWN = ("mean-frequency", "heat-capacity-per-atom", "zero-point-energy-per-atom")
_WITH_HALF = _SHOWN[:2]
"""Those with their ± beside them."""


def table_header(temperature: float, unit: str, level: float | None = None) -> str:
    """Titles of the columns of `table_row`; with a level where the model is calibrated."""
    titles, units = [], []
    for name in _SHOWN:
        titles.append(PROPERTIES[name].title(temperature))
        units.append(PROPERTIES[name].quantity.unit_text(unit=unit))
        if level is not None and name in _WITH_HALF:
            titles.append("±")
            units.append(f"{100 * level:g} %")
    if level is not None:
        titles.append("error")
        units.append(UNIT_TEXT["cm-1"])
    return f"{_line('formula', 'atoms', titles)}  source\n{_line('', '', units)}"


def table_row(
    prediction: Prediction, temperature: float, unit: str, level: float | None = None
) -> str:
    """One line of the table.

    Formula, atoms, mean frequency, heat capacity and zero-point energy; with a level, also half
    the intervals of the first two and the expected error of the spectrum. An exclamation mark
    where there are warnings.

    Raises:
        InputError: A bad temperature, or a level that is not tabulated.
    """
    crystal, uncertainty = prediction.crystal, prediction.uncertainty
    found = numbers(prediction, OF_RECORDS, [temperature], unit=unit, level=level or LEVEL)
    cells = []
    for name in _SHOWN:
        column = PROPERTIES[name].quantity.column(unit=unit)
        cells.append(f"{found[column]:.4g}" if name == _SHOWN[0] else f"{found[column]:.3f}")
        if level is not None and uncertainty is not None and name in _WITH_HALF:
            lower, upper = (found[bound] for bound in bounds_of(column))
            cells.append(f"{(upper - lower) / 2:.2g}")
    if level is not None and uncertainty is not None:
        cells.append(f"{uncertainty.expected_error.item():.3g}")
    mark = " !" if prediction.warnings else ""
    line = _line(crystal.formula, f"{crystal.n_atoms:g}", cells)
    return f"{line}  {crystal.source or crystal.name}{mark}"


def _line(formula: str, atoms: str, cells: Sequence[str]) -> str:
    """Cells of a line, each as wide as its numbers need."""
    widths = [14, 12, 11] if len(cells) == 3 else [14, 6, 12, 6, 11, 6]
    texts = "".join(f" {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    return f"{formula:<22} {atoms:>7}{texts}"
