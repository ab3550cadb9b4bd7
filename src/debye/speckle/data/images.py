"""Frames in image files, through fabio: tiff (a page or many), EDF, CBF and other detectors'."""

from __future__ import annotations

import io
import logging
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from debye.core.packed import inner_name, is_packed, open_unpacked
from debye.errors import InputError
from debye.speckle.data.headers import header_facts
from debye.speckle.data.saturation import full_of
from debye.speckle.data.stated import Stated

Reader: TypeAlias = Callable[[range], np.ndarray]
"""Gives the frames of some numbers, (time, qy, qx)."""
IMAGES = (".tif", ".tiff", ".edf", ".cbf", ".img", ".mccd", ".mar3450", ".gb", ".spe", ".pnm")
"""Endings of the files that fabio reads for us; it tells formats by their first bytes."""
WHOLE = (".h5", ".hdf5", ".nxs", ".cxi", ".npy")
"""Endings of what holds a whole run, and is given by its name."""
OTHERS = (b"\x89HDF", b"\x93NUMPY", b"\x1f\x8b", b"BZh")
"""First bytes of what is never handed to fabio: HDF5 and numpy have readers of their own."""


class ImageFiles:
    """Frames of image files, in order; each holds as many as it says.

    Shape and type are those of the first; any other that differs is refused when it is read.

    Args:
        paths: Files, in order.

    Raises:
        InputError: There are none, or one cannot be read.
    """

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.name = str(paths[0] if len(paths) == 1 else paths[0].parent)
        with opened(paths[0]) as image:
            frame, each = _frame(image, 0, paths[0]), int(image.nframes)
            facts = header_facts(image.header)
            _check_pages(image, paths[0])
        # Files of one frame are opened when they are read; of others nobody knows how many.
        held = [each] * len(paths) if each == 1 else [each, *map(_count, paths[1:])]
        self.ends = list(accumulate(held))
        self.shape = (self.ends[-1], *frame.shape)
        self.dtype = frame.dtype
        self.single = each == 1
        full = min(full_of(self.dtype), facts.pop("full", math.inf))
        self.stated = Stated(full=full, **facts)

    @contextmanager
    def open(self) -> Iterator[Reader]:
        """Files are opened one by one."""
        yield lambda rows: np.stack(list(self._frames(rows)))

    def _frames(self, rows: range) -> Iterator[np.ndarray]:
        """Frames of some numbers."""
        numbers = np.asarray(rows)
        belongs = np.searchsorted(self.ends, numbers, side="right")
        for which in np.unique(belongs):
            path, before = self.paths[which], self.ends[which - 1] if which else 0
            with opened(path) as image:
                if self.single and image.nframes != 1:
                    raise self._odd(path, f"{image.nframes} frames, and others one")
                for number in numbers[belongs == which]:
                    frame = _frame(image, int(number) - before, path)
                    if frame.shape != self.shape[1:] or frame.dtype != self.dtype:
                        ours = f"{self.shape[1:]} of {self.dtype}"
                        raise self._odd(
                            path, f"frames {frame.shape} of {frame.dtype}, and the first {ours}"
                        )
                    yield frame

    def _odd(self, path: Path, why: str) -> InputError:
        return InputError(
            f"cannot join {path} to the frames before it",
            why=f"it holds {why}",
            fix="give files of one series alone",
        )


def images_in(folder: Path) -> list[Path]:
    """The images of a folder by their numbers: `scan_2` before `scan_10`.

    Raises:
        InputError: There are none, or they are of several series or formats.
    """
    found = [p for p in sorted(folder.iterdir()) if is_image(p) and p.is_file()]
    series = sorted({_series(p) for p in found})
    if len(series) != 1:
        fix = "name the files of one: FOLDER/NAME_*.tif"
        if not series:
            others = [p for p in sorted(folder.iterdir()) if p.suffix in WHOLE]
            fix = f"name a file in it, such as {others[-1]}" if others else "check the folder"
        raise InputError(
            f"cannot read the frames of {folder}",
            why=f"it holds several series: {', '.join(series[:4])}"
            if series
            else f"it holds no images ({', '.join(IMAGES)})",
            fix=fix,
        )
    return sorted(found, key=_number)


def is_image(path: str | Path) -> bool:
    """Whether a file is called as images are that fabio reads for us, compressed ones too.

    Args:
        path: Its name.

    Example:
        >>> is_image("a.cbf"), is_image("a.tif.gz"), is_image("a.h5")
        (True, True, False)
    """
    return inner_name(path).suffix.lower() in IMAGES


