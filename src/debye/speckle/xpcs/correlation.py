"""g2 and its errors from sums over sectors, and what else a run of frames says of itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from debye.core.records import SCHEMA
from debye.core.upward import Displayed, higher
from debye.errors import InputError
from debye.speckle.values import ByValue, Table, table
from debye.speckle.xpcs.dense import Lags
from debye.speckle.xpcs.jackknife import boundaries, jackknife_error, jackknifed, without_each
from debye.speckle.xpcs.qmap import SECTORS, QMap
from debye.speckle.xpcs.slots import Slots

AT_ONCE = 20_000_000
"""Numbers of flux that are held at once."""
MANY = 64
"""Lags from which on a Fourier transform is faster."""


class Band(Protocol):
    """A level's sums of products of rows."""

    @property
    def lags(self) -> Lags:
        """Which lags."""

    @property
    def rows(self) -> int:
        """How many rows."""

    @property
    def sums(self) -> np.ndarray:
        """(cell, lag)."""


class Sums(NamedTuple):
    """What a correlator has summed up."""

    qmap: QMap
    slots: Slots
    bands: Sequence[Band]
    """Of the levels: rows of the n-th sum 2ⁿ frames."""
    flux: np.ndarray
    """(time, cell) Σ_p w I_p; 0 in missing frames."""
    intensity: np.ndarray
    """(qy, qx) Σ_t I."""
    numbers: np.ndarray
    """(frame,) numbers of the frames that count."""
    weight: np.ndarray
    """(slot,) w."""
    counts: bool


