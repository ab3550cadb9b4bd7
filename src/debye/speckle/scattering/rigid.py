"""A rigid object on a lattice that drifts through a finite probe, which need not be real."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from debye.errors import InputError
from debye.speckle.scattering.models import Scattering
from debye.speckle.scattering.optics import Detector, Setting, coordinates
from debye.speckle.scattering.waves import lattice_amplitude, squared
from debye.speckle.values import OneLine


class CurvedProbe(OneLine, nn.Module):
    """A Gaussian probe out of focus, exp(−r²/2r_p² + iκr²) with r_p = f_probe·L.

    Args:
        f_probe: Width as a fraction of the box.
        L: Side of the box.
        curvature: κ of its phase.

    Raises:
        InputError: It has no width.

    Example:
        >>> CurvedProbe(0.25, 2.0, 12.0)(torch.tensor([[0.0, 0.0], [0.5, 0.0]])).abs()
        tensor([[1.0000, 0.6065]])
    """

    def __init__(self, f_probe: float, L: float, curvature: float) -> None:
        super().__init__()
        if f_probe <= 0:
            raise InputError(
                f"no probe is {f_probe:g} wide", why="f_probe must be above 0", fix="take 0.25"
            )
        self.f_probe, self.L, self.curvature = f_probe, L, curvature

    def forward(self, points: Tensor) -> Tensor:
        """Amplitude (mode, …) at points (…, 2)."""
        square = points.square().sum(-1)
        size = torch.exp(-square / (2 * (self.f_probe * self.L) ** 2))
        return torch.polar(size, self.curvature * square)[None]


class RigidLattice(Scattering):
    """A density on a lattice that moves as one: the state is its displacement x (…, 2).

    I(Q) = Σ_modes |Σ_r p(r + x) o(r) e^{−iQ·r}|²

    The specimen is the density o (run, y, x). It is not interpolated: the probe is evaluated where
    the moved lattice points are, and the phase of the move is lost in the modulus.

    Args:
        detector: Its wave numbers and beamstop.
        probe: Amplitude of the illumination, `CurvedProbe`, `GaussianProbe` or `GridProbe`.
        points: Lattice points a side.

    Raises:
        InputError: The detector aliases the lattice.

    Example:
        >>> model = RigidLattice(Detector(12, 0.5, 2.0), CurvedProbe(0.25, 2.0, 12.0), points=12)
        >>> model(torch.zeros(1, 5, 2), torch.ones(1, 12, 12)).shape
        torch.Size([1, 5, 24, 24])
    """

    sites: Tensor

    def __init__(self, detector: Detector, probe: nn.Module, points: int) -> None:
        super().__init__()
        detector.fits_lattice(points)
        self.detector, self.probe, self.points = detector, probe, points
        x = coordinates(points, detector.L)
        self.register_buffer("q", detector.q, persistent=False)
        self.register_buffer("mask", detector.open, persistent=False)
        sites = torch.stack(torch.meshgrid(x, x, indexing="xy"), dim=-1)  # [y, x, xy]
        self.register_buffer("sites", sites, persistent=False)

    def window(self, state: Tensor) -> Tensor:
        """(mode, …, y, x) the probe at the points of the lattice, moved by states (…, 2)."""
        return cast(Tensor, self.probe(self.sites.to(state.dtype) + state[..., None, None, :]))

    def forward(self, state: Tensor, specimen: Tensor | None = None) -> Tensor:
        """Intensity (run, time, qy, qx) of displacements (run, time, 2).

        Raises:
            InputError: The density is missing.
        """
        return self.intensity(state, specimen) * self.mask

    def intensity(
        self, state: Tensor, specimen: Tensor | None = None, setting: Setting | None = None
    ) -> Tensor:
        """The same, behind the beamstop too.

        Raises:
            InputError: The density is missing.
        """
        if specimen is None:
            raise InputError(
                "a rigid object needs its density",
                why="no specimen was given",
                fix="pass specimen=(run, y, x), or find it with reconstruct_object",
            )
        lit = self.window(state) * specimen[:, None].to(state.dtype)
        return squared(lattice_amplitude(lit, self.q, self.detector.L)).sum(dim=0)
