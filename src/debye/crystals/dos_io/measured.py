"""Measured spectra: energy, intensity and, where known, error, from columns of text."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from debye.crystals.dos.checks import checked_axis, real_tensor
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos_io.columns import Table, table_of
from debye.crystals.dos_io.header import other_unit, units_named
from debye.errors import InputError
from debye.units import FREQUENCY_UNITS, frequency_factor

USUAL_END = (60.0, 4500.0)
"""Where the spectra of solids end, cm⁻¹; an axis that ends elsewhere is likely in another unit."""
BELOW_ZERO = 5.0
"""Errors that an intensity may lie below zero; further down it is no counting noise."""


@dataclass(frozen=True)
class Measured:
    """An intensity over energy transfer, which counts nothing yet and may dip below zero.

    Args:
        frequency: Points, cm⁻¹, increasing, (P,).
        intensity: In any unit, (P,).
        error: Standard deviation of each intensity, (P,); None where it is not known.
        unit: What the file's energies were in.
        notes: What a reader of results should know about the input.

    Raises:
        InputError: Frequencies that do not increase, numbers that are not finite, intensities
            below zero further than their errors explain, errors that are not positive.

    Example:
        >>> Measured(torch.tensor([0.0, 80.0, 160.0]), torch.tensor([0.0, 2.0, 0.0])).error is None
        True
    """

    frequency: Tensor
    intensity: Tensor
    error: Tensor | None = None
    unit: str = "cm-1"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("frequency", "intensity"):
            object.__setattr__(self, name, real_tensor(getattr(self, name), name).double())
        checked_axis(self.frequency)
        if self.error is not None:
            object.__setattr__(self, "error", real_tensor(self.error, "errors").double())
        _check_intensity(self.intensity, self.error)
        suspicion = _suspicion(self.frequency, self.unit)
        object.__setattr__(self, "notes", (*self.notes, *([suspicion] if suspicion else [])))

    @property
    def spectrum(self) -> Spectrum:
        """The intensity as a spectrum that integrates to 1; noise below zero becomes zero."""
        density = self.intensity.clamp(min=0.0)
        return Spectrum(self.frequency, density, normalisation="max").to("1")


def of_columns(text: str, unit: str | None) -> Measured:
    """The measured spectrum of a table; see `debye.crystals.dos_io.files.read_measured`.

    Raises:
        InputError: It is no such table, or its unit is not clear.
    """
    table = table_of(text)
    columns = torch.tensor(table.rows, dtype=torch.float64).T
    chosen = _unit_of(table, unit, columns[0])
    if bool((columns[0].diff() < 0).all()):
        columns = columns.flip(-1)
    if len(columns) > 3:
        why = f"it has {len(columns)} columns"
        raise InputError("the table is too wide", why=why, fix="give energy, intensity and error")
    checked_axis(real_tensor(columns[0], "energies"))
    columns, notes = loss_side(columns, chosen)
    error = columns[2] if len(columns) == 3 else None
    frequency = columns[0] * frequency_factor(chosen, "cm-1")
    return Measured(frequency, columns[1], error, chosen, (*table.notes, *notes))


def _unit_of(table: Table, unit: str | None, energy: Tensor) -> str:
    """The unit of the energies: the one asked for, if the header does not say another.

    Raises:
        InputError: It does, or none is asked for and the header does not name just one.
    """
    named = units_named(table.header, table.names)
    other = "" if named else other_unit(table.header)
    if unit and (unit in named or not (named or other)):
        return unit
    if unit:
        said = " and ".join(named) or other
        why = f"its header names {said}, and {unit} was asked for"
        fix = f"ask for {named[0]}, or mend the header" if named else "convert the energies"
        raise InputError("the unit is not clear", why=why, fix=fix)
    if len(named) == 1:
        return named[0]
    if named or other:
        two = f"its header names two units, {' and '.join(named)}"
        why = two if named else f"its header names {other}, which is not read"
        fix = "give the right one with --unit (unit= in Python)"
        raise InputError(
            "the unit is not clear", why=why, fix=fix if named else "convert the energies to meV"
        )
    raise _no_unit(energy)


# What is no energy loss.

FEWEST = 8
"""Points from which an elastic line can be told from a spectrum."""
ELASTIC = 3.0
"""How many times higher than what follows the intensity at zero must be to be elastic."""
TAIL = 0.02
"""Of its height, down to which the elastic line is cut."""


def loss_side(columns: Tensor, unit: str) -> tuple[Tensor, list[str]]:
    """Columns of energy, intensity and error without energies below zero and the elastic line.

    Args:
        columns: Increasing energies, intensities and, if known, errors, (2 or 3, P).
        unit: Of the energies, for the notes.

    Returns:
        The points that are left, and notes of those that are not.

    Raises:
        InputError: Nearly all energies are below zero.

    Example:
        >>> energy = torch.arange(-2.0, 15.0)
        >>> height = torch.tensor([9., 50, 900, 50, 9, 5, 6, 9, 12, 9, 6, 5, 4, 4, 3, 2, 1])
        >>> kept, notes = loss_side(torch.stack([energy, height]), "meV")
        >>> kept[0].min().item(), len(notes)
        (2.0, 2)
    """
    notes: list[str] = []
    gain = columns[:, columns[0] < 0]
    kept = columns[:, gain.shape[1] :]
    if gain.shape[1] and kept.shape[1] < 2:
        why = f"{gain.shape[1]} of its {columns.shape[1]} energies are below zero"
        fix = "if energy loss is negative there, change the sign of the energies"
        raise InputError("it has no energy loss", why=why, fix=fix)
    if gain.shape[1]:
        notes.append(f"its energy-gain side, {gain.shape[1]} points below zero, is cut")
    n = _elastic_points(kept)
    if n:
        notes.append(f"its elastic line, up to {float(kept[0, n - 1]):g} {unit}, is cut")
    end, kept = float(kept[0, n]), kept[:, n:]
    beyond = gain[1, gain[0] < -end]
    if len(beyond) and float(beyond.max()) > ELASTIC * float(kept[1].max()):
        notes.append(
            "most of the intensity lay on the side that is cut: if energy loss is negative there,"
            " change the sign of the energies"
        )
    return kept, notes


def _elastic_points(columns: Tensor) -> int:
    """How many of the first points are of an elastic line: a fall from about zero energy."""
    energy, height = columns[0], columns[1]
    if len(energy) < FEWEST or not bool(torch.isfinite(columns).all()):
        return 0
    top = int(height[:3].argmax())
    falls = (height.diff()[top:] < 0).tolist()
    bottom = top + (falls.index(False) if False in falls else len(falls))
    step = float(energy.diff().median())
    near = float(energy[top]) <= 2 * step
    early = float(energy[bottom] - energy[0]) <= 0.25 * float(energy[-1] - energy[0])
    level, peak = max(float(height[bottom]), 0.0), float(height[top])
    if not (near and early and bottom > top and peak > ELASTIC * level):
        return 0
    if len(columns) == 3 and peak - level < 5 * float(columns[2, top]):
        return 0
    tail = height[top : bottom + 1] - level <= TAIL * (peak - level)
    return top + int(tail.nonzero()[0])


def likely_units(end: float) -> list[str]:
    """Units in which an axis that ends at a number could hold the vibrations of a solid.

    Example:
        >>> likely_units(40.0)
        ['meV', 'THz']
    """
    low, high = USUAL_END
    units = ("meV", "THz", "cm-1")
    return [unit for unit in units if low <= end * FREQUENCY_UNITS[unit] <= high]


def _no_unit(energy: Tensor) -> InputError:
    end = float(energy.max())
    guess = likely_units(end)
    why = f"its header names none; an axis that ends at {end:g} could be in {' or '.join(guess)}"
    return InputError(
        "the unit of the energies is not told",
        why=why if guess else f"its header names none, and its axis ends at {end:g}",
        fix="give it with --unit (unit= in Python), or write it into the header",
    )


def _suspicion(frequency: Tensor, unit: str) -> str | None:
    """What to say of an axis that ends where no solid's spectrum does."""
    end = float(frequency[-1])
    if USUAL_END[0] <= end <= USUAL_END[1]:
        return None
    shown = end * frequency_factor("cm-1", unit)
    others = [u for u in likely_units(shown) if u != unit]
    likely = f"; it looks like {' or '.join(others)}" if others else ""
    return f"an axis that ends at {shown:g} {unit} is unusual for vibrations{likely}"


def _check_intensity(intensity: Tensor, error: Tensor | None) -> None:
    if error is not None and bool((error <= 0).any()):
        at = int((error <= 0).nonzero()[0])
        why = f"that of point {at + 1} is {float(error[at]):g}"
        fix = "drop the points that were not measured, or leave the column out"
        raise InputError("an error is not positive", why=why, fix=fix)
    lowest = int(intensity.argmin() if error is None else (intensity / error).argmin())
    if error is None and float(intensity[lowest]) < 0:
        why = f"point {lowest + 1} is {float(intensity[lowest]):g}, and there is no error column"
        fix = "give the errors as a third column, or set what is noise to zero"
        raise InputError("an intensity is negative", why=why, fix=fix)
    if error is not None and float(intensity[lowest]) < -BELOW_ZERO * float(error[lowest]):
        why = (
            f"point {lowest + 1} is {float(intensity[lowest]):g} with an error of "
            f"{float(error[lowest]):g}"
        )
        fix = "check the background that was subtracted, and the errors"
        raise InputError("an intensity is far below zero", why=why, fix=fix)
    if not bool((intensity > 0).any()):
        why = "no point lies above zero"
        raise InputError("the spectrum is empty", why=why, fix="give the measured intensities")
