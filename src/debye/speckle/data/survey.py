"""Sums and extremes of frames, in one pass: what all decisions on pixels and frames stand on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Survey(NamedTuple):
    """What the good pixels of frames held; NaN where a value was."""

    total: Tensor
    """(qy, qx) in all frames."""
    highest: Tensor
    """(qy, qx) in the best frame."""
    lowest: Tensor
    """(qy, qx) in the poorest."""
    intensity: Tensor
    """(frame,) of all pixels, those of one run after those of another."""
    empty: Tensor
    """(frame,) how many good pixels hold nothing."""
    counts: bool
    """Whether all are whole numbers, as counts are."""

    @property
    def flicker(self) -> float:
        """Light of the brightest frame over that of the mean one."""
        mean = float(self.intensity.mean())
        return max(float(self.intensity.max()) / mean, 1.0) if mean > 0 else 1.0


def chunks(data: Tensor, size: int = 2**19) -> Iterator[Tensor]:
    """Some frames of all runs at a time, (frame, qy, qx), few enough to stay in the cache."""
    frames = data.flatten(0, -3)
    yield from frames.split(max(1, size // max(1, frames[:1].numel())))


def survey(data: Tensor, good: Tensor) -> Survey:
    """Look at all frames once; what is not finite counts as NaN.

    Args:
        data: (…, qy, qx).
        good: (qy, qx) True where a pixel counts.

    Example:
        >>> frames, good = torch.arange(8.0).reshape(2, 2, 2), torch.ones(2, 2) > 0
        >>> good[1, 1] = False
        >>> seen = survey(frames, good)
        >>> seen.total.tolist(), seen.intensity.tolist(), seen.counts
        ([[4.0, 6.0], [8.0, 0.0]], [3.0, 15.0], True)
    """
    total = torch.zeros(good.shape, dtype=torch.float64, device=good.device)
    highest, lowest = torch.zeros_like(total), torch.full_like(total, torch.inf)
    intensity, empty, counts, everything = [], [], True, bool(good.all())
    behind = int((~good).sum())
    for part in chunks(data):
        seen = part if everything else torch.where(good, part, 0.0)
        total += seen.sum(0, dtype=torch.float64)
        highest = torch.maximum(highest, seen.amax(0))
        lowest = torch.minimum(lowest, seen.amin(0))
        intensity.append(seen.sum((1, 2), dtype=torch.float64))
        empty.append((seen == 0).sum((1, 2)) - behind)
        counts = counts and _whole(seen)
    return Survey(total, highest, lowest, torch.cat(intensity), torch.cat(empty), counts)


def survey_counts(frames: np.ndarray, good: np.ndarray) -> Survey:
    """The same of frames kept as whole numbers, several times faster.

    Args:
        frames: (time, qy, qx) of an integer type.
        good: (qy, qx) True where a pixel counts.

    Example:
        >>> frames, good = np.arange(8).reshape(2, 2, 2), np.array([[True, True], [True, False]])
        >>> survey_counts(frames, good).intensity.tolist()
        [3.0, 15.0]
    """
    rows, hidden = frames.reshape(len(frames), -1), np.flatnonzero(~good)
    total = np.zeros(rows.shape[1])
    highest, lowest = rows[0].copy(), rows[0].copy()
    sums, empty = np.empty(len(rows)), np.empty(len(rows), dtype=np.int64)
    for k, row in enumerate(rows):
        np.maximum(highest, row, out=highest)
        np.minimum(lowest, row, out=lowest)
        behind = row[hidden]
        sums[k] = row.sum(dtype=np.int64) - behind.sum(dtype=np.int64)
        empty[k] = np.count_nonzero(behind) - np.count_nonzero(row) + len(row) - len(behind)
    for part in np.array_split(rows, -(-len(rows) // 128)):
        total += part.sum(0, dtype=np.int64)
    whole, best, least = (
        torch.from_numpy(np.where(good, m.reshape(good.shape), 0.0))
        for m in (total, highest, lowest)
    )
    return Survey(whole, best, least, torch.from_numpy(sums), torch.from_numpy(empty), True)


def merged(first: Survey, later: Survey) -> Survey:
    """The survey of some frames and of later ones.

    Args:
        first: Of some.
        later: Of others.
    """
    return Survey(
        first.total + later.total,
        torch.maximum(first.highest, later.highest),
        torch.minimum(first.lowest, later.lowest),
        torch.cat([first.intensity, later.intensity]),
        torch.cat([first.empty, later.empty]),
        first.counts and later.counts,
    )


def _whole(values: Tensor) -> bool:
    """Whether all numbers that are finite are whole."""
    whole = values == values.round()
    return bool(whole.all()) or bool((whole | ~torch.isfinite(values)).all())


def flat(data: Tensor, good: Tensor) -> bool:
    """Whether every frame holds one number only: made by hand, and not to be judged."""
    return all(bool((x[:, good].amax(1) == x[:, good].amin(1)).all()) for x in chunks(data))
