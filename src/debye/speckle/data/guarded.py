"""Decode compressed chunks where it can do no harm.

The codecs that detectors use (bitshuffle, LZ4, blosc and their kin) trust what they decode, and a
damaged chunk can end the process. They run in a child that writes into shared memory; if it dies,
the file is refused, and whoever reads it lives on. Where processes cannot fork another interpreter
does the same.
"""

from __future__ import annotations

import itertools
import mmap
import os
import select
import signal
import subprocess
import sys
import time
import warnings
from contextlib import suppress

import h5py
import numpy as np
import torch

from debye.errors import InputError

PATIENCE, PACE = 8.0, 1e7
"""Seconds that a child may take, and bytes a second besides."""
SHARE = 2**25
"""Bytes for which another child is worth its start."""
FORK = hasattr(os, "fork") and sys.platform != "darwin"
"""Whether a child can be forked; on macOS system libraries do not bear it."""


def read(found: h5py.Dataset, part: slice | None = None) -> np.ndarray:
    """A dataset, or a part of its first axis; codecs that are not HDF5's own run in a child.

    Raises:
        InputError: The data are damaged, or need a filter that is not installed.
    """
    start, stop, step = (part or slice(None)).indices(found.shape[0] if found.ndim else 1)
    shape = (len(range(start, stop, step)), *found.shape[1:]) if part is not None else found.shape
    if not is_foreign(found) or 0 in shape or found.dtype.hasobject:
        try:
            return np.asarray(found[()] if part is None else found[start:stop:step])
        except OSError as error:
            raise _damaged(found, str(error).split("\n")[0]) from error
    size = int(np.prod(shape)) * found.dtype.itemsize
    patience = PATIENCE + size / PACE
    if FORK:
        memory = mmap.mmap(-1, size)
        array = np.frombuffer(memory, dtype=found.dtype).reshape(shape)
        _in_forks(found, array, range(start, stop, step) if found.ndim else None, patience)
        return array
    held = _in_interpreter(found, f"{start}:{stop}:{step}", patience)
    if len(held) != size:
        raise _damaged(found, f"{len(held)} bytes instead of {size} were decoded")
    return np.frombuffer(bytearray(held), dtype=found.dtype).reshape(shape)


def is_foreign(found: h5py.Dataset) -> bool:
    """Whether reading runs codecs that are not HDF5's own; of virtual data nobody knows."""
    plan = found.id.get_create_plist()
    return found.is_virtual or any(plan.get_filter(i)[0] >= 256 for i in range(plan.get_nfilters()))


def _in_forks(found: h5py.Dataset, array: np.ndarray, rows: range | None, patience: float) -> None:
    """Read into shared memory in children, each its part, and refuse the file if one fails."""
    count = 1 if rows is None else max(1, min(torch.get_num_threads(), array.nbytes // SHARE))
    children: list[tuple[int, int]] = []
    try:
        for part in _parts(rows, count):
            children.append(_start(found, array, rows, part))
        for child, ear in children:
            code = _wait(child, ear, patience)
            if code:
                said = os.read(ear, 1000).decode(errors="replace") if code > 0 else ""
                raise _damaged(found, said or f"decoding it ended a process with {_named(-code)}")
    finally:
        for child, ear in children:
            _end(child)
            os.close(ear)


def _parts(rows: range | None, count: int) -> list[slice]:
    """The places of the rows that each child reads."""
    if rows is None:
        return [slice(None)]
    edges = [len(rows) * k // count for k in range(count + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges) if b > a]


def _start(
    found: h5py.Dataset, array: np.ndarray, rows: range | None, part: slice
) -> tuple[int, int]:
    """A child that reads a part, and the pipe by which it says why it could not."""
    ear, mouth = os.pipe()
    with warnings.catch_warnings():  # the child does nothing but read, whatever threads there are
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        wanted = rows[part] if rows is not None else None
        chosen = () if wanted is None else slice(wanted.start, wanted.stop, wanted.step)
        _decode(found, array if wanted is None else array[part], chosen, mouth)
    os.close(mouth)
    return child, ear


def _decode(found: h5py.Dataset, array: np.ndarray, part: slice | tuple[()], mouth: int) -> None:
    """What the child does; it never comes back."""
    import faulthandler

    code = 1
    try:
        faulthandler.disable()  # its death is told by who started it
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        found.read_direct(array, part)
        code = 0
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent tells it
        os.write(mouth, str(error).split("\n")[0][:500].encode())
    finally:
        os._exit(code)


def _wait(child: int, ear: int, patience: float) -> int:
    """The exit code of a child, negative for a signal; killed when its time is up."""
    end = time.monotonic() + patience
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        select.select([ear], [], [], 0.02)  # it ends when the child does
        time.sleep(0.0005)


def _end(child: int) -> None:
    """Whatever a child still does is not wanted any more."""
    with suppress(ChildProcessError, ProcessLookupError):
        if os.waitpid(child, os.WNOHANG)[0] == 0:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


_SCRIPT = """
import sys, h5py, hdf5plugin
path, name, part = sys.argv[1:]
with h5py.File(path, "r") as file:
    start, stop, step = map(int, part.split(":"))
    found = file[name]
    sys.stdout.buffer.write((found[start:stop:step] if found.ndim else found[()]).tobytes())
"""


def _in_interpreter(found: h5py.Dataset, part: str, patience: float) -> bytes:
    """The bytes of a dataset, read by another interpreter."""
    command = [sys.executable, "-c", _SCRIPT, found.file.filename, found.name, part]
    try:
        done = subprocess.run(command, capture_output=True, timeout=patience + 10, check=False)
    except subprocess.TimeoutExpired as error:
        raise _damaged(found, "decoding it does not end") from error
    if done.returncode < 0:
        raise _damaged(found, f"decoding it ended a process with {_named(-done.returncode)}")
    if done.returncode:
        raise _damaged(found, (done.stderr.decode(errors="replace").splitlines() or ["?"])[-1])
    return done.stdout


def _named(number: int) -> str:
    return "no end in sight" if number == signal.SIGKILL else signal.Signals(number).name


def _damaged(found: h5py.Dataset, why: str) -> InputError:
    return InputError(
        f"cannot read {found.name} from {found.file.filename}",
        why=why,
        fix="the data are damaged, or use a compression filter that is not installed: copy the "
        "file again, or install the filter",
    )
