"""Which pixels and frames count: the one place that decides, for every reader and every verb.

A pixel is left out where it is broken (not finite or negative in a frame that is otherwise
whole), saturated, dead, hot or stuck; a frame where it or a part of it is dark, full or not finite,
or where it is repeated. What is left out is told by number and reason in a `Quality`.

Speckle itself is never broader than exponential (Goodman, Speckle Phenomena in Optics, 2nd ed.,
section 3.2), so that beyond the mean a pixel at n standard deviations has a chance of e⁻ⁿ at most:
`debye.speckle.data.outliers` holds pixels against that, in their shell and among their neighbours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.data.outliers import outliers
from debye.speckle.data.repeats import repeated
from debye.speckle.data.saturation import flag_of
from debye.speckle.data.survey import Survey, chunks, flat, survey

DARK = 0.01
"""A frame with less than this part of the others' light is dark."""
MOST = 0.1
"""A frame of which more than this part is full or broken is left out; else its pixels are."""


@dataclass(frozen=True)
class Quality:
    """What was left out of frames, and why.

    Attributes:
        pixels: How many pixels, by reason.
        frames: Which frames, counted from 0 as recorded, by reason.
        notes: What is suspicious, or was assumed.
        kept: The numbers of the frames that are left; None if all are.

    Example:
        >>> Quality({"hot": 3}, {"dark": [13]}).lines()
        ['3 hot pixels were masked', 'frame 13 is dark, and was left out']
    """

    pixels: dict[str, int] = field(default_factory=dict)
    frames: dict[str, list[int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    kept: tuple[int, ...] | None = None

    def lines(self) -> list[str]:
        """A sentence for each reason."""
        masked = [
            f"the file masks {n} pixel{'s' * (n > 1)}"
            if kind == "file's"
            else f"{n} {kind} pixel{'s were' if n > 1 else ' was'} masked"
            for kind, n in self.pixels.items()
        ]
        left = [
            f"frame{'s' * (len(n) > 1)} {numbers(n)} {'are' if len(n) > 1 else 'is'} {kind}, "
            f"and {'were' if len(n) > 1 else 'was'} left out"
            for kind, n in self.frames.items()
        ]
        return [*masked, *left, *self.notes]

    def as_json(self) -> dict[str, Any]:
        """The same, for a record."""
        return {"pixels": self.pixels, "frames": self.frames, "notes": list(self.notes)}

    def facts(self) -> dict[str, Any]:
        """What `Frames.about` says of it: nothing where nothing was left out."""
        said = {"masked": self.pixels, "left_out": self.frames, "notes": list(self.notes)}
        return {k: v for k, v in said.items() if v}


class Examined(NamedTuple):
    """Which pixels and frames count."""

    mask: Tensor
    """(qy, qx) True where a pixel counts."""
    kept: list[int]
    """Numbers of the frames that count."""
    quality: Quality
    bad: dict[str, Tensor]
    """(qy, qx) True where a pixel was open and does not count, by reason."""
    seen: Survey | None
    """Of all frames behind the mask, if all count, and all pixels that were open."""


def numbers(which: list[int], most: int = 8) -> str:
    """Numbers in words, the first so many of them.

    Example:
        >>> numbers([3, 7]), numbers(list(range(12)))
        ('3, 7', '0, 1, 2, 3, 4, 5, 6, 7 … (12)')
    """
    more = f" … ({len(which)})" if len(which) > most else ""
    return ", ".join(map(str, which[:most])) + more


def examine(data: Tensor, mask: Tensor, full: float = math.inf) -> Examined:
    """Decide which pixels and frames count.

    Args:
        data: (run, time, qy, qx) counts or intensities.
        mask: (qy, qx) True where a pixel may count.
        full: Counts at which a pixel is full.

    Returns:
        The mask, the frames and the reasons. A frame that is bad in one run is left out of all.

    Raises:
        InputError: More than a quarter of the pixels or all frames but one are bad, or the mask
            is the wrong way round.

    Example:
        >>> data = torch.poisson(torch.full((1, 30, 9, 9), 6.0), torch.Generator().manual_seed(0))
        >>> data[..., 2, 2] *= 1e4
        >>> data[0, 4], data[0, 9] = 0.0, data[0, 8]
        >>> examine(data, torch.ones(9, 9) > 0).quality.lines()[0]
        '1 hot pixel was masked'
        >>> examine(data, torch.ones(9, 9) > 0).quality.frames
        {'dark': [4], 'repeated': [9]}
    """
    if not mask.any():
        raise InputError(
            "cannot use these frames",
            why="the mask leaves no pixel",
            fix="mask what is bad alone: in a pixel_mask 0 is a good pixel, in Python True is",
        )
    note = _check_mask(data, mask)
    seen = everything = survey(data, mask)
    full = min(full, flag_of(data, mask, full, seen))
    kinds = _kinds(data, full, seen)
    frames, good = ({}, mask) if kinds is None else _spoilt(data, kinds, mask)
    left, kept = _without(data, list(range(data.shape[1])), _left_out(frames))
    _check_frames(kept, frames, data, kinds, mask)
    _check_pixels(good, mask, {"broken or saturated": int((mask & ~good).sum())}, data, kinds)
    seen = seen if kinds is None else survey(left, good)
    odd = outliers(seen, good)
    if (bright := odd["hot"] | odd["stuck"]).any() and (good & ~bright).any():
        good = good & ~bright  # which would light a dark frame
        seen = survey(left, good)
    made = flat(left[:, :2], good) and flat(left, good)
    if not made:
        frames |= _named("dark", [kept[t] for t in dark(seen, len(kept))])
        part = {kept[t] for t in partly_dark(seen, len(kept), int(good.sum()))}
        frames |= _named("partly dark", sorted(part - _left_out(frames)))
        left, kept = _without(data, kept, _left_out(frames))
        frames |= _named("repeated", [kept[t] for t in repeated(left, good, seen)])
    left, kept = _without(data, kept, _left_out(frames))
    _check_frames(kept, frames, data, kinds, mask)
    if left is data and kinds is None and not made:
        bad = dict.fromkeys(("broken", "saturated"), torch.zeros_like(mask)) | odd
    else:
        bad = bad_pixels(left, full, mask, everything if left is data else None)
    counts = {k: int(v.sum()) for k, v in bad.items() if v.any()}
    good = mask & ~torch.stack(list(bad.values())).any(0)
    _check_pixels(good, mask, counts, data, kinds)
    whole = tuple(kept) if frames else None
    quality = Quality(counts, frames, (note,) if note else (), whole)
    return Examined(good, kept, quality, bad, None if frames or counts else everything)


def _without(data: Tensor, kept: list[int], gone: set[int]) -> tuple[Tensor, list[int]]:
    """The frames that are left of some, and their numbers."""
    kept = [t for t in kept if t not in gone]
    return (data if len(kept) == data.shape[1] else data[:, kept]), kept


def _named(kind: str, which: list[int]) -> dict[str, list[int]]:
    return {kind: which} if which else {}


def usable(data: Tensor, mask: Tensor, full: float = math.inf) -> Tensor:
    """Frames that are handed on without a mask: NaN where a pixel is masked, or a value is full.

    Args:
        data: (time, qy, qx), changed in place.
        mask: (qy, qx) True where a pixel may count.
        full: Counts at which a pixel is full, if numbers themselves do not show it.

    Example:
        >>> usable(torch.tensor([[[1.0, 7.0, 255.0]]]), torch.tensor([[True, False, True]]), 255.0)
        tensor([[[1., nan, nan]]])
    """
    if not mask.any():
        return data.fill_(math.nan)
    full = min(full, flag_of(data[None], mask, full, survey(data, mask)))
    for part in chunks(data):
        part[(part >= full) | ~mask] = math.nan
    return data


def bad_pixels(
    data: Tensor,
    full: float = math.inf,
    mask: Tensor | None = None,
    seen: Survey | None = None,
) -> dict[str, Tensor]:
    """Pixels to leave out: (qy, qx) True where broken, saturated, dead, hot or stuck.

    A pixel is broken if it is ever not finite or negative; saturated if it ever reaches ``full``;
    the others are as `debye.speckle.data.outliers.outliers` finds them.

    Args:
        data: (run, time, qy, qx).
        full: Counts at which a pixel is full.
        mask: (qy, qx) True where a pixel may count.
        seen: Of these frames behind the mask, where it is known.

    Example:
        >>> data = torch.full((1, 30, 5, 5), 2.0)
        >>> data[..., 0, 0], data[..., 2, 2], data[0, 3, 4, 4] = 0.0, float("nan"), 65535.0
        >>> {k: v.nonzero().tolist() for k, v in bad_pixels(data, 65535).items() if v.any()}
        {'broken': [[2, 2]], 'saturated': [[4, 4]], 'dead': [[0, 0]]}
    """
    good = torch.ones_like(data[0, 0], dtype=torch.bool) if mask is None else mask
    seen = survey(data, good) if seen is None else seen
    kinds = _kinds(data, full, seen)
    bad = dict.fromkeys(("broken", "saturated"), torch.zeros_like(good))
    if kinds is not None:
        bad["broken"] = (kinds == BROKEN).flatten(0, 1).any(0) & good
        bad["saturated"] = (kinds == FULL).flatten(0, 1).any(0) & good & ~bad["broken"]
        good = good & ~bad["broken"] & ~bad["saturated"]
        seen = survey(data, good)
    made = flat(data[:, :2], good) and flat(data, good)
    return bad if made else bad | outliers(seen, good)


BROKEN, FULL = 1, 2


def _kinds(data: Tensor, full: float, seen: Survey) -> Tensor | None:
    """`wrong_values`, or None where good pixels hold none."""
    fine = (seen.lowest >= 0) & (seen.highest < min(full, math.inf))
    return None if fine.all() else wrong_values(data, full)


def wrong_values(data: Tensor, full: float = math.inf) -> Tensor:
    """For each value 0 where it may be counts, 1 where it is not finite or negative, 2 where full.

    Example:
        >>> wrong_values(torch.tensor([[[[0.0, -1.0, float("nan"), 255.0]]]]), 255.0).flatten()
        tensor([0, 1, 1, 2], dtype=torch.uint8)
    """
    kinds = torch.zeros(data.shape, dtype=torch.uint8, device=data.device)
    for part, found in zip(chunks(data), chunks(kinds), strict=True):
        found[part >= full] = FULL
        found[~((part >= 0) & torch.isfinite(part))] = BROKEN
    return kinds


def _spoilt(data: Tensor, kinds: Tensor, mask: Tensor) -> tuple[dict[str, list[int]], Tensor]:
    """Frames of which too much is wrong, by reason, and the pixels that are right elsewhere."""
    wrong = (kinds > 0) & mask
    share = wrong.flatten(2).double().mean(2) * mask.numel() / max(int(mask.sum()), 1)
    if not share.any():
        return {}, mask
    partly = share < 0.9  # (run, time): frames that show which pixels are always wrong
    always = wrong[partly].double().mean(0) > 0.5 if partly.any() else torch.zeros_like(mask)
    open_ = mask & ~always
    share = (wrong & open_).flatten(2).sum(2) / max(int(open_.sum()), 1)
    frames: dict[str, list[int]] = {}
    for run, time in (share > MOST).nonzero().tolist():
        name = _reason(data[run, time][open_], kinds[run, time][open_])
        frames.setdefault(name, []).append(time)
    frames = {k: sorted(set(v)) for k, v in frames.items()}
    gone = _left_out(frames)
    kept = [t for t in range(data.shape[1]) if t not in gone]
    return frames, open_ & ~wrong[:, kept].flatten(0, 1).any(0)


def _reason(values: Tensor, kinds: Tensor) -> str:
    """What most of the wrong values of a frame are."""
    amounts = {
        "not finite": int((~torch.isfinite(values)).sum()),
        "negative": int((values < 0).sum()),
        "full": int((kinds == FULL).sum()),
    }
    return max(amounts, key=lambda k: amounts[k])


def _left_out(frames: dict[str, list[int]]) -> set[int]:
    return {t for which in frames.values() for t in which}


def dark(seen: Survey, frames: int) -> list[int]:
    """Frames without light among frames that have some, in runs of so many."""
    found: set[int] = set()
    for sums in seen.intensity.split(max(frames, 1)):
        lit = sums[sums > 0]
        usual = float(lit.median()) if len(lit) else 0.0
        # Of twenty photons none arrive once in a billion frames.
        if usual >= (20 if seen.counts else 1e-300):
            found |= set((sums <= DARK * usual).nonzero().flatten().tolist())
    return sorted(found)


def partly_dark(seen: Survey, frames: int, pixels: int) -> list[int]:
    """Frames of which a part holds nothing that is usually lit, while the rest is as ever."""
    found: set[int] = set()
    lit = (pixels - seen.empty).clamp(min=1)
    for sums, held in zip(seen.intensity.split(frames), lit.split(frames), strict=True):
        each = sums / held
        if seen.counts and float(each.median()) < 5:
            continue  # in few photons there are many empty pixels by chance
        lost = held < held.double().median() - MOST * pixels
        found |= set((lost & (each > 0.7 * each.median())).nonzero().flatten().tolist())
    return sorted(found)


def _check_frames(
    kept: list[int], frames: dict[str, list[int]], data: Tensor, kinds: Tensor | None, mask: Tensor
) -> None:
    """Refuse a run of which no two frames are left."""
    if len(kept) > 1 or not frames:
        return
    listed = "; ".join(f"{numbers(v)} {k}" for k, v in frames.items())
    wrong, where = _first_wrong(data, kinds, mask)
    raise InputError(
        f"cannot use these frames: {wrong or 'fewer than two are left'}",
        why=f"{where}of {data.shape[1]} frames these are bad: {listed}",
        fix="record or export them again, or give the right saturation=…; of several runs give the "
        "good ones alone",
    )


def _first_wrong(data: Tensor, kinds: Tensor | None, mask: Tensor) -> tuple[str, str]:
    """How many values behind open pixels are no counts, and where the first is; or nothing."""
    wrong = mask & False if kinds is None else (kinds == BROKEN) & mask
    if not wrong.any():
        return "", ""
    run, time, y, x = wrong.nonzero()[0].tolist()
    name = "negative" if data[run, time, y, x] < 0 else "not finite"
    where = f"the first is pixel ({y}, {x}) of frame {time} in run {run}; "
    return f"{int(wrong.sum())} values are {name}", where


def _check_pixels(
    good: Tensor, mask: Tensor, counts: dict[str, int], data: Tensor, kinds: Tensor | None
) -> None:
    """Refuse a detector of which more than a quarter is bad."""
    if int(good.sum()) >= 0.75 * int(mask.sum()) and good.any():
        return
    wrong, where = _first_wrong(data, kinds, mask)
    listed = ", ".join(f"{n} {k}" for k, n in counts.items()) or "none is left"
    raise InputError(
        f"cannot use these frames{wrong and ': '}{wrong}",
        why=f"{where}of {int(mask.sum())} open pixels {listed}",
        fix="mask the bad part of the detector, give the right saturation=…, or correct the data",
    )


def _check_mask(data: Tensor, mask: Tensor) -> str:
    """A word where a mask hides most pixels that see light; refused where the others see none.

    Raises:
        InputError: The open pixels never change, and the masked ones do.
    """
    hidden, frames = ~mask, data.shape[0] * data.shape[1]
    if not hidden.any():
        return ""
    moves = data.flatten(0, 1).amax(0) > data.flatten(0, 1).amin(0)  # gaps hold one number
    lost, left = int((moves & hidden).sum()), int((moves & mask).sum())
    if int(hidden.sum()) <= int(mask.sum()):
        told = f"the mask hides {lost} of the {lost + left} pixels that see light"
        return told if lost > left else ""
    inside, outside = survey(data, mask), survey(data, hidden)
    means = [
        float(s.total[m].nan_to_num().median()) / frames
        for s, m in ((inside, mask), (outside, hidden))
    ]
    counts = (
        f"the {int(mask.sum())} open pixels see {means[0]:.3g}, the {int(hidden.sum())} masked "
    )
    counts += f"ones {means[1]:.3g} a frame"
    still, alive = (
        float((s.highest[m] == s.lowest[m]).double().mean())
        for s, m in ((inside, mask), (outside, hidden))
    )
    if frames > 3 and still > 0.9 and alive < 0.5:
        raise InputError(
            "the mask seems to be inverted",
            why=f"{counts}, and the open ones never change",
            fix="in a pixel_mask 0 is a good pixel: write it the other way round (in Python pass "
            "~mask, True where a pixel counts)",
        )
    return f"the mask may be inverted: {counts}" if means[1] > 0 and alive < 0.5 else ""