def check_series(names: Sequence[str], where: str) -> None:
    """Refuse names that end in numbers, if one is missing between them.

    Args:
        names: In order.
        where: What holds them.

    Raises:
        InputError: A number is missing.

    Example:
        >>> check_series(["a_1", "a_2"], "here")
        >>> check_series(["a_09", "a_11"], "here")
        Traceback (most recent call last):
        debye.errors.InputError: here has a gap
          why: after a_09 comes a_11: a_10 is missing
          fix: copy what is missing, or give a part without a gap
    """
    ends = [re.search(r"(\d+)(\D*)$", name) for name in names]
    for before, after, name, following in zip(ends, ends[1:], names, names[1:], strict=False):
        if before is None or after is None:
            continue
        number, width = int(before[1]) + 1, len(before[1])
        if int(after[1]) != number:
            missing = f"{name[: before.start()]}{number:0{width}d}{before[2]}"
            raise InputError(
                f"{where} has a gap",
                why=f"after {name} comes {following}: {missing} is missing",
                fix="copy what is missing, or give a part without a gap",
            )


def _series(path: Path) -> str:
    """A name without its number."""
    return re.sub(r"\d+(?=\D*$)", "#", inner_name(path).name)


def _number(path: Path) -> tuple[int, str]:
    found = re.search(r"(\d+)\D*$", inner_name(path).name)
    return (int(found[1]) if found else -1, path.name)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A file opened by fabio.

    Raises:
        InputError: It is missing, or of no format that fabio knows, or damaged.
    """
    import fabio

    if not path.is_file():
        raise InputError(f"cannot read {path}", why="there is no such file", fix="check the path")
    given: str | io.BytesIO = str(path)
    if is_packed(path):
        with open_unpacked(path) as packed:
            given = fabio.fabioutils.BytesIO(packed.read())
    with _reading(given) as file:
        head = file.read(2**16)
    if head.startswith(OTHERS):
        raise _damaged(path, "it is no image, whatever its name says")
    if re.search(rb"dim_\d{3}", head.lower()):
        raise _damaged(path, "its header names a hundred axes or more, which fabio would count")
    if _runs_in_circles(given):
        raise _damaged(path, "its pages lead from one to another in circles")
    try:
        with _unheard():
            image = fabio.open(given)
    except Exception as error:
        raise _damaged(path, str(error)) from error
    try:
        yield image
    finally:
        image.close()


@contextmanager
def _reading(given: str | io.BytesIO) -> Iterator[IO[bytes]]:
    """A file, or what one held, from its beginning on."""
    if isinstance(given, str):
        with open(given, "rb") as file:
            yield file
        return
    given.seek(0)
    yield given
    given.seek(0)


def _runs_in_circles(given: str | io.BytesIO) -> bool:
    """Whether a page of a tiff comes again, which fabio would follow for ever."""
    with _reading(given) as file:
        start = file.read(8)
        order = {b"II*\0": "little", b"MM\0*": "big"}.get(start[:4])
        if order is None:
            return False

        def number(data: bytes) -> int:
            return int.from_bytes(data, order)  # type: ignore[arg-type]

        seen, at = set[int](), number(start[4:])
        while at and at not in seen:
            seen.add(at)
            file.seek(at)
            file.seek(at + 2 + 12 * number(file.read(2)))
            at = number(file.read(4))
    return at != 0


def _frame(image: Any, number: int, path: Path) -> np.ndarray:  # noqa: ANN401 - a class of fabio
    """One frame of an open file."""
    try:
        with _unheard():
            held = image if image.nframes == 1 else image.getframe(number)
            frame = np.asarray(held.data)
    except Exception as error:
        raise _damaged(path, str(error)) from error
    if frame.ndim != 2 or frame.dtype.kind not in "uif" or not frame.size:
        raise _damaged(path, f"its frames are {frame.shape} of {frame.dtype}")
    return frame.astype(frame.dtype.newbyteorder("="), copy=False)


def _check_pages(image: Any, path: Path) -> None:  # noqa: ANN401 - a class of fabio
    """Refuse a tiff of ImageJ whose images lie behind its only page, which fabio does not see."""
    said = re.search(r"^images=(\d+)", str(image.header.get("imageDescription", "")), re.MULTILINE)
    if said is not None and int(said[1]) > image.nframes:
        raise InputError(
            f"cannot read {path}",
            why=f"ImageJ says that it holds {said[1]} images, and it has {image.nframes} pages",
            fix="save it with a page for each image, or as single files",
        )


def _count(path: Path) -> int:
    with opened(path) as image:
        return int(image.nframes)


def _damaged(path: Path, why: str) -> InputError:
    return InputError(
        f"cannot read {path}",
        why=why.split("\n", maxsplit=1)[0] or "it is damaged",
        fix="give images that fabio reads, and copy this one again if it was cut short",
    )


@contextmanager
def _unheard() -> Iterator[None]:
    """What fabio logs of damaged files is said by the error that follows."""
    log = logging.getLogger("fabio")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)
