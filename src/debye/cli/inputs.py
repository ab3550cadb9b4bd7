"""What the verbs are given: values of options, structures, labelled data, measured spectra."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from math import floor, inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from debye.cli.console import complain, plural, tell, warn, warn_of
from debye.cli.options import Goal
from debye.cli.paths import STDIN
from debye.cli.watched import is_careful, step
from debye.core.files import atomic_write, folder
from debye.errors import InputError

if TYPE_CHECKING:
    from debye.cli.options import Unit
    from debye.crystals.data.dataset import Labelled
    from debye.crystals.dos.spectrum import Spectrum
    from debye.crystals.dos_io.measured import Measured
    from debye.crystals.inversion.design import Target
    from debye.crystals.inversion.instrument import Resolution
    from debye.crystals.inversion.parameters import FreeParameters
    from debye.crystals.inversion.rank import Candidates
    from debye.crystals.lattice.harmonic import HarmonicCrystal
    from debye.crystals.predict.predictor import Predictor
    from debye.crystals.structure.crystal import Crystal
    from debye.crystals.structure_io.read import FailedInput
    from debye.crystals.structure_io.text import LazyStructure


FIGURES = (".png", ".svg", ".pdf")
"""What a figure's name may end in."""


def parse_range(text: str, what: str, least: float = -inf, most: float = inf) -> list[float]:
    """Numbers of ``start:stop:step`` (the stop included), or of ``a,b,c``.

    Args:
        text: What was given.
        what: Which option; named in the error.
        least: None may be less.
        most: None may be more.

    Raises:
        InputError: It is neither, the step leads away from the stop, or a number is out of range.

    Example:
        >>> parse_range("0:1:0.25", "fractions")
        [0.0, 0.25, 0.5, 0.75, 1.0]
        >>> parse_range("300", "temperatures")
        [300.0]
    """
    bad = InputError(
        f"cannot understand {what} {text!r}",
        why="it is neither start:stop:step nor numbers with commas between",
        fix="write for example 0:1000:10, or 77,300",
    )
    try:
        numbers = [float(x) for x in text.split(":" if ":" in text else ",")]
    except ValueError:
        raise bad from None
    if not all(isfinite(x) for x in numbers):
        raise bad
    for number in numbers[:2] if ":" in text else numbers:
        check_range(number, what, least, most)
    if ":" not in text:
        return numbers
    if len(numbers) != 3 or numbers[2] <= 0 or numbers[1] < numbers[0]:
        raise bad
    start, stop, step = numbers
    # Half a step in a million of slack, so that 0:1:0.1 reaches 1 in spite of rounding.
    count = floor((stop - start) / step + 1e-6) + 1
    if count > 1_000_000:
        raise bad
    return [round(start + k * step, 12) for k in range(count)]


def check_range(number: float, what: str, least: float = -inf, most: float = inf) -> None:
    """Refuse an option's number that is not finite or out of range."""
    if not (isfinite(number) and least <= number <= most):
        limits = f"{least:g} or above" if most == inf else f"from {least:g} to {most:g}"
        limits = "a finite number" if -least == most == inf else limits
        raise InputError(
            f"cannot use {what} {number:g}", why=f"it must be {limits}", fix="give such a number"
        )


def check_one_way(*, resume: bool, overwrite: bool) -> None:
    """Refuse to go on and to begin anew at once."""
    if resume and overwrite:
        raise InputError(
            "cannot use --resume and --overwrite together",
            why="one goes on with what OUTPUT holds, the other begins anew",
            fix="leave one of them out",
        )


def writable(path: Path | None, option: str, suffixes: tuple[str, ...] = ()) -> Path | None:
    """A file that will be written: its name and folder are checked now, before the work.

    Args:
        path: The file, if any.
        option: Which option names it.
        suffixes: What its name may end in; anything if empty.

    Raises:
        InputError: It ends in something else, is a folder, or its folder cannot be written into.
    """
    if path is None:
        return None
    if suffixes and path.suffix.lower() not in suffixes:
        why = f"its name ends in {path.suffix!r}" if path.suffix else "its name has no ending"
        raise InputError(
            f"cannot use {option} {path}", why=why, fix=f"end it in {', '.join(suffixes)}"
        )
    if path.is_dir():
        raise InputError(
            f"cannot use {option} {path}", why="it is a folder", fix="name a file in it"
        )
    folder(path.parent)
    return path


def resolutions_of(text: str, measured: Measured) -> list[Resolution]:
    """The instrument's resolution, or those among which to find it."""
    from debye.crystals.inversion.instrument import Resolution
    from debye.crystals.inversion.rank import WIDTHS

    if text == "fit":
        return [Resolution((width,) if width else ()) for width in WIDTHS]
    return [Resolution.parse(text, measured.unit)]