@dataclass(frozen=True, eq=False, repr=False)
class Correlation(ByValue, Displayed):
    """How the intensity of each bin of a q-map correlates with itself.

    Args:
        qmap: Its N bins.
        frame_time: Between frames, s.
        delay: (D,) delays in frames.
        width: (D,) frames that were summed into one before they were correlated there.
        g2: (N, D); NaN where a bin has no pair with light.
        replicas: (K, N, D) the same without one of K sectors each; NaN where no photons meet.
        contrast: (N,) speckle contrast β at delay 0, shot noise taken off where photons count;
            NaN where no pixel sees two photons in a frame.
        contrast_replicas: (K, N) likewise.
        saxs_2d: (qy, qx) mean intensity.
        saxs_1d: (S,) mean intensity of each static shell.
        intensity: (time,) mean intensity of the pixels in bins, frame by frame.
        numbers: (time,) numbers of these frames.
        slices: The correlations of slices of time, or of the runs that this is the mean of.
        counts: Whether frames were taken to count photons.
        two_time: Two-time maps of the same frames, a `debye.speckle.xpcs.twotime.TwoTime`, if they
            were asked for.
        about: Where the frames come from (``source``), what of them was left out (``left_out``) and
            in what unit their times are (``time_unit``, ``s`` by default): anything JSON can hold.

    Example:
        >>> from debye.speckle.xpcs.simulate import brownian
        >>> found = brownian(frames=200, seed=1).correlate()
        >>> found
        Correlation(4 bins at 43 delays, 0.001 … 0.176 s, of 200 frames)
        >>> bool((found.g2[:, 0] > 1.2).all())
        True
    """

    qmap: QMap
    frame_time: float
    delay: Tensor
    width: Tensor
    g2: Tensor
    replicas: Tensor
    contrast: Tensor
    contrast_replicas: Tensor
    saxs_2d: Tensor
    saxs_1d: Tensor
    intensity: Tensor
    numbers: Tensor
    slices: tuple[Correlation, ...] = field(default=())
    counts: bool = True
    two_time: Any = None
    about: dict[str, Any] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        bins, delays = self.g2.shape
        span = f"{float(self.time[0]):.3g} … {float(self.time[-1]):.3g} {self.time_unit}".rstrip()
        notes = len(self.notes)
        return (
            f"Correlation({bins} bin{'s' * (bins > 1)} at {delays} delays, "
            f"{span}, of {len(self.numbers)} frames"
            f"{f', {notes} note' if notes else ''}{'s' * (notes > 1)})"
        )

    @property
    def time_unit(self) -> str:
        """Of the delays: s, or ``frames`` where no frame time is known."""
        return str(self.about.get("time_unit", "s"))

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, and what is not to be trusted: a sentence each."""
        return tuple(self.about.get("left_out", {}).get("notes", ()))

    @property
    def time(self) -> Tensor:
        """(D,) delays, s."""
        return self.delay.double() * self.frame_time

    @property
    def error(self) -> Tensor:
        """(N, D) standard error of g2, a jackknife over sectors."""
        return jackknife_error(self.replicas)

    @property
    def contrast_error(self) -> Tensor:
        """(N,) standard error of the contrast."""
        return jackknife_error(self.contrast_replicas)

    @property
    def covariance(self) -> Tensor:
        """(N, D, D) covariance of g2 between delays; its rank is at most K − 1."""
        away = self.replicas - self.replicas.mean(0)
        count = len(self.replicas)
        return torch.einsum("kna,knb->nab", away, away) * ((count - 1) / count)

    def sector_saxs(self) -> Tensor:
        """(N,) mean intensity of each dynamic bin."""
        labels = self.qmap.dynamic.labels.flatten().long()
        total = torch.bincount(labels, self.saxs_2d.flatten(), len(self.qmap) + 1)[1:]
        return total / self.qmap.dynamic.counts

    def fit(self, model: str = "stretched", *, all_bins: bool = False, **how: Any) -> Any:  # noqa: ANN401 - a Fit, which knows this class
        """Fit a model to each bin, or to all at once, with τ a power of q.

        Args:
            model: ``single``, ``stretched``, ``double`` or ``cumulants``.
            all_bins: Whether all bins are fitted at once.
            how: What `debye.speckle.xpcs.fit.fit` takes, or `fit_global`.

        Raises:
            InputError: There is no such model or parameter, no bin in the range, or fewer delays
                than parameters.
            ComputationError: The fit does not converge.

        Example:
            >>> from debye.speckle.xpcs.simulate import brownian
            >>> brownian(frames=400, diffusion=0.2).correlate().fit("single").tau.shape
            torch.Size([4])
        """
        return higher("fit_global" if all_bins else "fit")(self, model, **how)

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write a result file that opens in pyXpcsViewer, and is NXxpcs as well.

        Args:
            path: Its name, by custom ``x_results.hdf``.
            overwrite: Whether a file of that name may be replaced.

        Raises:
            InputError: The file exists, or its folder does not.
            ComputationError: The disk is full or failed.
        """
        written: Path = higher("write_results")(path, self, self.two_time, overwrite=overwrite)
        return written

    def as_json(self) -> dict[str, Any]:
        """A record of g2, contrast and where they come from; what is not known is None."""
        geometry = self.qmap.geometry
        return {
            "schema": SCHEMA,
            "source": self.about.get("source"),
            "frames": len(self.numbers),
            "frame_time": self.frame_time if self.time_unit == "s" else None,
            "centre": [geometry.x, geometry.y],
            "distance": geometry.distance,
            "pixel": None if geometry.pixel is None else list(geometry.sides),
            "energy": geometry.energy,
            "q_unit": self.qmap.unit,
            "q": self.qmap.q.tolist(),
            "phi": self.qmap.dynamic.phi_of.tolist(),
            "delay_unit": self.time_unit,
            "delay": self.time.tolist(),
            "g2": self.g2.tolist(),
            "g2_error": self.error.tolist(),
            "contrast": self.contrast.tolist(),
            "contrast_error": self.contrast_error.tolist(),
            "left_out": self.about.get("left_out", {}),
        }

    def to_frame(self) -> Table:
        """g2 and its error as a pandas table, a row for each bin and delay.

        Raises:
            InputError: pandas is not installed.
        """
        bins, delays = self.g2.shape
        return table(
            {
                "q": self.qmap.q.repeat_interleave(delays).numpy(),
                "phi": self.qmap.dynamic.phi_of.repeat_interleave(delays).numpy(),
                "delay": self.time.repeat(bins).numpy(),
                "g2": self.g2.flatten().numpy(),
                "g2_error": self.error.flatten().numpy(),
            }
        )


