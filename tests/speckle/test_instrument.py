"""An instrument that stands otherwise than written sees what another, written so, would see."""

import math

import pytest
import torch

from debye.errors import InputError
from debye.speckle.fitting.instrument import Instrument, mixed, possible
from debye.speckle.fitting.residuals import q_bins
from debye.speckle.scattering.models import Cloud, Lattice, RigidCloud, Scattering
from debye.speckle.scattering.optics import Detector, GaussianProbe, GridProbe, Setting
from debye.speckle.scattering.scan import Scan

L = 2.0


def cloud(detector, probe):
    return Cloud(detector, probe, R=0.07)


def centres(detector, probe):
    return Cloud(detector, probe, R=0.07, illumination="centres")


def rigid(detector, probe):
    return RigidCloud(detector, probe, R=0.07)


def lattice(detector, probe):
    return Lattice(detector, probe, points=20, charge=0.1)


generator = torch.Generator().manual_seed(0)
POINTS = 0.9 * torch.rand(1, 1, 30, 2, generator=generator, dtype=torch.float64) - 0.45
THETA = 6.3 * torch.rand(1, 1, 20, 20, generator=generator, dtype=torch.float64)
SEEN = {
    "cloud": (cloud, POINTS, None),
    "centres": (centres, POINTS, None),
    "rigid": (rigid, torch.zeros(1, 1, 2, dtype=torch.float64), POINTS[0]),
    "lattice": (lattice, THETA, None),
}


def setting(centre=(0.0, 0.0), q_scale=0.0, width=0.0):
    return Setting(*(torch.tensor(x, dtype=torch.float64) for x in (centre, q_scale, width)))


@pytest.fixture(params=SEEN)
def case(request):
    return SEEN[request.param]


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4 * float(expected.max()))


def test_nominal_is_none(case):
    make, state, specimen = case
    model = make(Detector(16, 0.5, L), GaussianProbe(0.2, L))
    close(model.intensity(state, specimen, setting()), model.intensity(state, specimen))
    close(model(state, specimen), model.intensity(state, specimen) * model.mask)


def test_a_wider_probe(case):
    make, state, specimen = case
    detector = Detector(16, 0.5, L)
    found = make(detector, GaussianProbe(0.2, L)).intensity(state, specimen, setting(width=0.1))
    close(found, make(detector, GaussianProbe(0.22, L)).intensity(state, specimen))


def test_stretched_wave_numbers(case):
    make, state, specimen = case
    found = make(Detector(16, 0.5, L), GaussianProbe(0.2, L)).intensity(
        state, specimen, setting(q_scale=0.05)
    )
    if make is lattice:  # whose box is the detector's: half the steps show every second pixel
        pytest.skip("a lattice's own box cannot be stretched")
    other = make(Detector(16, 0.5, L / 1.05), GaussianProbe(0.2 * 1.05, L / 1.05))
    close(found, other.intensity(state, specimen))


def test_a_beam_that_misses_by_a_pixel_moves_the_pattern_by_one(case):
    make, state, specimen = case
    model = make(Detector(16, 0.5, L), GaussianProbe(0.2, L))
    there = model.intensity(state, specimen)
    found = model.intensity(state, specimen, setting(centre=(1.0, -2.0)))
    close(found[..., :-2, 1:], there[..., 2:, :-1])


def test_a_probe_on_a_grid_can_miss_the_centre_alone():
    modes = GaussianProbe(0.2, L)(
        torch.stack(torch.meshgrid(*[torch.linspace(-1, 0.9, 20)] * 2, indexing="xy"), -1)
    )
    model = Cloud(Detector(16, 0.5, L), GridProbe(modes, L), R=0.07)
    assert model.adjustable == ("centre",)
    found = model.intensity(POINTS, None, setting(centre=(1.0, 0.0)))
    close(found[..., 1:], model.intensity(POINTS)[..., :-1])


def test_what_can_be_unknown_follows_from_the_scattering_model():
    class Own(torch.nn.Module):
        def forward(self, state, specimen=None):
            return state.new_ones(*state.shape[:2], 4, 4)

    class Changed(Cloud):
        def forward(self, state, specimen=None):
            return 2 * super().forward(state, specimen)

    simple = ("gain", "background", "halo")
    assert possible(Own()) == simple
    assert possible(Changed(Detector(16, 0.5, L), GaussianProbe(0.2, L), R=0.07)) == simple
    scan = Scan(torch.ones(24, 24, dtype=torch.complex64), torch.ones(1, 8, 8).cfloat())
    assert possible(scan) == simple
    assert isinstance(scan, Scattering)
    seen = Instrument(values={"background": [3.0]}).counts(Own(), torch.zeros(1, 2, 2).double())
    assert (seen == 4).all()


def test_incoherence_keeps_the_light_and_takes_the_contrast():
    speckle = -torch.rand(1, 64, 64, generator=generator, dtype=torch.float64).log()
    for part in (0.3, 1.0):
        found = mixed(speckle, torch.tensor([part], dtype=torch.float64))
        inner = slice(8, -8), slice(8, -8)
        assert float(found[0][inner].mean()) == pytest.approx(
            float(speckle[0][inner].mean()), rel=0.02
        )
        contrast = float(found[0][inner].var() / speckle[0][inner].var())
        assert contrast == pytest.approx((1 - part) ** 2, abs=0.03)


def test_background_and_halo_are_counts_whatever_the_gain():
    model = cloud(Detector(16, 0.5, L, 0.05), GaussianProbe(0.2, L))
    made = Instrument(values={"background": [2.0], "halo": [5.0], "gain": [0.1]})
    seen = made.counts(model, POINTS, gain=3.0)
    extra = seen - 3.0 * math.exp(0.1) * model(POINTS)
    assert (extra[..., ~model.mask] == 0).all()
    far = extra[..., 0, 0]
    assert float(far) == pytest.approx(2.0 + 5 * math.exp(-math.hypot(16, 16) / 4), rel=1e-9)


def test_an_unknown_unknown_is_refused():
    with pytest.raises(InputError, match="an instrument has no tilt"):
        Instrument(["tilt"])


def test_rings_hold_as_many_pixels_each():
    mask = torch.rand(31, 20, generator=generator) > 0.1
    counts = q_bins(mask, 6).bincount()
    assert len(counts) == 6
    assert counts.max() - counts.min() <= 1
