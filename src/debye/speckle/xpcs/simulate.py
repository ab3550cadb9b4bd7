"""Frames whose g2 is known: Brownian speckle, flow and shear, ageing, and what spoils them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from debye.speckle.values import OneLine
from debye.speckle.xpcs.correlation import Correlation
from debye.speckle.xpcs.correlator import Correlator
from debye.speckle.xpcs.geometry import Geometry
from debye.speckle.xpcs.qmap import QMap, make_qmap

LAYERS = 12
"""Velocities that stand for those of a sheared sample: nodes of a Gauss–Legendre rule."""


@dataclass(frozen=True, repr=False)
class Faults(OneLine):
    """What a detector does wrong.

    Args:
        dead: Pixels that count nothing.
        hot: Pixels that count ten thousand times as much as others.
        stuck: Pixels that hold one number in all frames.
        saturation: Counts at which a pixel is full; None where that is never reached.
        dark: Numbers of frames without a photon.
        repeated: Numbers of frames that are written as the one before was.
    """

    dead: int = 0
    hot: int = 0
    stuck: int = 0
    saturation: int | None = None
    dark: tuple[int, ...] = ()
    repeated: tuple[int, ...] = ()

    def pixels(self, shape: tuple[int, int], seed: int) -> np.ndarray:
        """(3, qy, qx) True where a pixel is dead, hot, stuck; no two next to each other.

        Args:
            shape: Of a frame.
            seed: Of their places.
        """
        found = np.zeros((3, *shape), dtype=bool)
        # One place in each square of three: neighbours of a bad pixel are good.
        rows, columns = (n // 3 for n in shape)
        chosen = np.random.default_rng((seed, 1)).permutation(rows * columns)
        kinds = np.repeat(np.arange(3), (self.dead, self.hot, self.stuck))
        for kind, place in zip(kinds, chosen, strict=False):
            found[kind, 3 * (place // columns) + 1, 3 * (place % columns) + 1] = True
        return found


@dataclass(frozen=True, repr=False)
class Simulated(OneLine):
    """Frames of speckle that forgets at a known rate.

    The field of each pixel is a sum of complex Ornstein–Uhlenbeck processes, whose intensities
    correlate as

    c(t₁, t₂) = 1 + β (1 − b)² |s + (1 − s) exp(−∫Γ dt) exp(i q·v τ) sinc(q·Δv τ/2)|²

    with τ = t₂ − t₁ and Γ = D q²/(1 + a t). Here s is the static part of the field, against which
    a velocity v shows as cos(q·v τ); Δv the difference of velocities across a sheared sample; b the
    background's part of the intensity; and β the contrast that partial coherence leaves: one over
    the number of independent fields summed. Without ageing c depends on τ alone, and is g2.

    Args:
        qmap: The bins.
        frames: Their number.
        frame_time: s.
        diffusion: D, in (unit of q)⁻² s⁻¹.
        photons: Mean counts of a pixel; 0 for intensities without noise.
        modes: Independent fields of the beam.
        static: s, at every q.
        background: b.
        blur: Width (standard deviation) of a speckle in pixels; 0 for independent pixels.
        slope: Exponent by which the intensity falls with q.
        velocity: v, in (unit of q)⁻¹ s⁻¹.
        shear: Δv, likewise.
        direction: Azimuth of both velocities, degrees.
        ageing: a, by which relaxation slows down, 1/s.
        faults: Of the detector.
        seed: Of the random numbers.

    Reference:
        Burghardt et al., Phys. Rev. E 85, 021402 (2012), for the factor sinc² of shear; Fluerasu et
        al., J. Synchrotron Rad. 15, 378 (2008), for flow.
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
    velocity: float = 0.0
    shear: float = 0.0
    direction: float = 0.0
    ageing: float = 0.0
    faults: Faults = Faults()
    seed: int = 0

    def two_time(self, first: Tensor, second: Tensor) -> Tensor:
        """(N, …) true c of frames of numbers t₁ ≤ t₂, at the middles of the bins.

        Args:
            first: (…) t₁.
            second: (…) t₂.

        Example:
            >>> old = brownian(bins=1, frame_time=0.1, ageing=0.5)
            >>> c = old.two_time(torch.tensor([0, 10]), torch.tensor([1, 11]))[0]
            >>> bool(c[1] > c[0])  # it has become slower
            True
        """
        apart = (second - first) * self.frame_time
        shape = (-1, *[1] * apart.ndim)
        rate = self.diffusion * self.qmap.q.square().reshape(shape)
        q, phi = self.qmap.q, torch.deg2rad(self.qmap.dynamic.phi_of - self.direction)
        along = (q * phi.cos()).reshape(shape)
        decay = torch.exp(-rate * (self._elapsed(second) - self._elapsed(first)))
        decay = decay * torch.sinc(along * self.shear * apart / (2 * math.pi))
        turn = torch.exp(1j * along * self.velocity * apart)
        field = self.static + (1 - self.static) * decay * turn
        return 1 + (1 - self.background) ** 2 / self.modes * field.abs().square()

    def g2(self, delay: Tensor) -> Tensor:
        """(N, D) true g2 at delays in frames, at the middles of the bins.

        Where the sample ages it is the mean over all pairs of frames.

        Args:
            delay: (D,).
        """
        if not self.ageing:
            return self.two_time(torch.zeros_like(delay), delay)
        each = []
        for lag in delay.tolist():
            first = torch.arange(max(int(self.frames - lag), 1))
            each.append(self.two_time(first, first + lag).mean(-1))
        return torch.stack(each, -1)

    def blocks(self, size: int = 64) -> Iterator[np.ndarray]:
        """Frames, (≤ size, qy, qx): uint16 counts, or float32 intensities.

        Args:
            size: Frames of a block.
        """
        random = np.random.default_rng(self.seed)
        mean = self._mean()
        bad, last = self.faults.pixels(self.qmap.shape, self.seed), np.zeros(self.qmap.shape)
        fields = self._moving(random)
        for start in range(0, self.frames, size):
            number = min(size, self.frames - start)
            bright = np.stack([(f.real**2 + f.imag**2).mean(0) for f in islice(fields, number)])
            light = mean * ((1 - self.background) * bright + self.background)
            seen = random.poisson(light).astype(np.uint16) if self.photons else light
            yield self._faulty(seen, start, bad, last)
            last = seen[-1].copy()

    def _moving(self, random: np.random.Generator) -> Iterator[np.ndarray]:
        """(mode, qy, qx) field of each frame."""
        q, phi = self._middles()
        velocity, part = self._velocities()
        turn = q * np.cos(phi - math.radians(self.direction)) * self.frame_time
        still, *layers = (self._fields(random) for _ in range(1 + len(velocity)))
        for frame in itertools.count():
            moving = sum(
                (np.sqrt(w) * np.exp(1j * turn * v * frame)).astype(np.complex64) * field
                if v
                else field
                for v, w, field in zip(velocity, part, layers, strict=True)
            )
            share = np.float32(self.static)
            seen = np.sqrt(share) * still + np.sqrt(1 - share) * moving
            now, then = (float(self._elapsed(torch.tensor(n))) for n in (frame, frame + 1))
            keep = np.exp(-self.diffusion * q**2 * (then - now)).astype(np.float32)
            fresh = np.sqrt(1 - keep**2)
            layers = [keep * field + fresh * self._fields(random) for field in layers]
            yield seen

    def _velocities(self) -> tuple[np.ndarray, np.ndarray]:
        """Velocities of the layers, and their parts of the sample."""
        if not self.shear:
            return np.array([self.velocity]), np.ones(1)
        node, weight = np.polynomial.legendre.leggauss(LAYERS)
        return self.velocity + 0.5 * self.shear * node, 0.5 * weight

    def _elapsed(self, frame: Tensor) -> Tensor:
        """Time from the first frame, s, by a clock that slows down as the sample does."""
        time = frame * self.frame_time
        return torch.log1p(self.ageing * time) / self.ageing if self.ageing else time

    def _faulty(
        self, seen: np.ndarray, start: int, bad: np.ndarray, last: np.ndarray
    ) -> np.ndarray:
        """Frames as the detector gives them; those of numbers from ``start`` on."""
        faults, end = self.faults, start + len(seen)
        if faults.saturation is not None:
            np.minimum(seen, faults.saturation, out=seen)
        dead, hot, stuck = bad
        seen[:, hot] = np.minimum(1e4 * (1 + seen[:, hot]), 60_000)
        seen[:, dead], seen[:, stuck] = 0, 7
        for number in faults.dark:
            if start <= number < end:
                seen[number - start] = 0
        for number in faults.repeated:
            if start <= number < end:
                seen[number - start] = seen[number - start - 1] if number > start else last
        return seen

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

    def _middles(self) -> tuple[np.ndarray, np.ndarray]:
        """Q and azimuth of each pixel; within a bin of its middle, so that a bin has one g2."""
        labels = self.qmap.dynamic.labels.numpy()
        q, phi = self.qmap.q.numpy(), np.radians(self.qmap.dynamic.phi_of.numpy())
        return np.append(q.max(), q)[labels], np.append(0.0, phi)[labels]

    def _mean(self) -> np.ndarray:
        """(qy, qx) float32 mean intensity."""
        fine = self.qmap.geometry.modulus(self.qmap.shape).numpy()
        fall = np.maximum(fine, fine[fine > 0].min()) / self._middles()[0].mean()
        return np.asarray((self.photons or 1.0) * fall**-self.slope, dtype=np.float32)

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
