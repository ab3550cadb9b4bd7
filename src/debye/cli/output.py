"""Where the verbs put their results, and the stream of predictions they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from debye.cli.console import (
    BAD_INPUT,
    DONE,
    SOME_FAILED,
    Warnings,
    complain,
    plural,
    progress_bar,
    show,
    tell,
    to_json,
)
from debye.cli.inputs import load_predictor, structures, writable
from debye.cli.stopping import unwinding
from debye.cli.watched import saying
from debye.core.files import atomic_write, folder
from debye.errors import InputError

if TYPE_CHECKING:
    from debye.crystals.lattice.harmonic import HarmonicCrystal
    from debye.crystals.predict.prediction import Prediction
    from debye.crystals.structure.crystal import Crystal
    from debye.crystals.structure_io.read import FailedInput


class Output:
    """Results in files; what is finished is kept, whatever stops the rest.

    Args:
        path: A folder (a CSV file each), a ``.jsonl`` file (a record each), a file for a single
            result, or None to write nothing.
        single: Suffixes of files that hold one result.

    Raises:
        InputError: The suffix is none of these, or the path cannot be written.
    """

    def __init__(self, path: Path | None, single: tuple[str, ...] = ()) -> None:
        self.path, self.lines = path, list[str]()
        self.names: Counter[str] = Counter()
        self.is_folder = path is not None and (path.is_dir() or not path.suffix)
        if path is not None and self.is_folder:
            folder(path)
        elif path is not None and path.suffix not in (".jsonl", *single):
            raise InputError(
                f"cannot write to {path}",
                why=f"{path.suffix} is none of {', '.join(('.jsonl', *single))}",
                fix="choose one of them, or name a folder",
            )
        writable(None if self.is_folder else path, "--output")

    def __enter__(self) -> None:
        self.open = ExitStack()
        self.open.enter_context(unwinding())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self.open:
            if self.lines and self.path:
                atomic_write(self.path, "".join(f"{line}\n" for line in self.lines))
        if self.path and (count := len(self.lines) or self.names.total()):
            tell(f"wrote {plural(count, 'result')} to {self.path}")

    def add(
        self,
        crystal: Crystal,
        write: Callable[[Path], Any],
        record: Callable[[], dict[str, Any]],
    ) -> None:
        """Keep one result.

        Args:
            crystal: What it is of; its formula names the file.
            write: Writes the result to a path.
            record: Gives the result as a record.

        Raises:
            InputError: A file for one result is given a second one.
        """
        if self.path is None:
            return
        if self.is_folder:
            write(self.path / f"{self._name(crystal)}.csv")
        elif self.path.suffix == ".jsonl":
            self.lines.append(to_json(record()))
        elif self.names:
            raise InputError(
                f"cannot write a second result to {self.path}",
                why="such a file holds one",
                fix="name a folder or a .jsonl file with --output",
            )
        else:
            write(self.path)
            self._name(crystal)

    def _name(self, crystal: Crystal) -> str:
        """The formula, numbered where it comes again, also to disks that take CO for Co."""
        self.names[crystal.formula.lower()] += 1
        count = self.names[crystal.formula.lower()]
        return crystal.formula if count == 1 else f"{crystal.formula}-{count}"


class Printer:
    """Results on stdout: rows under a header that comes with the first of them, or JSON records.

    Args:
        header: Titles of the columns.
        as_json: Print records instead.
        needed: See `show`.
    """

    def __init__(self, header: str, *, as_json: bool = False, needed: bool = True) -> None:
        self.header, self.as_json, self.needed = header, as_json, needed

    def add(self, row: Callable[[], str], record: Callable[[], dict[str, Any]]) -> None:
        """Print one result."""
        if self.as_json:
            show(to_json(record()), needed=self.needed)
            return
        if self.header:
            show(self.header, needed=self.needed)
            self.header = ""
        show(row(), needed=self.needed)


def draw(figure: Any, path: Path) -> None:  # noqa: ANN401 - only debye.plot knows its type
    """Write a figure."""
    from debye.plot import save

    tell(f"drew {save(figure, path)}")


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write one record as JSON."""
    atomic_write(path, to_json(record, indent=2) + "\n")
    tell(f"wrote {path}")


class Predictions:
    """Predictions for files, one by one; what fails is named on stderr and counted.

    Args:
        files: Files, folders and globs of structures.
        model: Model file, or None for the shipped one.
        device: Where to compute.
        born: The Born charges of the one crystal.
        smooth: Whether spectra are smoothed as the labels were.
        lattice: What cells the structures come in.
    """

    def __init__(
        self,
        files: list[str],
        model: Path | None,
        device: str,
        born: Path | None = None,
        *,
        smooth: bool = False,
        lattice: str = "given",
    ) -> None:
        self.files, self.predictor = files, load_predictor(model, device).on(lattice)
        self.predictor = self.predictor.as_labels() if smooth else self.predictor
        self.born, self.smooth = born, smooth
        self.good = self.bad = 0

    @property
    def calibrated(self) -> bool:
        """Whether the predictions have an uncertainty."""
        return self.predictor.calibration is not None and self.born is None

    def __iter__(self) -> Iterator[Prediction]:
        from debye.crystals.structure_io.read import FailedInput

        warnings = Warnings()
        with progress_bar() as bar:
            task = bar.add_task("structures", total=None)
            for number, item in enumerate(self.predictor(self._given())):
                bar.advance(task)
                with saying(number):
                    if isinstance(item, FailedInput):
                        self.bad += 1
                        complain(item.error)
                        continue
                    self.good += 1
                    for message in item.warnings:
                        warnings.add(item.crystal.source or item.crystal.formula, message)
                    yield item
        warnings.close()

    def _given(self) -> Iterator[Crystal | HarmonicCrystal | FailedInput]:
        from debye.crystals.predict.harmonic import polar, smooth_of

        found = structures(self.files)
        if self.born is not None:
            found = polar(self.predictor, found, self.born)
        return map(smooth_of, found) if self.smooth else found

    @property
    def exit_code(self) -> int:
        """Done, some failed, or nothing but bad input."""
        if not self.bad:
            return DONE
        if (count := self.good + self.bad) > 1:
            tell(f"{self.bad} of {count} structures failed")
        return SOME_FAILED if self.good else BAD_INPUT
