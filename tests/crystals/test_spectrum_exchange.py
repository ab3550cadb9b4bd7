"""Spectra as arrays, differences, pandas, pymatgen and Euphonic, by those libraries' own count."""

import copy
import pickle
import sys

import numpy as np
import pytest
import torch
from lattices import CRYSTALS, force_constants_of, random_q

from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos.thermo import heat_capacity
from debye.crystals.dos_io.files import read_spectrum
from debye.crystals.lattice.dos import site_densities
from debye.crystals.lattice.force_constants import frequencies, solved
from debye.errors import InputError

AXIS = np.arange(0.0, 401.0, 20.0)
SITES = Spectrum(
    AXIS,
    [np.where(AXIS == 100, 0.15, 0), np.where(AXIS == 200, 0.15, 0)],
    labels=("Ga1", "N2"),
)
TOTAL = SITES.sum()


# Arrays and values.


def test_an_array_of_a_spectrum_is_its_density():
    for spectrum in (TOTAL, SITES):
        assert np.array_equal(np.asarray(spectrum), spectrum.density.numpy())
        assert np.asarray(spectrum, dtype=np.float32).dtype == np.float32
        assert len(spectrum) == len(np.asarray(spectrum))
    assert [row.shape for row in SITES] == [(), ()]
    given = np.array(TOTAL)
    given[:] = 7  # its own memory
    assert TOTAL.density.max() < 1
    grown = torch.tensor([0.0, 0.03, 0.0], requires_grad=True)
    assert np.asarray(Spectrum([0, 100, 200], grown)).shape == (3,)
    assert (np.float64(2) * TOTAL).n_atoms.item() == 4


def test_spectra_are_equal_by_value():
    same = Spectrum(AXIS, TOTAL.density.numpy(), 2)
    assert same == TOTAL
    assert hash(same) == hash(TOTAL)
    single = Spectrum(torch.tensor(AXIS).float(), TOTAL.density.half().float(), 2)
    assert (single == TOTAL) is (single.density.tolist() == TOTAL.density.tolist())
    others = (SITES, 2 * TOTAL, TOTAL.to("3"), SITES["Ga1"], Spectrum(AXIS, TOTAL.density, 3))
    assert TOTAL not in others
    assert Spectrum(AXIS, SITES.density, labels=("Ga1", "N3")) != SITES
    assert TOTAL != "a spectrum"


def test_spectra_are_pickled_and_copied():
    for spectrum in (TOTAL, SITES, TOTAL - SITES[0]):
        assert pickle.loads(pickle.dumps(spectrum)) == spectrum
        assert copy.deepcopy(spectrum) == spectrum
        assert "\n" not in repr(spectrum)


# Differences.


def test_a_difference_has_any_sign():
    apart = SITES["Ga1"] - SITES["N2"]
    assert apart.normalisation == "difference"
    assert apart.density.min() < 0 < apart.density.max()
    assert apart.integral.item() == pytest.approx(0, abs=1e-12)
    assert apart.n_atoms.item() == 0
    frequency, density = apart.in_unit("THz")
    assert torch.trapezoid(density, frequency).item() == pytest.approx(0, abs=1e-12)
    assert apart.cumulative([150]).item() == pytest.approx(3)
    assert apart.to_series().loc[200] == -0.15
    assert apart.to_euphonic().y_data.magnitude.min() < 0


def test_what_is_left_of_a_spectrum_is_one_again():
    rest = (TOTAL - SITES["Ga1"]).to("3N")
    assert rest == SITES["N2"]
    assert (TOTAL - SITES["Ga1"]).to("max").density.max() == 1
    assert heat_capacity(rest, 300.0) == heat_capacity(SITES["N2"], 300.0)


def test_what_a_difference_cannot(tmp_path):
    apart = SITES["Ga1"] - SITES["N2"]
    for verb in (
        lambda: apart.mean_frequency,
        lambda: apart.imaginary_fraction,
        lambda: apart.resample([0, 200, 400]),
        lambda: apart.clip(100),
        lambda: apart + TOTAL,
        lambda: apart - TOTAL,
        lambda: 2 * apart,
        lambda: TOTAL.to("max") - TOTAL.to("max"),
        lambda: TOTAL - TOTAL.resample(np.arange(0, 401, 10.0)),
        lambda: apart.to("3N"),
        apart.to_pymatgen,
        lambda: heat_capacity(apart, 300.0),
        lambda: apart.write(tmp_path / "total_dos.dat"),
    ):
        with pytest.raises(InputError):
            verb()
    with pytest.raises(TypeError):
        TOTAL - 1.0
    assert read_spectrum(apart.write(tmp_path / "d.csv")) == apart
    assert read_spectrum(apart.write(tmp_path / "d.json")) == apart


