"""Systems that thermal noise jostles, ageing or not, and a soft repulsion to be learned."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from debye.errors import ComputationError, InputError
from debye.speckle.dynamics.learnable import Learnable
from debye.speckle.dynamics.solver import RightHandSide, check_times
from debye.speckle.dynamics.systems import System


class Brownian(System):
    """A system under thermal noise: dx = f(x) dt + √(2D) dW, W a Wiener process of each number.

    Its vector field is that of the system without noise; `walk` follows it with noise.

    Args:
        system: What f is.
        diffusion: D to start from, length²/time; it is learned as its logarithm.

    Raises:
        InputError: D is not above 0.

    Example:
        >>> from debye.speckle.dynamics.particles import Particles
        >>> jostled = Brownian(Particles(SoftRepulsion(), L=4.0, periodic=True), diffusion=0.1)
        >>> round(jostled.D, 3), jostled.equation
        (0.1, 'dr_i/dt = Σ_j f(r_ij) (r_i − r_j)/r_ij + field(r_i) + walls + √(2D) ξ')
    """

    term_name = "system"
    constants: ClassVar[dict[str, str]] = {"D": "log_diffusion"}
    """What is learned of the noise, and the parameters that are their logarithms."""

    def __init__(self, system: System, diffusion: float = 0.1) -> None:
        super().__init__()
        if not 0 < diffusion < math.inf:
            raise InputError(
                f"nothing diffuses by {diffusion:g}",
                why="D must be a positive number",
                fix="give about ⟨Δx²⟩/2t, from the mean square displacement along an axis",
            )
        self.system, self.diffusion = system, diffusion
        self.equation, self.state_axes = f"{system.equation} + √(2D) ξ", system.state_axes
        self.log_diffusion = nn.Parameter(torch.tensor(math.log(diffusion), dtype=torch.float64))

    @property
    def term(self) -> object:
        """What fills the equation of the system without noise."""
        return self.system.term

    @property
    def D(self) -> float:
        """The diffusion constant as it is now."""
        return math.exp(float(self.log_diffusion.detach()))

    def spread(self, first: float, last: float) -> float:
        """∫ D dt from one time to another: half of ⟨Δx²⟩, were there no forces."""
        return self.D * (last - first)

    def vector_field(self) -> RightHandSide:
        """That of the system without noise."""
        return self.system.vector_field()

    @torch.no_grad()
    def walk(self, start: Tensor, times: Tensor, step: float, seed: int) -> Iterator[Tensor]:
        """Follow it from states (…) through times (T,), each in turn.

        Heun's method: of second order in the step for what does not depend on the single path.
        The noise depends on the seed alone, so that paths of nearly equal systems are nearly equal.

        Args:
            start: (…) states at the first time.
            times: (T,) rising.
            step: Longest step.
            seed: Of the noise.

        Yields:
            (…) states at each time, the first included.

        Raises:
            InputError: The times do not rise.
            ComputationError: The states stop being finite.

        Reference:
            Kloeden & Platen, Numerical Solution of Stochastic Differential Equations (1992).
        """
        grid, rhs = check_times(times), self.vector_field()
        random = torch.Generator(start.device).manual_seed(seed)
        x = start
        yield x
        for t0, t1 in itertools.pairwise(grid):
            count = max(math.ceil((t1 - t0) / step * (1 - 1e-9)), 1)
            h = (t1 - t0) / count
            for i in range(count):
                t = t0 + i * h
                noise = torch.randn(x.shape, generator=random, dtype=x.dtype, device=x.device)
                kick, slope = math.sqrt(2 * self.spread(t, t + h)) * noise, rhs(t, x)
                ahead = rhs(t + h, x + h * slope + kick)
                x = x + (0.5 * h) * (slope + ahead) + kick
            if not torch.isfinite(x).all():
                raise ComputationError(
                    f"the walk stopped being finite before t = {t1:.4g}",
                    why=f"forces are too steep for steps of {h:.3g}",
                    fix="give a shorter step, or start from weaker forces",
                )
            yield x


class Ageing(Brownian):
    """A system that thermal noise jostles the less the older it is: D(t) = D/(1 + t/a).

    Its age t is the time since the walk began. Of free particles the two-time correlation is

        c(t₁, t₂) − 1 ∝ exp(−2q² ∫ D dt) = ((a + t₁)/(a + t₂))^(2Dq²a)

    which one g2 for all ages cannot say: it is told by two-time maps.

    Args:
        system: What f is.
        diffusion: D of the youngest to start from, length²/time; learned as its logarithm.
        age: a to start from; learned as its logarithm.

    Raises:
        InputError: D or a is not above 0.

    Example:
        >>> from debye.speckle.dynamics.systems import Drift
        >>> glass = Ageing(Drift(torch.zeros_like), diffusion=0.2, age=1.0)
        >>> [round(glass.spread(t, t + 1), 3) for t in (0, 9)]
        [0.139, 0.019]
    """

    constants: ClassVar[dict[str, str]] = {"D": "log_diffusion", "age": "log_age"}

    def __init__(self, system: System, diffusion: float = 0.1, age: float = 1.0) -> None:
        super().__init__(system, diffusion)
        if not 0 < age < math.inf:
            raise InputError(
                f"nothing ages over a time of {age:g}",
                why="the time after which D has halved must be a positive number",
                fix="give the age at which it moves half as fast as in the beginning",
            )
        self.age = age
        self.equation = f"{system.equation} + √(2D/(1 + t/a)) ξ"
        self.log_age = nn.Parameter(torch.tensor(math.log(age), dtype=torch.float64))

    def spread(self, first: float, last: float) -> float:
        """∫ D dt from one age to another, Da ln((a + t₂)/(a + t₁))."""
        a = math.exp(float(self.log_age.detach()))
        return self.D * a * math.log((a + last) / (a + first))


class SoftRepulsion(Learnable):
    """A repulsion that falls linearly to 0: f(r) = k (1 − r/s) for r < s, else 0.

    Args:
        strength: k to start from.
        cutoff: s, fixed.

    Example:
        >>> SoftRepulsion(strength=2.0, cutoff=0.5)(torch.tensor([0.25, 0.5])).tolist()
        [1.0, 0.0]
    """

    def __init__(self, strength: float = 1.0, cutoff: float = 0.5) -> None:
        super().__init__()
        self.strength, self.cutoff = strength, cutoff
        self.k = nn.Parameter(torch.tensor(strength, dtype=torch.float64))

    def forward(self, r: Tensor) -> Tensor:
        """Values of f at distances ``r`` (P,)."""
        return self.k.to(r.dtype) * (1 - r / self.cutoff).clamp(min=0)

    def formula(self) -> str:
        """The force with its strength."""
        return f"f(r) = {float(self.k.detach()):.4g} (1 − r/{self.cutoff:g})".replace("(-", "(−")