def window_of(text: str | None, measured: Measured) -> tuple[float, float] | None:
    """A part of the axis, given in the unit of the file, in cm⁻¹."""
    from debye.units import frequency_factor

    if text is None:
        return None
    try:
        low, high = (float(x) for x in text.split(":"))
    except ValueError:
        low = high = 0.0
    if not low < high:
        why = "it is not low:high with low below high"
        raise InputError(f"cannot use the window {text!r}", why=why, fix="write for example 5:80")
    factor = frequency_factor(measured.unit, "cm-1")
    return low * factor, high * factor


def target_of(kind: Goal, value: str, temperature: float) -> Target:
    """What is to be designed for."""
    from debye.crystals.inversion import design as designs

    try:
        numbers = [float(x) for x in value.split(":")]
    except ValueError:
        numbers = []
    wanted = 2 if kind is Goal.GAP else 1
    if len(numbers) != wanted or not all(0 <= x < float("inf") for x in numbers):
        why = "a gap needs low:high in cm⁻¹" if wanted == 2 else "it is no number ≥ 0"
        raise InputError(f"cannot use --value {value!r}", why=why, fix="write 150, or 120:200")
    if kind is Goal.GAP:
        if not numbers[0] < numbers[1]:
            raise InputError(
                f"cannot use --value {value!r}", why="the gap is empty", fix="put the lower first"
            )
        return designs.gap(*numbers)
    return designs.property_target(kind.value, numbers[0], temperature)


def replacements_of(words: list[str]) -> dict[str, list[str]]:
    """Elements that may replace each element, from words such as Sb=As,Bi."""
    found: dict[str, list[str]] = {}
    for word in words:
        gives, equals, takes = word.partition("=")
        options = [t.strip() for t in takes.split(",") if t.strip()]
        if not equals or not options:
            why = "it does not name an element and what may replace it"
            raise InputError(f"cannot use --replace {word!r}", why=why, fix="write Sb=As,Bi")
        found.setdefault(gives.strip(), []).extend(options)
    return found


def json_or_folder(output: Path | None) -> Path | None:
    """A path for one JSON file or for many structures, checked before the work."""
    if output is None or output.suffix == ".json":
        return writable(output, "--output", (".json",))
    return folder(output)


def load_predictor(path: Path | None, device: str = "auto") -> Predictor:
    """The predictor of a model file, the shipped one by default."""
    from debye.core.device import pick_device
    from debye.crystals.predict.predictor import Predictor

    predictor = Predictor.load(path, pick_device(device))
    if is_careful():
        predictor.edges_at_once = 0
    return predictor


def structures(names: Sequence[str]) -> Iterator[Crystal | HarmonicCrystal | FailedInput]:
    """Every structure of files, folders, patterns and, for ``-``, of stdin, in order.

    Phonopy's files, and folders of one calculation, are crystals with their own force constants.
    Each step of reading is one that may kill the process, see `debye.cli.watched`.
    """
    from debye.crystals.data.phonopy_files import CALCULATIONS
    from debye.crystals.structure_io.read import (
        FailedInput,
        as_path,
        attempt,
        find_files,
        lazy_structures,
        lazy_structures_of,
        made,
    )

    for name in names:
        if name == STDIN:
            yield from made(_stepwise(lazy_structures_of(sys.stdin.buffer.read(), "<stdin>"), name))
            continue
        for path in find_files([name], CALCULATIONS.whole):
            if isinstance(path, FailedInput):
                yield path
                continue
            given, label = None, str(path)
            if path == as_path(name) or CALCULATIONS.whole(path):
                take = partial(attempt, label, partial(CALCULATIONS.take, path, ""))
                given = step(label, take, makes=True)
            if given is not None:
                yield given
            else:
                yield from made(_stepwise(lazy_structures(path), label))


def _stepwise(
    found: Iterator[LazyStructure | FailedInput], label: str
) -> Iterator[LazyStructure | FailedInput]:
    """The structures of a file, of which finding the next is a step, and making it another."""
    from debye.crystals.structure_io.text import LazyStructure

    while (item := step(label, lambda: next(found, None))) is not None:
        if isinstance(item, LazyStructure):
            make = partial(step, item.source, item.make, makes=True)
            yield LazyStructure(item.source, make)  # type: ignore[arg-type]  # or a FailedInput
        else:
            yield item
            return


