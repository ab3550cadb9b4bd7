"""Form factors within the probe's convolution, against the integral and against the public code.

`public_cloud` and `public_lattice` are the forward model of the published study (Andrejevic et
al., npj Comput. Mater. 10, 225 (2024)), written from its description: dense phase factors, and the
probe as a convolution on the detector that takes what lies beyond its edge for 0.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from debye.errors import InputError
from debye.speckle.data.frames import simulate
from debye.speckle.dynamics.known import SwarmForce
from debye.speckle.dynamics.learnable import RadialSpline
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import Swarm
from debye.speckle.fitting.fitted import fit
from debye.speckle.fitting.plan import Plan, Stage
from debye.speckle.scattering.models import Cloud, Lattice, RigidCloud, Scattering
from debye.speckle.scattering.optics import (
    Detector,
    GaussianProbe,
    GridProbe,
    coordinates,
    core_shell,
    sphere,
)
from debye.speckle.serialize import build, describe
from debye.speckle.studies.study import relative
from debye.speckle.studies.swarm import pair_force

DETECTOR, PROBE, R = Detector(24, 0.75, 5.0, 0.05), GaussianProbe(0.25, 5.0), 0.3


def disc(count, seed=0, radius=2.4):
    random = np.random.default_rng(seed)
    r, phi = radius * random.random(count) ** 0.5, 2 * np.pi * random.random(count)
    return torch.from_numpy(np.stack([r * np.cos(phi), r * np.sin(phi)], -1))


def probed(amplitude, detector, f_probe):
    """The public convolution: P(Q) = exp(−Q² r_p²/2), cut to a k × k kernel, zeros outside."""
    width, q = f_probe * detector.L, detector.q
    pixels = len(q)
    extent = math.sqrt(-2 * math.log(1e-16)) / width
    k = 2 * (math.ceil(extent / float(q[-1] - q[0]) * pixels) // 2) + 1 - pixels % 2
    Q = (torch.arange(k) - k // 2).double() * float(q[1] - q[0])
    kernel = torch.exp(-(Q[:, None] ** 2 + Q**2) * width**2 / 2)[None, None]
    planes = torch.view_as_real(amplitude).movedim(-1, 0)[:, None]
    real, imaginary = torch.nn.functional.conv2d(planes, kernel, padding="same")[:, 0]
    return real.square() + imaginary.square()


def phases(points, detector):
    qy, qx = torch.meshgrid(detector.q, detector.q, indexing="ij")
    return torch.exp(1j * (qx[..., None] * points[:, 0] + qy[..., None] * points[:, 1]))


def public_cloud(points, detector, f_probe, R, c=(1.0, 0.0), angle=None):
    inside = points.square().sum(-1) < (detector.L / 2) ** 2
    waves = phases(points[inside], detector)
    seen = c[0] * probed(sphere(detector.Q * R) * waves.sum(-1), detector, f_probe)
    if c[1]:
        seen = seen + c[1] * probed((angle[inside].cos() * waves).sum(-1), detector, f_probe)
    return seen * (detector.f_mask * detector.n * 2 * math.pi / detector.L < detector.Q)


def alike(one, two, rtol):
    """Equal but for a factor, which the exposure takes up."""
    one, two = one / one.max(), two / two.max()
    torch.testing.assert_close(one, two, rtol=0, atol=rtol)


def test_published_equals_the_public_code():
    points, angle = disc(60), disc(60, seed=1)[:, 0]
    model = Cloud(DETECTOR, PROBE, R, illumination="published")
    alike(model(points), public_cloud(points, DETECTOR, 0.25, R), 1e-13)
    both = Cloud(DETECTOR, PROBE, R, illumination="published", charge=0.7, magnetic=0.4)
    expected = public_cloud(points, DETECTOR, 0.25, R, (0.7, 0.4), angle)
    alike(both(torch.cat([points, angle[:, None]], -1)), expected, 1e-13)


def integral(points, detector, R):
    """|Σ_j ∫ p(r_j + u) s(u) e^{−iQ·(r_j + u)} du|² by quadrature, s the projected sphere."""
    node, weight = np.polynomial.legendre.leggauss(24)
    mu, w = (node + 1) / 2, weight / 2  # u = R√(1 − μ²): then s(u) u du is 3 μ² dμ
    phi = 2 * np.pi * np.arange(48) / 48
    rho, where = R * np.sqrt(1 - mu**2), np.stack([np.cos(phi), np.sin(phi)], -1)
    u = torch.from_numpy((rho[:, None, None] * where).reshape(-1, 2))
    mass = torch.from_numpy(np.repeat(3 * mu**2 * w, 48) / 48)
    seen = torch.zeros(detector.pixels, detector.pixels, dtype=torch.complex128)
    for point in points:
        lit = mass * torch.exp(-(point + u).square().sum(-1) / (2 * (0.25 * detector.L) ** 2))
        seen += (lit * phases(point + u, detector).conj()).sum(-1)
    return (seen.real**2 + seen.imag**2) * detector.open


@pytest.mark.parametrize("detector", [DETECTOR, Detector(16, 0.5, 5.0), Detector(16, 1.0, 5.0)])
@pytest.mark.parametrize("aperture", [True, False])
def test_exact_equals_the_integral_over_spheres(detector, aperture):
    points = disc(12, radius=2.4 if aperture else 4.0)
    model = Cloud(detector, PROBE, R, aperture=aperture)
    alike(model(points), integral(points, detector, R), 3e-5)
    centres = Cloud(detector, PROBE, R, aperture=aperture, illumination="centres")
    assert relative(centres(points), model(points)) > 0.01  # R is a quarter of the probe


@pytest.mark.parametrize("how", ["exact", "centres"])
def test_no_frame_jumps_where_a_particle_leaves(how):
    """Unless asked for: the aperture's edge is soft, and a step of 1e-6 changes nothing by more."""
    path = torch.linspace(2.4, 2.9, 101, dtype=torch.float64)
    at = torch.stack([path, 0 * path], -1)[:, None]  # [step, particle, xy]
    still = torch.tensor([[0.3, 0.1]]).double().expand(len(at), 1, 2)
    for aperture in (None, True):
        model = Cloud(DETECTOR, PROBE, R, illumination=how, aperture=aperture)
        before, after = (model(torch.cat([still, x], 1)) for x in (at - 1e-6, at))
        jump = float((after - before).abs().max() / before.max())
        assert (jump > 1e-2) is (aperture is True)
        assert jump > 1e-2 or jump < 1e-4