# Other libraries.


def test_series_and_tables_of_pandas():
    series = TOTAL.to_series("THz")
    assert series.index.name == "frequency_THz"
    assert np.trapezoid(series, series.index) == pytest.approx(6)
    frame = SITES.to_frame()
    assert list(frame.columns) == ["Ga1", "N2"]
    assert np.array_equal(frame.sum(axis=1), TOTAL.to_series())
    with pytest.raises(InputError, match="to_frame"):
        SITES.to_series()


def test_pymatgen_finds_our_heat_capacity():
    pytest.importorskip("pymatgen")
    axis = np.arange(0.0, 401.0, 0.5)
    debye_like = Spectrum(axis, axis**2, 2, "1").to("3N")
    theirs = debye_like.to_pymatgen()
    assert np.trapezoid(theirs.densities, theirs.frequencies) == pytest.approx(6)
    # They count modes at zero as none; on so fine an axis that is the same.
    assert theirs.cv(300.0) == pytest.approx(heat_capacity(debye_like, 300.0).item(), rel=1e-4)
    assert SITES.to_pymatgen().densities.tolist() == TOTAL.to_pymatgen().densities.tolist()


@pytest.mark.parametrize("unit", ["cm-1", "THz", "meV"])
def test_euphonic_counts_as_we_do(unit):
    """Its own densities of states, of the same modes, beside ours in its types."""
    euphonic = pytest.importorskip("euphonic")
    crystal = CRYSTALS["salt"]
    force_constants, q = force_constants_of(crystal), random_q(50)
    parts = list(solved(force_constants, q))
    omega = frequencies(torch.cat([square for _, square, _ in parts])).numpy()
    vectors = torch.cat([vectors for *_, vectors in parts]).numpy()
    ureg = euphonic.ureg
    modes = euphonic.QpointPhononModes(
        euphonic.Crystal(
            crystal.cell * ureg.angstrom,
            crystal.fractional,
            np.array(crystal.symbols()),
            crystal.masses * ureg("amu"),
        ),
        q.numpy(),
        omega * ureg("1/cm"),
        vectors.swapaxes(1, 2).reshape(len(q), 6, 2, 3),
    )
    sites = site_densities(force_constants, q, sigma=1.0)
    named = {"cm-1": "1/cm", "THz": "THz", "meV": "meV"}[unit]
    bins = (np.arange(1.0, omega.max() + 20, 2.0) * ureg("1/cm")).to(named)
    theirs, ours = modes.calculate_pdos(bins), sites.to_euphonic(unit)
    assert [line["species"] for line in ours.metadata["line_data"]] == ["1", "2"]
    for their, our in (
        (modes.calculate_dos(bins), sites.sum().to_euphonic(unit)),
        *zip(theirs, ours, strict=True),
    ):
        assert our.x_data.units == their.x_data.units
        assert our.y_data.units == their.y_data.units
        x = their.get_bin_edges().magnitude
        below = np.concatenate([[0], np.cumsum(their.y_data.magnitude * np.diff(x))])
        points, density = our.x_data.magnitude, our.y_data.magnitude
        steps = np.diff(points) * (density[1:] + density[:-1]) / 2
        ours_below = np.interp(x, points, np.concatenate([[0], np.cumsum(steps)]))
        assert ours_below[-1] == pytest.approx(below[-1], rel=1e-6)
        np.testing.assert_allclose(ours_below, below, atol=0.05 * below[-1])
    assert below[-1] == pytest.approx(1.5)  # each of two atoms, per atom of the cell


def test_a_species_is_told_to_euphonic():
    pytest.importorskip("euphonic")
    lines = SITES.to_euphonic().metadata["line_data"]
    assert lines == [{"label": "Ga1", "species": "Ga"}, {"label": "N2", "species": "N"}]
    with pytest.raises(InputError, match="cannot be in K"):
        SITES.to_euphonic("K")


@pytest.mark.parametrize(
    ("library", "call"),
    [("pandas", "to_series"), ("pymatgen.phonon.dos", "to_pymatgen"), ("euphonic", "to_euphonic")],
)
def test_a_missing_library_is_told(monkeypatch, library, call):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match="is not installed"):
        getattr(TOTAL, call)()