def keep_stdin(names: Sequence[str], output: Path, *, overwrite: bool) -> list[str]:
    """The same names, stdin among them as a file in a folder: a run that goes on reads it again.

    Raises:
        InputError: The folder holds what stdin was before, and that was something else.
    """
    if STDIN not in names:
        return list(names)
    kept, given = folder(output) / "stdin", sys.stdin.buffer.read()
    if overwrite or not kept.exists():
        atomic_write(kept, given)
    elif kept.read_bytes() != given:
        raise InputError(
            f"will not go on in {output}",
            why="stdin holds other structures than before",
            fix="give the same structures, name another folder, or add --overwrite to begin anew",
        )
    return [str(kept) if name == STDIN else name for name in names]


def read_one(file: str) -> Crystal:
    """The one structure of a file, for a verb that changes it."""
    from debye.crystals.lattice.harmonic import HarmonicCrystal

    found = read_one_or_harmonic(file)
    if isinstance(found, HarmonicCrystal):
        raise InputError(
            f"cannot use the force constants in {file}",
            why="they are of one structure, and this verb changes it",
            fix="give the structure alone, as CIF or POSCAR",
        )
    return found


def read_one_or_harmonic(file: str) -> Crystal | HarmonicCrystal:
    """The one structure of a file, or the one calculation."""
    from debye.crystals.structure_io.read import FailedInput

    first, *more = islice(structures([file]), 2)
    if isinstance(first, FailedInput):
        raise first.error
    if more:
        raise InputError(
            f"cannot take {file} for a structure",
            why="it holds several structures, and one is wanted",
            fix="give a file that holds one",
        )
    return first


def read_labelled(data: Path, split: Path | None) -> Labelled:
    """The usable rows and their split; the others are named on stderr."""
    from debye.crystals.data.dataset import read_labelled as read

    labelled = read(data, split)
    complain_of(labelled.failed, len(labelled.rows))
    rows = labelled.rows
    warn_of((name, c.notes) for name, c in zip(rows.names, rows.crystals, strict=True))
    return labelled


def complain_of(failed: Sequence[FailedInput], used: int) -> None:
    """Say on stderr which rows are left out and why."""
    for row in failed:
        complain(row.error)
    if failed:
        tell(f"{plural(len(failed), 'row')} left out, {used} used")


def read_reference(path: Path | None, plot: Path | None) -> Spectrum | None:
    """A spectrum to draw beside a prediction, from a file of spectra or of labelled data."""
    from debye.crystals.data.dataset import read_label
    from debye.crystals.dos.spectrum import Spectrum

    if path is None:
        return None
    if plot is None:
        raise InputError(
            "--reference would not be seen", why="it is drawn in the figure", fix="add --plot"
        )
    return read_label(path) or Spectrum.read(path)


def read_spectrum(path: Path, unit: Unit | None) -> Measured:
    """The measured spectrum of a file; what is odd about it is said."""
    from debye.crystals.dos_io.files import read_measured

    measured = read_measured(path, unit.value if unit else None)
    for note in measured.notes:
        warn(f"{path}: {note}")
    return measured


def read_candidates(names: list[str], predictor: Predictor, *, neutron: bool) -> Candidates:
    """The candidates of files or of a screening; those that failed are named."""
    from debye.crystals.inversion.rank import is_screened, predicted, screened

    if len(names) == 1 and is_screened(Path(names[0])):
        if neutron:
            why = "a screened folder holds total densities, and the weights are each element's"
            fix = "give the structures themselves, or leave --neutron out"
            raise InputError("cannot weight a screening as neutrons would", why=why, fix=fix)
        return screened(Path(names[0]), predictor.card["sha256"], predictor.calibration)
    found = predicted(predictor, structures(names), neutron=neutron)
    for item in found.failed:
        complain(item.error)
    if found.failed:
        tell(f"{plural(len(found.failed), 'candidate')} left out, {len(found)} compared")
    return found


def free_parameters_of(
    structure: str, free: list[str] | None, toward: str | None
) -> FreeParameters:
    """The structure with what the options free of it."""
    from debye.crystals.inversion.parameters import FreeParameters

    start = read_one(structure)
    if toward is not None:
        parameters = FreeParameters.between(start, read_one(toward))
    else:
        parameters, free = FreeParameters.of(start), free or ["lattice"]
    for word in dict.fromkeys(free or []):
        if word == "lattice":
            parameters = parameters.with_lattice()
        elif word == "positions":
            parameters = parameters.with_positions()
        elif word.count("=") == 1:
            parameters = parameters.with_fraction(*word.split("="))
        else:
            why = "it is none of lattice, positions, or two elements as in Sb=Bi"
            raise InputError(f"cannot free {word!r}", why=why, fix="free one of them")
    return parameters
