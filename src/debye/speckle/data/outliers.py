"""Hot and dead pixels: what speckle cannot be, in its shell of |Q| and among its neighbours.

The intensity of speckle is never broader than exponential, so at n standard deviations σ above
the mean of its kind a pixel has a chance of e⁻ⁿ at most, whatever moves. The mean and σ of its
kind are those of its thin shell around the middle of the detector and of its neighbourhood of
7 × 7 pixels, both without the outliers themselves, and the pixel must stand out from both and from
the eight pixels around it; so neither the slope of the scattering nor a large grain is taken for a
hot pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from debye.speckle.data.survey import Survey

CHANCE = 1e-3
"""How many good pixels of a whole detector may be masked by mistake."""
ENOUGH = 50
"""Photons that the pixels around must count before one without any is dead."""
GROUP = 48
"""Fewest pixels in a shell."""


class Sums(NamedTuple):
    """What pixels counted in all frames, as `debye.speckle.data.survey.survey` found it."""

    total: np.ndarray
    peak: np.ndarray
    least: np.ndarray
    frames: int
    whole: bool
    flicker: float

    @classmethod
    def of(cls, seen: Survey) -> Sums:
        """Of frames whose good pixels hold nothing but numbers."""
        total, peak, least = (x.cpu().numpy() for x in (seen.total, seen.highest, seen.lowest))
        return cls(total, peak, least, len(seen.intensity), seen.counts, seen.flicker)


class Kind(NamedTuple):
    """What pixels like one another counted."""

    mean: np.ndarray
    variance: np.ndarray
    number: np.ndarray
    """How many they are."""


def outliers(seen: Survey, good: Tensor) -> dict[str, Tensor]:
    """(qy, qx) True where a pixel is dead, hot or stuck: always the same, which photons never are.

    Args:
        seen: Of the frames behind the good pixels.
        good: (qy, qx) True where a pixel may count.

    Example:
        >>> speckle = torch.distributions.Exponential(1.0).sample((3, 32, 32))
        >>> speckle[:, 5, 20] = 500.0
        >>> from debye.speckle.data.survey import survey
        >>> every = torch.ones(32, 32) > 0
        >>> {k: v.nonzero().tolist() for k, v in outliers(survey(speckle, every), every).items()}
        {'dead': [], 'hot': [[5, 20]], 'stuck': []}
    """
    sums, usable = Sums.of(seen), good.cpu().numpy()
    if not usable.any():
        return dict.fromkeys(("dead", "hot", "stuck"), torch.zeros_like(good))
    shell, stuck = shells(usable), _stuck(sums, usable)
    hot = _hot(sums, usable & ~stuck, shell)
    dead = _dead(sums, usable & ~hot & ~stuck, shell)
    found = {"dead": dead, "hot": hot, "stuck": stuck}
    return {k: torch.from_numpy(v).to(good.device) for k, v in found.items()}


def shells(good: np.ndarray) -> np.ndarray:
    """(qy, qx) number of the shell of |Q| a pixel is in, a pixel wide or wide enough for 48 good.

    Example:
        >>> np.bincount(shells(np.ones((16, 16), bool)).ravel())[:3]
        array([69, 76, 48])
    """
    y, x = (np.arange(n) - n // 2 for n in good.shape)
    radius = np.hypot(y[:, None], x[None, :]).astype(int)
    held, group, number = 0, np.zeros(radius.max() + 1, dtype=int), 0
    for r, count in enumerate(np.bincount(radius[good], minlength=len(group))):
        group[r] = number
        held += count
        if held >= GROUP:
            held, number = 0, number + 1
    if held < GROUP and number:
        group[group == number] = number - 1
    return group[radius]


def _moments(values: np.ndarray, used: np.ndarray, shell: np.ndarray) -> Kind:
    """Mean and variance of the used pixels of each shell, for every pixel."""
    index, size = shell[used], shell.max() + 1
    count = np.bincount(index, minlength=size)
    mean = np.bincount(index, values[used], size) / count.clip(min=1)
    square = np.bincount(index, (values[used] - mean[index]) ** 2, size) / count.clip(min=1)
    return Kind(mean[shell], square[shell], count[shell])


def _neighbourhood(values: np.ndarray, used: np.ndarray) -> Kind:
    """Mean and variance of the used pixels of 7 × 7, the pixel itself aside."""
    scale = max(float(np.abs(values[used]).max(initial=0.0)), 1e-100)
    x = np.where(used, values / scale, 0.0)
    count, first, second = (_around(v, 7) - v / 49 for v in (used.astype(float), x, x**2))
    some = np.maximum(count, 1e-9)
    mean = first / some
    return Kind(mean * scale, (second / some - mean**2).clip(min=0) * scale**2, 49 * count)


def _around(values: np.ndarray, width: int) -> np.ndarray:
    """The mean over a square around each pixel, zeros beyond the border."""
    whole = torch.from_numpy(values)[None, None]
    pooled = torch.nn.functional.avg_pool2d(whole, width, 1, padding=width // 2)
    return np.asarray(pooled[0, 0].numpy())


def _gamma(shape: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The chance of a gamma-distributed number of unit scale to be at most x."""
    return np.asarray(torch.special.gammainc(torch.from_numpy(shape), torch.from_numpy(x)).numpy())


