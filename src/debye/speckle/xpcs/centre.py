"""Is the beam where the geometry has it? The mean frame says, and where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.xpcs.correlation import Correlation
from debye.speckle.xpcs.geometry import Geometry
from debye.speckle.xpcs.qmap import SECTORS, QMap

NOISE = (5, 6, 7, 8)
"""Harmonics in azimuth that a misplaced centre does not make: they say how large noise is."""
UNEVEN = 0.01
"""Part of the baseline that is told."""
SEEN = 3.0
"""By how much more than noise the radius must explain of the mean frame; of flat ones up to 2.4."""


def uneven(mean: Tensor, qmap: QMap) -> Tensor:
    """(N,) by how much the baseline of g2 is raised, for shells are not evenly lit in azimuth.

    With I_p/μ = 1 + Σ_k |c_k| cos(kφ + …) over a bin, g2 ends at 1 + Σ_k |c_k|²/2. The first two
    harmonics are what a misplaced centre and oriented scattering make; noise, judged by higher
    ones, is taken off. Of bins that do not go round the pixels are counted along the arc instead.

    Args:
        mean: (qy, qx) mean intensity.
        qmap: The bins.

    Example:
        >>> from debye.speckle.xpcs.qmap import make_qmap
        >>> true = Geometry(x=40, y=40).modulus((81, 81)).clamp(min=1) ** -2
        >>> off = make_qmap(Geometry(x=43, y=40), torch.ones(81, 81) > 0, [8, 16, 30])
        >>> bool((uneven(true, off) > 0.02).all())
        True
    """
    label = qmap.dynamic.labels.flatten().numpy()
    inside = np.flatnonzero(label)
    shell = qmap.static.labels.flatten().numpy()[inside] - 1
    light = mean.flatten().double().numpy()[inside]
    level = np.bincount(shell, light) / np.bincount(shell)
    away = light / np.maximum(level[shell], 1e-300) - 1
    bins, size = label[inside] - 1, np.bincount(label[inside] - 1)
    phi = _around(qmap.geometry.azimuth(qmap.shape).flatten().numpy()[inside], bins, size)

    def power(k: int) -> np.ndarray:
        parts = [np.bincount(bins, away * wave(k * phi)) / size for wave in (np.cos, np.sin)]
        return np.asarray(2 * (parts[0] ** 2 + parts[1] ** 2))  # |c_k|²/2

    noise = np.mean([power(k) for k in NOISE], 0)
    return torch.from_numpy(power(1) + power(2) - 2 * noise)


def _around(azimuth: np.ndarray, bins: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(pixel,) angles that go once round each bin: of an arc the rank of a pixel along it."""
    parts = bins * SECTORS + (azimuth % 360.0 * SECTORS / 360).astype(np.int64)
    lit = np.bincount(parts, minlength=len(size) * SECTORS).reshape(-1, SECTORS)
    goes_round = lit.min(1) > 0
    order = np.lexsort((azimuth % 360.0, bins))
    rank = np.empty(len(bins))
    rank[order] = np.arange(len(bins)) - np.repeat(np.cumsum(size) - size, size)
    along = 2 * np.pi * (rank + 0.5) / size[bins]
    return np.asarray(np.where(goes_round[bins], np.radians(azimuth), along))


def find_centre(mean: Tensor, mask: Tensor, geometry: Geometry, within: float = 20.0) -> Geometry:
    """The centre about which the mean frame is most nearly a function of the radius alone.

    The mean square of (I − m(r))/m(r) is made least, with m the mean of I at each radius.

    Args:
        mean: (qy, qx) mean intensity.
        mask: (qy, qx) True where a pixel counts.
        geometry: With a first guess.
        within: Pixels by which that may be off.

    Raises:
        InputError: The frame is dark, or as bright everywhere, or the least lies farther off.

    Example:
        >>> light = Geometry(x=44, y=36).modulus((81, 81)).clamp(min=1) ** -2
        >>> found = find_centre(light, torch.ones(81, 81) > 0, Geometry(x=40, y=40))
        >>> round(found.x, 1), round(found.y, 1)
        (44.0, 36.0)
    """
    from scipy.optimize import minimize

    counted = mask.numpy() & np.isfinite(mean.numpy())
    y, x = np.nonzero(counted)
    light = mean.double().numpy()[counted]
    if not light.sum() > 0:
        raise InputError(
            "cannot find the centre", why="the mean frame is dark", fix="give frames with light"
        )
    tall = geometry.sides[0] / geometry.sides[1]

    def spread(centre: np.ndarray) -> float:
        radius = np.hypot(x - centre[0], tall * (y - centre[1]))
        expected = _expected(radius, light)
        good = expected > 1e-6 * expected.max()
        away = (light[good] / expected[good] - 1) ** 2
        return float(np.minimum(away, 9 * np.median(away) + 1e-30).mean())

    guess = np.array([geometry.x, geometry.y])
    best = _coarse(spread, guess, within)
    simplex = best + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = minimize(
        spread, best, method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 1e-3}
    ).x
    if np.abs(found - guess).max() > within + 1:
        raise InputError(
            "cannot find the centre",
            why=f"no place within {within:g} pixels of ({geometry.x:g}, {geometry.y:g}) fits",
            fix="give a better guess, or mask what is not round",
        )
    radius = np.hypot(x - found[0], tall * (y - found[1]))
    if _explained(radius, light) < SEEN * (radius.max() - radius.min() + 1) / len(light):
        raise InputError(
            "cannot find the centre",
            why="the mean frame is as bright at every radius, as far as its noise lets see",
            fix="give --centre, or more frames",
        )
    return replace(geometry, x=float(found[0]), y=float(found[1]))


def centre_warnings(found: Correlation) -> tuple[str, ...]:
    """What the mean frame says against a correlation, in a sentence each.

    Args:
        found: A correlation.
    """
    raised = uneven(found.saxs_2d, found.qmap)
    worst = int(raised.nan_to_num(0.0).argmax())
    if not float(raised[worst]) > UNEVEN:
        return ()
    return (
        f"shells are not evenly lit in azimuth: g2 of bin {worst + 1} ends at "
        f"{1 + float(raised[worst]):.3f} instead of 1; find the beam's centre, mask what is in the "
        "way, or part the rings in azimuth",
    )


def _explained(radius: np.ndarray, light: np.ndarray) -> float:
    """Part of the mean square of light about its mean that its radius explains."""
    rest, whole = (
        (light / np.maximum(level, 1e-300) - 1) ** 2
        for level in (_expected(radius, light), light.mean())
    )
    rest, whole = (np.minimum(s, 9 * np.median(s) + 1e-30).mean() for s in (rest, whole))
    return float(1 - rest / whole)


def _expected(radius: np.ndarray, light: np.ndarray) -> np.ndarray:
    """(pixel,) mean light at the radius of a pixel, by linear shares of whole radii."""
    low = np.floor(radius).astype(np.int64)
    share = radius - low
    size = int(low.max()) + 2
    weight = np.bincount(low, 1 - share, size) + np.bincount(low + 1, share, size)
    total = np.bincount(low, light * (1 - share), size) + np.bincount(low + 1, light * share, size)
    profile = total / np.maximum(weight, 1e-9)
    return np.asarray((1 - share) * profile[low] + share * profile[low + 1])


def _coarse(spread: Callable[[np.ndarray], float], guess: np.ndarray, reach: float) -> np.ndarray:
    """The best place of a grid about a guess, then of a finer one about that."""
    best = guess
    step = reach / 2
    while step > 1:
        near = [best + step * np.array([i, j]) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        best = min(near, key=spread)
        step /= 2
    return best
