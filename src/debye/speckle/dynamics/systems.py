"""Laws of motion, each an equation with a hole.

The truth fills the hole with a formula, the model with something learned; there is no second
"neural" version of a system. `System.field` works out whatever does not depend on the state
(a table of the force, the transform of a kernel) once per solve, and returns f(t, y).

States keep their natural shape: (…, particle, coordinate) or (…, y, x).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn

from debye.speckle.dynamics.integrate import RightHandSide

Hole = Any
"""What fills an equation: a plain function, or a module whose parameters are learned. What it is
called with, and whether it must tell its ``reach``, stands with each system."""


class System(nn.Module):
    """A law of motion dy/dt = f(t, y)."""

    state_axes: int
    """How many trailing axes make one state; what stands before them is batch."""
    hole_name: str
    """The argument that is the hole."""

    @property
    def hole(self) -> Any:  # noqa: ANN401 - a function or a module, as the system was made
        """What fills the equation."""
        return getattr(self, self.hole_name)

    @abstractmethod
    def field(self) -> RightHandSide:
        """The right-hand side, with all that does not depend on the state worked out."""

    def forward(self, t: float, y: Tensor) -> Tensor:
        """Rate of change of a state (…)."""
        return self.field()(t, y)


class Drift(System):
    """A rigid object whose centre follows a flow: dx/dt = velocity(x).

    Only the coordinates of the centre are integrated; the object is carried by the scattering.

    Args:
        velocity: The hole: (…, 2) positions to (…, 2).

    Example:
        >>> import torch
        >>> from debye.speckle.dynamics.known import LotkaVolterra
        >>> Drift(LotkaVolterra(L=2.0))(0.0, torch.zeros(2))
        tensor([-0.3333,  0.0000])
    """

    hole_name = "velocity"
    state_axes = 1

    def __init__(self, velocity: Hole) -> None:
        super().__init__()
        self.velocity = velocity

    def field(self) -> RightHandSide:
        """The velocity itself."""
        return lambda t, x: self.velocity(x)