def test_small_spheres_are_lit_as_their_centres():
    points = disc(60)
    exact, centres = (
        Cloud(DETECTOR, PROBE, 1e-3, illumination=how) for how in ("exact", "centres")
    )
    alike(exact(points), centres(points), 3e-5)


def test_any_probe_is_a_sum_of_lines():
    """A curved wave that leans, on a grid on which the bilinear rule is exact to 1e-3."""
    x = coordinates(160, 5.0)
    y, x = torch.meshgrid(x, x, indexing="ij")
    leaning = torch.exp(-(x**2 + y**2 + x * y) / 1.2 + 1j * (0.3 * x**2 - 0.5 * x * y))
    probe, points = (
        GridProbe(torch.stack([leaning, 0.5 * leaning.conj()]), 5.0),
        disc(40, radius=1.5),
    )
    model = Cloud(DETECTOR, probe, 1e-3)
    assert model.along_x.shape[:1] == (2,)
    assert model.along_x.is_complex()
    alike(model(points), Cloud(DETECTOR, probe, 1e-3, illumination="centres")(points), 2e-3)


def test_lattice_has_the_channels_of_the_public_code():
    """Charge and moments, mixed form factors, and channels that add up before the modulus."""
    theta = torch.from_numpy(np.random.default_rng(0).uniform(0, 6.28, (2, 20, 20)))
    detector = Detector(18, 0.5, 2.0, 0.06)
    probe = GaussianProbe(0.1, 2.0)
    model = Lattice(detector, probe, 20, mixing=0.3, charge=0.1, magnetic=0.9, weights=(1.0, -0.5))
    grid = coordinates(20, 2.0)
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    waves = phases(torch.stack([x, y], -1).reshape(-1, 2), detector).conj()
    f = 0.7 * theta.cos() + 0.3 * (theta.sin() ** 3 + theta.cos() ** 3)
    lit = torch.exp(-(x**2 + y**2) / (2 * 0.2**2))
    one = ((lit * (f[0] - 0.5 * f[1])).flatten() * waves).sum(-1)
    two = (lit.flatten() * waves).sum(-1)
    expected = (0.9 * one.abs().square() + 0.1 * two.abs().square()) * detector.open
    torch.testing.assert_close(model(theta), expected)
    with pytest.raises(InputError, match="cannot mix form factors of 'density'"):
        Lattice(detector, probe, 20, "density", mixing=0.1)


