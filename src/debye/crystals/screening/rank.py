"""What a screening found: its parts read back, filtered by composition, ranked."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from debye.crystals.dos.quantities import PROPERTIES
from debye.crystals.predict.record import EXPECTED_ERROR, bounds_of
from debye.crystals.screening.store import parts, read_manifest, read_part
from debye.crystals.structure.elements import ATOMIC_NUMBERS
from debye.crystals.uncertainty.uncertainty import LEVEL
from debye.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("id", "name", "formula", "n_atoms", "elements", "mass_per_atom_u", "warnings",
           EXPECTED_ERROR)  # fmt: skip
"""Columns of a ranked row, beside the quantity's."""


@dataclass(frozen=True)
class Query:
    """What is asked of a screening.

    Args:
        folder: Which.
        by: What to rank by, of `debye.crystals.dos.quantities.PROPERTIES`.
        temperature: K, one of the screening's; its first if None.
        contains: Elements that all must be there.
        without: Elements of which none may.
        lowest: Whether small values come first.
        max_error: Expected error of the spectrum up to which a row counts, cm⁻¹; any if None.
        level: Of the intervals, which must be the one that the screening kept; that one if None.

    Raises:
        InputError: The folder holds no screening, or it has not been screened for that.
    """

    folder: Path
    by: str
    temperature: float | None = None
    contains: Sequence[str] = ()
    without: Sequence[str] = ()
    lowest: bool = False
    max_error: float | None = None
    level: float | None = None

    def __post_init__(self) -> None:
        what = f"cannot rank {self.folder}"
        if self.by not in PROPERTIES:
            why = f"{self.by!r} is no quantity of a screening"
            raise InputError(what, why=why, fix=f"choose one of {', '.join(PROPERTIES)}")
        for element in (*self.contains, *self.without):
            if element not in ATOMIC_NUMBERS:
                why = f"{element!r} is no element symbol"
                raise InputError(what, why=why, fix="write for example Si")
        manifest = read_manifest(self.folder)
        if self.max_error is not None and not manifest["calibrated"]:
            why = "the model that screened it is not calibrated, so its errors are not known"
            raise InputError(
                what, why=why, fix="ask for no greatest error, or see `debye calibrate`"
            )
        known = manifest["temperatures"]
        kelvin = known[0] if self.temperature is None else self.temperature
        if kelvin not in known:
            why = f"it was screened at {', '.join(f'{T:g}' for T in known)} K, not {kelvin:g} K"
            raise InputError(what, why=why, fix="ask for one of these, or screen again")
        kept = manifest.get("interval_level", LEVEL)  # 0.1.0 kept this one, and did not say so
        if self.level is not None and self.level != kept:
            why = f"the screening kept its intervals of level {kept:g}, not {self.level:g}"
            fix = f"ask for --level {kept:g}, or screen again with --level {self.level:g}"
            raise InputError(what, why=why, fix=fix)
        object.__setattr__(self, "temperature", kelvin)
        object.__setattr__(self, "level", kept)

    @property
    def column(self) -> str:
        """The column that is ranked by."""
        return PROPERTIES[self.by].column(self.temperature)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read.

        Raises:
            InputError: The folder holds no screening any more.
        """
        refined = ("refined_by",) if "refined" in read_manifest(self.folder) else ()
        return (*COLUMNS, self.column, *bounds_of(self.column), *refined)


def top(query: Query, count: int) -> list[dict[str, Any]]:
    """The best rows, the best first, each as a dictionary of the query's columns.

    Only so many rows as are asked for are held, whatever the screening's size.

    Raises:
        InputError: A part is damaged.
    """
    sign = -1.0 if query.lowest else 1.0
    best: Iterable[dict[str, Any]] = (
        row for part in _tables(query) for row in _best(part, query, count)
    )
    return heapq.nlargest(count, best, key=lambda row: sign * row[query.column])


def warned(folder: Path) -> int:
    """Structures of a screening that have a warning.

    Raises:
        InputError: A part is damaged.
    """
    columns = (read_part(part, ["warnings"])["warnings"] for part in parts(folder).values())
    return sum(1 for column in columns for said in column.to_pylist() if said)


def _best(part: pa.Table, query: Query, count: int) -> list[dict[str, Any]]:
    """The best rows of one part."""
    import pyarrow.compute as pc

    order = [(query.column, "ascending" if query.lowest else "descending")]
    chosen = pc.select_k_unstable(part, k=min(count, len(part)), sort_keys=order)
    return list(part.take(chosen).to_pylist())


def values(query: Query) -> tuple[NDArray[np.float64], NDArray[np.float64], list[list[str]]]:
    """Of all rows that fit: mean atomic mass in u, the quantity, and the elements.

    Raises:
        InputError: A part is damaged.
    """
    mass, value, elements = [], [], list[list[str]]()
    for part in _tables(query):
        mass.append(part["mass_per_atom_u"].to_numpy())
        value.append(part[query.column].to_numpy())
        elements += part["elements"].to_pylist()
    return np.concatenate(mass or [[]]), np.concatenate(value or [[]]), elements


def _tables(query: Query) -> Iterator[pa.Table]:
    """The parts, less rows that failed or do not fit."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for path in parts(query.folder).values():
        part = read_part(path, query.columns)
        yield part.filter(pa.array(_fits(part, query))).filter(pc.is_finite(pc.field(query.column)))


def _fits(part: pa.Table, query: Query) -> NDArray[np.bool_]:
    """Which rows have the elements they must, none that they may not, and a small error."""
    import pyarrow.compute as pc

    owner = pc.list_parent_indices(part["elements"]).to_numpy()
    element = pc.list_flatten(part["elements"])

    def holds(symbol: str) -> NDArray[np.bool_]:
        found = np.zeros(len(part), dtype=bool)
        found[owner[pc.equal(element, symbol).to_numpy(zero_copy_only=False)]] = True
        return found

    fits = np.ones(len(part), dtype=bool)
    for symbol in query.contains:
        fits &= holds(symbol)
    for symbol in query.without:
        fits &= ~holds(symbol)
    if query.max_error is not None:
        error = part[EXPECTED_ERROR].to_numpy()
        small = error <= query.max_error  # a null is NaN, which is not
        if "refined_by" in part.column_names:  # of these no model's error is expected
            small |= part["refined_by"].is_valid().to_numpy()
        fits &= small
    return fits
