"""Measured spectra: energy, intensity and, where known, error, from columns of text."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from debye.crystals.dos.checks import checked_axis, real_tensor
from debye.crystals.dos.spectrum import Spectrum
from debye.errors import InputError
from debye.units import FREQUENCY_UNITS, frequency_factor

MOST_POINTS = 20_000
"""Points of a measured spectrum; more are no spectrum, or should be rebinned."""
USUAL_END = (60.0, 4500.0)
"""Where the spectra of solids end, cm⁻¹; an axis that ends elsewhere is likely in another unit."""
BELOW_ZERO = 5.0
"""Errors that an intensity may lie below zero; further down it is no counting noise."""

_UNITS = {
    "meV": r"\bmev\b",
    "THz": r"\bthz\b",
    "cm-1": r"cm\s*(?:\^?\s*\{?\s*[-−]\s*1\}?|⁻¹)|1\s*/\s*cm\b|\bwave\s*numbers?\b",
    "K": r"\(\s*k\s*\)|\[\s*k\s*\]",
}


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
    header, rows = _table(text)
    named = unit_named(header)
    if unit and named and named != unit:
        why = f"its header names {named}, and {unit} was asked for"
        raise InputError(
            "the unit is not clear", why=why, fix=f"ask for {named}, or mend the header"
        )
    columns = torch.tensor(rows, dtype=torch.float64).T
    chosen = unit or named
    if chosen is None:
        raise _no_unit(columns[0])
    if bool((columns[0].diff() < 0).all()):
        columns = columns.flip(-1)
    if len(columns) > 3:
        why = f"it has {len(columns)} columns"
        raise InputError("the table is too wide", why=why, fix="give energy, intensity and error")
    error = columns[2] if len(columns) == 3 else None
    return Measured(columns[0] * frequency_factor(chosen, "cm-1"), columns[1], error, chosen)


def _table(text: str) -> tuple[str, list[list[float]]]:
    """The header of a table of text and its rows of numbers."""
    header: list[str] = []
    rows: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), 1):
        content, _, comment = line.partition("#")
        cells = re.split(r"[,;\s]+", content.strip().strip(",;"))
        if cells == [""]:
            header.append(comment)
            continue
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError as error:
            if rows:
                why = f"line {number}: {error}"
                fix = "repair the line, or give the part with the spectrum alone"
                raise InputError("it is not a table of numbers", why=why, fix=fix) from error
            header.append(line)
            continue
        if len(rows[-1]) != len(rows[0]) or len(cells) < 2:
            why = f"line {number} has {len(cells)} columns"
            fix = "give energy, intensity and, if known, error on every line"
            raise InputError("the table is ragged or has no intensity", why=why, fix=fix)
    if not 2 <= len(rows) <= MOST_POINTS:
        why = f"it holds {len(rows)} lines of numbers"
        fix = f"give 2 to {MOST_POINTS} points; rebin a longer one"
        raise InputError("there is no spectrum in it", why=why, fix=fix)
    return "\n".join(header), rows


def unit_named(header: str) -> str | None:
    """The unit of energy that a header names, if it names just one.

    Example:
        >>> unit_named("Energy transfer / cm^-1, S(Q,E)"), unit_named("x y")
        ('cm-1', None)
    """
    found = [unit for unit, form in _UNITS.items() if re.search(form, header, re.IGNORECASE)]
    return found[0] if len(found) == 1 else None


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
