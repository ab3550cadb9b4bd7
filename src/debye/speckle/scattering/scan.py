"""A probe that is moved over an object, seen through its diffraction.

    I(Q; x) = Σ_modes |FFT[ probe_m(r) · O(r + x) ]|²

Positions are in pixels of the object, ordered x, y, and measured from its centre
((height − 1)/2, (width − 1)/2); the probe's own centre lies at ((side − 1)/2, (side − 1)/2).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from debye.errors import InputError
from debye.speckle.scattering.models import Scattering
from debye.speckle.scattering.waves import squared


class Scan(Scattering):
    """Far-field intensities of an object under a moved probe.

    Args:
        specimen: (rows, columns) complex transmission of the object.
        modes: (mode, side, side) complex probe, incoherent modes.
        stop: Radius of the beamstop in detector pixels; negative for none.
        shift: ``bilinear`` interpolates the object between its pixels; ``fourier`` shifts it by
            a phase ramp, exact for a band-limited object.

    Raises:
        InputError: The shapes do not fit.

    Example:
        >>> thing = torch.ones(24, 24, dtype=torch.complex64)
        >>> scan = Scan(thing, torch.ones(1, 8, 8, dtype=torch.complex64), stop=-1.0)
        >>> pattern = scan(torch.zeros(5, 2))
        >>> pattern.shape, round(pattern.sum().item() / 5)  # no photon is lost
        (torch.Size([5, 8, 8]), 64)
    """

    specimen: Tensor
    modes: Tensor

    def __init__(
        self, specimen: Tensor, modes: Tensor, stop: float = 0.0, shift: str = "bilinear"
    ) -> None:
        super().__init__()
        side = modes.shape[-1]
        if modes.ndim != 3 or modes.shape[-2] != side or min(specimen.shape) <= side:
            raise InputError(
                "cannot scan this object with this probe",
                why=f"the object is {tuple(specimen.shape)} and the probe {tuple(modes.shape)}",
                fix="give a probe (mode, side, side) smaller than the object (rows, columns)",
            )
        if shift not in ("bilinear", "fourier"):
            raise InputError(
                f"unknown shift {shift!r}", why="it is 'bilinear' or 'fourier'", fix="use one"
            )
        self.stop, self.shift = stop, shift
        self.register_buffer("specimen", specimen, persistent=False)
        self.register_buffer("modes", modes, persistent=False)
        k = torch.arange(side) - side // 2
        mask = torch.hypot(k[:, None].double(), k[None, :].double()) > stop
        self.register_buffer("mask", mask, persistent=False)

    @property
    def room(self) -> float:
        """How far, in pixels, the probe can move from the centre and stay on the object."""
        return (min(self.specimen.shape) - self.modes.shape[-1]) / 2 - 1

    def view(self, x: Tensor) -> Tensor:
        """The part of the object under the probe (…, side, side) at positions (…, 2)."""
        side = self.modes.shape[-1]
        spare = x.new_tensor([n - side for n in reversed(self.specimen.shape)])
        corner = x + spare / 2  # of the view, in pixel indices, ordered x, y
        # One pixel is kept back for the interpolation's right and lower neighbour.
        whole = corner.detach().floor().clamp(min=0).minimum(spare - 1)
        pixel = torch.arange(side + 1, device=x.device)
        columns = whole[..., 0, None].long() + pixel
        rows = whole[..., 1, None].long() + pixel
        patch = self.specimen[rows[..., :, None], columns[..., None, :]]  # [..., side+1, side+1]
        fraction = (corner - whole)[..., None, None].to(patch.real.dtype)
        return (between if self.shift == "bilinear" else ramped)(
            patch, fraction[..., 1, :, :], fraction[..., 0, :, :]
        )

    def forward(self, state: Tensor, specimen: Tensor | None = None) -> Tensor:
        """Intensity (…, side, side) at positions (…, 2); masked pixels hold 0."""
        wave = self.view(state)[..., None, :, :] * self.modes  # [..., mode, y, x]
        far = torch.fft.fftshift(torch.fft.fft2(wave, norm="ortho"), dim=(-2, -1))
        return squared(far).sum(dim=-3).to(state.dtype) * self.mask


def between(patch: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Bilinear shift of (…, n + 1, n + 1) patches by fractions of a pixel to (…, n, n).

    Example:
        >>> between(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), torch.tensor(0.5), torch.tensor(0.0))
        tensor([[1.]])
    """
    row = patch[..., :-1, :] * (1 - y) + patch[..., 1:, :] * y
    return row[..., :-1] * (1 - x) + row[..., 1:] * x


def ramped(patch: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Shift by fractions of a pixel with a phase ramp in Fourier space, then drop the seam."""
    k = torch.fft.fftfreq(patch.shape[-1], device=patch.device).to(x.dtype)
    phase = 2 * math.pi * (k[:, None] * y + k[None, :] * x)
    ramp = torch.polar(torch.ones_like(phase), phase)
    return torch.fft.ifft2(torch.fft.fft2(patch) * ramp)[..., :-1, :-1]


def fermat_spiral(count: int, a: float, w: float) -> Tensor:
    """Positions r = a√t, φ = w√t at t = 1 … count.

    Returns:
        (count, 2) float64, in the unit of ``a``.

    Example:
        >>> fermat_spiral(9, a=2.0, w=4.0)[-1].norm().item()
        6.0
    """
    z = torch.arange(1, count + 1, dtype=torch.float64).sqrt()
    return a * z[:, None] * torch.stack([(w * z).cos(), (w * z).sin()], dim=-1)
