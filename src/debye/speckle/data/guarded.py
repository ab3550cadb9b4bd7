"""Read HDF5 where it can do no harm.

The codecs that detectors use (bitshuffle, LZ4, blosc and their kin) trust what they decode, and
HDF5 itself trusts much of what holds a file together: a damaged one can end the process. So a
child walks through a file before it is opened, and chunks are decoded in children that write into
shared memory. If one dies the file is refused, and whoever reads it lives on. Where processes
cannot fork another interpreter does the same.
"""

from __future__ import annotations

import itertools
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from debye.errors import InputError
from debye.speckle.data.children import FORK, Limits, end, signal_name, start, wait

PATIENCE, PACE = 8.0, 1e7
"""Seconds that a child may take, and bytes a second besides."""
SHARE = 2**25
"""Bytes for which another child is worth its start."""
MOST, SMALL, HURRY = 5000, 2**16, 1.5
"""Objects that are looked at beforehand, bytes of data that are read, and seconds for it."""
MEMORY = "it would take more memory than there can be to read"
BOUNDS = Limits(seconds=2, room=2**30)
"""What it may cost to look at them: beyond it, what a file says of itself is taken for damage."""


def check(path: Path) -> None:
    """Walk through a file in a child, and refuse it if that dies; what else is wrong is met later.

    Raises:
        InputError: The file ends a process, or keeps it busy for ever.
    """
    if FORK:
        child = start(lambda: walk(path), BOUNDS)
        try:
            code, said = wait(child, PATIENCE)
        finally:
            end(child)
    else:
        code, said = _interpreter(str(path), patience=PATIENCE).returncode, ""
    if code < 0 or code > 255:  # a signal, or what Windows makes of one
        raise InputError(
            f"cannot read {path}",
            why=f"it is damaged: reading it ended a process with {signal_name(code)}",
            fix="copy the file again",
        )
    if said.startswith(MEMORY):
        raise InputError(
            f"cannot read {path}", why=f"it is damaged: {said}", fix="copy the file again"
        )


def walk(path: Path) -> None:
    """Look at all that is small in a file, and in those that it links to in its folder."""
    import hdf5plugin  # noqa: F401 - registers bitshuffle and its kin

    last, left, waiting = time.monotonic() + HURRY, MOST, [path]
    for number in range(100):
        if number >= len(waiting):
            return
        try:
            with h5py.File(waiting[number], "r") as file:
                for thing in _objects(file):
                    left -= 1
                    if left < 0 or time.monotonic() > last:
                        return
                    for name in _look(thing):
                        other = (waiting[number].parent / name).resolve()
                        if other.is_relative_to(path.resolve().parent) and other not in waiting:
                            waiting.append(other)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError):
            continue


def _objects(file: h5py.File) -> Iterator[h5py.HLObject]:
    """The groups and datasets of a file, each before those in it."""
    waiting: list[h5py.HLObject] = [file]
    seen = set()
    while waiting:
        thing = waiting.pop()
        yield thing
        if isinstance(thing, h5py.Group) and thing.id not in seen:
            seen.add(thing.id)
            for name in list(thing):
                try:
                    if isinstance(thing.get(name, getlink=True), h5py.HardLink):
                        waiting.append(thing[name])
                except (OSError, RuntimeError, KeyError, ValueError, TypeError):
                    continue


def _look(thing: h5py.HLObject) -> list[str]:
    """Read attributes and small data of an object; names of the files that it links to."""
    files = []
    for look in (_attributes, _links, _data):
        try:
            files += look(thing)
        except OSError as error:
            # It was not for what is read, which is small.
            if "memory allocation failed" in str(error):
                raise MemoryError(f"{MEMORY} {thing.name}") from error
        except (RuntimeError, KeyError, ValueError, TypeError):
            continue
    return files


def _attributes(thing: h5py.HLObject) -> list[str]:
    for name in thing.attrs:
        thing.attrs[name]
    return []


def _links(thing: h5py.HLObject) -> list[str]:
    if isinstance(thing, h5py.Group):
        found = [thing.get(name, getlink=True) for name in thing]
        return [link.filename for link in found if isinstance(link, h5py.ExternalLink)]
    virtual = isinstance(thing, h5py.Dataset) and thing.is_virtual
    return [s.file_name for s in thing.virtual_sources() if s.file_name != "."] if virtual else []


def _data(thing: h5py.HLObject) -> list[str]:
    if isinstance(thing, h5py.Dataset) and not thing.external:
        plan = thing.id.get_create_plist()
        for number in range(plan.get_nfilters()):
            plan.get_filter(number)
        here = not is_decoded(thing) or thing.dtype.hasobject  # which no other child will read
        if here and thing.size and thing.size * thing.dtype.itemsize <= SMALL:
            thing[()]
    return []


