"""Times of frames: exact, in seconds where their unit is known, and what grid they lie on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.values import Numbers, to_tensor
from debye.units import TIME_UNITS

JITTER = 0.05
"""Part of a step by which a time may miss its place."""


class Grid(NamedTuple):
    """Evenly spaced times, some of which may be missing."""

    interval: float
    places: Tensor
    """(time,) whole number of intervals from the first."""


def exact_times(values: Numbers) -> Tensor:
    """(time,) float64; whole numbers that it cannot hold are counted from the first of them.

    Raises:
        InputError: They are no numbers.

    Example:
        >>> exact_times(np.array([1_760_000_000_123_456_789, 1_760_000_000_123_456_889])).tolist()
        [0.0, 100.0]
    """
    array = values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.dtype.kind in "ui" and array.size and int(abs(array).max()) > 2**53:
        array = np.array([int(t) - int(array.flat[0]) for t in array.flat]).reshape(array.shape)
    return to_tensor(values if array.dtype.kind not in "ui" else array, "the times").double()


def seconds(times: Tensor, unit: str) -> tuple[Tensor, str]:
    """Times in seconds and "s", where their unit is one of time; else as they are, without one.

    Whole numbers that count from long ago are counted from the first.

    Example:
        >>> seconds(torch.tensor([0.0, 100.0]), "ms"), seconds(torch.tensor([0.0, 1.0]), "frames")
        ((tensor([0.0000, 0.1000]), 's'), (tensor([0., 1.]), ''))
    """
    factor = TIME_UNITS.get(unit.strip().lower().split(" ")[0] if unit.strip() else "")
    if factor is None:
        return times, ""
    # Divided where the unit is a part of a second, so that 100 ms are the double next to 0.1.
    long_ago = len(times) > 1 and times[0] > 100 * (times[-1] - times[0])
    if factor < 1 and long_ago and (times == times.round()).all():
        times = times - times[0]  # an epoch in seconds would keep too few digits of them
    return (times * factor if factor >= 1 else times / round(1 / factor)), "s"


def grid(times: Tensor, kept: tuple[int, ...] | None = None) -> Grid:
    """The even grid that times lie on, but for jitter far below a step and for gaps.

    Args:
        times: (time,) rising.
        kept: Numbers of the frames, where some were left out.

    Raises:
        InputError: They are uneven: a time misses its place by more than a twentieth of a step, or
            a quarter of the steps or more are longer than the others.

    Example:
        >>> grid(torch.tensor([0.0, 0.1, 0.2001, 0.3, 0.4, 0.7, 0.8, 0.9])).places.tolist()
        [0, 1, 2, 3, 4, 7, 8, 9]
    """
    apart = torch.tensor(kept if kept else range(len(times))).diff()
    gaps = times.diff()
    step = float((gaps / apart).median())
    places = torch.cat([gaps.new_zeros(1), (gaps / step).round().clamp(min=1).cumsum(0)]).long()
    interval = float(times[-1] - times[0]) / int(places[-1])
    missed = (times - times[0] - places * interval).abs().max() / interval
    skipped = int((places.diff() > apart).sum())
    if float(missed) > JITTER or (skipped and 4 * skipped >= len(gaps)):
        raise InputError(
            "cannot correlate against delay",
            why=f"the times are uneven: steps from {float(gaps.min()):g} to {float(gaps.max()):g}",
            fix="give evenly spaced frames, or use debye.speckle.two_time",
        )
    return Grid(interval, places)


def gap_notes(times: Tensor, kept: tuple[int, ...] | None = None) -> list[str]:
    """A line for the gaps in times that are even otherwise.

    Example:
        >>> gap_notes(torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 7.0, 8.0]))
        ['2 frames are missing after t = 4: the times leave a gap']
    """
    try:
        places = grid(times, kept).places
    except InputError:
        return []
    apart = torch.tensor(kept if kept else range(len(times))).diff()
    missing = places.diff() - apart
    where = (missing > 0).nonzero().flatten().tolist()
    if not where:
        return []
    count, first = int(missing[where].sum()), float(times[where[0]])
    more = f" and {len(where) - 1} other times" if len(where) > 1 else ""
    return [
        f"{count} frame{'s are' if count > 1 else ' is'} missing after t = {first:g}{more}: "
        f"the times leave a gap{'s' * (len(where) > 1)}".replace("a gaps", "gaps")
    ]
