"""Pixels go where their q and azimuth say, and nowhere else."""

import math

import numpy as np
import pytest
import torch

from debye.errors import InputError
from debye.speckle.xpcs.centre import centre_warnings, find_centre, uneven
from debye.speckle.xpcs.correlator import Correlator
from debye.speckle.xpcs.geometry import Geometry, wavelength_of
from debye.speckle.xpcs.jackknife import boundaries
from debye.speckle.xpcs.qmap import SECTORS, make_qmap
from debye.speckle.xpcs.slots import Slots

ALL = torch.ones(80, 96, dtype=torch.bool)
CENTRE = Geometry(x=45.3, y=38.8)
REAL = Geometry(x=45.3, y=38.8, distance=4.0, pixel=(55e-6, 75e-6), wavelength=1.0)


def test_q_is_bragg_s_on_a_flat_detector():
    """q = 4π sin θ/λ with 2θ the angle at which the sample sees the pixel."""
    q = REAL.modulus((80, 96))
    ray = np.array([(70 - 38.8) * 55e-6, (90 - 45.3) * 75e-6, 4.0])
    two_theta = math.acos(ray[2] / np.linalg.norm(ray))
    assert float(q[70, 90]) == pytest.approx(4 * math.pi * math.sin(two_theta / 2), rel=1e-9)
    assert REAL.unit == "1/Å"
    assert REAL.energy == pytest.approx(12.39841984)  # hc, CODATA 2018
    assert wavelength_of(REAL.energy) == pytest.approx(1.0)


def test_without_distance_or_wavelength_q_is_in_pixels():
    for lacking in ({"distance": 4.0}, {"distance": 4.0, "pixel": 1e-4}, {"wavelength": 1.0}):
        assert Geometry(x=2, y=3, **lacking).unit == "pixels"
    oblong = Geometry(x=0, y=0, pixel=(2e-4, 1e-4)).modulus((4, 4))
    assert oblong[3, 0] == pytest.approx(6)  # rows are two columns tall
    assert Geometry(x=10, y=5).cropped(top=2, left=3) == Geometry(x=7, y=3)


