"""First states that are known roughly, and fitted with all the rest.

Each number of a first state has a Gaussian prior about the value given. Gauss–Newton steps
eliminate them run by run (`debye.speckle.fitting.arrow`), and so memory grows with one run alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import torch
from torch import Tensor

from debye.speckle.data.frames import Window
from debye.speckle.fitting.arrow import Block, Eliminated
from debye.speckle.fitting.carried import check_start
from debye.speckle.fitting.experiment import Experiment
from debye.speckle.fitting.gauss_newton import GaussNewton, check_size, damped_step
from debye.speckle.fitting.slopes import FrameSlopes, frame_slopes


class Starts(NamedTuple):
    """What is known of first states beforehand.

    Attributes:
        given: Of each window's run, its first state as it was given.
        error: Standard deviation of each of its numbers.
    """

    given: dict[str, Tensor]
    error: float

    @classmethod
    def of(cls, windows: Sequence[Window], error: float) -> Starts:
        """Those of windows.

        Raises:
            InputError: A state has too many numbers.
        """
        given = {k: x for w in windows for k, x in zip(w.names, w.start, strict=True)}
        for state in given.values():
            check_start(state)
        return cls(given, error)

    def shift(self, experiment: Experiment, name: str) -> Tensor:
        """(n,) how far a first state now is from where it was given, in standard deviations."""
        away = experiment.starts[name].detach() - self.given[name]
        return (away / self.error).double().flatten()


@dataclass(eq=False)
class StartsToo(GaussNewton[Window]):
    """Gauss–Newton steps of an experiment whose first states are unknown too.

    ``curvature`` and ``prior`` are those of what is shared, first states marginalised.
    """

    starts: Starts = field(default_factory=lambda: Starts({}, 1.0))

    def count(self) -> int:
        """How many parameters are shared.

        Raises:
            InputError: There is nothing to fit.
        """
        check_size(self.model)
        return self.experiment.shared

    @property
    def experiment(self) -> Experiment:
        """The model."""
        return cast(Experiment, self.model)

    def cost(self, vector: Tensor) -> float:
        """What both priors add to the summed loss."""
        given = [self.starts.given[name].double().flatten() for name, _ in self._free()]
        away = (vector[self.size :] - torch.cat(given).to(vector)) / self.starts.error
        return super().cost(vector) + 0.5 * float(away.square().sum())

    def _free(self) -> list[tuple[str, Tensor]]:
        """First states that are fitted, in the order of their parameters."""
        return [(name, p) for name, p in self.experiment.starts.items() if p.requires_grad]

    @torch.no_grad()
    def linearised(self, vector: Tensor, pieces: Sequence[Window]) -> tuple[Tensor, Tensor]:
        """Curvature and gradient of what is shared, first states eliminated."""
        H = vector.new_zeros(self.size, self.size)
        self.whole = H, H.new_zeros(self.size)
        self.blocks = {
            name: Block.zeros(state.numel(), self.size).to(vector) for name, state in self._free()
        }
        for piece in pieces:
            for frame in frame_slopes(self.experiment, piece, self.chunk):
                self._add(piece, frame)
        precision = self.starts.error**-2
        for name, block in self.blocks.items():
            block.g += self.starts.shift(self.experiment, name) / self.starts.error
        return self._reduced([b.eliminated(precision) for b in self.blocks.values()])

    def _add(self, piece: Window, frame: FrameSlopes) -> None:
        """Take in the frames of one time."""
        H, g = self.whole
        for run, name in enumerate(piece.names):
            rate, n = frame.rate[run][self.mask], frame.counts[run][self.mask]
            weight, residual = (
                f(rate, n) for f in (self.likelihood.weight, self.likelihood.residual)
            )
            shared = frame.shared[:, run, self.mask] * weight
            H += shared @ shared.T
            g += shared @ residual
            if frame.own is not None:
                self.blocks[name].add(frame.own[:, run, self.mask] * weight, shared, residual)

    def _reduced(self, runs: Sequence[Eliminated]) -> tuple[Tensor, Tensor]:
        H, g = self.whole
        for run in runs:
            H, g = run.from_shared(H, g)
        return H, g

    def moved(self, vector: Tensor, H: Tensor, g: Tensor) -> Tensor:
        """Where a step of everything leads, damped as it now is."""
        precision = self.starts.error**-2
        runs = [b.eliminated(precision, self.damping) for b in self.blocks.values()]
        shared, H_g = vector[: self.size], self._reduced(runs)
        P, g = self.known.precision.to(vector), H_g[1] + self.known.slope(shared)
        held = self.known.held(shared, -g)
        step = damped_step(H_g[0], P, g, self.damping, held) if self.size else shared
        own = [run.step(step) for run in runs]
        to = self.known.within(shared + step)
        return torch.cat([to, vector[self.size :] + torch.cat(own)])
