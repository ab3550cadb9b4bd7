"""Which pixels and frames of a long run count, judged block by block in bounded memory.

`debye.speckle.data.quality.examine` judges each block, and sums over all blocks are judged by the
same laws once more, for what few frames do not show: a pixel that is hardly hot, a dark stretch.
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
from debye.speckle.data.quality import Examined, Quality, dark, examine
from debye.speckle.data.survey import Survey, flat, survey


def examine_blocks(
    blocks: Iterable[tuple[np.ndarray, np.ndarray]], mask: Tensor, full: float = math.inf
) -> Examined:
    """Decide which pixels and frames count.

    A frame is compared with those of its block, and the first with the last of the block before:
    one that repeats a frame further back is not found.

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
        >>> data[50] = 0
        >>> parts = ((data[k : k + 30], np.arange(k, k + 30)) for k in (0, 30, 60))
        >>> examine_blocks(parts, torch.ones(9, 9) > 0).quality.lines()
        ['1 hot pixel was masked', 'frame 50 is dark, and was left out']
    """
    judged, seen, made = _Judged(mask), list[Survey](), True
    last, room = (np.zeros(0), np.zeros(0, dtype=np.int64)), _Room()
    for own, numbers in blocks:
        before = len(last[1])  # frames of the block before, to which the first is compared
        data = room.joined(last[0], own)[None]
        found = _examined(data, judged.mask, full, numbers)
        kept = [k - before for k in found.kept if k >= before]
        judged.add(found, numbers, kept, before)
        if kept:
            left = data[:, before:] if found.seen else data[:, [k + before for k in kept]]
            seen.append(
                _since(found.seen, data[0, :before], found.mask)
                if found.seen
                else survey(left, found.mask)
            )
            made = made and flat(left[:, :2], found.mask)
            last = own[kept[-1:]].copy(), numbers[kept[-1:]]
    if seen and not made:
        judged.judge(_merged(seen))
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

    def __init__(self, mask: Tensor) -> None:
        self.open, self.mask = mask, mask.clone()
        self.reasons: dict[str, Tensor] = {}
        self.frames: dict[str, list[int]] = {}
        self.notes: dict[str, None] = {}
        self.kept: list[int] = []

    def add(self, found: Examined, numbers: np.ndarray, kept: list[int], before: int) -> None:
        """Take the verdict on a block, to which some frames of the one before were added."""
        for kind, which in found.quality.frames.items():
            named = [int(numbers[k - before]) for k in which if k >= before]
            self.frames.setdefault(kind, []).extend(named)
        for kind, bad in found.bad.items():
            self._take(kind, bad)
        self.mask &= found.mask
        self.notes |= dict.fromkeys(found.quality.notes)
        self.kept += [int(numbers[k]) for k in kept]

    def judge(self, seen: Survey) -> None:
        """Judge what all blocks held together."""
        for kind, bad in outliers(seen, self.mask).items():
            self._take(kind, bad & self.mask)
            self.mask &= ~bad
        gone = [self.kept[k] for k in dark(seen, len(self.kept))]
        if gone:
            self.frames.setdefault("dark", []).extend(gone)
            self.kept = [n for n in self.kept if n not in set(gone)]

    def _take(self, kind: str, bad: Tensor) -> None:
        if bad.any():
            self.reasons[kind] = self.reasons.get(kind, torch.zeros_like(bad)) | bad

    def verdict(self) -> Examined:
        """The mask, the frames and the reasons."""
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


def _merged(parts: list[Survey]) -> Survey:
    """The survey of all frames, where a pixel is good in all parts."""
    return Survey(
        torch.stack([p.total for p in parts]).sum(0),
        torch.stack([p.highest for p in parts]).amax(0),
        torch.stack([p.lowest for p in parts]).amin(0),
        torch.cat([p.intensity for p in parts]),
        torch.cat([p.empty for p in parts]),
        all(p.counts for p in parts),
    )
