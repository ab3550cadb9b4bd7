"""Detector, probe and form factors: the geometry of a coherent-scattering experiment.

Lengths are in units of the box, wave numbers in their inverse. A detector of n box-frequencies
a side, sampled in steps of dq, has n/dq pixels a side at

    q = (2π/L)·{−n/2, −n/2 + dq, …, n/2 − dq}
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from debye.errors import InputError
from debye.speckle.values import OneLine


@dataclass(frozen=True, repr=False)
class Detector(OneLine):
    """A square detector: its wave numbers and its beamstop.

    Args:
        n: Side in box frequencies: the half-period resolution is L/n.
        dq: Sampling step in box frequencies; 1 is Nyquist for the amplitude, ½ for the intensity.
        L: Side of the box.
        f_mask: Radius of the beamstop as a fraction of the side; pixels with |Q| ≤ f_mask·n·2π/L
            are masked. Below 0 nothing is.

    Raises:
        InputError: The sides do not fit, or the object would alias.

    Example:
        >>> detector = Detector(n=48, dq=0.75, L=5.0, f_mask=0.05)
        >>> detector.pixels, int((~detector.open).sum())
        (64, 37)
    """

    n: int
    dq: float
    L: float
    f_mask: float = 0.0

    def __post_init__(self) -> None:
        pixels = self.n / self.dq if self.dq > 0 else 0.0
        if self.n < 2 or self.L <= 0 or abs(pixels - round(pixels)) > 1e-9 or round(pixels) % 2:
            raise InputError(
                f"no detector has n = {self.n}, dq = {self.dq:g}, L = {self.L:g}",
                why="n/dq must be an even number of pixels, and L above 0",
                fix="choose dq so that n/dq is even, for example n = 48 and dq = 0.75",
            )
        if self.dq > 1:
            raise InputError(
                f"a detector with dq = {self.dq:g} aliases the object",
                why="steps of dq·2π/L see the object repeated every L/dq, which is closer than "
                "the box side L: dq must be at most 1 (at most 0.5 to sample the intensity "
                "fully, whose detail comes from twice the box)",
                fix="lower dq: smaller pixels, or a detector further away",
            )

    @property
    def pixels(self) -> int:
        """Pixels a side."""
        return round(self.n / self.dq)

    @property
    def q(self) -> Tensor:
        """(pixels,) wave numbers along one axis, float64."""
        return (
            self.dq * 2 * math.pi / self.L * (torch.arange(self.pixels) - self.pixels // 2).double()
        )

    @property
    def Q(self) -> Tensor:
        """(qy, qx) modulus |Q| of each pixel, float64."""
        return torch.hypot(self.q[:, None], self.q[None, :])

    @property
    def open(self) -> Tensor:
        """(qy, qx) True where a pixel is lit, False behind the beamstop."""
        return self.f_mask * self.n * 2 * math.pi / self.L < self.Q

    def fits_lattice(self, points: int) -> None:
        """Refuse a lattice too coarse for this detector.

        Raises:
            InputError: The detector looks beyond the lattice's own highest frequency.
        """
        if self.n > points:
            raise InputError(
                f"a detector of n = {self.n} aliases a lattice of {points} points a side",
                why="beyond ±πN/L the pattern of a lattice only repeats itself: n must not "
                "exceed N",
                fix=f"use n ≤ {points}, or a finer lattice",
            )


class Setting(NamedTuple):
    """How an instrument stands against what is written of it.

    A pixel written to be at q sees (1 + q_scale)(q − Δq·centre), Δq the step from pixel to pixel.

    Attributes:
        centre: (2,) pixels x, y by which the beam misses the pixel of q = 0.
        q_scale: Part by which wave numbers are larger than written.
        width: Part by which the probe is wider than written.

    Example:
        >>> detector = Detector(n=16, dq=0.5, L=2.0)
        >>> one = Setting(torch.tensor([1.0, 0.0]), torch.tensor(0.0), torch.tensor(0.0))
        >>> q = detector.q  # the beam meets the pixel to the right of the one written
        >>> [round(w, 4) for w in one.seen(q, detector)[16, 16:18].tolist()]
        [1.5708, 0.0]
    """

    centre: Tensor
    q_scale: Tensor
    width: Tensor

    def offset(self, detector: Detector) -> Tensor:
        """(2,) the wave numbers x, y that the beam misses, as written."""
        return self.centre * (detector.dq * 2 * math.pi / detector.L)

    def seen(self, q: Tensor, detector: Detector) -> Tensor:
        """(y, x) modulus of the wave numbers seen where q (m,) is written on both axes."""
        x, y = self.offset(detector)
        square = (q[:, None].to(x) - y).square() + (q.to(x) - x).square()
        return (1 + self.q_scale) * square.clamp(min=1e-24).sqrt()  # whose slope at 0 is finite

    def ramp(self, r: Tensor, detector: Detector) -> Tensor:
        """(…) the phase e^{iδ·r} at points r (…, 2) that moves a pattern by its offset δ."""
        phase = (r * self.offset(detector).to(r)).sum(-1)
        return torch.polar(torch.ones_like(phase), phase)


def coordinates(points: int, L: float) -> Tensor:
    """(points,) lattice coordinates x_j = −L/2 + jL/N along one axis, float64.

    Example:
        >>> coordinates(4, 2.0)
        tensor([-1.0000, -0.5000,  0.0000,  0.5000], dtype=torch.float64)
    """
    return L * (torch.arange(points).double() / points - 0.5)


class GaussianProbe(OneLine, nn.Module):
    """One coherent mode, a Gaussian amplitude exp(−r²/2r_p²) of standard deviation r_p = f_probe·L.

    Args:
        f_probe: Width as a fraction of the box.
        L: Side of the box.

    Raises:
        InputError: It has no width.

    Example:
        >>> GaussianProbe(0.25, 2.0)(torch.tensor([[0.0, 0.0], [0.5, 0.0]]))
        tensor([[1.0000, 0.6065]])
    """

    def __init__(self, f_probe: float, L: float) -> None:
        super().__init__()
        if f_probe <= 0:
            raise InputError(
                f"no probe is {f_probe:g} wide",
                why="f_probe must be above 0",
                fix="0.25 is the published width",
            )
        self.f_probe, self.L = f_probe, L

    def forward(self, points: Tensor) -> Tensor:
        """Amplitude (mode, …) at points (…, 2)."""
        return torch.exp(-points.square().sum(-1) / (2 * (self.f_probe * self.L) ** 2))[None]


class GridProbe(OneLine, nn.Module):
    """Any complex probe given on a grid over the box, in one or several incoherent modes.

    Between the grid points the probe is bilinear; outside the box it is dark.

    Args:
        modes: (mode, y, x) or (y, x) complex amplitudes on the points x_j = −L/2 + jL/N.
        L: Side of the box.

    Raises:
        InputError: The modes are not square.

    Example:
        >>> probe = GridProbe(torch.ones(2, 4, 4, dtype=torch.complex64), L=2.0)
        >>> probe(torch.zeros(5, 2)).shape
        torch.Size([2, 5])
    """

    modes: Tensor

    def __init__(self, modes: Tensor, L: float) -> None:
        super().__init__()
        modes = torch.as_tensor(modes)
        modes = modes[None] if modes.ndim == 2 else modes
        if modes.ndim != 3 or modes.shape[-1] != modes.shape[-2]:
            raise InputError(
                "cannot use this probe",
                why=f"its shape is {tuple(modes.shape)}, not (mode, N, N)",
                fix="give square complex arrays on the object's grid",
            )
        self.L = L
        self.register_buffer("modes", modes)

    def forward(self, points: Tensor) -> Tensor:
        """Amplitude (mode, …) at points (…, 2), ordered x, y."""
        size = self.modes.shape[-1]
        x, y = ((points / self.L + 0.5) * size).unbind(-1)  # pixel coordinates
        return bilinear(self.modes, y, x)


def bilinear(image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Values of ``image`` (…, rows, columns) at pixel coordinates y, x (…); 0 outside.

    Differentiable in the image and in the coordinates.

    Example:
        >>> half = torch.tensor([0.5])
        >>> bilinear(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), half, half)
        tensor([1.5000])
    """
    rows, columns = image.shape[-2:]
    y0, x0 = y.detach().floor(), x.detach().floor()
    total = torch.zeros((), dtype=image.dtype, device=image.device)
    for dy in (0, 1):
        for dx in (0, 1):
            j, i = (y0 + dy).long(), (x0 + dx).long()
            inside = (j >= 0) & (j < rows) & (i >= 0) & (i < columns)
            weight = (1 - (y - y0 - dy).abs()) * (1 - (x - x0 - dx).abs()) * inside
            total = total + image[..., j.clamp(0, rows - 1), i.clamp(0, columns - 1)] * weight
    return total