def test_a_rigid_cloud_is_lit_likewise():
    points, shift = disc(30, radius=1.0), torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    rigid = RigidCloud(DETECTOR, PROBE, R)(shift[None], points[None])
    torch.testing.assert_close(rigid[0, 0], Cloud(DETECTOR, PROBE, R)(points + shift))


def test_what_does_not_go_together_is_refused():
    form = core_shell(DETECTOR.Q, core=0.1, shell=0.2, contrast_core=1.0, contrast_shell=0.5)
    for how, other, why in (
        ("exact", {"form": form}, "known at the detector's pixels alone"),
        ("published", {"aperture": False}, "a cloud in an aperture"),
        ("bright", {}, "there are published, exact, centres"),
    ):
        with pytest.raises(InputError, match=why):
            Cloud(DETECTOR, PROBE, R, illumination=how, **other)
    Cloud(DETECTOR, PROBE, R, form)  # lit at the centres
    with pytest.raises(InputError, match="no angle after x and y"):
        Cloud(DETECTOR, PROBE, R, magnetic=0.1)(disc(5))
    with pytest.raises(InputError, match="cannot light spheres exactly"):
        Cloud(DETECTOR, GaussianProbe(4.0, 5.0), R, aperture=False)


def test_files_say_how_spheres_are_lit():
    model = Cloud(DETECTOR, PROBE, R, illumination="published", magnetic=0.2)
    assert repr(build(describe(model))) == repr(model)
    old = describe(Cloud(DETECTOR, PROBE, R))
    del old["arguments"]["illumination"]
    assert build(old).illumination == "centres"  # as before there was a choice


class Public(Scattering):
    """The public code's frames, for debye to learn from."""

    def __init__(self, detector, f_probe, R):
        super().__init__()
        self.detector, self.f_probe, self.R = detector, f_probe, R
        self.q, self.mask = detector.q, detector.open

    def forward(self, state, specimen=None):
        flat = [public_cloud(x, self.detector, self.f_probe, self.R) for x in state.flatten(0, -3)]
        return torch.stack(flat).view(*state.shape[:-2], *self.mask.shape)


def test_frames_of_the_public_code_are_learned():
    """With the form factor before the convolution the error is 6 %."""
    detector, solver = Detector(16, 0.5, 2.0, 0.05), Solver(rtol=1e-6, atol=1e-7)
    y0 = 2 * torch.rand(3, 60, 2, generator=torch.Generator().manual_seed(0)).double() - 1
    times = 0.1 * torch.arange(6).double()
    frames = simulate(
        Swarm(SwarmForce(), L=2.0), Public(detector, 0.25, 0.1), y0, times, solver=solver
    )
    frames = replace(frames, gain=None)  # the public scale is another, and is fitted
    system = Swarm(RadialSpline(12), L=2.0)
    model = Cloud(detector, GaussianProbe(0.25, 2.0), 0.1, illumination="published")
    fit(system, frames, Plan((Stage(6, 3, 1, 8, 3),)), solver=solver, scattering=model)
    r = torch.linspace(0.1, 0.8, 200, dtype=torch.float64)
    assert relative(pair_force(system.term, r), pair_force(SwarmForce(), r)) < 3e-3
