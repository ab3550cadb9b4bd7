"""Amplitudes of a lattice, a cloud and a scanned object, and the intensities they give.

The plane wave factorises on a square detector, e^{−iQ·r} = e^{−iq_y y}·e^{−iq_x x}, so a lattice's
amplitude is E f Eᵀ and a cloud's is E_yᵀ diag(f) E_x. The detector is symmetric about q = 0, so
only cos|q|x and sin|q|x on half an axis are worked out, in real numbers: `half_waves`, `unfold`.

A scanned object: a probe that is moved over it, seen through its diffraction.

    I(Q; x) = Σ_modes |FFT[ probe_m(r) · O(r + x) ]|²

Positions are in pixels of the object, ordered x, y, and measured from its centre
((height − 1)/2, (width − 1)/2); the probe's own centre lies at ((side − 1)/2, (side − 1)/2).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from debye.errors import InputError
from debye.speckle.scattering.optics import Detector, coordinates, sphere
from debye.speckle.values import OneLine


def half_waves(x: Tensor, q: Tensor) -> Tensor:
    """cos(|q|x) and sin(|q|x) on the half axis |q| = 0 … |q_0|.

    Args:
        x: (…) coordinates.
        q: (m,) wave numbers of a whole axis, symmetric but for its first.

    Returns:
        (…, m + 2): the m/2 + 1 cosines, then the sines.
    """
    half = q[: len(q) // 2 + 1].flip(0).abs().to(x.dtype)
    phase = x[..., None] * half  # [..., |q|]
    return torch.cat([phase.cos(), phase.sin()], dim=-1)


def unfold(half: Tensor) -> Tensor:
    """The amplitude on the whole detector, from sums over cosines and sines on half axes.

    Multiplies out e^{−iqx} = cos|q|x − i sign(q) sin|q|x along both axes.

    Args:
        half: (…, m + 2, m + 2), Σ w · waves(y) ⊗ waves(x), real or (for a complex w) complex.

    Returns:
        (…, qy, qx) complex amplitude on m × m pixels.
    """
    pixels = half.shape[-1] - 2
    axis = torch.arange(pixels, device=half.device) - pixels // 2
    sign, near = axis.sign().to(half.real.dtype), axis.abs()
    far = near + pixels // 2 + 1
    cos, sin = half.index_select(-2, near), half.index_select(-2, far) * sign[:, None]
    even = cos.index_select(-1, near) - sin.index_select(-1, far) * sign
    odd = cos.index_select(-1, far) * sign + sin.index_select(-1, near)
    return even - 1j * odd if half.is_complex() else torch.complex(even, -odd)


def lattice_amplitude(f: Tensor, q: Tensor, L: float) -> Tensor:
    """A(Q) = Σ_r f(r) e^{−iQ·r} of values on a lattice.

    Args:
        f: (…, y, x) real or complex, at x_j = −L/2 + jL/N.
        q: (m,) wave numbers of one detector axis.
        L: Side of the box.

    Returns:
        (…, qy, qx) complex.

    Example:
        >>> q = Detector(n=4, dq=1.0, L=2.0).q
        >>> flat = lattice_amplitude(torch.ones(4, 4, dtype=torch.float64), q, 2.0)
        >>> flat.abs().round()[2]  # an even lattice diffracts only forward
        tensor([ 0.,  0., 16.,  0.], dtype=torch.float64)
    """
    E_y, E_x = (half_waves(coordinates(n, L).to(f.device), q).to(f.dtype) for n in f.shape[-2:])
    return unfold(E_y.mT @ f @ E_x)


def cloud_amplitude(points: Tensor, f: Tensor, q: Tensor) -> Tensor:
    """A(Q) = Σ_j f_j e^{−iQ·r_j} of a cloud of points.

    Args:
        points: (…, particle, 2), ordered x, y.
        f: (…, particle) weights, real or complex.
        q: (m,) wave numbers of one detector axis.

    Returns:
        (…, qy, qx) complex.

    Example:
        >>> q = Detector(n=4, dq=1.0, L=2.0).q
        >>> cloud_amplitude(torch.tensor([[0.5, 0.0]]), torch.ones(1), q)[2].real[[0, 2]]
        tensor([-1.,  1.])
    """
    E = half_waves(points, q)  # [..., particle, xy, wave]
    E_x, E_y = E[..., 0, :], E[..., 1, :]
    return unfold(E_y.mT.to(f.dtype) @ (f[..., None] * E_x))


def squared(amplitude: Tensor) -> Tensor:
    """|A|², without the square root that abs() would take and differentiate badly at 0."""
    return amplitude.real.square() + amplitude.imag.square()


class Scattering(OneLine, nn.Module):
    """From a state to what the detector sees."""

    q: Tensor
    """(m,) wave numbers along one axis of the detector."""
    mask: Tensor
    """(qy, qx) True where a pixel counts."""

    @abstractmethod
    def forward(self, state: Tensor, specimen: Tensor | None = None) -> Tensor:
        """Intensity (…, qy, qx) of states (…); masked pixels hold 0.

        ``specimen`` is what does not move with the state but differs from run to run, such as
        the random cloud that a source illuminates.
        """


FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "moments": torch.cos,
    "density": lambda rho: rho,
    "second": lambda c: c[..., 1, :, :],
    "projected": lambda theta: theta.cos().sum(dim=-3),
}
"""What scatters: cos θ of moments, a density, the second chemical, moments summed along z."""


class Lattice(Scattering):
    """Coherent scattering of a lattice, I(Q) = Σ_modes |Σ_r p(r) f(r) e^{−iQ·r}|².

    Args:
        detector: Its wave numbers and beamstop.
        probe: Amplitude of the illumination, `GaussianProbe` or `GridProbe`.
        points: Lattice points a side.
        form: What scatters, one of `FORMS`.

    Raises:
        InputError: The form is unknown, or the detector aliases the lattice.

    Example:
        >>> from debye.speckle.scattering.optics import GaussianProbe
        >>> model = Lattice(Detector(n=16, dq=0.5, L=2.0), GaussianProbe(0.25, 2.0), points=20)
        >>> model(torch.zeros(3, 20, 20)).shape
        torch.Size([3, 32, 32])
    """

    window: Tensor

    def __init__(
        self, detector: Detector, probe: nn.Module, points: int, form: str = "moments"
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise InputError(
                f"unknown form {form!r}",
                why=f"the forms are {', '.join(FORMS)}",
                fix="use one of them",
            )
        detector.fits_lattice(points)
        self.detector, self.probe, self.points, self.form = detector, probe, points, form
        x = coordinates(points, detector.L)
        y, x = torch.meshgrid(x, x, indexing="ij")
        self.register_buffer("q", detector.q, persistent=False)
        self.register_buffer("mask", detector.open, persistent=False)
        with torch.no_grad():
            window = probe(torch.stack([x, y], dim=-1))  # [mode, y, x]
        self.register_buffer("window", window, persistent=False)

    def forward(self, state: Tensor, specimen: Tensor | None = None) -> Tensor:
        """Intensity (…, qy, qx) of lattice states."""
        f = FORMS[self.form](state)[..., None, :, :]  # [..., mode, y, x]
        window = self.window.to(f.dtype.to_complex() if self.window.is_complex() else f.dtype)
        amplitude = lattice_amplitude(window * f, self.q, self.detector.L)
        return squared(amplitude).sum(dim=-3) * self.mask


class Cloud(Scattering):
    """Coherent scattering of spheres, I(Q) = F(|Q|)² Σ_modes |Σ_j p(r_j) e^{−iQ·r_j}|².

    Of a cloud in three dimensions the projection along z is seen.

    Args:
        detector: Its wave numbers and beamstop.
        probe: Amplitude of the illumination.
        R: Radius of the spheres, in units of the box.
        form: (qy, qx) form factor instead of the sphere's, such as `core_shell`.
        aperture: Drop particles at |r| ≥ L/2, as published. A particle that crosses this edge
            makes the frame jump, which no derivative sees; the probe alone is smooth.

    Example:
        >>> from debye.speckle.scattering.optics import GaussianProbe
        >>> model = Cloud(Detector(n=16, dq=0.5, L=5.0), GaussianProbe(0.25, 5.0), R=0.15)
        >>> model(torch.zeros(3, 7, 2)).shape
        torch.Size([3, 32, 32])
    """

    factor: Tensor

    def __init__(
        self,
        detector: Detector,
        probe: nn.Module,
        R: float,
        form: Tensor | None = None,
        *,
        aperture: bool = True,
    ) -> None:
        super().__init__()
        self.detector, self.probe, self.R, self.form = detector, probe, R, form
        self.aperture = aperture
        factor = sphere(detector.Q * R) if form is None else form.double()
        self.register_buffer("q", detector.q, persistent=False)
        self.register_buffer("mask", detector.open, persistent=False)
        self.register_buffer("factor", factor.square() * detector.open, persistent=False)

    def forward(self, state: Tensor, specimen: Tensor | None = None) -> Tensor:
        """Intensity (…, qy, qx) of clouds (…, particle, coordinate)."""
        r = state[..., :2]  # a third coordinate or a phase does not scatter
        p = self.probe(r)  # [mode, ..., particle]
        if self.aperture:
            p = p * (r.square().sum(-1) < (self.detector.L / 2) ** 2)
        amplitude = cloud_amplitude(r, p, self.q)  # [mode, ..., qy, qx]
        return squared(amplitude).sum(dim=0) * self.factor.to(r.dtype)


class RigidCloud(Cloud):
    """A cloud that moves as one: the state is its displacement (…, 2), the specimen its points.

    A third coordinate of the state is the angle by which the cloud has turned about its origin.

    Example:
        >>> from debye.speckle.scattering.optics import GaussianProbe
        >>> model = RigidCloud(Detector(n=16, dq=0.5, L=2.0), GaussianProbe(0.25, 2.0), R=0.07)
        >>> model(torch.zeros(3, 9, 2), torch.zeros(3, 400, 2)).shape  # 3 clouds, 9 times
        torch.Size([3, 9, 32, 32])
    """

    def forward(self, state: Tensor, specimen: Tensor | None = None) -> Tensor:
        """Intensity (run, time, qy, qx) of displacements (run, time, 2 or 3).

        Raises:
            InputError: The points of the cloud are missing.
        """
        if specimen is None:
            raise InputError(
                "a rigid cloud needs its points",
                why="no specimen was given",
                fix="pass the (run, particle, 2) points of the clouds",
            )
        points = specimen[:, None].to(state.dtype)
        if state.shape[-1] == 3:
            c, s = state[..., 2:].cos(), state[..., 2:].sin()
            x, y = points.unbind(-1)
            points = torch.stack([c * x - s * y, s * x + c * y], dim=-1)
        return super().forward(points + state[..., None, :2])


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
