"""Fit the few coefficients of a system by Gauss–Newton steps with Levenberg–Marquardt damping.

The derivative of every predicted photon with respect to every coefficient is carried forward
through the solver and the scattering. A system with tens of coefficients then needs about ten
steps where a gradient method needs thousands, and the same matrix gives their error bars.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import MethodType
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vmap

from debye.core.training import Step
from debye.errors import ComputationError, InputError
from debye.speckle.fitting.prior import Prior, ridge
from debye.speckle.scattering.noise import Likelihood

Piece = TypeVar("Piece")
LEAST, MOST = 1e-9, 1e6
"""Damping below which steps are all but free, and above which they lead nowhere."""


@contextmanager
def quiet_torch() -> Iterator[None]:
    """Silence what torch says of its own code when it first differentiates forwards."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script", DeprecationWarning)
        yield


def free(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The parameters of a model that are to be fitted, by name."""
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def to_vector(model: nn.Module) -> Tensor:
    """All parameters of a model that are to be fitted, one after the other, float64."""
    return torch.cat([p.detach().double().flatten() for _, p in free(model)])


def from_vector(model: nn.Module, vector: Tensor) -> dict[str, Tensor]:
    """Parameters by name from `to_vector`'s vector, in their own shapes and types."""
    named = free(model)
    parts = vector.split([p.numel() for _, p in named])
    return {
        name: part.view(p.shape).to(p.dtype) for (name, p), part in zip(named, parts, strict=True)
    }


@torch.no_grad()
def set_vector(model: nn.Module, vector: Tensor) -> None:
    """Give a model the parameters of `to_vector`'s vector."""
    for name, value in from_vector(model, vector).items():
        model.get_parameter(name).copy_(value)


def check_size(model: nn.Module, most: float = math.inf) -> int:
    """How many parameters a model has.

    Raises:
        InputError: None, or more than ``most``.
    """
    size = sum(p.numel() for _, p in free(model))
    if size == 0:
        raise InputError(
            "there is nothing to fit",
            why="the system has no parameters",
            fix="fill its term with something of debye.speckle.dynamics.learnable",
        )
    if size > most:
        raise InputError(
            f"Gauss–Newton will not fit {size} coefficients",
            why="its cost grows with their number: it is meant for a few hundred",
            fix="use method='adam' for networks",
        )
    return size


@dataclass(eq=False)
class GaussNewton(Generic[Piece]):
    """Minimise the mean loss of a model's predictions over some pieces of data.

    Args:
        model: Maps a piece to predicted means λ; its parameters are fitted in place.
        target: Maps a piece to what was recorded, n, of the same shape.
        mask: Broadcasts to n: True where it counts.
        likelihood: How λ and n are compared.
        damping: Levenberg–Marquardt damping to start from.
        chunk: Coefficients differentiated together; smaller takes less memory.
        prior: What is known of the parameters beforehand, in the order of `to_vector`; flat if
            None. Its cost adds to the summed loss, which of counts is in natural units.
        adapt: Chooses the prior anew at every step, from the parameters, the curvature and gradient
            of the summed loss without any prior, and its mean.
        resolution: A step that lowers the summed loss by more than this is not the last, nor is a
            small one where an undamped step promises more.

    Raises:
        InputError: The model has no parameters, or too many.

    Example:
        >>> line = nn.Linear(1, 1, dtype=torch.float64)
        >>> x = torch.linspace(0, 1, 9, dtype=torch.float64)[:, None]
        >>> from debye.speckle.scattering.noise import SQUARES
        >>> fit = GaussNewton(line, lambda x: 3 * x + 1, torch.tensor(True), SQUARES)
        >>> *_, last = fit.run([x], iterations=8)
        >>> round(line.weight.item(), 4)
        3.0
    """

    model: nn.Module
    target: Callable[[Piece], Tensor]
    mask: Tensor
    likelihood: Likelihood
    damping: float = 1e-3
    chunk: int = 32
    prior: Prior | None = None
    adapt: Callable[[Tensor, Tensor, Tensor, float], Prior] | None = None
    resolution: float = math.inf
    curvature: Tensor = field(init=False)
    """JᵀJ summed over all pixels at the last step, and the prior's precision: the inverse of the
    coefficients' covariance."""
    steps: int = 0

    def __post_init__(self) -> None:
        self.size = self.count()
        self.curvature = torch.zeros(self.size, self.size, dtype=torch.float64)
        self.known = self.prior or ridge(0.0, self.size)

    def count(self) -> int:
        """How many parameters the curvature is of.

        Raises:
            InputError: None, or too many.
        """
        return check_size(self.model, most=2000)

    def predict(self, vector: Tensor, piece: Piece) -> Tensor:
        """λ of a piece with the coefficients ``vector``."""
        return functional_call(self.model, from_vector(self.model, vector), (piece,))

    def pixels(self, pieces: Sequence[Piece]) -> int:
        """How many open pixels the pieces have."""
        return sum(int(self.mask.expand_as(self.target(piece)).sum()) for piece in pieces)

    @torch.no_grad()
    def loss(self, vector: Tensor, pieces: Sequence[Piece]) -> float:
        """Mean loss per open pixel, prior included; infinite where the solve fails."""
        total, count = 0.0, 0
        for piece in pieces:
            try:
                rate, n = self.predict(vector, piece), self.target(piece)
            except ComputationError:
                return math.inf
            value = self.likelihood.loss(rate.double(), n.double()) * self.mask
            total, count = total + float(value.sum()), count + int(self.mask.expand_as(n).sum())
        result = (total + self.cost(vector)) / count
        return result if math.isfinite(result) else math.inf

    def cost(self, vector: Tensor) -> float:
        """What the prior adds to the summed loss."""
        return self.known.cost(vector[: self.size])

    @torch.no_grad()
    def linearise(self, vector: Tensor, pieces: Sequence[Piece]) -> tuple[Tensor, Tensor]:
        """Curvature JᵀJ and gradient Jᵀr of the summed loss, prior included."""
        H, g = self.linearised(vector, pieces)
        return H + self.known.precision.to(vector), g + self.known.slope(vector)

    @torch.no_grad()
    def linearised(self, vector: Tensor, pieces: Sequence[Piece]) -> tuple[Tensor, Tensor]:
        """Curvature and gradient of the summed loss without the prior."""
        H, g = torch.zeros_like(vector.diag()), torch.zeros_like(vector)
        for piece in pieces:
            rate, n = self.predict(vector, piece).double(), self.target(piece).double()
            J = self.slopes(vector, piece)
            J = J * (self.likelihood.weight(rate, n) * self.mask)
            J = J.flatten(1).double()
            r = (self.likelihood.residual(rate, n) * self.mask).flatten()
            H, g = H + J @ J.T, g + J @ r
        return H, g

    def slopes(self, vector: Tensor, piece: Piece) -> Tensor:
        """(coefficient, …) derivative of λ, by the model's own way where it has one."""
        if isinstance(own := getattr(self.model, "slopes", None), MethodType):
            return cast(Tensor, own(vector, piece, self.chunk))
        return forward_slopes(partial(self.predict, piece=piece), vector, self.chunk)

    def run(
        self, pieces: Sequence[Piece], iterations: int, rtol: float = 1e-4, enough: float = 0.0
    ) -> Iterator[Step]:
        """Step until the loss stops falling.

        Args:
            pieces: The data, in portions whose derivatives fit in memory.
            iterations: Steps at most.
            rtol: Ends when a step lowers the loss by less than this fraction.
            enough: Ends where an undamped step promises to lower the summed loss by no more.

        Yields:
            What each step did; ``rate`` is the damping, ``rewound`` tells of a step that had to
            be shortened.

        Raises:
            ComputationError: The loss is not finite to begin with, or depends on no coefficient.
        """
        vector = to_vector(self.model)
        loss = self.loss(vector, pieces)
        if not math.isfinite(loss):
            raise ComputationError(
                "cannot start to fit",
                why="the system to start from blows up within the window",
                fix="use shorter windows, or start from weaker coefficients",
            )
        least, tries = self.resolution / self.pixels(pieces), 1
        for i in range(iterations):
            H, g = self.linearised(vector, pieces)
            check_curvature(H, free(self.model))
            if self.adapt is not None and tries == 1:  # else it is not linear from here
                loss = self._adapted(vector, H, g, loss, pieces)
            self.curvature = H + self.known.precision.to(H)
            promised = self._promised(vector, H, g)
            if promised <= enough:
                yield Step(self.steps, 0, True, loss, {}, self.damping, float(g.norm()), False)
                return
            vector, new, tries = self._descend(vector, loss, H, g, pieces)
            gain, loss = loss - new, new
            set_vector(self.model, vector)
            self.steps += 1
            settled = gain == 0 or not promised > self.resolution
            done = (settled and gain <= min(rtol * loss, least)) or i == iterations - 1
            yield Step(self.steps, 0, done, loss, {}, self.damping, float(g.norm()), tries > 1)
            if done:
                return

    def _promised(self, vector: Tensor, H: Tensor, g: Tensor) -> float:
        """How far an all but undamped step would lower the summed loss, to second order."""
        if not self.size:
            return 0.0
        P, g = self.known.precision.to(H), g + self.known.slope(vector[: self.size])
        step = damped_step(H, P, g, 1e-9, self.known.held(vector[: self.size], -g))
        return -0.5 * float(g @ step)

    def _adapted(
        self, vector: Tensor, H: Tensor, g: Tensor, loss: float, pieces: Sequence[Piece]
    ) -> float:
        """Choose the prior anew; the loss under it."""
        count, own = self.pixels(pieces), vector[: self.size]
        alone = loss - self.known.cost(own) / count
        assert self.adapt is not None  # noqa: S101 - the caller saw to it
        self.known = self.adapt(own, H, g, alone)
        return alone + self.known.cost(own) / count

    def _descend(
        self, vector: Tensor, loss: float, H: Tensor, g: Tensor, pieces: Sequence[Piece]
    ) -> tuple[Tensor, float, int]:
        """Damp more and more until the loss falls; stay where it never does."""
        for tries in range(1, 40):
            to = self.moved(vector, H, g)
            new = self.loss(to, pieces) if bool(to.isfinite().all()) else math.inf
            if new < loss:
                self.damping = max(self.damping / 10, LEAST)
                return to, new, tries
            if self.damping >= MOST:
                break
            self.damping *= 3  # a step nearly as long as it may be, in a valley that bends
        return vector, loss, tries

    def moved(self, vector: Tensor, H: Tensor, g: Tensor) -> Tensor:
        """Where a step leads that is damped as it now is; NaN where nothing tells the way."""
        P, g = self.known.precision.to(H), g + self.known.slope(vector)
        return self.known.within(
            vector + damped_step(H, P, g, self.damping, self.known.held(vector, -g))
        )


def forward_slopes(predict: Callable[[Tensor], Tensor], vector: Tensor, chunk: int) -> Tensor:
    """(coefficient, …) derivative of a prediction with respect to every coefficient.

    Example:
        >>> forward_slopes(lambda v: v**2, torch.tensor([1.0, 3.0]), chunk=32)
        tensor([[2., 0.],
                [0., 6.]])
    """
    if not len(vector):
        return predict(vector)[None][:0]
    basis = torch.eye(len(vector), dtype=vector.dtype, device=vector.device)
    with quiet_torch():
        return vmap(lambda e: jvp(predict, (vector,), (e,))[1], chunk_size=chunk)(basis)


def damped_step(H: Tensor, P: Tensor, g: Tensor, damping: float, held: Tensor) -> Tensor:
    """−(H + P + damping·(diag H + P))⁻¹ g among coefficients that are not held; NaN if singular.

    A prior is damped as a whole: the diagonal of a smooth one would damp what is smooth most.
    """
    scale = H.diagonal().clamp(min=1e-12 * float(H.diagonal().max()))
    A = H + P + damping * (scale.diag() + P)
    A = A.masked_fill(held | held[:, None], 0.0) + held.double().diag()
    step, singular = torch.linalg.solve_ex(A, -g.masked_fill(held, 0.0))
    return step if not singular else torch.full_like(g, torch.nan)


def check_curvature(H: Tensor, named: Sequence[tuple[str, nn.Parameter]]) -> None:
    """Refuse a curvature that tells nothing.

    Raises:
        ComputationError: It is not finite, or 0.
    """
    if not bool(H.isfinite().all()):
        owners = [name for name, p in named for _ in range(p.numel())]
        bad = sorted({owners[i] for i in (~H.isfinite()).any(0).nonzero()[:, 0].tolist()})
        raise ComputationError(
            "cannot fit these frames",
            why=f"what they say of {', '.join(bad)} is not finite: a derivative overflows",
            fix="start from weaker coefficients, use shorter windows, or check the states' units",
        )
    if len(H) and not float(H.diagonal().max()) > 0:
        raise ComputationError(
            "cannot fit these frames",
            why="no pixel depends on any coefficient of the system",
            fix="check that the equation fits the frames: its cutoff, units and system",
        )
