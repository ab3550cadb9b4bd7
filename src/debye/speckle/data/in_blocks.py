"""Which pixels and frames of a long run count, judged block by block in bounded memory.

`debye.speckle.data.quality.examine` judges the first block, and any in which something is wrong.
Of others one look is taken, and what all frames held is judged once more by the same laws, for what
few frames do not show: a pixel that is hardly hot, a dark stretch, a frame seen long before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.data.hdf5 import tensor
from debye.speckle.data.outliers import outliers
from debye.speckle.data.quality import Examined, Quality, dark, examine, partly_dark
from debye.speckle.data.repeats import may_be_equal
from debye.speckle.data.saturation import may_hold_flags
from debye.speckle.data.survey import Survey, flat, merged, survey, survey_counts

LEAST, LARGEST = 1e-15, 1e15
"""Intensities whose squares, and sums of these, single precision holds."""
MOST = 2**20
"""Frames of which a hash is kept."""


def examine_blocks(
    blocks: Iterable[tuple[np.ndarray, np.ndarray]], mask: Tensor, full: float = math.inf
) -> Examined:
    """Decide which pixels and frames count.

    Of counts a frame is compared with all before it, to a million; of other numbers with those of
    its block, and the first with the last of the block before.

    Args:
        blocks: Frames (time, qy, qx) and their numbers, rising.
        mask: (qy, qx) True where a pixel may count.
        full: Counts at which a pixel is full.

    Raises:
        InputError: More than a quarter of the pixels or all frames of a block but one are bad, or
            the mask is the wrong way round.

    Example:
        >>> data = np.random.default_rng(0).poisson(6.0, (90, 9, 9))
        >>> data[:, 2, 2] *= 10000
        >>> data[50], data[80] = 0, data[3]
        >>> parts = ((data[k : k + 30], np.arange(k, k + 30)) for k in (0, 30, 60))
        >>> for line in examine_blocks(parts, torch.ones(9, 9) > 0).quality.lines():
        ...     print(line)
        1 hot pixel was masked
        frame 50 is dark, and was left out
        frame 80 is repeated, and was left out
    """
    judged = _Judged(mask, full)
    for frames, numbers in blocks:
        judged.take(frames, numbers)
    return judged.verdict()


def _examined(data: Tensor, mask: Tensor, full: float, numbers: np.ndarray) -> Examined:
    """A block judged; an error names its frames."""
    try:
        return examine(data, mask, full)
    except InputError as error:
        where = f"frames {numbers[0]} to {numbers[-1]}: {error.why}"
        raise InputError(error.what, why=where, fix=error.fix) from None


class _Judged:
    """What blocks were found to hold."""

    def __init__(self, mask: Tensor, full: float) -> None:
        self.open, self.mask, self.full = mask, mask.clone(), full
        self.reasons: dict[str, Tensor] = {}
        self.frames: dict[str, list[int]] = {}
        self.notes: dict[str, None] = {}
        self.kept: list[int] = []
        self.seen: Survey | None = None
        self.made = True
        self.last, self.room = (np.zeros(0), np.zeros(0, dtype=np.int64)), _Room()
        self.hidden: np.ndarray | None = None  # behind which frames are compared
        self.first_of: dict[int, int] = {}
        self.again: list[int] = []

    def take(self, frames: np.ndarray, numbers: np.ndarray) -> None:
        """Judge a block."""
        if frames.dtype.kind == "f":
            self._check_scale(frames)
        seen = self._looked(frames)
        if seen is None:
            self._examine(frames, numbers)
            return
        self.seen = seen if self.seen is None else merged(self.seen, seen)
        self.kept += numbers.tolist()
        self._compare(frames, numbers)
        self.last = frames[-1:].copy(), numbers[-1:]

    def _check_scale(self, frames: np.ndarray) -> None:
        """Refuse numbers most of which single precision cannot square."""
        some = np.abs(frames[:: max(1, len(frames) // 4)])
        some = some[(some > 0) & np.isfinite(some)]
        usual = float(np.median(some)) if some.size else 1.0
        if not LEAST < usual < LARGEST:
            raise InputError(
                "cannot use these frames",
                why=f"their intensities are about {usual:.2g}, whose squares are beyond float32",
                fix="give them in other units: multiply all frames by one number",
            )

    def _looked(self, frames: np.ndarray) -> Survey | None:
        """What a block holds in which nothing is wrong; None of the first, and where it may be."""
        if self.made or self.seen is None or not self.seen.counts:
            return None
        if frames.dtype.kind in "ui":
            seen = survey_counts(frames, self.mask.numpy())
        else:
            seen = survey(self.room.joined(self.last[0][:0], frames), self.mask)
        best = seen.highest[self.mask]
        fine = bool((seen.lowest >= 0).all()) and bool((best < min(self.full, math.inf)).all())
        return seen if fine and seen.counts and not may_hold_flags(best) else None

    def _examine(self, own: np.ndarray, numbers: np.ndarray) -> None:
        """Judge a block as a short run."""
        before = len(self.last[1])  # frames of the block before, to which the first is compared
        data = self.room.joined(self.last[0], own)[None]
        found = _examined(data, self.mask, self.full, numbers)
        kept = [k - before for k in found.kept if k >= before]
        self._add(found, numbers, kept, before)
        if not kept:
            return
        left = data[:, before:] if found.seen else data[:, [k + before for k in kept]]
        seen = (
            _since(found.seen, data[0, :before], found.mask)
            if found.seen
            else survey(left, found.mask)
        )
        self.seen = seen if self.seen is None else merged(self.seen, seen)
        self.made = self.made and flat(left[:, :2], found.mask)
        self._compare(own[kept], numbers[kept])
        self.last = own[kept[-1:]].copy(), numbers[kept[-1:]]

    def _add(self, found: Examined, numbers: np.ndarray, kept: list[int], before: int) -> None:
        """Take the verdict on a block, to which some frames of the one before were added."""
        for kind, which in found.quality.frames.items():
            named = [int(numbers[k - before]) for k in which if k >= before]
            self.frames.setdefault(kind, []).extend(named)
        for kind, bad in found.bad.items():
            self._take(kind, bad)
        self.mask &= found.mask
        self.notes |= dict.fromkeys(found.quality.notes)
        self.kept += [int(numbers[k]) for k in kept]

    def _compare(self, frames: np.ndarray, numbers: np.ndarray) -> None:
        """Remember frames by their hash, and those that were seen before."""
        if self.hidden is None:
            self.hidden = np.flatnonzero(~self.mask.numpy())
        for frame, number in zip(frames.reshape(len(frames), -1), numbers.tolist(), strict=True):
            values = frame
            if len(self.hidden):
                values = frame.copy()
                values[self.hidden] = 0
            if self.first_of.setdefault(hash(values.tobytes()), number) != number:
                self.again.append(number)
        while len(self.first_of) > MOST:
            del self.first_of[next(iter(self.first_of))]

    def _judge(self, seen: Survey) -> None:
        """Judge what all blocks held together."""
        for kind, bad in outliers(seen, self.mask).items():
            self._take(kind, bad & self.mask)
            self.mask &= ~bad
        count = len(self.kept)
        gone = [("dark", [self.kept[k] for k in dark(seen, count)])]
        part = partly_dark(seen, count, int(self.mask.sum()))
        gone.append(("partly dark", [self.kept[k] for k in part]))
        if seen.counts and self.again and not may_be_equal(seen, self.mask, count):
            gone.append(("repeated", self.again))
        for kind, which in gone:
            new = sorted(set(which) & set(self.kept))
            self.frames.setdefault(kind, []).extend(new)
            self.kept = [n for n in self.kept if n not in set(new)]

    def _take(self, kind: str, bad: Tensor) -> None:
        if bad.any():
            self.reasons[kind] = self.reasons.get(kind, torch.zeros_like(bad)) | bad

    def verdict(self) -> Examined:
        """The mask, the frames and the reasons."""
        if self.seen is not None and not self.made:
            self._judge(self.seen)
        if len(self.kept) < 2 or int(self.mask.sum()) < 0.75 * int(self.open.sum()):
            raise InputError(
                "cannot use these frames",
                why=f"{len(self.kept)} frames and {int(self.mask.sum())} of "
                f"{int(self.open.sum())} open pixels are left",
                fix="mask the bad part of the detector, or leave the bad frames out",
            )
        pixels = {k: int(v.sum()) for k, v in self.reasons.items()}
        frames = {k: sorted(v) for k, v in self.frames.items() if v}
        whole = tuple(self.kept) if frames else None
        quality = Quality(pixels, frames, tuple(self.notes), whole)
        return Examined(self.mask, self.kept, quality, self.reasons, None)


class _Room:
    """Memory for floats, which one block after another is written into."""

    def __init__(self) -> None:
        self.held = np.empty(0, dtype=np.float32)

    def joined(self, first: np.ndarray, frames: np.ndarray) -> Tensor:
        """Frames after some others, (time, qy, qx), exactly; until the next are joined."""
        if not _is_single(frames) or not _is_single(first):
            return tensor(np.concatenate([first, frames]) if len(first) else frames)
        shape = (len(first) + len(frames), *frames.shape[1:])
        size = math.prod(shape)
        if len(self.held) < size:
            self.held = np.empty(size, dtype=np.float32)
        found = self.held[:size].reshape(shape)
        if len(first):
            found[: len(first)] = first
        found[len(first) :] = frames
        return torch.from_numpy(found)


def _is_single(values: np.ndarray) -> bool:
    """Whether float32 holds these numbers exactly."""
    if values.dtype.kind not in "iu" or values.dtype.itemsize <= 2 or not values.size:
        return values.dtype.kind in "iub" or values.dtype == np.float32 or not values.size
    return bool(values.max() < 2**24 and values.min() > -(2**24))


def _since(seen: Survey, first: Tensor, mask: Tensor) -> Survey:
    """A survey but for the first frames, whose extremes stand for others as well."""
    total = seen.total - torch.where(mask, first.double(), 0.0).sum(0)
    count = len(first)
    return seen._replace(total=total, intensity=seen.intensity[count:], empty=seen.empty[count:])
