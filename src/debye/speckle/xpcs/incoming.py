"""Frames and photons as they are given: seen to be of use, flat, and numbered."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from debye.errors import InputError


class Block(NamedTuple):
    """Frames and the numbers they bear."""

    frames: np.ndarray
    """(time, pixel)."""
    numbers: np.ndarray
    """(time,) int64, rising."""


def checked_frames(frames: ArrayLike | Tensor, shape: tuple[int, int]) -> np.ndarray:
    """(time, pixel) frames, seen to be of a shape and of real numbers.

    Args:
        frames: (time, qy, qx).
        shape: (qy, qx).

    Raises:
        InputError: They are not.
    """
    values = frames.numpy() if isinstance(frames, Tensor) else np.asarray(frames)
    if isinstance(frames, np.ma.MaskedArray) or values.dtype.kind not in "uifb":
        raise InputError(
            "cannot correlate these frames",
            why=f"they are {type(frames).__name__} of {values.dtype}, not of real numbers",
            fix="give an array of counts, and a mask to the q-map",
        )
    if values.ndim != 3 or values.shape[1:] != shape:
        raise InputError(
            "cannot correlate these frames",
            why=f"their shape is {values.shape}, and a frame of the q-map {shape}",
            fix="give (time, qy, qx), and make the q-map for such frames",
        )
    kind = np.uint8 if values.dtype.kind == "b" else values.dtype.newbyteorder("=")
    return np.ascontiguousarray(values, dtype=kind).reshape(len(values), -1)


def checked_numbers(numbers: ArrayLike | None, count: int, start: int) -> np.ndarray:
    """(time,) int64 numbers of frames, seen to rise; those that follow by default.

    Args:
        numbers: As given.
        count: Frames.
        start: The least that the first may be.

    Raises:
        InputError: They do not rise, or are not as many as frames.
    """
    if numbers is None:
        return np.arange(start, start + count)
    given = np.asarray(numbers)
    if given.shape != (count,) or (np.diff(given, prepend=start - 1) < 1).any():
        raise InputError(
            "cannot place these frames",
            why=f"the numbers of {count} frames do not rise from {start} on",
            fix="give the frames in the order of their numbers, each once",
        )
    return given.astype(np.int64)


def check_events(row: np.ndarray, pixel: np.ndarray, frames: int, pixels: int) -> None:
    """Refuse events that are out of order or of nowhere.

    Args:
        row: (event,) frame.
        pixel: (event,) flat number in a frame.
        frames: Their number.
        pixels: Of a frame.

    Raises:
        InputError: They are.
    """
    if len(row) and not (
        row[0] >= 0
        and row[-1] < frames
        and (np.diff(row) >= 0).all()
        and pixel.min() >= 0
        and pixel.max() < pixels
    ):
        raise InputError(
            "cannot take these photons",
            why=f"they do not lie, in order, in {frames} frames of {pixels} pixels",
            fix="sort them by frame, and count frames from 0 and pixels row by row",
        )


def checked_time(value: float) -> float:
    """A frame time that can be one.

    Raises:
        InputError: It is not positive.
    """
    if not 0 < value < np.inf:
        raise InputError(
            f"cannot use a frame time of {value!r} s", why="it is not positive", fix="correct it"
        )
    return float(value)
