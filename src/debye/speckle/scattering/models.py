"""What the detector sees of a lattice, a cloud and a scanned object.

A scanned object: a probe that is moved over it, seen through its diffraction.

    I(Q; x) = Σ_modes |FFT[ probe_m(r) · O(r + x) ]|²

Positions are in pixels of the object, ordered x, y, and measured from its centre
((height − 1)/2, (width − 1)/2); the probe's own centre lies at ((side − 1)/2, (side − 1)/2).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from debye.errors import InputError
from debye.speckle.scattering.illumination import Convolution, exact, published
from debye.speckle.scattering.optics import Detector, GaussianProbe, coordinates, sphere
from debye.speckle.scattering.waves import (
    cloud_amplitude,
    cloud_sums,
    lattice_amplitude,
    parts,
    squared,
)
from debye.speckle.values import OneLine


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
    """Coherent scattering of a lattice, of its moments and of its charge.

    I(Q) = Σ_modes c_m |Σ_r p(r) f(r) e^{−iQ·r}|² + c_c |Σ_r p(r) e^{−iQ·r}|²

    Args:
        detector: Its wave numbers and beamstop.
        probe: Amplitude of the illumination, `GaussianProbe` or `GridProbe`.
        points: Lattice points a side.
        form: What scatters, one of `FORMS`.
        mixing: k of f = (1 − k) cos θ + k (sin³θ + cos³θ), for moments alone.
        charge: c_c, the part that the moments do not change.
        magnetic: c_m.
        weights: Of channels, where states are (…, channel, y, x): their f add up before the
            modulus is taken.

    Raises:
        InputError: The form is unknown or cannot be mixed, or the detector aliases the lattice.

    Example:
        >>> from debye.speckle.scattering.optics import GaussianProbe
        >>> model = Lattice(Detector(n=16, dq=0.5, L=2.0), GaussianProbe(0.25, 2.0), points=20)
        >>> model(torch.zeros(3, 20, 20)).shape
        torch.Size([3, 32, 32])
    """

    window: Tensor
    still: Tensor

    def __init__(
        self,
        detector: Detector,
        probe: nn.Module,
        points: int,
        form: str = "moments",
        *,
        mixing: float = 0.0,
        charge: float = 0.0,
        magnetic: float = 1.0,
        weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        _check_form(form, mixing)
        detector.fits_lattice(points)
        self.detector, self.probe, self.points, self.form = detector, probe, points, form
        self.mixing, self.charge, self.magnetic = mixing, charge, magnetic
        self.weights = None if weights is None else tuple(weights)
        x = coordinates(points, detector.L)
        y, x = torch.meshgrid(x, x, indexing="ij")
        self.register_buffer("q", detector.q, persistent=False)
        self.register_buffer("mask", detector.open, persistent=False)
        with torch.no_grad():
            window = probe(torch.stack([x, y], dim=-1))  # [mode, y, x]
            still = squared(lattice_amplitude(window, detector.q, detector.L)).sum(dim=-3)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("still", charge * still, persistent=False)

    def scatterers(self, state: Tensor) -> Tensor:
        """F (…, y, x) of states."""
        f = FORMS[self.form](state)
        if self.mixing:
            f = (1 - self.mixing) * f + self.mixing * (state.sin() ** 3 + state.cos() ** 3)
        if self.weights is None:
            return f
        return torch.einsum("...cyx,c->...yx", f, f.new_tensor(self.weights))

    def forward(self, state: Tensor, specimen: Tensor | None = None) -> Tensor:
        """Intensity (…, qy, qx) of lattice states."""
        f = self.scatterers(state)[..., None, :, :]  # [..., mode, y, x]
        window = self.window.to(f.dtype.to_complex() if self.window.is_complex() else f.dtype)
        seen = squared(lattice_amplitude(window * f, self.q, self.detector.L)).sum(dim=-3)
        return (self.magnetic * seen + self.still.to(seen.dtype)) * self.mask


def _check_form(form: str, mixing: float) -> None:
    """Refuse an unknown form, and one that is no moment and shall be mixed."""
    if form not in FORMS:
        raise InputError(
            f"unknown form {form!r}",
            why=f"the forms are {', '.join(FORMS)}",
            fix="use one of them",
        )
    if mixing and form != "moments":
        raise InputError(
            f"cannot mix form factors of {form!r}",
            why="sin³θ + cos³θ is of moments on a plane",
            fix="use form='moments', or mixing=0",
        )


ILLUMINATIONS = ("published", "exact", "centres")
"""How a probe lights spheres."""


class Cloud(Scattering):
    """Coherent scattering of spheres, with their form factor F within the probe's convolution.

    I(Q) = Σ_modes c_c |P ∗ (F·A)|² + c_m |P ∗ A_m|²,  A = Σ_j e^{−iQ·r_j},
    A_m = Σ_j cos θ_j e^{−iQ·r_j}

    P ∗ A is Σ_j p(r_j) e^{−iQ·r_j}, but P ∗ (F·A) is not F times that: where the probe changes
    across a sphere, the sphere is lit unevenly. Of a cloud in three dimensions the projection
    along z is seen.

    Args:
        detector: Its wave numbers and beamstop.
        probe: Amplitude of the illumination.
        R: Radius of the spheres, in units of the box.
        form: (qy, qx) form factor instead of the sphere's, such as `core_shell`.
        aperture: Drop particles at |r| ≥ L/2, as published. A particle that crosses this edge
            makes the frame jump, which no derivative sees; the probe alone is smooth.
        illumination: ``published`` convolves on the pixels of the detector, as the public code
            does, which repeats the probe at L/dq and knows no amplitude beyond the detector's
            edge; ``exact`` on a grid fine and wide enough; ``centres`` takes F out of the
            convolution, |P ∗ (F·A)|² ≈ F²|P ∗ A|², which lights all of a sphere as its centre
            is. None takes ``exact``, but ``centres`` with a form factor of your own.
        charge: c_c, of the spheres.
        magnetic: c_m, of moments at their centres; θ is the last number of each particle's state.

    Raises:
        InputError: There is no such illumination, or it does not go with the rest.

    Example:
        >>> from debye.speckle.scattering.optics import GaussianProbe
        >>> model = Cloud(Detector(n=16, dq=0.5, L=5.0), GaussianProbe(0.25, 5.0), R=0.15)
        >>> model(torch.zeros(3, 7, 2)).shape
        torch.Size([3, 32, 32])
    """

    factor: Tensor
    Q: Tensor
    along_y: Tensor
    along_x: Tensor

    def __init__(
        self,
        detector: Detector,
        probe: nn.Module,
        R: float,
        form: Tensor | None = None,
        *,
        aperture: bool = True,
        illumination: str | None = None,
        charge: float = 1.0,
        magnetic: float = 0.0,
    ) -> None:
        super().__init__()
        self.detector, self.probe, self.R, self.form = detector, probe, R, form
        self.aperture, self.charge, self.magnetic = aperture, charge, magnetic
        self.illumination = illumination
        made = _convolution(illumination or ("exact" if form is None else "centres"), self)
        self.period = math.inf if made is None else made.period
        Q = detector.q if made is None else made.Q
        factor = sphere(torch.hypot(Q[:, None], Q) * R) if form is None else form.double()
        self.register_buffer("q", detector.q, persistent=False)
        self.register_buffer("mask", detector.open, persistent=False)
        self.register_buffer("Q", Q, persistent=False)
        self.register_buffer("factor", factor, persistent=False)
        for name in ("along_y", "along_x"):
            self.register_buffer(name, getattr(made, name, None), persistent=False)

    def forward(self, state: Tensor, specimen: Tensor | None = None) -> Tensor:
        """Intensity (…, qy, qx) of clouds (…, particle, coordinate).

        Raises:
            InputError: Moments are to scatter, and the states hold no angle.
        """
        if self.magnetic and state.shape[-1] < 3:
            raise InputError(
                "moments cannot scatter",
                why=f"each particle has {state.shape[-1]} numbers, and no angle after x and y",
                fix="give states (…, particle, 3), or magnetic=0",
            )
        r = state[..., :2]  # a third coordinate or a phase does not scatter
        seen = self.charge * self.modulus(r, r.new_ones(r.shape[:-1]), self.factor.to(r.dtype))
        if self.magnetic:
            seen = seen + self.magnetic * self.modulus(r, state[..., -1].cos(), r.new_ones(()))
        return seen * self.mask

    def modulus(self, r: Tensor, f: Tensor, factor: Tensor) -> Tensor:
        """Σ_modes |P ∗ (factor · Σ_j f_j e^{−iQ·r_j})|², (…, qy, qx).

        Args:
            r: (…, particle, 2).
            f: (…, particle) weights.
            factor: (M, M) form factor at the wave numbers ``Q``, or a number.
        """
        if self.aperture:
            f = f * (r.square().sum(-1) < (self.detector.L / 2) ** 2)
        if self.along_x is None:
            amplitude = cloud_amplitude(r, f * self.probe(r), self.q)  # [mode, ..., qy, qx]
            return squared(amplitude).sum(dim=0) * factor.square()
        f = f * (r.abs().amax(-1) < self.period / 2)  # beyond, the probe is dark
        both = torch.stack(parts(cloud_sums(r, f, self.Q)), -3) * factor  # [..., even/odd, Q, Q]
        U, V = (x.to(r.dtype.to_complex() if x.is_complex() else r.dtype) for x in self.lines)
        lit = (U @ both[..., None, None, :, :].to(U.dtype) @ V.mT).sum(-3)  # over ranks
        even, odd = lit.unbind(-4)  # [..., mode, qy, qx]
        whole = squared(even - 1j * odd) if lit.is_complex() else even.square() + odd.square()
        return whole.sum(-3)

    @property
    def lines(self) -> tuple[Tensor, Tensor]:
        """The matrices along y and x of `Convolution`."""
        return self.along_y, self.along_x


def _convolution(how: str, cloud: Cloud) -> Convolution | None:
    """The probe's convolution, or None where spheres are lit as their centres are."""
    probe, form, aperture = cloud.probe, cloud.form, cloud.aperture
    if how == "centres":
        return None
    if how == "published" and aperture and isinstance(probe, GaussianProbe):
        return published(cloud.detector, probe)
    if how == "exact" and form is None:
        return exact(
            cloud.detector, probe, cloud.detector.L / 2 + cloud.R if aperture else math.inf
        )
    why = {
        "published": "the published convolution is of a Gaussian probe and a cloud in an aperture",
        "exact": "a form factor of your own is known at the detector's pixels alone",
    }.get(how, f"there are {', '.join(ILLUMINATIONS)}")
    raise InputError(
        f"cannot light spheres by illumination={how!r}", why=why, fix="leave it out, or use another"
    )


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