@pytest.mark.parametrize("geometry", [CENTRE, REAL], ids=["pixels", "physical"])
@pytest.mark.parametrize("phi", [1, 4, [-20.0, 20.0, 100.0]], ids=["rings", "quarters", "given"])
@pytest.mark.parametrize("spacing", ["linear", "log"])
def test_every_pixel_lies_within_the_borders_of_its_bin(geometry, phi, spacing):
    mask = ALL.clone()
    mask[:, 50:53] = False
    reach = (float(geometry.modulus((80, 96))[38, 52]), float(geometry.modulus((80, 96))[38, 83]))
    qmap = make_qmap(geometry, mask, 4, phi=phi, spacing=spacing, q_range=reach)
    q, azimuth = geometry.modulus(qmap.shape), geometry.azimuth(qmap.shape)
    number = qmap.dynamic.labels.long() - 1
    inside = number >= 0
    assert bool(mask[inside].all())
    which = qmap.dynamic.index[number[inside]]
    n_phi = len(qmap.phi_edges) - 1
    assert bool((q[inside] >= qmap.q_edges[which // n_phi]).all())
    assert bool((q[inside] < qmap.q_edges[which // n_phi + 1]).all())
    turned = (azimuth[inside] - qmap.phi_edges[0]) % 360 + qmap.phi_edges[0]
    assert bool((turned >= qmap.phi_edges[which % n_phi]).all())
    assert bool((turned < qmap.phi_edges[which % n_phi + 1]).all())
    covered = mask & (q >= qmap.q_edges[0]) & (q < qmap.q_edges[-1])
    if phi != [-20.0, 20.0, 100.0]:
        assert int(inside.sum()) == int(covered.sum()) == int(qmap.dynamic.counts.sum())


def test_static_shells_lie_each_in_one_bin_and_cover_it():
    qmap = make_qmap(CENTRE, ALL, 5, phi=3)
    shell, number = qmap.static.labels[qmap.static.labels > 0], qmap.dynamic.labels
    assert torch.equal(qmap.static.labels > 0, number > 0)
    home = number[qmap.static.labels > 0]
    for s in shell.unique():
        assert len(home[shell == s].unique()) == 1
    assert sorted(shell.unique().tolist()) == list(range(1, len(qmap.static) + 1))


@pytest.mark.parametrize("geometry", [CENTRE, REAL], ids=["pixels", "physical"])
def test_rings_by_ratio_have_shells_of_a_pixel_each(geometry):
    """A wide ring of one shell would take the slope of the scattering for contrast."""
    q = geometry.modulus((80, 96))
    step = float(q.diff(dim=1).abs().max())
    qmap = make_qmap(geometry, ALL, "log:5", q_range=(6 * step, 36 * step))
    ratio = qmap.q_edges[1:] / qmap.q_edges[:-1]
    torch.testing.assert_close(ratio, torch.full((5,), 6.0**0.2).double())
    shell = qmap.static.labels
    for number in shell[shell > 0].unique():
        held = q[shell == number]
        assert float(held.max() - held.min()) <= step * (1 + 1e-9)
    assert len(qmap.static) > 25


def test_rings_are_told_in_one_word():
    same = [
        ("3", make_qmap(CENTRE, ALL, 3)),
        ("linear:3", make_qmap(CENTRE, ALL, 3)),
        ("log:3", make_qmap(CENTRE, ALL, 3, spacing="log")),
        ("4, 9,30.5", make_qmap(CENTRE, ALL, [4.0, 9.0, 30.5])),
    ]
    for text, want in same:
        assert make_qmap(CENTRE, ALL, text) == want


@pytest.mark.parametrize(("x", "y"), [(-60, 38), (-20, -30), (150, 12), (40, 200), (-0.4, 40)])
def test_a_beam_beside_the_detector_has_its_rings_where_pixels_are(x, y):
    qmap = make_qmap(Geometry(x=x, y=y), ALL, 4)
    q = qmap.geometry.modulus(qmap.shape)
    assert float(qmap.q_edges[0]) == pytest.approx(float(q.min()))
    assert float(q.min()) < float(qmap.q_edges[-1]) <= float(q.max())
    assert int((qmap.dynamic.labels > 0).sum()) > 0.6 * q.numel()
    far = math.hypot(95 - x, 79 - y) if x < 40 else math.hypot(x, 79 - y)
    assert float(q[79, 95 if x < 40 else 0]) == pytest.approx(far)


def test_sectors_are_equal_and_opposite_pixels_share_one():
    qmap = make_qmap(Geometry(x=40, y=40), torch.ones(81, 81) > 0, 3)
    cell, label = qmap.cells(), qmap.dynamic.labels
    for number in range(1, 4):
        sizes = torch.bincount(cell[label == number], minlength=SECTORS)
        assert int(sizes.max() - sizes.min()) <= 1
    same = (cell == cell.flip(0, 1))[label > 0]
    assert same.double().mean() > 0.97  # but where a border falls between the two
    assert boundaries(qmap)[0] > boundaries(qmap)[2] > 0


def test_slots_hold_each_pixel_once():
    qmap = make_qmap(CENTRE, ALL, 4, phi=2)
    slots = Slots.of(qmap)
    held = np.sort(slots.pixel[slots.is_pixel])
    assert held.tolist() == np.flatnonzero(qmap.dynamic.labels.flatten().numpy()).tolist()
    assert (np.diff(slots.cell) >= 0).all()
    labels = qmap.dynamic.labels.flatten().numpy()
    assert (labels[slots.pixel] - 1 == slots.cell // SECTORS).all()


def test_parts_off_the_detector_are_left_out_and_named():
    qmap = make_qmap(Geometry(x=5, y=40), torch.ones(81, 81) > 0, [10, 20, 30], phi=8)
    assert len(qmap) < 16
    assert qmap.left_out == ((0, 3), (0, 4), (1, 3), (1, 4))
    assert qmap.q.tolist() == [15.0] * 6 + [25.0] * 6


def test_equal_maps_compare_and_have_one_digest():
    one, two = make_qmap(CENTRE, ALL, 3), make_qmap(CENTRE, ALL, 3)
    assert one == two
    assert one.digest == two.digest
    assert make_qmap(REAL, ALL, 3).digest != one.digest
    assert one.only([0, 1, 2]) == one


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make_qmap(CENTRE, ALL, [-1.0, 5.0]), "q is never negative"),
        (lambda: make_qmap(CENTRE, ALL, [1.0, math.nan, 9.0]), "one is not finite"),
        (lambda: make_qmap(CENTRE, ALL, "8,x"), "cannot make rings of '8,x'"),
        (lambda: make_qmap(CENTRE, ALL, "cubic:3"), "linear and log"),
        (lambda: make_qmap(CENTRE, ALL, "log:1,2"), "cannot make rings of 'log:1,2'"),
        (lambda: make_qmap(CENTRE, ALL, "9,5"), "does not rise"),
        (lambda: make_qmap(CENTRE, ALL, "-3"), "cannot make -3 rings"),
        (lambda: make_qmap(CENTRE, ALL, 0), "cannot make 0 rings"),
        (lambda: make_qmap(CENTRE, ALL, [3.0, 2.0]), "does not rise"),
        (lambda: make_qmap(CENTRE, ALL, 2, phi=0), "cannot make 0 azimuthal parts"),
        (lambda: make_qmap(CENTRE, ALL, 2, phi=[0, 200, 400]), "more than once"),
        (lambda: make_qmap(CENTRE, ALL, 2, spacing="cubic"), "linear and log"),
        (lambda: make_qmap(CENTRE, ALL, [500, 600]), "ring 0 of the q-map holds too few pixels"),
        (lambda: make_qmap(REAL, ALL, [0.1, 0.2]), r"that count have 3\.934e-05 … 0\.006808 1/Å"),
        (lambda: make_qmap(CENTRE, ALL, [0, 1, 20]), "ring 0 of the q-map"),
        (lambda: make_qmap(CENTRE, ~ALL), "the mask leaves no pixel"),
        (lambda: make_qmap(CENTRE, ALL, 2).only([2]), "has no bin 2"),
        (lambda: Geometry(x=math.nan, y=0), "cannot use x = nan"),
        (lambda: Geometry(x=0, y=0, distance=-1.0), "distance = -1.0"),
        (lambda: Geometry(x=0, y=0, pixel=(1e-4, 0.0)), "pixel \\(x\\) = 0.0"),
        (lambda: wavelength_of(0), "energy = 0"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InputError, match=words):
        call()


def scattering(x, y, frames=1):
    """Counts of frames that fall with q, and a mask of the beamstop."""
    radius = Geometry(x=x, y=y).modulus((80, 96)).clamp(min=2)
    random = np.random.default_rng(0)
    return random.poisson(30 * (radius.numpy() / 20) ** -2, (frames, 80, 96)), radius > 5


@pytest.mark.parametrize("offset", [(0.0, 0.0), (2.0, -1.5), (-9.0, 6.0), (14.0, 11.0)])
def test_the_centre_is_found_in_the_mean_frame(offset):
    counts, mask = scattering(45.3, 38.8)
    mean = torch.from_numpy(counts.mean(0))
    guess = Geometry(x=45.3 + offset[0], y=38.8 + offset[1], distance=4.0)
    found = find_centre(mean, mask, guess)
    assert found.distance == 4.0
    assert (found.x, found.y) == pytest.approx((45.3, 38.8), abs=0.25)


@pytest.mark.parametrize(("off", "low", "high"), [(0.0, -0.004, 0.004), (4.0, 0.02, 0.2)])
def test_a_misplaced_centre_raises_the_baseline_as_foretold(off, low, high):
    frames, mask = scattering(45.3, 38.8, frames=150)
    qmap = make_qmap(Geometry(x=45.3 + off, y=38.8), mask, 2, q_range=(10.0, 34.0))
    foretold = uneven(torch.from_numpy(frames.mean(0)), qmap)
    assert ((foretold > low) & (foretold < high)).all()
    correlator = Correlator(qmap)
    correlator.update(frames)
    found = correlator.finish()
    torch.testing.assert_close(found.g2[:, 0] - 1, foretold, atol=0.01, rtol=0.3)
    assert bool(centre_warnings(found)) == (off > 0)


@pytest.mark.parametrize("true", [-40.0, 40.0])
def test_arcs_are_seen_to_be_uneven_too(true):
    """About a beam beside the detector rings are arcs; light about another place is told."""
    beside = make_qmap(Geometry(x=-40, y=40), torch.ones(81, 81) > 0, [60, 80, 100])
    light = Geometry(x=true, y=40).modulus((81, 81)).clamp(min=1) ** -1
    raised = uneven(light, beside)
    if true < 0:
        assert float(raised.abs().max()) < 1e-3
        return
    labels = beside.dynamic.labels
    for k, found in enumerate(raised.tolist()):
        mean = shell_mean(light, beside)[labels == k + 1]
        whole = float((light[labels == k + 1] / mean).var())
        assert 0.5 * whole < found < 1.2 * whole


def shell_mean(light, qmap):
    """The mean of its static shell at every pixel."""
    label = qmap.static.labels.flatten().long()
    total = torch.zeros(len(qmap.static) + 1).index_add(0, label, light.flatten().float())
    return (total / label.bincount())[label].reshape(light.shape)


def test_a_centre_that_is_nowhere_near_is_refused():
    counts, mask = scattering(45.3, 38.8)
    mean = torch.from_numpy(counts.mean(0))
    with pytest.raises(InputError, match="the mean frame is dark"):
        find_centre(0 * mean, mask, CENTRE)
    flat = 1 + 0.1 * torch.rand(mean.shape, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match="as bright at every radius"):
        find_centre(flat, mask, CENTRE)
    with pytest.raises(InputError, match="no place within 3 pixels"):
        find_centre(mean, mask, Geometry(x=70, y=10), within=3.0)