def sphere(qR: Tensor) -> Tensor:
    """Form factor of a sphere, 3(sin x − x cos x)/x³ with x = qR, 1 at x = 0.

    Example:
        >>> sphere(torch.tensor([0.0, 4.4934], dtype=torch.float64)).abs().round(decimals=4)
        tensor([1., 0.], dtype=torch.float64)
    """
    x = qR.clamp(min=1e-2)
    exact = 3 * (x.sin() - x * x.cos()) / x**3
    return torch.where(qR < 1e-2, 1 - qR**2 / 10, exact)  # the exact form cancels near 0


def core_shell(
    q: Tensor, *, core: float, shell: float, contrast_core: float, contrast_shell: float
) -> Tensor:
    """Form factor of a core within a shell, 1 at q = 0.

    F ∝ (ρ_c − ρ_s) V_c F(q R_c) + (ρ_s − ρ_0) V_s F(q R_s)

    Args:
        q: Wave numbers.
        core: Radius R_c.
        shell: Outer radius R_s.
        contrast_core: Scattering density of the core less the medium's, ρ_c − ρ_0.
        contrast_shell: Likewise of the shell, ρ_s − ρ_0.

    Raises:
        InputError: Core and shell cancel at q = 0.

    Example:
        >>> q = torch.linspace(0, 9, 4)
        >>> same = core_shell(q, core=0.1, shell=0.2, contrast_core=1.0, contrast_shell=1.0)
        >>> torch.allclose(same, sphere(q * 0.2))  # one density: just the large sphere
        True
    """
    inner, outer = (contrast_core - contrast_shell) * core**3, contrast_shell * shell**3
    if inner + outer == 0:
        raise InputError(
            "cannot normalise this particle",
            why="core and shell cancel at q = 0",
            fix="change a contrast or a radius",
        )
    return (inner * sphere(q * core) + outer * sphere(q * shell)) / (inner + outer)
