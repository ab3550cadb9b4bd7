"""A published case as data: what moves, how it is seen, and how its frames are made.

Andrejevic et al., npj Comput. Mater. 10, 225 (2024). Where a study differs on purpose (what fills
the term, how it is fitted, that unseen initial states are truly unseen) its file says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from debye.core import VERSION
from debye.speckle.data.frames import Frames, simulate
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import System
from debye.speckle.scattering.models import Scattering

Starts = Callable[[int, torch.Generator], tuple[Tensor, Tensor | None]]
"""Number of runs and a generator → initial states (run, …), and the specimen if there is one."""
UNSEEN = 1_000_003
"""Added to the seed for the initial states that a fitted system is followed from."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Case:
    """Something that moves, and how it is seen.

    Attributes:
        name: What it is called on the command line.
        title: What it is about.
        known: Makes the system that generates the frames.
        scattering: Makes the scattering model.
        starts: Draws initial states.
        runs: Initial states of the published data set.
        times: (first, last, step) of the frames.
        solver: How to integrate while fitting.
        careful: How to integrate the known system, which is the yardstick.
        since: Time of the initial states, before the first frame or at it.
    """

    name: str
    title: str
    known: Callable[[], System]
    scattering: Callable[[], Scattering]
    starts: Starts
    runs: int
    times: tuple[float, float, float]
    solver: Solver
    careful: Solver
    since: float = 0.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}: {self.title})"

    def grid(self, until: float | None = None) -> Tensor:
        """(time,) the times of the frames, to ``until`` if that is later or earlier; float64."""
        first, last, step = self.times
        count = round(((last if until is None else until) - first) / step) + 1
        return first + step * torch.arange(count, dtype=torch.float64)

    def draw(self, runs: int, seed: int) -> tuple[Tensor, Tensor | None]:
        """Initial states of a seed, and their specimen; other seeds share nothing with them."""
        return self.starts(runs, torch.Generator().manual_seed(seed))

    def frames(
        self,
        *,
        runs: int | None = None,
        photons: float = 0.0,
        seed: int = 0,
        until: float | None = None,
        watch: Callable[[int], None] = lambda runs: None,
    ) -> Frames:
        """Simulate its frames.

        Args:
            runs: Initial states; as published by default.
            photons: Expected counts in the brightest pixel; 0 for no noise.
            seed: Seed of the initial states and of the photons.
            until: Last time; as published by default.
            watch: Called with the number of runs done, now and then.

        Raises:
            InputError: The times are no times.
            SolveError: The integration stops before the last time.
        """
        y0, specimen = self.draw(runs or self.runs, seed)
        about = {"study": self.name, "seed": seed, "photons": photons, "version": VERSION}
        return simulate(
            self.known(),
            self.scattering(),
            y0,
            self.grid(until),
            solver=self.careful,
            photons=photons,
            specimen=specimen,
            seed=seed,
            since=self.since,
            about=about,
            watch=watch,
        )

    def unseen(self, runs: int, times: Tensor, seed: int) -> tuple[Tensor, Tensor | None]:
        """True states (run, time, …) that share nothing with those of ``seed``, and the specimen.

        Raises:
            SolveError: The integration stops before the last time.
        """
        y0, specimen = self.draw(runs, seed + UNSEEN)
        since = times.new_tensor([self.since])
        hidden = torch.cat([since, times]) if times[0] > self.since else times
        with torch.no_grad():
            path = self.careful.solve(self.known().vector_field(), y0, hidden)
        return path.states[-len(times) :].transpose(0, 1), specimen