def read(found: h5py.Dataset, part: slice | None = None, first: int | None = None) -> np.ndarray:
    """A dataset, or a part of its first axis; chunks are decoded in children.

    Args:
        found: The dataset.
        part: Of its first axis.
        first: A number on the first axis, of which a part of the second is read.

    Raises:
        InputError: The data are damaged, or need a filter that is not installed.
    """
    whole = found.shape if first is None else found.shape[1:]
    rows = range(*(part or slice(None)).indices(whole[0])) if whole else None
    shape = (len(rows), *whole[1:]) if rows is not None else ()
    if not is_decoded(found) or 0 in shape or found.dtype.hasobject:
        try:
            return np.asarray(found[_selected(rows, first)])
        except OSError as error:
            raise _damaged(found, str(error).split("\n")[0]) from error
    size = int(np.prod(shape)) * found.dtype.itemsize
    if FORK:
        array = np.frombuffer(mmap.mmap(-1, size), dtype=found.dtype).reshape(shape)
        _in_forks(found, array, rows, first, PATIENCE + size / PACE)
        return array
    place = "" if rows is None else f"{rows.start}:{rows.stop}:{rows.step}"
    place += "" if first is None else f"@{first}"
    done = _interpreter(found.file.filename, found.name, place, patience=PATIENCE + 2 + size / PACE)
    if done.returncode or len(done.stdout) != size:
        raise _damaged(found, _why(done))
    return np.frombuffer(bytearray(done.stdout), dtype=found.dtype).reshape(shape)


def is_decoded(found: h5py.Dataset) -> bool:
    """Whether reading does more than copying: of chunks, and of virtual data, nobody knows."""
    return found.is_virtual or found.chunks is not None


def _selected(rows: range | None, first: int | None) -> Any:  # noqa: ANN401 - as h5py selects
    """What h5py is asked for."""
    if rows is None:
        return ()
    part = slice(rows.start, rows.stop, rows.step)
    return part if first is None else (first, part)


def _in_forks(
    found: h5py.Dataset,
    array: np.ndarray,
    rows: range | None,
    first: int | None,
    patience: float,
) -> None:
    """Read into shared memory in children, each its part, and refuse the file if one fails."""
    children = []
    try:
        for part in _parts(rows, array.nbytes):
            place, mine = (array, None) if rows is None else (array[part], rows[part])
            children.append(start(partial(_decode, found, place, mine, first)))
        for child in children:
            code, said = wait(child, patience)
            if code:
                raise _damaged(
                    found, said or f"decoding it ended a process with {signal_name(code)}"
                )
    finally:
        for child in children:
            end(child)


def _parts(rows: range | None, size: int) -> list[slice]:
    """The places of the rows that each child reads: as many as there are threads for work."""
    from torch import get_num_threads

    if rows is None:
        return [slice(None)]
    count = max(1, min(get_num_threads(), size // SHARE))
    edges = [len(rows) * k // count for k in range(count + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges) if b > a]


def _decode(found: h5py.Dataset, array: np.ndarray, rows: range | None, first: int | None) -> None:
    found.read_direct(array, _selected(rows, first))


def _interpreter(*words: str, patience: float) -> subprocess.CompletedProcess[bytes]:
    """What another interpreter makes of a file, or of a part of a dataset in it.

    Raises:
        InputError: It does not end.
    """
    command = [sys.executable, "-m", __name__, *words]
    try:
        return subprocess.run(command, capture_output=True, timeout=patience + 2, check=False)
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"cannot read {words[0]}", why="reading it does not end", fix="copy the file again"
        ) from error


def _why(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode < 0 or done.returncode > 255:
        return f"decoding it ended a process with {signal_name(done.returncode)}"
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return said[-1] if said else "it was decoded in part"


def _damaged(found: h5py.Dataset, why: str) -> InputError:
    return InputError(
        f"cannot read {found.name} from {found.file.filename}",
        why=why,
        fix="the data are damaged, or use a compression filter that is not installed: copy the "
        "file again, or install the filter",
    )


def main(path: str, name: str = "", rows: str = "") -> None:
    """Walk through a file, or write a part of a dataset to stdout."""
    if not name:
        walk(Path(path))
        return
    import hdf5plugin  # noqa: F401 - registers bitshuffle and its kin

    with h5py.File(path, "r") as file:
        place, _, first = rows.partition("@")
        part = range(*map(int, place.split(":"))) if place else None
        wanted = _selected(part, int(first) if first else None)
        with os.fdopen(1, "wb", closefd=False) as stream:
            stream.write(np.asarray(file[name][wanted]).tobytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
