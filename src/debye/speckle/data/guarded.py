"""Decode compressed chunks where it can do no harm.

The codecs that detectors use (bitshuffle, LZ4, blosc and their kin) trust what they decode, and a
damaged chunk can end the process. They run in a child that writes into shared memory; if it dies,
the file is refused, and whoever reads it lives on. Where processes cannot fork another interpreter
does the same.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import subprocess
import sys
import time

import h5py
import numpy as np

from debye.errors import InputError

PATIENCE, PACE = 8.0, 1e7
"""Seconds that a child may take, and bytes a second besides."""
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
        _in_fork(found, array, np.s_[start:stop:step] if found.ndim else (), patience)
        return array
    held = _in_interpreter(found, f"{start}:{stop}:{step}", patience)
    if len(held) != size:
        raise _damaged(found, f"{len(held)} bytes instead of {size} were decoded")
    return np.frombuffer(bytearray(held), dtype=found.dtype).reshape(shape)


def is_foreign(found: h5py.Dataset) -> bool:
    """Whether reading runs codecs that are not HDF5's own; of virtual data nobody knows."""
    plan = found.id.get_create_plist()
    return found.is_virtual or any(plan.get_filter(i)[0] >= 256 for i in range(plan.get_nfilters()))


def _in_fork(
    found: h5py.Dataset, array: np.ndarray, part: slice | tuple[()], patience: float
) -> None:
    """Read into shared memory in a child, and refuse the file if that fails."""
    ear, mouth = os.pipe()
    child = os.fork()
    if child == 0:
        _decode(found, array, part, mouth)
    os.close(mouth)
    try:
        code = _wait(child, ear, patience)
        said = os.read(ear, 1000).decode(errors="replace") if code > 0 else ""
    finally:
        os.close(ear)
    if code < 0:
        raise _damaged(found, f"decoding it ended a process with {_named(-code)}")
    if code:
        raise _damaged(found, said)


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
    done = 0
    try:
        while not done:
            done, status = os.waitpid(child, os.WNOHANG)
            if not done and time.monotonic() > end:
                break
            if not done:
                select.select([ear], [], [], 0.02)
                time.sleep(0 if done else 0.0005)
    finally:
        if not done:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


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