def _stuck(sums: Sums, good: np.ndarray) -> np.ndarray:
    """Pixels that hold the same number in all frames, where most do not.

    Counts of mean μ > 1 are the same with a chance of (2πμ)^−½ at most.
    """
    same = good & (sums.peak == sums.least) & (sums.peak > 1)
    chance = np.log(2 * np.pi * np.maximum(sums.peak, 1.0)) / 2 if sums.whole else np.log(1e3)
    stuck = same & ((sums.frames - 1) * chance > np.log(good.sum() / CHANCE))
    return stuck & (stuck.sum() < 0.25 * good.sum())


def _hot(sums: Sums, good: np.ndarray, shell: np.ndarray) -> np.ndarray:
    """Pixels whose total or best frame no speckle around them could make."""
    limit = np.log(max(good.sum(), 1) / CHANCE)
    known = good & ~_unlit(sums, good, shell)
    some = _moments(np.minimum(sums.total, 1.0), known, shell).mean if sums.whole else 0.0
    hot, used, widen = np.zeros_like(good), _typical(sums.total, known, shell), 3.0
    for _ in range(12):
        before = hot
        kinds = [_moments(sums.total, used, shell), _neighbourhood(sums.total, used)]
        mean = np.maximum(np.maximum(kinds[0].mean, kinds[1].mean), some)
        sigma = np.sqrt(widen * np.maximum(kinds[0].variance, kinds[1].variance))
        sigma = np.maximum(sigma, 1.0) if sums.whole else sigma
        judged, usable = good & (np.minimum(kinds[0].number, kinds[1].number) >= 8), good & ~before
        bright = judged & (sums.total - mean > limit * sigma)
        flash = judged & _flash(sums, mean, limit)
        hot = _alone(sums.total, bright, usable, limit * sigma)
        hot |= _alone(sums.peak, flash, usable, sums.peak / 2)
        used, widen = known & (_around(hot.astype(float), 3) == 0), 1.0  # peels a block of them
        if (hot == before).all():
            break
    return hot


def _unlit(sums: Sums, good: np.ndarray, shell: np.ndarray) -> np.ndarray:
    """Pixels without a count among such as have many, in their shell or neighbourhood."""
    lit = good & (sums.total > 0)
    logs = np.log(np.where(lit, sums.total, 1.0))  # whose mean a hot pixel does not move much
    typical = np.exp(np.maximum(_moments(logs, lit, shell).mean, _neighbourhood(logs, lit).mean))
    return good & ~lit & (typical >= (ENOUGH if sums.whole else 0.0))