def estimate(sums: Sums, frame_time: float) -> Correlation:
    """The correlation that sums say.

    Args:
        sums: Of a correlator.
        frame_time: Between frames, s.

    Raises:
        InputError: A bin is dark.
    """
    frames, bins = len(sums.numbers), len(sums.qmap)
    mean = sums.intensity / frames
    flux = flux_sums(sums)
    scale = scale_of(sums, flux.total)
    found, delay, width = [], [], []
    for n, (band, pairs) in enumerate(zip(sums.bands, flux.pairs, strict=True)):
        products = without_each(band.sums.reshape(bins, SECTORS, -1).transpose(2, 0, 1))
        for i in range(band.lags.size):
            lag = band.lags.low + i
            if not 0 < lag < band.rows:
                continue
            found.append(_ratio(products[:, i], pairs[i] * scale))
            delay.append(lag << n)
            width.append(1 << n)
    every = np.concatenate([np.stack(found, -1), _contrast(sums, flux.power, scale)[..., None]], -1)
    whole, replicas = jackknifed(torch.from_numpy(every), boundaries(sums.qmap))
    # Where no two photons meet, g2 is 0, and nothing says how far off that may be.
    replicas[:, torch.from_numpy(every[0] == 0)] = torch.nan
    # Where no pixel sees two photons at once, nothing says what the contrast is.
    lonely = torch.from_numpy(1 + every[0, :, -1] < 1e-5)  # but for rounding
    whole[lonely, -1] = replicas[:, lonely, -1] = torch.nan
    labels = sums.qmap.static.labels.flatten().numpy()
    inside = sums.slots.pixel[sums.slots.is_pixel]
    return Correlation(
        sums.qmap,
        frame_time,
        torch.tensor(delay),
        torch.tensor(width),
        whole[:, :-1],
        replicas[..., :-1],
        whole[:, -1],
        replicas[..., -1],
        torch.from_numpy(mean),
        torch.from_numpy(_shell_means(labels, mean.flatten(), len(sums.qmap.static))),
        torch.from_numpy(_intensity(sums, mean.flatten()[inside].mean())),
        torch.from_numpy(sums.numbers),
        counts=sums.counts,
    )


class FluxSums(NamedTuple):
    """Sums over time of the flux A = Σ_p w I_p of a bin, of all sectors and without each."""

    total: np.ndarray
    """(1 + K, bin) Σ_t A."""
    power: np.ndarray
    """(1 + K, bin) Σ_t A²."""
    pairs: list[np.ndarray]
    """Of each level (lag, 1 + K, bin) Σ_r A(r) A(r + lag) of its rows."""


