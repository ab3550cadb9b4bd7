"""Frames whose g2 is known: Brownian speckle, static scatter, partial coherence, background."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from debye.speckle.values import OneLine
from debye.speckle.xpcs.correlation import Correlation
from debye.speckle.xpcs.correlator import Correlator
from debye.speckle.xpcs.geometry import Geometry
from debye.speckle.xpcs.qmap import QMap, make_qmap


@dataclass(frozen=True, repr=False)
class Simulated(OneLine):
    """Frames of speckle that forgets at a known rate.

    The field of each pixel is a complex Ornstein–Uhlenbeck process, whose intensities correlate as

    g2(τ) = 1 + β (1 − b)² [s + (1 − s) exp(−Γτ)]², Γ = D q²

    with s the static part of the field, b the background's part of the intensity, and β the
    contrast that partial coherence leaves: one over the number of independent fields summed.

    Args:
        qmap: The bins.
        shape: Of a frame.
        frames: Their number.
        frame_time: s.
        diffusion: D, in (unit of q)⁻² s⁻¹.
        photons: Mean counts of a pixel; 0 for intensities without noise.
        modes: Independent fields of the beam.
        static: s, at every q.
        background: b.
        blur: Width (standard deviation) of a speckle in pixels; 0 for independent pixels.
        slope: Exponent by which the intensity falls with q.
        seed: Of the random numbers.
    """

    qmap: QMap
    frames: int = 1000
    frame_time: float = 1e-3
    diffusion: float = 0.1
    photons: float = 1.0
    modes: int = 1
    static: float = 0.0
    background: float = 0.0
    blur: float = 0.0
    slope: float = 0.0
    seed: int = 0

    def g2(self, delay: Tensor) -> Tensor:
        """(N, D) true g2 at delays in frames, at the middles of the bins."""
        rate = self.diffusion * self.qmap.q.square()[:, None] * self.frame_time
        field = self.static + (1 - self.static) * torch.exp(-rate * delay)
        return 1 + (1 - self.background) ** 2 / self.modes * field.square()

    def blocks(self, size: int = 64) -> Iterator[np.ndarray]:
        """Frames, (≤ size, qy, qx): uint16 counts, or float32 intensities.

        Args:
            size: Frames of a block.
        """
        random = np.random.default_rng(self.seed)
        q = self._moduli()
        keep = np.exp(-self.diffusion * q**2 * self.frame_time).astype(np.float32)
        fresh = np.sqrt(1 - keep**2)
        mean = self._mean(q)
        still, moving = (self._fields(random) for _ in range(2))
        part = np.float32(self.static)
        for start in range(0, self.frames, size):
            found = []
            for _ in range(min(size, self.frames - start)):
                field = np.sqrt(part) * still + np.sqrt(1 - part) * moving
                found.append((field.real**2 + field.imag**2).mean(0))
                moving = keep * moving + fresh * self._fields(random)
            light = mean * ((1 - self.background) * np.stack(found) + self.background)
            yield random.poisson(light).astype(np.uint16) if self.photons else light

    def correlate(self, **options: object) -> Correlation:
        """The correlation that a `Correlator` finds.

        Args:
            options: Of the correlator.

        Raises:
            InputError: What the correlator refuses.
        """
        correlator = Correlator(self.qmap, self.frame_time, **options)  # type: ignore[arg-type]
        for block in self.blocks():
            correlator.update(block)
        return correlator.finish()

    def _moduli(self) -> np.ndarray:
        """Q of each pixel; within a bin that of its middle, so that a bin has one g2."""
        labels = self.qmap.dynamic.labels.numpy()
        middle = np.concatenate([[float(self.qmap.q.max())], self.qmap.q.numpy()])
        return np.asarray(middle[labels])

    def _mean(self, q: np.ndarray) -> np.ndarray:
        """(qy, qx) float32 mean intensity."""
        fine = self.qmap.geometry.modulus(self.qmap.shape).numpy()
        fall = (np.maximum(fine, fine[fine > 0].min()) / q.mean()) ** -self.slope
        return np.asarray((self.photons or 1.0) * fall, dtype=np.float32)

    def _fields(self, random: np.random.Generator) -> np.ndarray:
        """(mode, qy, qx) complex fields of mean intensity 1."""
        shape = (self.modes, *self.qmap.shape)
        drawn = [random.standard_normal(shape, dtype=np.float32) for _ in range(2)]
        field = (drawn[0] + 1j * drawn[1]) * np.float32(0.5**0.5)
        if not self.blur:
            return field
        y, x = (np.fft.fftfreq(n) for n in self.qmap.shape)
        window = np.exp(-2 * (np.pi * self.blur) ** 2 * (y[:, None] ** 2 + x**2))
        window /= np.sqrt((window**2).mean())
        return np.fft.ifft2(np.fft.fft2(field) * window).astype(np.complex64)


def brownian(side: int = 64, bins: int = 4, **options: object) -> Simulated:
    """Brownian speckle on a square detector whose q is in pixels.

    Args:
        side: Of a frame, pixels.
        bins: Rings of its q-map.
        options: Of `Simulated`.

    Raises:
        InputError: The rings hold too few pixels.

    Example:
        >>> seen = brownian(side=32, bins=2, frames=10)
        >>> next(seen.blocks()).shape, seen.g2(torch.tensor([0, 10**6])).tolist()
        ((10, 32, 32), [[2.0, 1.0], [2.0, 1.0]])
    """
    middle = (side - 1) / 2
    mask = torch.ones(side, side, dtype=torch.bool)
    qmap = make_qmap(Geometry(x=middle, y=middle), mask, bins, q_range=(0.08 * side, 0.48 * side))
    return Simulated(qmap, **options)  # type: ignore[arg-type]
