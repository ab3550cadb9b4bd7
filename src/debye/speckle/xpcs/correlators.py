"""What X-ray photon correlation spectroscopy measures: contrast, g2(τ), two-time correlation.

For a signal whose field correlates as g1(τ), a fully coherent beam gives the Siegert relation
g2(τ) = 1 + β|g1(τ)|², with the contrast β at most 1.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.values import ByValue


class Correlation(NamedTuple):
    """How intensity correlates with itself at some delays."""

    delay: Tensor
    """(D,) frames."""
    g2: Tensor
    """(region, D)."""
    error: Tensor
    """(region, D) standard error, from the spread over pixels."""

    def __repr__(self) -> str:
        regions, delays = self.g2.shape
        return f"Correlation({regions} regions at {delays} delays)"


@dataclass(frozen=True, eq=False, repr=False)
class QMap(ByValue):
    """Regions of constant |Q|.

    Args:
        edges: (R + 1,) borders in |Q|, rising.
        regions: (R, qy, qx) True where a pixel belongs.
        unit: Of the borders.

    Example:
        >>> from debye.speckle.scattering.optics import Detector
        >>> d = Detector(n=16, dq=0.5, L=2.0, f_mask=0.05)
        >>> qmap = QMap.of(d.Q, torch.tensor([5.0, 10.0, 20.0]), d.open, "per unit of length")
        >>> qmap, qmap.regions.sum((1, 2))
        (QMap(2 regions, |Q| = 5 … 20 per unit of length), tensor([ 92, 380]))
    """

    edges: Tensor
    regions: Tensor
    unit: str = ""

    @classmethod
    def of(cls, q: Tensor, edges: Tensor, mask: Tensor, unit: str = "") -> QMap:
        """The regions between borders.

        Args:
            q: (qy, qx) modulus of each pixel.
            edges: (R + 1,) borders, rising.
            mask: (qy, qx) True where a pixel counts.
            unit: Of both.

        Raises:
            InputError: A region holds no open pixel.
        """
        found = (q >= edges[:-1, None, None]) & (q < edges[1:, None, None]) & mask
        for i, count in enumerate(found.flatten(1).sum(1).tolist()):
            if count == 0:
                raise InputError(
                    f"region {i} of the q-map is empty",
                    why=f"no open pixel has {float(edges[i]):g} ≤ |Q| < {float(edges[i + 1]):g}",
                    fix="widen the region or move it away from the beamstop",
                )
        return cls(edges, found, unit)

    @property
    def spans(self) -> list[tuple[float, float]]:
        """Inner and outer border of each region."""
        return list(itertools.pairwise(self.edges.tolist()))

    def __repr__(self) -> str:
        inner, outer = float(self.edges[0]), float(self.edges[-1])
        count = len(self.regions)
        return (
            f"QMap({count} region{'s' * (count > 1)}, |Q| = {inner:.3g} … {outer:.3g} {self.unit})"
        )


def flattened(frames: Tensor, shell: Tensor, mask: Tensor) -> Tensor:
    """Frames over their mean at each |Q|, so that only speckle is left of the pattern.

    In a region of some width the slope of the scattering itself would pass for contrast.

    Args:
        frames: (time, qy, qx).
        shell: (qy, qx) number of the thin shell of |Q| a pixel is in.
        mask: (qy, qx) True where a pixel counts.

    Returns:
        (time, qy, qx) float64 with mean 1 in each shell over pixels and time; 0 behind the mask.

    Example:
        >>> slope = torch.arange(1.0, 5.0).expand(3, 4, 4)
        >>> shells = torch.arange(4).expand(4, 4)
        >>> flattened(slope, shells, torch.ones(4, 4) > 0).unique()
        tensor([1.], dtype=torch.float64)
    """
    mean = shell_means(frames, shell, mask)[shell]
    return torch.where(mask, frames / mean.clamp(min=1e-300), torch.zeros_like(mean))


def shell_means(frames: Tensor, shell: Tensor, mask: Tensor) -> Tensor:
    """(S,) mean intensity of the open pixels of each shell over time; 0 where a shell has none."""
    mean, index = frames.double().mean(0)[mask], shell[mask]
    total = mean.new_zeros(int(shell.max()) + 1)
    count = total.index_add(0, index, torch.ones_like(mean))
    return total.index_add(0, index, mean) / count.clamp(min=1)


def pixels_of(frames: Tensor, region: Tensor) -> Tensor:
    """(time, pixel) of a region, float64, after checking that it can be normalised.

    Raises:
        InputError: It is dark, holds not only finite numbers, or a single pixel.
    """
    chosen = frames[:, region].double()
    if not (chosen.mean() > 0):
        raise InputError(
            "cannot normalise this region",
            why="it is dark, or holds not only finite numbers",
            fix="choose another region, or mask the bad pixels",
        )
    if chosen.shape[1] < 2:
        raise InputError(
            "cannot correlate over this region",
            why="it holds one lit pixel, whose scatter nobody knows",
            fix="make the region wider: ask for fewer rings",
        )
    return chosen


def contrast(frames: Tensor, regions: Tensor, *, shot_noise: bool = True) -> Tensor:
    """Speckle contrast β = (⟨I²⟩ − ⟨I⟩)/⟨I⟩² − 1 of each frame; ⟨I⟩ is subtracted for counts.

    Args:
        frames: (time, qy, qx) counts or intensities.
        regions: (region, qy, qx) bool.
        shot_noise: Whether the frames are counts, whose own variance is taken off.

    Returns:
        (region, time); NaN where a region holds no light.

    Raises:
        InputError: A region is dark in all frames, or has one pixel.

    Example:
        >>> flat = torch.full((3, 4, 4), 7.0)
        >>> contrast(flat, torch.ones(1, 4, 4) > 0, shot_noise=False)
        tensor([[0., 0., 0.]], dtype=torch.float64)
    """
    values = []
    for region in regions:
        intensity = pixels_of(frames, region)
        mean = intensity.mean(1)
        second = intensity.square().mean(1) - (mean if shot_noise else 0)
        values.append(second / mean.square() - 1)
    return torch.stack(values)


def two_time(frames: Tensor, regions: Tensor) -> Tensor:
    """Two-time correlation over the pixels of a region.

    c(t₁, t₂) = ⟨I(t₁) I(t₂)⟩ / (⟨I(t₁)⟩⟨I(t₂)⟩)

    Counts correlate with themselves, so the diagonal of noisy frames holds shot noise besides.

    Args:
        frames: (time, qy, qx).
        regions: (region, qy, qx) bool.

    Returns:
        (region, time, time); memory grows with the square of the number of frames.

    Raises:
        InputError: A region is dark, or has one pixel.

    Reference:
        Brown et al., Phys. Rev. E 56, 6601 (1997).
    """
    maps = []
    for region in regions:
        intensity = pixels_of(frames, region)  # [time, pixel]
        mean = intensity.mean(1, keepdim=True)
        maps.append((intensity @ intensity.T) / intensity.shape[1] / (mean @ mean.T))
    return torch.stack(maps)


def g2(
    frames: Tensor, regions: Tensor, delays: Tensor | None = None, places: Tensor | None = None
) -> Correlation:
    """How long the intensity remembers itself, normalised symmetrically in time.

    g2(τ) = ⟨I(t) I(t + τ)⟩ / (⟨I(t)⟩⟨I(t + τ)⟩)

    The averages run over time for each pixel and then over the pixels of a region, weighted by
    their intensity, which is the usual multi-speckle estimate. Frames must be evenly spaced; where
    some are missing, the pairs that they would make are left out, and so are those of a frame in
    which a region is dark.

    Args:
        frames: (time, qy, qx) counts or intensities.
        regions: (region, qy, qx) bool.
        delays: (D,) whole frames, 1 … time − 1; spaced by powers of two by default.
        places: (time,) rising whole numbers of the frames, where some are missing.

    Returns:
        g2 and its standard error, from the scatter of the pixels. Of the default delays those at
        which no pixel counts in both frames of any pair are left out.

    Raises:
        InputError: A delay does not fit or has no such pair, a region is dark or has one pixel.

    Example:
        >>> still = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)).expand(16, 8, 8)
        >>> c = g2(still, torch.ones(1, 8, 8) > 0)
        >>> bool((c.g2.std() < 1e-12).all())  # what does not move stays correlated
        True
    """
    places = torch.arange(len(frames)) if places is None else places
    count = int(places[-1] - places[0]) + 1
    chosen = powers_of_two(count) if delays is None else delays
    if len(chosen) == 0 or int(chosen.min()) < 1 or int(chosen.max()) >= count:
        raise InputError(
            "cannot correlate at these delays",
            why=f"there are {count} frames",
            fix=f"give delays between 1 and {count - 1} frames",
        )
    spread = [pixels_of(frames, region) for region in regions]
    found = torch.stack(
        [torch.stack([at_delay(x, places, int(d)) for d in chosen]) for x in spread]
    )
    usable = (found[..., 0] > 0).all(0)  # (D,)
    if not usable.all() and (delays is not None or not usable.any()):
        raise InputError(
            "cannot correlate at these delays",
            why=f"in no two frames {int(chosen[~usable][0])} apart a pixel counts twice",
            fix="give other delays, wider regions, or frames with more photons and fewer gaps",
        )
    return Correlation(chosen[usable], found[:, usable, 0], found[:, usable, 1])


def pairs_at(intensity: Tensor, places: Tensor, delay: int) -> tuple[Tensor, Tensor]:
    """Rows of (time, pixel) a delay apart that hold light: the early ones, the late ones."""
    late = torch.searchsorted(places, places + delay)
    early = torch.arange(len(places))
    there = late < len(places)
    early, late = early[there], late[there]
    lit = intensity.sum(1) > 0
    good = (places[late] - places[early] == delay) & lit[early] & lit[late]
    return early[good], late[good]


def at_delay(intensity: Tensor, places: Tensor, delay: int) -> Tensor:
    """(2,) g2 and its standard error from (time, pixel); 0 where no pixel ever counts twice."""
    first, second = pairs_at(intensity, places, delay)
    if not len(first):
        return intensity.new_zeros(2)
    early, late = intensity[first], intensity[second]
    # Normalised by the mean over pixels at each time, so that a flickering source cancels.
    product = (early / early.mean(1, keepdim=True)) * (late / late.mean(1, keepdim=True))
    by_pixel = product.mean(0)
    return torch.stack([by_pixel.mean(), by_pixel.std() / by_pixel.numel() ** 0.5])


def powers_of_two(count: int) -> Tensor:
    """Delays 1, 2, 3, 4, 6, 8, 12, 16 … below ``count``.

    Example:
        >>> powers_of_two(20)
        tensor([ 1,  2,  3,  4,  6,  8, 12, 16])
    """
    steps = {1} | {2**k for k in range(1, 60) if 2**k < count}
    steps |= {3 * 2**k for k in range(60) if 3 * 2**k < count}
    return torch.tensor(sorted(steps))


def g2_from_two_time(c: Tensor) -> Tensor:
    """Mean along the diagonals of (region, time, time): (region, time), delay 0 first.

    Example:
        >>> g2_from_two_time(torch.ones(1, 3, 3))
        tensor([[1., 1., 1.]])
    """
    return torch.stack([c.diagonal(k, -2, -1).mean(-1) for k in range(c.shape[-1])], dim=-1)