def flux_sums(sums: Sums) -> FluxSums:
    """What sums of products are divided by, some bins at a time.

    Args:
        sums: Of a correlator.
    """
    bins = len(sums.qmap)
    whole = sums.flux.reshape(-1, bins, SECTORS)
    size = max(1, AT_ONCE // (len(whole) * (1 + SECTORS)))
    parts = []
    for first in range(0, bins, size):
        flux = without_each(whole[:, first : first + size].astype(float))  # [1 + K, time, bin]
        pairs = [
            autocorrelation(_summed(flux, n, band.rows), band.lags)
            for n, band in enumerate(sums.bands)
        ]
        parts.append((flux.sum(1), (flux**2).sum(1), pairs))
    total, power, pairs_of = zip(*parts, strict=True)
    levels = [np.concatenate(level, -1) for level in zip(*pairs_of, strict=True)]
    return FluxSums(np.concatenate(total, -1), np.concatenate(power, -1), levels)


def _summed(flux: np.ndarray, level: int, rows: int) -> np.ndarray:
    """(1 + K, row, bin) flux of rows of 2ˡᵉᵛᵉˡ frames."""
    shape = (len(flux), rows, 1 << level, flux.shape[-1])
    return np.asarray(flux[:, : rows << level].reshape(shape).sum(2))


def scale_of(sums: Sums, total: np.ndarray) -> np.ndarray:
    """(1 + K, bin) Σ_p w² μ² over the square of the mean flux.

    Args:
        sums: Of a correlator.
        total: (1 + K, bin) Σ_t A.

    Raises:
        InputError: A bin is dark.
    """
    level = total / len(sums.numbers)  # mean over the frames that count
    _check_light(level[0], sums.qmap)
    profile = _profile(sums, sums.intensity / len(sums.numbers))
    # Without a bin's only lit sector nothing is left: then there is no ratio either.
    return np.asarray(np.divide(profile, level**2, out=np.zeros_like(profile), where=level > 0))


def autocorrelation(series: np.ndarray, lags: Lags) -> np.ndarray:
    """(lag, K, N) Σ_t a(t) a(t + lag) of series; by Fourier transform where lags are many.

    Args:
        series: (K, time, N).
        lags: Which; there is nothing at those beyond the last frame.

    Example:
        >>> autocorrelation(np.array([[[1.0], [2.0], [3.0]]]), Lags(0, 3)).ravel().tolist()
        [14.0, 8.0, 3.0, 0.0]
    """
    time = series.shape[1]
    if lags.size > MANY:
        power = np.abs(np.fft.rfft(series, 2 * time, axis=1)) ** 2
        found = np.moveaxis(np.fft.irfft(power, 2 * time, axis=1)[:, :time], 1, 0)
        beyond = np.zeros((max(0, lags.high + 1 - time), *found.shape[1:]))
        return np.asarray(np.concatenate([found, beyond])[lags.low : lags.high + 1])
    later = [(series[:, k:], series[:, : max(time - k, 0)]) for k in range(lags.low, lags.high + 1)]
    return np.stack([np.einsum("ktn,ktn->kn", late, early) for late, early in later])


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """A quotient; NaN where there is nothing below but the noise of a Fourier transform."""
    there = below > 1e-12 * np.abs(below).max(initial=0)
    return np.divide(above, below, out=np.full_like(below, np.nan), where=there)


def _shell_means(labels: np.ndarray, mean: np.ndarray, shells: int) -> np.ndarray:
    """(shell,) mean of the pixels that bear each label."""
    inside = labels > 0
    total = np.bincount(labels[inside] - 1, mean[inside], shells)
    return np.asarray(total / np.bincount(labels[inside] - 1, minlength=shells))


def _profile(sums: Sums, mean: np.ndarray) -> np.ndarray:
    """(1 + K, bin) Σ_p w² μ² of all sectors and without each: what no correlation would give.

    μ is the mean of a static shell over the sectors that are there.
    """
    real = sums.slots.is_pixel
    pixel, cell = sums.slots.pixel[real], sums.slots.cell[real]
    shell = sums.qmap.static.labels.flatten().numpy()[pixel] - 1
    shells, bins = len(sums.qmap.static), len(sums.qmap)
    where, size = shell * SECTORS + cell % SECTORS, shells * SECTORS
    square = sums.weight[real] ** 2
    number, light, weighed = (
        without_each(np.bincount(where, values, size).reshape(shells, SECTORS))
        for values in (np.ones(len(where)), mean.flatten()[pixel], square)
    )
    expected = weighed * (light / number.clip(1)) ** 2  # [1 + K, shell]
    home = np.zeros(shells, dtype=np.int64)
    home[shell] = cell // SECTORS
    return np.stack([np.bincount(home, row, bins) for row in expected])


def _contrast(sums: Sums, power: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(1 + K, bin) β = Σ_t Σ_p w² (I² − I) / (Σ_t a² Σ_p w² μ²) − 1, shot noise off both sums."""
    bins, band = len(sums.qmap), sums.bands[0]
    square = without_each(band.sums[:, 0].reshape(bins, SECTORS))
    if sums.counts:
        real = sums.slots.is_pixel
        shot = sums.weight[real] ** 2 * sums.intensity.flatten()[sums.slots.pixel[real]]
        noise = without_each(
            np.bincount(sums.slots.cell[real], shot, bins * SECTORS).reshape(bins, SECTORS)
        )
        square, power = square - noise, power - noise
    return _ratio(square, power * scale) - 1


def _intensity(sums: Sums, mean: float) -> np.ndarray:
    """(frame,) mean intensity of the pixels in bins: their flux, scaled to its mean."""
    total = sums.flux.sum(1, dtype=float)[sums.numbers - sums.numbers[0]]
    return np.asarray(total / total.mean() * mean)


def _check_light(level: np.ndarray, qmap: QMap) -> None:
    """Refuse bins without light."""
    dark = np.flatnonzero(~(level > 0))
    if len(dark):
        raise InputError(
            f"cannot correlate bin {int(dark[0]) + 1} of the q-map",
            why=f"{len(dark)} of {len(level)} bins hold no light in any frame, the first at "
            f"q = {float(qmap.q[dark[0]]):.4g} {qmap.unit}",
            fix="give the borders of rings that are lit, or mask what keeps them dark",
        )
