"""What the verbs are given, read: structures, labelled data, measured spectra."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from debye.cli.console import complain, plural, tell, warn
from debye.cli.paths import STDIN
from debye.core.files import atomic_write, folder
from debye.errors import InputError

if TYPE_CHECKING:
    from debye.cli.options import Unit
    from debye.crystals.data.split import Labelled
    from debye.crystals.dos.spectrum import Spectrum
    from debye.crystals.dos_io.measured import Measured
    from debye.crystals.inversion.parameters import FreeParameters
    from debye.crystals.inversion.rank import Candidates
    from debye.crystals.predict.predictor import Predictor
    from debye.crystals.structure.crystal import Crystal
    from debye.crystals.structure_io.read import FailedInput


def load_predictor(path: Path | None, device: str = "auto") -> Predictor:
    """The predictor of a model file, the shipped one by default."""
    from debye.core.device import pick_device
    from debye.crystals.predict.predictor import Predictor

    return Predictor.load(path, pick_device(device))


def structures(names: Sequence[str]) -> Iterator[Crystal | FailedInput]:
    """Every structure of files, folders, patterns and, for ``-``, of stdin, in order."""
    from debye.crystals.structure_io.read import lazy_structures_of, make, read_structures

    for name in names:
        if name == STDIN:
            for found in lazy_structures_of(sys.stdin.buffer.read(), "<stdin>"):
                yield from make(found)
        else:
            yield from read_structures(name)


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
    """The one structure of a file."""
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
    from debye.crystals.data.split import read_labelled as read

    labelled = read(data, split)
    complain_of(labelled.failed, len(labelled.rows))
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
