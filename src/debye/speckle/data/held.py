"""Frames that are in memory as a stack: `Frames`, and the files that debye writes of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from debye.errors import InputError
from debye.speckle.data.frames import Frames
from debye.speckle.data.hdf5 import open_hdf5
from debye.speckle.data.images import Reader, is_image
from debye.speckle.data.locate import split_name
from debye.speckle.data.nexus import PROCESS
from debye.speckle.data.quality import Examined
from debye.speckle.data.stack import Stack
from debye.speckle.data.stated import Stated


class HeldFrames:
    """One run of `Frames` as a source; a frame that they have left out is zero.

    Args:
        frames: Which.
        run: Which of their runs.

    Raises:
        InputError: There is no such run.
    """

    def __init__(self, frames: Frames, run: int = 0, name: str = "the frames") -> None:
        if not 0 <= run < len(frames.data):
            raise InputError(
                f"there is no run {run} in {name}",
                why=f"the file holds {len(frames.data)}",
                fix="count from 0",
            )
        self.name, self.frames = name, frames
        self.values = frames.data[run].cpu().numpy()
        self.kept = np.array(frames.quality.kept or range(frames.count))
        self.shape = (frames.count, self.values.shape[1], self.values.shape[2])
        self.dtype = self.values.dtype
        detector = getattr(frames.scattering, "detector", None)
        times = frames.recorded.times if frames.recorded else frames.times
        self.stated = Stated(
            mask=frames.mask.cpu(),
            times=times,
            time_unit=str(frames.about.get("time_unit", "")),
            centre=None if detector is None else (self.shape[2] // 2, self.shape[1] // 2),
            dq=None if detector is None else float(detector.q.diff().mean()),
        )

    @contextmanager
    def open(self) -> Iterator[Reader]:
        """Give copies of them."""
        row_of = np.full(self.shape[0], -1)
        row_of[self.kept] = np.arange(len(self.kept))

        def rows_of(rows: range) -> np.ndarray:
            where = row_of[np.asarray(rows)]
            found = self.values[where]
            found[where < 0] = 0
            return found

        yield rows_of


class HeldStack(Stack):
    """A stack of frames of which is known already which count."""

    @classmethod
    def of(
        cls,
        held: Frames,
        run: int = 0,
        name: str = "the frames",
        **options: Any,  # noqa: ANN401 - of Stack.open
    ) -> HeldStack:
        """One run of frames as a stack.

        Args:
            held: Which frames.
            run: Which of their runs.
            name: What to call them in an error.
            options: What `Stack.open` takes.

        Raises:
            InputError: There is no such run, or what `Stack` refuses.

        Example:
            >>> frames = Frames(np.ones((5, 8, 8)), np.arange(5) * 0.1)
            >>> round(HeldStack.of(frames, frames=slice(1, None)).clock.interval, 6)
            0.1
        """
        source = HeldFrames(held, run, name)
        numbers = range(*options.pop("frames", slice(None)).indices(source.shape[0]))
        missing = set(range(source.shape[0])) - set(source.kept.tolist())
        bad = {*options.pop("bad_frames", ()), *missing}
        return cls(source, numbers, bad, **options)

    def examined(self, saturation: float | None = None) -> Examined:
        """Which pixels and frames count, as the frames themselves say.

        Args:
            saturation: Was decided when the frames were made.
        """
        assert isinstance(self.source, HeldFrames)  # noqa: S101 - `of` makes it so
        kept = [n for n in self.numbers if n not in set(self.bad)]
        return Examined(self.mask, kept, self.source.frames.quality, {}, None)


def is_own(spec: str) -> bool:
    """Whether a file is debye's own, which says of what system and detector its frames are.

    Args:
        spec: The file, or ``file.h5::/path``.

    Raises:
        InputError: It is no HDF5 file, or damaged.
    """
    path, inside = split_name(spec)
    if (
        inside
        or not os.path.isfile(path)
        or path.lower().endswith((".npy", ".npz"))
        or is_image(path)
    ):
        return False
    with open_hdf5(path) as file:
        return f"{PROCESS}/plan" in file
