"""Correlations of one run of frames, ring by ring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.data.frames import Frames
from debye.speckle.xpcs.correlators import (
    Correlation,
    contrast,
    flattened,
    g2,
    rings,
    shell_means,
    two_time,
)


@dataclass(frozen=True)
class Correlated:
    """What a run of frames remembers of itself.

    Attributes:
        edges: (R + 1,) borders of the rings in |Q|.
        interval: Time between frames.
        correlation: g2 at delays in frames, (R, D).
        contrast: (R, time) speckle contrast, shot noise included.
        maps: (R, time, time) two-time correlation.
    """

    edges: Tensor
    interval: float
    correlation: Correlation
    contrast: Tensor
    maps: Tensor

    def as_json(self) -> dict[str, Any]:
        """Everything but the maps."""
        return {
            "ring_edges": self.edges.tolist(),
            "delay": (self.correlation.delay * self.interval).tolist(),
            "g2": self.correlation.g2.tolist(),
            "g2_error": self.correlation.error.tolist(),
            "contrast": self.contrast.mean(1).tolist(),
        }

    def table(self) -> list[str]:
        """Lines of delay, g2 and error, a pair of columns for each ring."""
        pairs = zip(self.edges[:-1].tolist(), self.edges[1:].tolist(), strict=True)
        lines = ["     delay" + "".join(f"  |Q| {a:6.1f}–{b:<6.1f} ±" for a, b in pairs)]
        for k, delay in enumerate((self.correlation.delay * self.interval).tolist()):
            cells = zip(self.correlation.g2[:, k], self.correlation.error[:, k], strict=True)
            lines.append(f"{delay:10.4g}" + "".join(f"  {v:11.5f} {e:8.5f}" for v, e in cells))
        return lines


def correlate_run(frames: Frames, run: int, count: int) -> Correlated:
    """Correlate one run in rings of equal width, the slope of the scattering divided out.

    Args:
        frames: Evenly spaced frames, with or without a known detector; without one |Q| is in
            pixels from the middle.
        run: Which run.
        count: Number of rings, from the beamstop to the edge of the detector.

    Raises:
        InputError: There is no such run, the times are uneven, or a ring is dark.
    """
    if not 0 <= run < len(frames.data):
        raise InputError(
            f"there is no run {run}", why=f"the file holds {len(frames.data)}", fix="count from 0"
        )
    gaps = frames.times.diff()
    if float((gaps - gaps[0]).abs().max()) > 1e-6 * float(gaps[0]):
        raise InputError(
            "cannot correlate against delay",
            why=f"the times are uneven: steps from {float(gaps.min()):g} to {float(gaps.max()):g}",
            fix="give evenly spaced frames, or use debye.speckle.xpcs.correlators.two_time",
        )
    Q = modulus(frames)
    inner, outer = Q[frames.mask].min(), Q[Q.shape[0] // 2].max()
    edges = torch.linspace(float(inner) * (1 - 1e-9), float(outer), count + 1, dtype=torch.float64)
    pixel = float(Q[Q.shape[0] // 2].diff().abs().max())
    rois, data = rings(Q, edges, frames.mask), frames.data[run]
    shell = torch.floor(Q / pixel).long()
    bright = shell_means(data, shell, frames.mask)[shell]
    # Where the form factor vanishes there is more noise than speckle.
    rois = torch.stack([roi & (bright >= 0.05 * bright[roi].max()) for roi in rois])
    flat = flattened(data, shell, frames.mask)
    spread = contrast(flat, rois, shot_noise=False)
    return Correlated(edges, float(gaps[0]), g2(flat, rois), spread, two_time(flat, rois))


def modulus(frames: Frames) -> Tensor:
    """(qy, qx) |Q| of each pixel: the detector's, or the distance from the middle in pixels."""
    detector = getattr(frames.scattering, "detector", None)
    if detector is not None:
        return detector.Q
    y, x = (torch.arange(n, dtype=torch.float64) - n // 2 for n in frames.mask.shape)
    return torch.hypot(y[:, None], x[None, :])
