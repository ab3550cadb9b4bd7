"""The figure of bands: one frequency axis, ranges, what is imaginary, a reference."""

from dataclasses import replace

import pytest
from lattices import CRYSTALS, force_constants_of

from debye.crystals.lattice.bands import Bands
from debye.crystals.lattice.dos import by_element, low_discrepancy, site_densities
from debye.plot.bands import bands_figure
from debye.units import frequency_factor


@pytest.fixture(scope="module")
def bands():
    crystal = CRYSTALS["salt"]
    force_constants = force_constants_of(crystal)
    found = Bands.of(
        crystal,
        [replace(force_constants, values=x * force_constants.values) for x in (0.8, 1.2)],
        points=60,
    )
    return found, site_densities(force_constants, low_discrepancy(200))


def test_bands_and_density_share_an_axis(bands):
    found, sites = bands
    parts = by_element(found.crystal, sites)
    figure = bands_figure(found, sites.sum(), parts, unit="THz", notes=["a note"])
    left, right = figure.axes
    assert left.get_ylim() == right.get_ylim()
    assert left.get_ylim()[0] == 0
    assert left.get_ylim()[1] > found.range[1].max() * frequency_factor("cm-1", "THz")
    assert left.get_ylabel() == "Frequency (THz)"
    labels = [tick.get_text() for tick in left.get_xticklabels()]
    assert labels == ["Γ", "X", "W", "K", "Γ", "L", "U", "W", "L", "K|U", "X"]
    curves = [line for line in left.lines if len(line.get_xdata()) > 2]
    assert len(curves) == 6 * len(found.path.ends)
    assert len(left.collections) == 6  # the ranges


def test_imaginary_bands_are_drawn_below_zero(bands):
    found, sites = bands
    unstable = replace(found, frequency=-found.frequency, range=None)
    left, right = bands_figure(unstable, sites.sum()).axes
    assert left.get_ylim()[0] < -found.frequency.max()
    assert left.get_ylim() == right.get_ylim()
    assert any(line.get_ydata()[0] == 0 for line in left.lines)


def test_a_reference_is_dashed(bands):
    found, _ = bands
    (ax,) = bands_figure(found, reference=found).axes
    assert sum(line.is_dashed() for line in ax.lines) == 6 * len(found.path.ends)


@pytest.mark.parametrize("unit", ["cm-1", "THz"])
def test_what_lies_beyond_the_training_spectra_is_hatched_and_said_once(bands, unit):
    found, sites = bands
    end = 0.8 * found.frequency.max().item()
    beyond = Bands.of(found.crystal, found.force_constants, found.path, range_end=end)
    assert sum("extrapolated" in note for note in beyond.notes) == 1
    assert not any("extrapolated" in note for note in found.notes)
    figure = bands_figure(beyond, sites.sum(), unit=unit)
    for ax in figure.axes:
        (patch,) = [patch for patch in ax.patches if patch.get_hatch()]
        assert patch.get_y() == pytest.approx(end * frequency_factor("cm-1", unit))
        assert patch.get_y() + patch.get_height() == pytest.approx(ax.get_ylim()[1])
    assert not [p for ax in bands_figure(found).axes for p in ax.patches if p.get_hatch()]
