"""A sample as a law is simulated with it: where it starts, how it is seen, how it correlates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.dynamics.brownian import Brownian
from debye.speckle.scattering.models import Scattering
from debye.speckle.values import OneLine
from debye.speckle.xpcs.correlation import Correlation
from debye.speckle.xpcs.correlator import Correlator
from debye.speckle.xpcs.geometry import Geometry
from debye.speckle.xpcs.qmap import QMap, make_qmap
from debye.speckle.xpcs.twotime import two_time


@dataclass(frozen=True, repr=False)
class Suspension(OneLine):
    """A sample whose start nobody knows: spread at random over a box, then left to settle.

    What leaves the box on one side is seen to come back on the other.

    Args:
        scattering: What the detector sees of a state.
        shape: Of a state: (particle, coordinate), or that of a lattice.
        L: Side of the box, or for phases 2π.
        frames: Of each run.
        frame_time: Between them.
        settle: Time from the random start to the first frame.
        step: Longest step of the walk; the frame time if None.

    Raises:
        InputError: There are too few frames, or a time is not above 0.

    Example:
        >>> from debye.speckle import Cloud, Detector, GaussianProbe
        >>> from debye.speckle.dynamics.brownian import Brownian, SoftRepulsion
        >>> from debye.speckle.dynamics.particles import Particles
        >>> seen = Cloud(Detector(8, 0.5, 4.0), GaussianProbe(0.2, 4.0), R=0.1)
        >>> sample = Suspension(seen, (20, 2), L=4.0, frames=12, frame_time=0.05, settle=0.1)
        >>> law = Brownian(Particles(SoftRepulsion(), L=4.0, periodic=True))
        >>> [one.shape for one in sample.movies(law, runs=2, seed=0)]
        [(12, 16, 16), (12, 16, 16)]
    """

    scattering: Scattering
    shape: tuple[int, ...]
    L: float
    frames: int
    frame_time: float
    settle: float = 1.0
    step: float | None = None

    def __post_init__(self) -> None:
        lengths = {"L": self.L, "frame_time": self.frame_time, "settle": self.settle}
        for name, value in lengths.items():
            if not 0 < value < math.inf:
                raise InputError(
                    f"cannot simulate with {name} = {value:g}",
                    why="it must be above 0",
                    fix=f"give a positive {name}",
                )
        if self.frames < 4:
            raise InputError(
                f"cannot correlate {self.frames} frames of a run",
                why="nothing is told by so few",
                fix="give 4 at least, and as many as were recorded is best",
            )

    def movies(self, system: Brownian, runs: int, seed: int) -> list[np.ndarray]:
        """Intensities (time, qy, qx) float32 of each run.

        Args:
            system: The law.
            runs: How many.
            seed: Of starts and noise.

        Raises:
            ComputationError: The system blows up.
        """
        random = torch.Generator().manual_seed(seed)
        start = self.L * (torch.rand(runs, *self.shape, generator=random) - 0.5)
        times = self.settle + self.frame_time * torch.arange(self.frames).double()
        walk = system.walk(start, torch.cat([torch.zeros(1), times]), self.longest_step, seed + 1)
        next(walk)  # the random start is not seen
        with torch.no_grad():
            seen = [self.scattering(self._inside(states)).float() for states in walk]
        return list(torch.stack(seen, 1).numpy())

    @property
    def longest_step(self) -> float:
        """Of the walk."""
        return self.frame_time if self.step is None else self.step

    def correlate(
        self,
        system: Brownian,
        qmap: QMap,
        runs: int,
        seed: int = 0,
        photons: float = 0.0,
        *,
        maps: int = 0,
    ) -> list[Correlation]:
        """What a correlator finds in each run.

        Args:
            system: The law.
            qmap: The bins.
            runs: How many.
            seed: Of starts, noise and photons.
            photons: Mean counts of a pixel in the bins; 0 for intensities without noise.
            maps: Frames that are summed to a row of two-time maps; 0 makes none.

        Raises:
            InputError: What the correlator refuses.
            ComputationError: The system blows up.
        """
        random, found = np.random.default_rng(seed), []
        lit = (qmap.dynamic.labels > 0).numpy()
        counts = bool(photons)
        for movie in self.movies(system, runs, seed):
            scale = photons / movie[:, lit].mean() if photons else 1.0
            frames = random.poisson(movie * scale) if photons else movie
            correlator = Correlator(qmap, self.frame_time, counts=counts)
            correlator.update(frames)
            one = correlator.finish()
            if maps:
                made = two_time([frames], qmap, self.frame_time, binned=maps, counts=counts)
                one = replace(one, two_time=made)
            found.append(one)
        return found

    def qmap(self, q: int | Sequence[float] | Tensor, phi: int | Tensor = 1) -> QMap:
        """A q-map of the simulated detector.

        Args:
            q: Number of rings, or their borders in the inverse unit of L.
            phi: Azimuthal parts.

        Raises:
            InputError: A ring holds too few pixels of it.
        """
        axis, mask = self.scattering.q, self.scattering.mask
        middle = float(axis.abs().argmin())
        geometry = Geometry(x=middle, y=middle, dq=float(axis[1] - axis[0]))
        return make_qmap(geometry, mask, q, phi=phi)

    def _inside(self, states: Tensor) -> Tensor:
        """States brought back into the box."""
        return states - self.L * (states / self.L).round()