def _in_shell(shell: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """How many pixels of a kind are in the shell of each pixel."""
    return lambda which: np.bincount(shell[which], minlength=shell.max() + 1)[shell]


def _within_seven(which: np.ndarray) -> np.ndarray:
    """How many pixels of a kind are among the 7 × 7 around each pixel."""
    return np.rint(49 * _around(which.astype(float), 7))


def _typical(values: np.ndarray, good: np.ndarray, shell: np.ndarray) -> np.ndarray:
    """The good pixels that are no more than thirty times the median of their shell.

    Where most count nothing, those that are not among its brightest twentieth.
    """
    order = np.lexsort((values[good], shell[good]))
    count = np.bincount(shell[good], minlength=shell.max() + 1)
    start = np.concatenate([[0], np.cumsum(count)[:-1]])
    rank, mine = np.empty(len(order), dtype=int), shell[good]
    rank[order] = np.arange(len(order))
    middle = np.zeros(len(count))
    middle[count > 0] = values[good][order][(start + count // 2)[count > 0]]
    top = rank - start[mine] >= np.ceil(0.95 * count[mine])
    used = good.copy()
    used[good] = np.where(middle[mine] > 0, values[good] <= 30 * middle[mine], ~top)
    return used


def _alone(
    values: np.ndarray, found: np.ndarray, usable: np.ndarray, margin: np.ndarray
) -> np.ndarray:
    """Which of the pixels found stand above the median of their usable neighbours by a margin.

    They hold five times as much besides, which no pixel of a peak or a grain of some width does.
    """
    alone = np.zeros_like(found)
    rows, columns = values.shape
    for y, x in np.argwhere(found):
        part = slice(max(y - 1, 0), min(y + 2, rows)), slice(max(x - 1, 0), min(x + 2, columns))
        others = usable[part].copy()
        others[y - part[0].start, x - part[1].start] = False
        beside = np.sort(values[part][others])
        middle = len(beside) // 2 if len(beside) == 8 else (len(beside) - 1) // 2
        around = beside[middle] if len(beside) else 0.0
        alone[y, x] = values[y, x] - around > margin[y, x] and values[y, x] > 5 * around
    return alone


def _flash(sums: Sums, mean: np.ndarray, limit: float) -> np.ndarray:
    """Pixels whose best frame even speckle that never moves could not make.

    Counts of speckle at contrast 1 are geometric: P(n) = (μ/(1 + μ))ⁿ.
    """
    usual = np.maximum(mean / sums.frames * sums.flicker, 1e-300)
    unlikely = sums.peak * np.log1p(1 / usual) if sums.whole else sums.peak / usual
    return unlikely > limit + np.log(sums.frames)


def _dead(sums: Sums, good: np.ndarray, shell: np.ndarray) -> np.ndarray:
    """Pixels that never counted where others of their kind did.

    Either a pixel of its kind has no chance to see so little (by a gamma distribution of the mean
    and variance around), or more of its shell are without a count than could be if the speckle
    never moved: one in 1 + μ.
    """
    empty, lit = good & (sums.total == 0), good & (sums.total > 0)
    if not empty.any() or not lit.any():
        return np.zeros_like(good)
    kinds = [_moments(sums.total, lit, shell), _neighbourhood(sums.total, lit)]
    mean = kinds[0].mean
    crowded = _around(empty.astype(float), 3) * 9 > 2.5
    dead = np.zeros_like(good)
    for group in (empty & crowded, empty & ~crowded):  # beamstops and gaps; single pixels
        for count in (_in_shell(shell), _within_seven):
            members, none = count(good), count(group)
            expected = members / (1 + mean) if sums.whole else 0.0
            lit_too = (none < 0.75 * members) | (count is _within_seven)
            dead |= group & (none > 6 * expected + 6) & lit_too
    if not sums.whole:
        return dead
    alone = empty & (kinds[0].number >= 8) & (kinds[1].number >= 8)
    for average, variance, _ in kinds:
        theta = np.maximum(variance, average).clip(min=1e-9) / average.clip(min=1e-9)
        alone &= _gamma(average.clip(min=1e-9) / theta, 0.5 / theta) < CHANCE / good.sum()
    return (dead | alone) & (np.minimum(mean, kinds[1].mean) >= ENOUGH)
