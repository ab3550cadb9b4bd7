"""What a worker of the studio does: each task is a call of debye, and its answer as JSON or a file.

A structure comes with every task, as an *item*: the text of a file with its name, one of debye's
examples, or an alloy of two items. What was made of the last few is kept.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import debye
from debye import Bands, FailedInput, InputError, Prediction, Predictor
from debye.speckle import Correlation
from debye.speckle.data.held import is_own
from debye.studio import describe, stacks
from debye.studio.exports import FILES, written
from debye.studio.measured import ranked
from debye.studio.screened import rows

Item = Mapping[str, Any]
Progress = Callable[[int, int], None]
KEPT = 32
"""Predictions and bands that a worker keeps."""
MOST_STRUCTURES = 64
"""Structures of one file that are predicted."""


class Bench:
    """What a worker has at hand: the model, and what it last made.

    Args:
        predictor: The model.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._kept: OrderedDict[str, Any] = OrderedDict()

    @classmethod
    def open(cls, model: str | None) -> Bench:
        """Load the model, and predict something, so that the first answer comes as fast as others.

        Raises:
            InputError: There is no such model, or it cannot be used.
        """
        bench = cls(Predictor.load(model))
        bench.predictor.predict(debye.DEMO / "rutile.cif")
        return bench

    def do(self, task: str, arguments: Mapping[str, Any], progress: Progress) -> bytes:
        """Do a task; its answer is JSON, or the content of a file.

        Raises:
            InputError: What was given cannot be used.
            ComputationError: It cannot be computed.
        """
        answer = getattr(self, task)(progress=progress, **arguments)
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    def kept(self, key: Any, make: Callable[[], Any]) -> Any:  # noqa: ANN401 - anything
        """What was made of this before, or is made now."""
        known = json.dumps(key, sort_keys=True)
        if known not in self._kept:
            self._kept[known] = make()
        self._kept.move_to_end(known)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return self._kept[known]

    # Items.

    def predictions(self, item: Item) -> list[Prediction | FailedInput]:
        """What the model says of each structure of an item.

        Raises:
            InputError: It holds none, or its only one cannot be read.
            ComputationError: Its modes cannot be found.
        """
        source = {k: v for k, v in item.items() if k != "index"}
        return list(self.kept(["predictions", source], lambda: self._predicted(source)))

    def _predicted(self, item: Item) -> list[Prediction | FailedInput]:
        if "alloy" in item:
            a, b = (self.prediction(end).crystal for end in item["alloy"])
            mixed = debye.interpolate(a, b, item["fraction"])
            return [self.predictor.predict(mixed)]
        if "text" not in item:
            return _listed(self.predictor.predict(Path(item["path"])))
        with _as_file(item["name"], item["text"]) as path:
            return _listed(self.predictor.predict(path))

    def prediction(self, item: Item) -> Prediction:
        """What the model says of one structure.

        Raises:
            InputError: There is no such structure, or it cannot be read.
            ComputationError: Its modes cannot be found.
        """
        found, index = self.predictions(item), item.get("index", 0)
        if index >= len(found):
            why = f"it holds {len(found)}, counted from 0"
            fix = "ask for one of them"
            raise InputError(f"there is no structure {index} in this file", why=why, fix=fix)
        chosen = found[index]
        if isinstance(chosen, FailedInput):
            raise chosen.error
        return chosen

    def bands_of(self, item: Item, path: str) -> Bands:
        """The bands of one structure.

        Raises:
            InputError: The structure cannot be used, or its lattice has no such path.
            ComputationError: The modes cannot be found.
        """
        make = lambda: self.prediction(item).bands(path)  # noqa: E731 - made only where not kept
        return self.kept(["bands", item, path], make)

    # Tasks.

    def about(self, progress: Progress, stacks: Sequence[str]) -> dict[str, Any]:
        """The model, what it has seen, how elements look, and which stacks hold states too."""
        return describe.about(self.predictor) | {"with_states": [_is_own(path) for path in stacks]}

    def predict(self, progress: Progress, item: Item) -> dict[str, Any]:
        """Each structure of an item with all that is shown of it at once."""
        found = self.predictions(item)
        progress(len(found), len(found))
        return {"structures": [describe.structure(one, i) for i, one in enumerate(found)]}

    def bands(self, progress: Progress, item: Item, path: str = "auto") -> dict[str, Any]:
        """The bands of a structure, and the cell they are of."""
        return describe.bands(self.bands_of(item, path))

    def modes(
        self, progress: Progress, item: Item, point: int, path: str = "auto"
    ) -> dict[str, Any]:
        """The eigenvectors at a point of the bands."""
        return describe.modes(self.bands_of(item, path).modes(point))

    def rank(
        self, progress: Progress, items: Sequence[Item], name: str, text: str, unit: str | None
    ) -> dict[str, Any]:
        """Open structures by how likely they make a measured spectrum.

        Args:
            progress: Is told how much is done.
            items: The candidates.
            name: The measured spectrum's file.
            text: Its content.
            unit: Of its energies; None to take it from the header.

        Raises:
            InputError: The spectrum cannot be used, or none of the structures.
            ComputationError: The modes of a structure cannot be found.
        """
        found = []
        for i, item in enumerate(items):
            found.append(self.prediction(item))
            progress(i + 1, len(items))
        with _as_file(name, text) as path:
            measured = debye.read_measured(path, unit)
        return ranked(measured, found, self.predictor)

    def screening(self, progress: Progress, path: str, quantity: str) -> dict[str, Any]:
        """The rows of a screening by a quantity, the best first.

        Args:
            progress: Is told how much is done.
            path: The folder that ``debye screen`` wrote.
            quantity: What to rank by, as in `Screening.top`.

        Raises:
            InputError: It holds no screening, or was not screened for that.
        """
        return rows(debye.Screening.open(path), quantity)

    # Frames.

    def stack(self, progress: Progress, path: str) -> dict[str, Any]:
        """What is known of a stack before its frames are read.

        Raises:
            InputError: It cannot be read.
        """
        return stacks.described(stacks.stack_at(path))

    def frames(self, progress: Progress, path: str, start: int, count: int) -> bytes:
        """Frames as they are shown.

        Raises:
            InputError: It cannot be read, or there is no such frame.
        """
        stack = self.kept(["stack", path], lambda: stacks.stack_at(path))
        return stacks.frames_of(stack, start, count)

    def correlate(
        self, progress: Progress, path: str, how: Mapping[str, Any], model: str
    ) -> dict[str, Any]:
        """How the frames of a stack correlate, with the fit of a model.

        Raises:
            InputError: It cannot be correlated so.
        """
        found = self._correlation(progress, path, how)
        return stacks.correlation(found, model, stacks.reduction(stacks.stack_at(path)))

    def results(self, progress: Progress, path: str, how: Mapping[str, Any], model: str) -> bytes:
        """The result file of a correlation, as ``debye correlate`` writes it."""
        return written("results.hdf", self._correlation(progress, path, how).write)

    def _correlation(self, progress: Progress, path: str, how: Mapping[str, Any]) -> Correlation:
        make = lambda: stacks.found_in(path, how, progress)  # noqa: E731 - made only where not kept
        return self.kept(["correlation", path, how], make)

    def fitted(self, progress: Progress, path: str, frames: str) -> dict[str, Any]:
        """A fitted system beside its data."""
        from debye.studio.fitted import compared

        return dict(self.kept(["fitted", path, frames], lambda: compared(path, frames)))

    def export(
        self, progress: Progress, item: Item, what: str, unit: str = "cm-1", path: str = "auto"
    ) -> bytes:
        """A file of a structure, its spectrum, bands or thermodynamics.

        Args:
            progress: Is told how much is done.
            item: The structure.
            what: Which file, of `debye.studio.exports.FILES`.
            unit: Of frequencies.
            path: Of bands.

        Raises:
            InputError: The structure cannot be used, or there is no such unit or path.
            ComputationError: It cannot be computed.
        """
        return FILES[what](self.prediction(item), lambda: self.bands_of(item, path), unit)


@contextmanager
def _as_file(name: str, text: str) -> Iterator[Path]:
    """A text as a file of its name in the working folder, so that errors name it as its owner."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            path = Path(name)
            path.write_text(text, encoding="utf-8", newline="", errors="replace")
            yield path
        finally:
            os.chdir(here)


def _listed(found: Any) -> list[Prediction | FailedInput]:  # noqa: ANN401 - one or a list
    several = found if isinstance(found, list) else [found]
    if not several:
        why, fix = "nothing in it is a structure", "give a CIF, POSCAR or extxyz"
        raise InputError("there is no structure in this file", why=why, fix=fix)
    return several[:MOST_STRUCTURES]


def _is_own(path: str) -> bool:
    """Whether a stack is debye's own; whoever opens a damaged one will be told."""
    try:
        return is_own(path)
    except InputError:
        return False
