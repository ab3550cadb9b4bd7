"""A spectrum counts states, and no operation on it may lose count in silence."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from debye.crystals.dos.quadrature import integration_weights, trapezoid_weights
from debye.crystals.dos.spectrum import NORMALISATIONS, Spectrum
from debye.errors import InputError
from debye.units import FREQUENCY_UNITS

GRID = np.arange(0.0, 1001.0, 20.0)
quick = settings(max_examples=40, deadline=None)


@st.composite
def spectra(draw, lowest=-200.0):
    """Any density on any axis, with any number of atoms."""
    size = draw(st.integers(3, 40))
    steps = draw(arrays.arrays(float, size, elements=st.floats(0.5, 50.0)))
    start = draw(st.floats(lowest, 100.0))
    frequency = start + np.cumsum(steps)
    # Below 1e-3 of the peak there is nothing; then integrals compare to rounding, not to noise.
    heights = st.one_of(st.just(0.0), st.floats(1e-3, 1.0))
    density = draw(arrays.arrays(float, size, elements=heights))
    density[draw(st.integers(0, size - 1))] = 1.0
    return Spectrum(frequency, density, draw(st.integers(1, 40)), "max").to("3N")


def peak(*positions, grid=GRID, n_atoms=1.0):
    """States on single points of an axis."""
    density = np.stack([np.where(grid == position, 1.0, 0.0) for position in positions])
    return Spectrum(grid, density, n_atoms, "max").to("3N")


@quick
@given(spectra(), st.sampled_from(sorted(NORMALISATIONS)))
def test_normalisations_return_to_where_they_began(spectrum, normalisation):
    other = spectrum.to(normalisation)
    torch.testing.assert_close(other.to("3N").density, spectrum.density)
    goal = {"3N": 3 * spectrum.n_atoms, "3": 3.0, "1": 1.0}
    if normalisation == "max":
        assert other.density.max().item() == pytest.approx(1.0)
    else:
        assert other.integral.item() == pytest.approx(float(goal[normalisation]))


@quick
@given(spectra(), st.sampled_from(sorted(FREQUENCY_UNITS)), st.sampled_from(["3N", "max"]))
def test_units_return_to_where_they_began(spectrum, unit, normalisation):
    view = spectrum.to(normalisation)
    back = Spectrum.from_unit(unit, *view.in_unit(unit), spectrum.n_atoms, normalisation)
    torch.testing.assert_close(back.frequency, spectrum.frequency)
    torch.testing.assert_close(back.density, view.density)


def test_a_density_in_another_unit_still_counts_its_states():
    frequency, density = peak(200.0)[0].in_unit("meV")
    assert (density @ trapezoid_weights(frequency)).item() == pytest.approx(3.0)


@quick
@given(spectra(), st.floats(0.1, 300.0))
def test_broadening_conserves_states_and_their_sign(spectrum, sigma):
    broad = spectrum.broaden(sigma=sigma)
    torch.testing.assert_close(broad.integral, spectrum.integral)
    on_real_points = (spectrum.weights * (spectrum.frequency > 0) * spectrum.density).sum()
    if not bool((spectrum.frequency == 0).any()):
        still = (broad.weights * (broad.frequency > 0) * broad.density).sum()
        torch.testing.assert_close(still, on_real_points)


def test_a_gaussian_has_the_width_asked_for():
    grid = np.arange(0.0, 1001.0, 2.0)
    broad = peak(500.0, grid=grid)[0].broaden(fwhm=40.0)
    half = torch.from_numpy(grid)[broad.density > broad.density.max() / 2]
    assert (half[-1] - half[0]).item() == pytest.approx(40.0, abs=4.0)
    assert broad.mean_frequency.item() == pytest.approx(500.0)


def test_a_width_below_the_spacing_changes_nothing():
    spectrum = peak(20.0, 500.0)
    torch.testing.assert_close(spectrum.broaden(sigma=1e-3).density, spectrum.density)


@quick
@given(spectra(), st.integers(2, 80))
def test_resampling_conserves_states(spectrum, size):
    low, high = spectrum.frequency[0].item(), spectrum.frequency[-1].item()
    axis = np.linspace(low, high, size)
    resampled = spectrum.resample(axis)
    torch.testing.assert_close(resampled.integral, spectrum.integral)
    step = max(np.diff(axis).max(), 0)
    shift = (resampled.mean_frequency - spectrum.mean_frequency).abs().item()
    assert shift <= step + float(spectrum.frequency.diff().max())


def test_resampling_finer_approaches_the_same_function():
    spectrum = peak(100.0, 500.0)
    fine = spectrum.resample(np.arange(0.0, 1001.0, 0.5))
    torch.testing.assert_close(fine.resample(GRID).integral, spectrum.integral)
    at_points = fine.density[:, ::40]
    assert (at_points - spectrum.density).abs().max() < 0.01 * spectrum.density.max()


def test_resampling_refuses_to_lose_states():
    with pytest.raises(InputError, match="lie outside the new axis"):
        peak(900.0).resample(np.arange(0.0, 501.0, 20.0))
    kept, lost = peak(100.0, 900.0).sum().clip(upper=500.0)
    assert lost.item() == pytest.approx(0.5)
    assert kept.resample(np.arange(0.0, 501.0, 20.0)).integral.item() == pytest.approx(3.0)


@quick
@given(spectra(lowest=-1500.0))
def test_imaginary_and_real_shares_make_the_whole(spectrum):
    fraction = spectrum.imaginary_fraction.item()
    assert 0 <= fraction <= 1 + 1e-12
    if spectrum.frequency[0] >= 0:
        assert fraction == 0
    if spectrum.frequency[-1] > 0 and fraction < 0.999:
        real, lost = spectrum.clip(lower=0.0)
        assert lost.item() == pytest.approx(fraction, abs=1e-9)
        assert real.frequency[0] >= 0
        states = spectrum.integral * (1 - fraction)
        torch.testing.assert_close(real.integral, states, rtol=1e-9, atol=1e-9)


def test_a_spectrum_without_real_modes_has_nothing_to_keep():
    with pytest.raises(InputError, match="nothing to keep"):
        peak(-20.0, grid=np.arange(-100.0, 0.0, 20.0)).clip(lower=0.0)


@quick
@given(spectra(lowest=0.0))
def test_the_debye_like_rule_counts_as_the_trapezoid_rule_does(spectrum):
    weights = integration_weights(spectrum.frequency, torch.ones_like)
    torch.testing.assert_close(weights, spectrum.weights)


def test_a_grid_that_crosses_zero_is_cut_there():
    frequency = torch.tensor([-30.0, -10.0, 10.0, 20.0], dtype=torch.float64)
    density = torch.tensor([1.0, 1.0, 3.0, 0.0], dtype=torch.float64)
    weights = integration_weights(frequency, torch.ones_like)
    # From 2 at zero to 3 at 10, then down to 0 at 20.
    assert (density @ weights).item() == pytest.approx(25.0 + 15.0)


def test_sites_add_to_the_crystal():
    sites = Spectrum(GRID, peak(100.0, 200.0, 700.0).density, labels=("Ga1", "Ga2", "N1"))
    total = sites.sum()
    torch.testing.assert_close(total.density, (sites[0] + sites["Ga2"] + sites["N1"]).density)
    torch.testing.assert_close(sum(sites[i] for i in range(3)).density, total.density)
    assert total.n_atoms.item() == 3
    assert total.integral.item() == pytest.approx(9.0)
    assert sites[:2].labels == ("Ga1", "Ga2")
    with pytest.raises(InputError, match="the labels are Ga1, Ga2, N1"):
        sites["Ga"]


def test_an_alloy_takes_its_share_of_states_and_atoms():
    one, two = peak(100.0, n_atoms=5)[0], peak(300.0, n_atoms=3)[0]
    alloy = 0.25 * one + two * 0.75
    assert alloy.n_atoms.item() == pytest.approx(3.5)
    assert alloy.integral.item() == pytest.approx(10.5)
    nothing = 0.0 * one + two
    torch.testing.assert_close(nothing.density, two.density)
    waterfall = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64) * one
    assert waterfall.shape == (3,)
    torch.testing.assert_close(waterfall[1].density, (0.5 * one).density)


def test_arithmetic_refuses_what_does_not_count():
    spectrum = peak(100.0)
    assert spectrum.shape == (1,)
    for operation in (
        lambda: spectrum.to("max") + spectrum,
        lambda: 2 * spectrum.to("1"),
        lambda: spectrum.to("3").sum(),
    ):
        with pytest.raises(InputError, match="only '3N' counts states"):
            operation()
    with pytest.raises(InputError, match="axes differ"):
        spectrum + peak(101.0, grid=GRID + 1)[0]
    with pytest.raises(InputError, match="no leading axis"):
        spectrum[0].sum()
    with pytest.raises(TypeError):
        spectrum + 1.0


def test_a_batch_equals_a_loop():
    batch = peak(60.0, 300.0, 900.0, n_atoms=[1, 2, 3])
    rows = [batch[i] for i in range(3)]
    for view in (
        lambda s: s.broaden(sigma=30).density,
        lambda s: s.resample(np.arange(0.0, 1001.0, 7.0 / 3)).density,
        lambda s: s.to("1").density,
        lambda s: s.moment(2),
        lambda s: s.moment(-2),
        lambda s: s.imaginary_fraction,
        lambda s: s.cumulative([333.0]),
        lambda s: s.clip(50.0, 950.0)[0].density,
    ):
        torch.testing.assert_close(view(batch), torch.stack([view(row) for row in rows]))


def test_moments_of_the_debye_spectrum():
    omega = torch.linspace(0, 300, 601, dtype=torch.float64)
    debye = Spectrum(omega, 9 * omega**2 / 300**3)
    for order in (-2, -1, 1, 2):
        exact = 3 * 300.0**order / (order + 3)
        assert debye.moment(order).item() == pytest.approx(exact, rel=1e-3)
    with pytest.raises(InputError, match="diverges"):
        debye.moment(-3)


def test_gradients_flow_through_every_operation():
    density = torch.rand(2, 51, dtype=torch.float64).requires_grad_()

    def through(values):
        spectrum = Spectrum(GRID, values, normalisation="max").to("3N")
        moved = spectrum.broaden(sigma=15).resample(np.linspace(0, 1000, 31))
        return moved.sum().mean_frequency + moved.moment(-1).sum() + moved.to("max").density.mean()

    assert torch.autograd.gradcheck(through, density)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_type_and_device_come_from_the_density(dtype):
    density = torch.tensor([0.0, 0.06, 0.0], dtype=dtype)
    spectrum = Spectrum([0, 100, 200], density, n_atoms=2)
    for value in (spectrum.frequency, spectrum.n_atoms, spectrum.integral, spectrum.moment(-1)):
        assert value.dtype == dtype
    assert Spectrum([0, 1], [0, 1], 1, "max").density.dtype == torch.float64
    assert "3 points 0..200 cm⁻¹" in repr(spectrum)


def test_rounding_below_zero_is_removed():
    assert Spectrum([0, 1, 2], [-1e-9, 1.0, 0.0], 1, "max").density.min() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1, 2], [0, float("nan"), 1]), "NaN or infinity"),
        (([0, float("inf")], [0, 1]), "NaN or infinity"),
        (([0, 1, 2], [0, -0.1, 1]), "least value is -0.1"),
        (([0, 2, 1], [0, 1, 1]), "2 is followed by 1 at point 2"),
        (([0, 1, 1], [0, 1, 1]), "do not increase"),
        (([0, 1, 2], [0, 0, 0]), "zero everywhere"),
        (([0, 1, 2], [[0, 1, 0], [0, 0, 0]]), "zero everywhere in row .1."),
        (([0, 1, 2], [0, 1]), "differ in length"),
        (([0], [1]), "two points or more"),
        (([[0, 1]], [1, 1]), "two points or more"),
        (([0, 1], "up"), "density is not numbers"),
        (([0, 1, 2], [[0, 1, 0], [0, 1]]), "density is not numbers"),
        (([0, 1], [0, 1], -1), "n_atoms is negative"),
        (([0, 1], [0, 1], [1, 2]), "n_atoms does not fit"),
        (([0, 1], [0, 1], 1, "sum"), "unknown normalisation 'sum'"),
        (([0, 100], [0, 1]), "16.67 times the states of its n_atoms"),
        (([0, 100], [0, 0.12], 1, "3"), "2 times the states"),
        (([0, 1], [[0, 1]], 1, "max", ["a", "b"]), "2 different labels for 1 rows"),
    ],
)
def test_what_is_no_spectrum_is_refused(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        Spectrum(*arguments)
    assert caught.value.fix


@pytest.mark.parametrize("width", [{}, {"fwhm": 1.0, "sigma": 1.0}, {"sigma": 0.0}, {"fwhm": -1.0}])
def test_a_width_is_one_positive_number(width):
    with pytest.raises(InputError, match="cannot broaden"):
        peak(100.0).broaden(**width)
