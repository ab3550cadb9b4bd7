"""What the detector sees of a lattice and of a cloud."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from debye.errors import InputError
from debye.speckle.scattering.illumination import (
    Convolution,
    continued_line,
    exact,
    gaussian_line,
    published,
    toeplitz,
)
from debye.speckle.scattering.optics import Detector, GaussianProbe, Setting, coordinates, sphere
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

    adjustable: tuple[str, ...] = ()
    """Which parts of a `Setting` its ``intensity`` heeds."""

    @abstractmethod
    def forward(self, state: Tensor, specimen: Tensor | None = None) -> Tensor:
        """Intensity (…, qy, qx) of states (…); masked pixels hold 0.

        ``specimen`` is what does not move with the state but differs from run to run, such as
        the random cloud that a source illuminates.
        """

    def intensity(
        self, state: Tensor, specimen: Tensor | None = None, setting: Setting | None = None
    ) -> Tensor:
        """Intensity (…, qy, qx), behind the beamstop too, of an instrument set as it is."""
        return self(state, specimen)


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

    adjustable = ("centre", "q_scale", "width")

    def forward(self, state: Tensor, specimen: Tensor | None = None) -> Tensor:
        """Intensity (…, qy, qx) of lattice states."""
        return self.intensity(state, specimen) * self.mask

    def intensity(
        self, state: Tensor, specimen: Tensor | None = None, setting: Setting | None = None
    ) -> Tensor:
        """The same, behind the beamstop too, of an instrument set as it is."""
        f = self.scatterers(state)[..., None, :, :]  # [..., mode, y, x]
        window, q, still, L = self.window, self.q, self.still, self.detector.L
        if setting is not None:
            window, q = self.window_of(setting), q * (1 + setting.q_scale)
            still = self.charge * squared(lattice_amplitude(window, q, L)).sum(dim=-3)
        window = window.to(f.dtype.to_complex() if window.is_complex() else f.dtype)
        seen = squared(lattice_amplitude(window * f, q, L)).sum(dim=-3)
        return self.magnetic * seen + still.to(seen.dtype)

    def window_of(self, setting: Setting) -> Tensor:
        """(mode, y, x) the probe of an instrument set as it is, with the phase of its centre."""
        x = coordinates(self.points, self.detector.L).to(self.q)
        r = torch.stack(torch.meshgrid(x, x, indexing="xy"), dim=-1)
        lit = self.probe(r / (1 + setting.width))
        return lit * setting.ramp(r * (1 + setting.q_scale), self.detector)


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
ROOM = 1.1
"""How much further a probe is known than the aperture, for wave numbers that may be stretched."""


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
            makes the frame jump, which no derivative sees, and a fit ends short of its minimum. So
            None softens the edge, from L/2 to 1.1 L/2, unless the illumination is ``published``.
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
    continued: Tensor | None

    def __init__(
        self,
        detector: Detector,
        probe: nn.Module,
        R: float,
        form: Tensor | None = None,
        *,
        aperture: bool | None = None,
        illumination: str | None = None,
        charge: float = 1.0,
        magnetic: float = 0.0,
    ) -> None:
        super().__init__()
        self.detector, self.probe, self.R, self.form = detector, probe, R, form
        self.aperture, self.charge, self.magnetic = aperture, charge, magnetic
        self.illumination = illumination
        made = _convolution(illumination or ("exact" if form is None else "centres"), self)
        self.extent = math.inf if made is None else made.extent
        self.period = math.inf if made is None else made.period
        Q = detector.q if made is None else made.Q
        factor = sphere(torch.hypot(Q[:, None], Q) * R) if form is None else form.double()
        self.register_buffer("q", detector.q, persistent=False)
        self.register_buffer("mask", detector.open, persistent=False)
        self.register_buffer("Q", Q, persistent=False)
        self.register_buffer("factor", factor, persistent=False)
        for name in ("along_y", "along_x", "continued"):
            self.register_buffer(name, getattr(made, name, None), persistent=False)

    @property
    def adjustable(self) -> tuple[str, ...]:  # type: ignore[override]  # a probe may forbid some
        """Which parts of a `Setting` it heeds: all, unless the probe is known as a grid alone."""
        able = self.along_x is None or isinstance(self.probe, GaussianProbe)
        return ("centre", "q_scale", "width") if able else ("centre",)

    def forward(self, state: Tensor, specimen: Tensor | None = None) -> Tensor:
        """Intensity (…, qy, qx) of clouds (…, particle, coordinate).

        Raises:
            InputError: Moments are to scatter, and the states hold no angle.
        """
        return self.intensity(state, specimen) * self.mask

    def intensity(
        self, state: Tensor, specimen: Tensor | None = None, setting: Setting | None = None
    ) -> Tensor:
        """The same, behind the beamstop too, of an instrument set as it is.

        Raises:
            InputError: Moments are to scatter, and the states hold no angle.
        """
        seen = state.new_zeros(())
        for weight, f, form in self.channels(state):
            amplitude = self.amplitude(state[..., :2], f, setting, form=form)
            seen = seen + weight * squared(amplitude).sum(dim=0)
        return seen

    def channels(self, state: Tensor) -> list[tuple[float, Tensor, bool]]:
        """Of charge and moments, the weight, what scatters (…, particle), and if as spheres.

        Raises:
            InputError: Moments are to scatter, and the states hold no angle.
        """
        if self.magnetic and state.shape[-1] < 3:
            raise InputError(
                "moments cannot scatter",
                why=f"each particle has {state.shape[-1]} numbers, and no angle after x and y",
                fix="give states (…, particle, 3), or magnetic=0",
            )
        charge = (self.charge, state.new_ones(state.shape[:-1]), True)
        return [charge, *([(self.magnetic, state[..., -1].cos(), False)] if self.magnetic else [])]

    def amplitude(
        self, r: Tensor, f: Tensor, setting: Setting | None = None, *, form: bool = True
    ) -> Tensor:
        """(mode, …, qy, qx) P ∗ (F · Σ_j f_j e^{−iQ·r_j}), each particle by itself and added up.

        Args:
            r: (…, particle, 2).
            f: (…, particle) weights.
            setting: How the instrument stands.
            form: Whether F is that of the spheres, or 1.
        """
        r, f = self.lit(r, f, setting)
        factor = self.factor_of(setting).to(r.dtype) if form else r.new_ones(())
        if self.along_x is None:
            return cloud_amplitude(r, f, self.q) * factor
        both = torch.stack(parts(cloud_sums(r, f, self.Q)), -3) * factor  # [..., even/odd, Q, Q]
        U, V = (self.as_in(both, x) for x in self.lines_of(setting))
        lit = (U @ both[..., None, None, :, :].to(U.dtype) @ V.mT).sum(-3)  # over ranks
        even, odd = lit.movedim(-3, 0).unbind(-3)  # [mode, ..., qy, qx]
        return even - 1j * odd if lit.is_complex() else torch.complex(even, -odd)

    def lit(self, r: Tensor, f: Tensor, setting: Setting | None = None) -> tuple[Tensor, Tensor]:
        """Where particles seem to be (…, particle, 2), and how bright ([mode, ]…, particle).

        Args:
            r: (…, particle, 2).
            f: (…, particle) weights.
            setting: How the instrument stands.
        """
        f = f * self.let_through(r)
        if self.along_x is None:
            f = f * self.probe(r if setting is None else r / (1 + setting.width))
        else:
            f = f * (r.abs().amax(-1) < self.period / 2)  # beyond, the probe is dark
        if setting is not None:  # pixels that see larger wave numbers see a larger cloud
            r = r * (1 + setting.q_scale)
            f = f * setting.ramp(r, self.detector)
        return r, f

    def let_through(self, r: Tensor) -> Tensor:
        """(…, particle) the part of each particle at r (…, particle, 2) that the aperture leaves.

        Example:
            >>> from debye.speckle.scattering.optics import GaussianProbe
            >>> model = Cloud(Detector(n=16, dq=0.5, L=2.0), GaussianProbe(0.25, 2.0), R=0.1)
            >>> part = model.let_through(torch.tensor([[0.9, 0.0], [1.05, 0.0], [1.2, 0.0]]))
            >>> part.round(decimals=2)
            tensor([1.0000, 0.5200, 0.0000])
        """
        if self.aperture is False:
            return r.new_ones(r.shape[:-1])
        beyond = r.square().sum(-1) / (self.detector.L / 2) ** 2 - 1
        if self.aperture or self.illumination == "published":
            return (beyond < 0).to(r.dtype)
        # Of r², for the root would differentiate badly at 0.
        part = (1 - beyond / (ROOM**2 - 1)).clamp(0, 1)
        return part.square() * (3 - 2 * part)

    @staticmethod
    def as_in(values: Tensor, line: Tensor) -> Tensor:
        """A line in the precision of what it meets, complex if either is."""
        complex_ = line.is_complex() or values.is_complex()
        return line.to(values.real.dtype.to_complex() if complex_ else values.dtype)

    def factor_of(self, setting: Setting | None) -> Tensor:
        """(M, M) form factor at the wave numbers ``Q`` of an instrument set as it is."""
        if setting is None or self.form is not None:
            return self.factor
        return sphere(setting.seen(self.Q, self.detector) * self.R)

    def lines_of(self, setting: Setting | None) -> tuple[Tensor, Tensor]:
        """The matrices along y and x of `Convolution`, of an instrument set as it is."""
        probe = self.probe
        if setting is None or not isinstance(probe, GaussianProbe):
            return self.along_y, self.along_x
        wider = (1 + setting.width) * (1 + setting.q_scale)
        if self.continued is None:
            step = float(self.Q[1] - self.Q[0])
            line = gaussian_line(probe, step, len(self.Q) - 1, wider)
        else:
            line = continued_line(probe, self.extent, self.continued, wider)
        rows, columns = self.along_x.shape[-2:]
        finer = round(float((self.q[1] - self.q[0]) / (self.Q[1] - self.Q[0])))
        matrix = toeplitz(line, rows, columns, finer) * (self.along_x != 0)
        return matrix, matrix


def _convolution(how: str, cloud: Cloud) -> Convolution | None:
    """The probe's convolution, or None where spheres are lit as their centres are."""
    probe, form, aperture = cloud.probe, cloud.form, cloud.aperture is not False
    if how == "centres":
        return None
    if how == "published" and aperture and isinstance(probe, GaussianProbe):
        return published(cloud.detector, probe)
    if how == "exact" and form is None:
        return exact(
            cloud.detector, probe, ROOM * cloud.detector.L / 2 + cloud.R if aperture else math.inf
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

    def intensity(
        self, state: Tensor, specimen: Tensor | None = None, setting: Setting | None = None
    ) -> Tensor:
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
        return super().intensity(points + state[..., None, :2], None, setting)
