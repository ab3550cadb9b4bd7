"""Correlate one run of frames, region by region of |Q|."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from debye.core.records import SCHEMA
from debye.core.upward import Displayed
from debye.errors import InputError
from debye.speckle.data.clock import grid
from debye.speckle.data.frames import Frames
from debye.speckle.data.nexus import load_frames
from debye.speckle.data.quality import Quality
from debye.speckle.values import ByValue, Numbers, Table, table, to_tensor
from debye.speckle.xpcs.correlators import (
    Correlation,
    QMap,
    contrast,
    flattened,
    g2,
    shell_means,
    two_time,
)


@dataclass(frozen=True, eq=False, repr=False)
class Correlated(ByValue, Displayed):
    """What a run of frames remembers of itself.

    Attributes:
        qmap: The R regions of |Q| and their borders.
        interval: Time between frames.
        correlation: g2 at delays in frames, (R, D).
        contrast: (R, time) speckle contrast, shot noise included.
        two_time: (R, time, time) two-time correlation.
        places: (time,) which of the evenly spaced frames there are; all, if none was left out.
        unit: Of the interval, where it is known.
        quality: What was left out, and why.
    """

    qmap: QMap
    interval: float
    correlation: Correlation
    contrast: Tensor
    two_time: Tensor
    places: Tensor
    unit: str = ""
    quality: Quality = field(default=Quality(), compare=False)

    def __repr__(self) -> str:
        count = self.contrast.shape[1]
        return f"Correlated({self.qmap!r}, {count} frames every {self.interval:g})"

    @property
    def delay(self) -> Tensor:
        """(D,) delays in the unit of the frames' times."""
        return self.correlation.delay.double() * self.interval

    def as_json(self) -> dict[str, Any]:
        """Everything but the two-time correlation."""
        told = self.quality.as_json() if self.quality.lines() else None
        return {
            "schema": SCHEMA,
            "ring_edges": self.qmap.edges.tolist(),
            "delay": self.delay.tolist(),
            "g2": self.correlation.g2.tolist(),
            "g2_error": self.correlation.error.tolist(),
            "contrast": self.contrast.nanmean(1).tolist(),
            **({"delay_unit": self.unit} if self.unit else {}),
            **({"left_out": told} if told else {}),
        }

    def lines(self) -> list[str]:
        """Lines of delay, g2 and error, a pair of columns for each region."""
        head = f"delay / {self.unit}" if self.unit else "delay"
        lines = [f"{head:>10}" + "".join(f"  |Q| {a:6.1f}–{b:<6.1f} ±" for a, b in self.qmap.spans)]
        for k, delay in enumerate(self.delay.tolist()):
            cells = zip(self.correlation.g2[:, k], self.correlation.error[:, k], strict=True)
            lines.append(f"{delay:10.4g}" + "".join(f"  {v:11.5f} {e:8.5f}" for v, e in cells))
        return lines

    def to_frame(self) -> Table:
        """g2 and its error as a pandas table, a row for each region and delay.

        Raises:
            InputError: pandas is not installed.
        """
        regions, delays = self.correlation.g2.shape
        edges = self.qmap.edges.repeat_interleave(delays)
        return table(
            {
                "q_low": edges[:-delays].numpy(),
                "q_high": edges[delays:].numpy(),
                "delay": self.delay.repeat(regions).numpy(),
                "g2": self.correlation.g2.flatten().numpy(),
                "g2_error": self.correlation.error.flatten().numpy(),
            }
        )


def correlate(
    frames: Frames | Numbers | str | os.PathLike[str], run: int = 0, rings: int = 3
) -> Correlated:
    """Correlate one run in rings of equal width, the slope of the scattering divided out.

    Pixels and frames that do not count are left out first, with the pairs that such a frame would
    make; ``quality`` of the result says which.

    Args:
        frames: Evenly spaced frames, an array (time, qy, qx) of them, or a file that
            `debye.speckle.load_frames` reads. With a known detector |Q| is in its units, without
            one in pixels from the middle.
        run: Which run.
        rings: Number of regions, from the beamstop to the edge of the detector.

    Returns:
        g2, speckle contrast and two-time correlation of each region.

    Raises:
        InputError: There is no such run, the times are uneven, a region is dark or empty, the
            frames are none, or too much of them is bad.

    Example:
        >>> import numpy as np
        >>> still = np.random.default_rng(0).exponential(size=(1, 32, 32)).repeat(8, axis=0)
        >>> correlate(still, rings=2)
        Correlated(QMap(2 regions, |Q| = 0 … 16 pixels), 8 frames every 1)
        >>> correlate(still, rings=2).to_frame().g2.round(2).tolist()[:3]
        [1.85, 1.85, 1.85]
    """
    known = _frames(frames)
    if not 0 <= run < len(known.data):
        raise InputError(
            f"there is no run {run}", why=f"the file holds {len(known.data)}", fix="count from 0"
        )
    if rings < 1:
        raise InputError(f"cannot make {rings} rings", why="there are none", fix="ask for one")
    interval, places = grid(known.times, known.quality.kept)
    qmap, shell = _rings(known, known.data[run], rings)
    flat = flattened(known.data[run], shell, known.mask)
    return Correlated(
        qmap,
        interval,
        g2(flat, qmap.regions, places=places),
        contrast(flat, qmap.regions, shot_noise=False),
        two_time(flat, qmap.regions),
        places,
        str(known.about.get("time_unit", "")),
        known.quality,
    )


def _frames(frames: Frames | Numbers | str | os.PathLike[str]) -> Frames:
    """Frames of whatever holds them."""
    if isinstance(frames, Frames):
        return frames
    if isinstance(frames, str | os.PathLike):
        return load_frames(frames)
    shape = to_tensor(frames, "the frames").shape
    return Frames(frames, range(shape[-3] if len(shape) > 2 else 0))


def _rings(frames: Frames, data: Tensor, count: int) -> tuple[QMap, Tensor]:
    """Rings of equal width over the lit pixels, and the thin shell of |Q| each pixel is in."""
    Q, unit = modulus(frames)
    inner, outer = Q[frames.mask].min(), Q[Q.shape[0] // 2].max()
    edges = torch.linspace(float(inner) * (1 - 1e-9), float(outer), count + 1, dtype=torch.float64)
    shell = torch.floor(Q / float(Q[Q.shape[0] // 2].diff().abs().max())).long()
    bright = shell_means(data, shell, frames.mask)[shell]
    qmap = QMap.of(Q, edges, frames.mask, unit)
    # Where the form factor vanishes there is more noise than speckle.
    lit = torch.stack([r & (bright >= 0.05 * bright[r].max()) for r in qmap.regions])
    return QMap(edges, lit, unit), shell


def modulus(frames: Frames) -> tuple[Tensor, str]:
    """|Q| (qy, qx) of each pixel and its unit: the detector's, or pixels from the middle."""
    detector = getattr(frames.scattering, "detector", None)
    if detector is not None:
        return detector.Q, "per unit of length"
    y, x = (torch.arange(n, dtype=torch.float64) - n // 2 for n in frames.mask.shape)
    return torch.hypot(y[:, None], x[None, :]), "pixels"
