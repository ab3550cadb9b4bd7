"""System, instrument and scattering in one: from where a window starts to the counts expected."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from debye.speckle.data.frames import Window
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import System
from debye.speckle.fitting.instrument import Instrument
from debye.speckle.fitting.jacobian import experiment_slopes
from debye.speckle.scattering.models import Scattering


class Experiment(nn.Module):
    """System, scattering and exposure in one: from a window's start to the counts expected.

    Args:
        system: The law of motion; its parameters are fitted.
        scattering: What the detector sees of a state.
        solver: How to integrate.
        gain: Counts per unit of intensity.
        instrument: What differs from what is written of it; fitted where it is free.
        starts: First states by the names of their windows, where they are fitted too.
    """

    def __init__(
        self,
        system: System,
        scattering: Scattering,
        solver: Solver,
        gain: float = 1.0,
        instrument: Instrument | None = None,
        starts: dict[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.system, self.solver, self.gain = system, solver, gain
        self.scattering = scattering.requires_grad_(False)
        self.instrument = instrument
        self.starts = nn.ParameterDict(starts or {})

    @property
    def shared(self) -> int:
        """How many of the fitted parameters all frames share; those of first states follow."""
        named = self.named_parameters()
        return sum(p.numel() for n, p in named if p.requires_grad and not n.startswith("starts."))

    @property
    def open(self) -> bool:
        """Whether more than the law is unknown, so that first frames tell something too."""
        return bool(self.instrument and self.instrument.free) or bool(len(self.starts))

    def start(self, window: Window) -> Tensor:
        """(run, …) where a window starts, as far as it is known."""
        if window.names[0] not in self.starts:
            return window.start
        return torch.stack([self.starts[name] for name in window.names])

    def fits_start(self, window: Window) -> bool:
        """Whether the first states of a window are fitted, as they stand now."""
        first = self.starts.get(window.names[0])
        return first is not None and first.requires_grad

    def compared(self, window: Window) -> Tensor:
        """(run, time, qy, qx) the counts of a window that `forward` predicts."""
        return window.frames[:, self.skip(window) :]

    def skip(self, window: Window) -> int:
        """How many first frames are not compared: one whose state is known tells of no law."""
        return 0 if self.open and window.first else 1

    def states(self, window: Window) -> Tensor:
        """States (run, time, …) at the window's times after the first, which is given."""
        return self.path(window)[:, 1:]

    def path(self, window: Window) -> Tensor:
        """States (run, time, …) at all times of a window."""
        found = self.solver.solve(self.system.vector_field(), self.start(window), window.times)
        return found.states.transpose(0, 1)

    def counts(self, states: Tensor, specimen: Tensor | None = None) -> Tensor:
        """Expected counts (run, time, qy, qx) of states."""
        if self.instrument is None:
            return self.gain * self.scattering(states, specimen)
        return self.instrument.counts(self.scattering, states, specimen, self.gain)

    def slopes(self, vector: Tensor, window: Window, chunk: int = 32) -> Tensor:
        """(P, run, time, qy, qx) derivative of what `forward` gives by all that is shared."""
        return experiment_slopes(self, vector, window, chunk)

    def forward(self, window: Window) -> Tensor:
        """Expected counts (run, time, qy, qx) of the frames that are compared."""
        return self.counts(self.path(window)[:, self.skip(window) :], window.specimen)
