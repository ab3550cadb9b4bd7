"""Unknowns of one run each, eliminated from those that all runs share.

A fit with first states x_R of runs R beside its shared unknowns c has a curvature like an arrow:
H_cc, a block for each run, H_Rc between them, and nothing between runs. With A_R = H_RR + 1/σ² what
is shared has

    S = H_cc − Σ_R H_cR A_R⁻¹ H_Rc,    g = g_c − Σ_R H_cR A_R⁻¹ g_R

and each run follows: x_R = −A_R⁻¹ (g_R + H_Rc c). No matrix grows with the number of runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Block:
    """Curvature and gradient of the n unknowns of one run, and how they go with P shared ones.

    Attributes:
        H: (n, n) curvature H_RR.
        cross: (n, P) curvature H_Rc.
        g: (n,) gradient.
    """

    H: Tensor
    cross: Tensor
    g: Tensor

    @classmethod
    def zeros(cls, own: int, shared: int) -> Block:
        """Of no frames yet."""
        return cls(*(torch.zeros(*size).double() for size in ((own, own), (own, shared), (own,))))

    def to(self, like: Tensor) -> Block:
        """On the device of another tensor."""
        return Block(self.H.to(like), self.cross.to(like), self.g.to(like))

    def add(self, own: Tensor, shared: Tensor, residual: Tensor) -> None:
        """Take in a frame.

        Args:
            own: (n, pixel) weighed slopes by the run's unknowns.
            shared: (P, pixel) by what is shared.
            residual: (pixel,).
        """
        self.H += own @ own.T
        self.cross += own @ shared.T
        self.g += own @ residual

    def eliminated(self, damping: float = 0.0) -> Eliminated:
        """The run's unknowns eliminated, damped by a part of their curvature."""
        root = torch.linalg.cholesky(self.H + damping * self.H.diagonal().diag())
        across, pull = (
            torch.linalg.solve_triangular(root, x, upper=False)
            for x in (self.cross, self.g[:, None])
        )
        return Eliminated(root, across, pull[:, 0])


@dataclass(frozen=True)
class Eliminated:
    """The unknowns of one run, expressed by the shared ones.

    Attributes:
        root: (n, n) L of A = L Lᵀ.
        across: (n, P) L⁻¹ H_Rc.
        pull: (n,) L⁻¹ g_R.
    """

    root: Tensor
    across: Tensor
    pull: Tensor

    def from_shared(self, H: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Take the run's part from the curvature and gradient of the shared unknowns."""
        return H - self.across.T @ self.across, g - self.across.T @ self.pull

    def whitened(self, own: Tensor) -> Tensor:
        """L⁻¹ of slopes (n, …) by the run's unknowns: their squares add up to Jᵀ A⁻¹ J."""
        flat = torch.linalg.solve_triangular(self.root, own.flatten(1), upper=False)
        return flat.view(own.shape)

    def reduced(self, shared: Tensor, white: Tensor) -> Tensor:
        """(P, …) slopes by shared unknowns that the run's, ``whitened``, cannot make up for."""
        return shared - torch.tensordot(self.across.T, white, 1)

    def step(self, shared: Tensor) -> Tensor:
        """(n,) how the run's unknowns move when the shared ones move so."""
        back = (self.pull + self.across @ shared)[:, None]
        return -torch.linalg.solve_triangular(self.root.T, back, upper=True)[:, 0]

    def variance(self, covariance: Tensor) -> Tensor:
        """(n,) variance of the run's unknowns, (P, P) the covariance of the shared ones."""
        eye = torch.eye(len(self.root)).to(self.root)
        inverse = torch.linalg.solve_triangular(self.root, eye, upper=False)
        follows = inverse.T @ self.across
        return inverse.square().sum(0) + ((follows @ covariance) * follows).sum(-1)
