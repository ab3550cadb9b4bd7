"""Frames that repeat an earlier one to the last count, which two exposures never do by chance."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from debye.speckle.data.survey import Survey

CHANCE = 1e-6
"""What is less likely than this is no chance."""


def repeated(data: Tensor, good: Tensor, seen: Survey) -> list[int]:
    """Numbers of the frames that are the same as an earlier one in every good pixel.

    Of counts any two may be compared, if chance does not make them equal: two Poisson numbers of
    mean μ are the same with probability e⁻²ᵘ I₀(2μ). Numbers without noise are the same where
    nothing moves; there a frame repeats the one before only while those around them change.

    Args:
        data: (run, time, qy, qx).
        good: (qy, qx) True where a pixel counts.
        seen: Of the frames, or of more of them.

    Example:
        >>> from debye.speckle.data.survey import survey
        >>> data = torch.poisson(torch.full((1, 5, 8, 8), 3.0), torch.Generator().manual_seed(0))
        >>> data[0, 3], every = data[0, 2], torch.ones(8, 8) > 0
        >>> repeated(data, every, survey(data, every))
        [3]
    """
    if seen.counts and may_be_equal(seen, good, data.shape[1]):
        return []
    same = _same_counts if seen.counts else _same_numbers
    return sorted(set().union(*(same(run, good) for run in data)))


def may_be_equal(seen: Survey, good: Tensor, frames: int) -> bool:
    """Whether two frames of a run may be equal by chance.

    Args:
        seen: Of all frames.
        good: (qy, qx) True where a pixel counts.
        frames: Of a run.
    """
    mean = seen.total[good] / len(seen.intensity)
    return float(torch.special.i0e(2 * mean).log().sum()) > math.log(CHANCE / frames**2)


def _same_counts(run: Tensor, good: Tensor) -> set[int]:
    """Frames equal to any earlier one."""
    first: dict[int, int] = {}
    found = set()
    for time in range(len(run)):
        frame = _behind(run, time, good)
        earlier = first.setdefault(hash(frame.cpu().numpy().tobytes()), time)
        if earlier != time and torch.equal(_behind(run, earlier, good), frame):
            found.add(time)
    return found


def _behind(run: Tensor, time: int, good: Tensor) -> Tensor:
    """A frame with nothing where no good pixel is."""
    return run[time] if good.all() else torch.where(good, run[time], 0.0)


def _same_numbers(run: Tensor, good: Tensor) -> set[int]:
    """Frames equal to the one before, where the stretch of equal ones begins or ends abruptly."""
    steps = [_step(_behind(run, t - 1, good), _behind(run, t, good)) for t in range(1, len(run))]
    found = set()
    for k, step in enumerate(steps):
        if step == 0:
            before = next((s for s in steps[:k][::-1] if s), 0.0)
            after = next((s for s in steps[k:] if s), 0.0)
            if max(before, after) > 1e-3:
                found.add(k + 1)
    return found


def _step(a: Tensor, b: Tensor) -> float:
    """Relative distance of two frames; 0 only if they are equal."""
    if torch.equal(a, b):
        return 0.0
    return max(float((a - b).norm() / b.norm().clamp(min=1e-30)), 1e-30)
