"""Scattering obeys the laws of diffraction, and the quick path equals the dense one."""

import math

import pytest
import torch

from debye.errors import InputError
from debye.speckle.scattering.models import (
    Cloud,
    Lattice,
    RigidCloud,
    cloud_amplitude,
    lattice_amplitude,
    squared,
)
from debye.speckle.scattering.noise import LIKELIHOODS, expose, exposure, likelihood, masked_mean
from debye.speckle.scattering.optics import (
    Detector,
    GaussianProbe,
    GridProbe,
    bilinear,
    coordinates,
    core_shell,
    sphere,
)
from debye.speckle.scattering.scan import Scan

DETECTOR = Detector(n=16, dq=0.5, L=2.0, f_mask=0.06)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(points, f, q):
    """Σ_j f_j e^{−iQ·r_j}, one phase per pixel and particle."""
    qy, qx = torch.meshgrid(q, q, indexing="ij")
    phase = (
        qx[..., None] * points[..., None, None, :, 0]
        + qy[..., None] * points[..., None, None, :, 1]
    )
    return (f[..., None, None, :] * torch.exp(-1j * phase)).sum(-1)


@pytest.mark.parametrize("complex_weights", [False, True])
def test_factorised_cloud_equals_dense(complex_weights):
    points, f = 0.5 * random(3, 20, 2), random(3, 20, seed=1)
    if complex_weights:
        f = torch.complex(f, random(3, 20, seed=2))
    quick = cloud_amplitude(points, f, DETECTOR.q)
    torch.testing.assert_close(
        quick, dense(points, f.to(quick.dtype), DETECTOR.q), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("complex_weights", [False, True])
def test_factorised_lattice_equals_dense(complex_weights):
    f = random(2, 18, 18)
    if complex_weights:
        f = torch.complex(f, random(2, 18, 18, seed=2))
    y, x = torch.meshgrid(coordinates(18, 2.0), coordinates(18, 2.0), indexing="ij")
    points = torch.stack([x, y], -1).reshape(-1, 2)
    quick = lattice_amplitude(f, DETECTOR.q, 2.0)
    torch.testing.assert_close(
        quick, dense(points, f.flatten(1).to(quick.dtype), DETECTOR.q), rtol=0, atol=1e-12
    )


def test_lattice_equals_zero_padded_fft():
    """With N/dq whole, the detector is a crop of a padded transform (numpy's own)."""
    f = random(16, 16)
    far = torch.fft.fftshift(torch.fft.fft2(f, s=(32, 32)))
    phase = torch.exp(1j * DETECTOR.q * 1.0)  # the lattice starts at −L/2
    torch.testing.assert_close(lattice_amplitude(f, DETECTOR.q, 2.0), far * phase[:, None] * phase)


def test_translation_leaves_the_intensity():
    points = 0.2 * random(12, 2)
    shift = torch.tensor([0.3, -0.1], dtype=torch.float64)
    one = squared(cloud_amplitude(points, torch.ones(12).double(), DETECTOR.q))
    two = squared(cloud_amplitude(points + shift, torch.ones(12).double(), DETECTOR.q))
    torch.testing.assert_close(one, two)


def test_quarter_turn_turns_the_frame():
    points = 0.3 * random(12, 2)
    turned = torch.stack([-points[:, 1], points[:, 0]], -1)
    model = Cloud(DETECTOR, GaussianProbe(0.25, 2.0), R=0.05)
    before, after = model(points)[1:, 1:], model(turned)[1:, 1:]  # q = −n/2 has no partner
    torch.testing.assert_close(after, before.rot90(-1))


def test_real_object_is_friedel_symmetric():
    for frame in (
        Cloud(DETECTOR, GaussianProbe(0.25, 2.0), R=0.05)(0.3 * random(9, 2)),
        Lattice(DETECTOR, GaussianProbe(0.25, 2.0), points=20)(random(20, 20)),
    ):
        inner = frame[1:, 1:]
        torch.testing.assert_close(inner, inner.flip(0, 1))


def convolved_with_probe(amplitude, detector, f_probe, cutoff=1.5e-5):
    """The probe as the published study applies it: a convolution on the detector.

    P(Q) = exp(−Q² r_p²/2), r_p = f_probe·L, cut off where it falls below ``cutoff``; beyond the
    detector's edge the amplitude is taken for 0. Divided by 2π/(r_p dQ)², the integral of P.
    """
    step, width = detector.dq * 2 * math.pi / detector.L, f_probe * detector.L
    extent = int(math.sqrt(-2 * math.log(cutoff)) / (width * step))
    Q = step * torch.arange(-extent, extent + 1, dtype=torch.float64)
    line = torch.exp(-(Q**2) * width**2 / 2).to(amplitude.real.dtype)
    planes = torch.view_as_real(amplitude).movedim(-1, 0).reshape(-1, 1, *amplitude.shape[-2:])
    for kernel in (line[:, None], line[None, :]):  # the Gaussian factorises
        planes = torch.nn.functional.conv2d(planes, kernel[None, None], padding="same")
    whole = torch.complex(*planes.reshape(2, *amplitude.shape))
    return whole * (width * step) ** 2 / (2 * math.pi)


def test_probe_by_product_agrees_with_the_published_convolution():
    detector = Detector(n=42, dq=0.5, L=2.0)
    f, probe = random(80, 80).cos(), GaussianProbe(0.25, 2.0)
    x = coordinates(80, 2.0)
    y, x = torch.meshgrid(x, x, indexing="ij")
    window = probe(torch.stack([x, y], -1))[0]
    product = lattice_amplitude(window * f, detector.q, 2.0)
    convolved = convolved_with_probe(lattice_amplitude(f, detector.q, 2.0), detector, 0.25)
    inner = slice(12, -12)  # the convolution knows nothing beyond the detector's edge
    error = (product - convolved)[inner, inner].abs().max() / convolved.abs().max()
    assert error < 1e-5


def test_grid_probe_equals_gaussian_where_it_is_given():
    x = coordinates(32, 2.0)
    y, x = torch.meshgrid(x, x, indexing="ij")
    points = torch.stack([x, y], -1)
    gauss = GaussianProbe(0.25, 2.0)
    grid = GridProbe(gauss(points).to(torch.complex128), 2.0)
    torch.testing.assert_close(grid(points).real, gauss(points))
    one, two = (Lattice(DETECTOR, p, points=32)(random(32, 32)) for p in (gauss, grid))
    torch.testing.assert_close(one, two)


def test_modes_add_in_intensity():
    modes = torch.complex(random(2, 20, 20), random(2, 20, 20, seed=1))
    theta = random(20, 20)
    both = Lattice(DETECTOR, GridProbe(modes, 2.0), points=20)(theta)
    each = [Lattice(DETECTOR, GridProbe(m, 2.0), points=20)(theta) for m in modes]
    torch.testing.assert_close(both, each[0] + each[1])


@pytest.mark.parametrize("shift", ["bilinear", "fourier"])
def test_gradients_against_finite_differences(shift):
    def cloud(x):
        return Cloud(DETECTOR, GaussianProbe(0.25, 2.0), R=0.05)(x)[::7, ::7]

    def lattice(theta):
        return Lattice(DETECTOR, GaussianProbe(0.25, 2.0), points=16)(theta)[::7, ::7]

    def scan(x):
        thing = torch.complex(random(14, 14), random(14, 14, seed=1))
        return Scan(thing, torch.ones(1, 8, 8).to(thing.dtype), 1.0, shift)(x)

    assert torch.autograd.gradcheck(cloud, (0.3 * random(3, 2).requires_grad_(),), atol=1e-5)
    assert torch.autograd.gradcheck(lattice, (random(16, 16).requires_grad_(),), atol=1e-5)
    assert torch.autograd.gradcheck(
        scan, (torch.tensor([[0.3, -0.7]]).double().requires_grad_(),), atol=1e-5
    )


def test_batch_equals_loop_and_outsiders_are_dropped():
    clouds = 0.4 * random(3, 9, 2)
    model = Cloud(DETECTOR, GaussianProbe(0.25, 2.0), R=0.05)
    torch.testing.assert_close(model(clouds), torch.stack([model(c) for c in clouds]))
    outsider = torch.cat([clouds[0], torch.tensor([[0.8, 0.8]]).double()])
    torch.testing.assert_close(model(outsider), model(clouds[0]))


def test_rigid_cloud_is_the_moved_cloud():
    clouds, paths = 0.2 * random(2, 9, 2), 0.1 * random(2, 4, 2, seed=1)
    rigid = RigidCloud(DETECTOR, GaussianProbe(0.25, 2.0), R=0.05)
    plain = Cloud(DETECTOR, GaussianProbe(0.25, 2.0), R=0.05)
    torch.testing.assert_close(rigid(paths, clouds)[1, 2], plain(clouds[1] + paths[1, 2]))
    with pytest.raises(InputError, match="no specimen"):
        rigid(paths)


def test_three_dimensions_are_seen_in_projection():
    cloud = 0.2 * random(9, 3)
    model = Cloud(DETECTOR, GaussianProbe(0.25, 2.0), R=0.05)
    torch.testing.assert_close(model(cloud), model(cloud[:, :2]))
    theta = random(6, 20, 20)
    seen = Lattice(DETECTOR, GaussianProbe(0.25, 2.0), points=20, form="projected")(theta)
    density = Lattice(DETECTOR, GaussianProbe(0.25, 2.0), points=20, form="density")
    torch.testing.assert_close(seen, density(theta.cos().sum(0)))


def test_published_detectors():
    for n, dq, L, f_mask, pixels, q_max in (
        (42, 0.5, 2.0, 0.06, 84, 65.97),
        (48, 0.75, 5.0, 0.05, 64, 30.16),
        (42, 0.75, 2.0, 0.05, 56, 65.97),
    ):
        detector = Detector(n, dq, L, f_mask)
        assert detector.pixels == pixels
        assert detector.q.abs().max().item() == pytest.approx(q_max, abs=0.01)
        assert detector.q[pixels // 2] == 0
        assert not detector.open[pixels // 2, pixels // 2]


def test_form_factors():
    assert sphere(torch.tensor([0.0, 1e-3, 1e-2, 1.1e-2]).double()).diff().abs().max() < 1e-4
    q = torch.linspace(0, 30, 50).double()
    hollow = core_shell(q, core=0.1, shell=0.2, contrast_core=0.0, contrast_shell=1.0)
    assert hollow[0] == 1
    with pytest.raises(InputError, match="cancel at q = 0"):
        core_shell(q, core=1.0, shell=1.0, contrast_core=0.0, contrast_shell=0.0)


def test_scan_shift_by_whole_pixels_is_exact_and_both_shifts_agree():
    k = torch.fft.fftfreq(40).double()
    smooth = torch.exp(-((k[:, None] ** 2 + k**2) / (2 * 0.03**2)))
    thing = torch.fft.ifft2(
        torch.fft.fft2(torch.complex(random(40, 40), random(40, 40, seed=1))) * smooth
    )
    probe = torch.ones(1, 16, 16, dtype=thing.dtype)
    scan = Scan(thing, probe, stop=-1.0)
    torch.testing.assert_close(scan.view(torch.tensor([3.0, -2.0]).double()), thing[10:26, 15:31])
    x = torch.tensor([1.3, 0.6]).double()
    edges = slice(3, -3)  # a phase ramp wraps around at the rim
    one, two = scan.view(x)[edges, edges], Scan(thing, probe, -1.0, "fourier").view(x)[edges, edges]
    assert (one - two).abs().max() / one.abs().max() < 0.1


def test_photons_are_seeded_and_of_the_right_number():
    intensity = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(8, 8, dtype=torch.bool)
    gain = exposure(intensity, 1e3, mask)
    assert (intensity[:, 0] * gain).max().item() == pytest.approx(1e3)
    one, two = (expose(intensity * gain, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.mean().item() == pytest.approx((intensity * gain).mean().item(), rel=0.01)
    with pytest.raises(InputError, match="dark"):
        exposure(0 * intensity, 1e3, mask)


@pytest.mark.parametrize("name", ["poisson", "amplitude"])
def test_likelihoods_are_least_at_the_truth(name):
    chosen = likelihood(name)
    rate = torch.full((200_000,), 3.0, dtype=torch.float64)
    counts = torch.poisson(rate, generator=torch.Generator().manual_seed(0))
    losses = [chosen.loss(rate * s, counts).mean().item() for s in (0.97, 1.0, 1.03)]
    assert losses[1] == min(losses)


@pytest.mark.parametrize("name", ["poisson", "amplitude", "exact"])
def test_residual_and_weight_make_the_gradient(name):
    chosen = LIKELIHOODS[name]
    rate = torch.tensor([0.5, 2.0, 30.0], dtype=torch.float64, requires_grad=True)
    counts = torch.tensor([1.0, 0.0, 33.0], dtype=torch.float64)
    (slope,) = torch.autograd.grad(chosen.loss(rate, counts).sum(), rate)
    torch.testing.assert_close(
        slope, (chosen.weight(rate, counts) * chosen.residual(rate, counts)).detach()
    )


def test_masked_pixels_do_not_count():
    values, mask = torch.ones(3, 2, 2), torch.tensor([[True, False], [True, True]])
    values[:, 0, 1] = math.inf
    values = torch.where(mask, values, 5.0)
    assert masked_mean(values, mask) == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Detector(48, 0.7, 5.0), "even number of pixels"),
        (lambda: Detector(48, 1.5, 5.0), "aliases the object"),
        (lambda: Lattice(DETECTOR, GaussianProbe(0.25, 2.0), points=12), "aliases a lattice"),
        (
            lambda: Lattice(DETECTOR, GaussianProbe(0.25, 2.0), points=20, form="spin"),
            "unknown form",
        ),
        (lambda: GaussianProbe(0.0, 2.0), "f_probe must be above 0"),
        (lambda: GridProbe(torch.ones(3, 4, 5), 2.0), r"not \(mode, N, N\)"),
        (lambda: Scan(torch.ones(8, 8), torch.ones(1, 8, 8)), "smaller than the object"),
        (lambda: likelihood("cauchy"), "there are squares, poisson"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_bilinear_is_dark_outside():
    assert bilinear(torch.ones(4, 4), torch.tensor([-2.0]), torch.tensor([1.0])) == 0
