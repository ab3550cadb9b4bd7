"""Thermodynamics against its own laws, closed forms, SciPy, and phonopy on copper."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from debye.crystals.dos import thermo
from debye.crystals.dos.quantities import BASES
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos.thermo import DEFINITIONS, debye_heat_capacity, debye_temperature
from debye.crystals.dos.thermo_table import thermodynamics
from debye.errors import InputError
from debye.units import CM1_TO_K, R

GRID = np.arange(0.0, 1001.0, 20.0)
T = torch.tensor([0.0, 1.0, 10.0, 77.0, 300.0, 1000.0], dtype=torch.float64)
FUNCTIONS = (thermo.heat_capacity, thermo.entropy, thermo.internal_energy, thermo.helmholtz_energy)


def random_spectrum(seed=0, n_atoms=2.0):
    """As the labels are: 51 points, states at ω = 0 included."""
    generator = torch.Generator().manual_seed(seed)
    density = torch.rand(len(GRID), generator=generator, dtype=torch.float64) ** 3
    return Spectrum(GRID, density, n_atoms, "max").to("3N")


def einstein(frequency):
    """All states within a ten-thousandth of a frequency."""
    axis = frequency * np.array([1 - 1e-4, 1.0, 1 + 1e-4])
    return Spectrum(axis, [0.0, 1.0, 0.0], normalisation="max").to("3N")


def debye(cutoff, points=2001):
    omega = torch.linspace(0, cutoff, points, dtype=torch.float64)
    return Spectrum(omega, 9 * omega**2 / cutoff**3, normalisation="max").to("3N")


@pytest.mark.parametrize("seed", range(3))
def test_the_heat_capacity_rises_from_zero_to_dulong_and_petit(seed):
    values = thermo.heat_capacity(random_spectrum(seed), [0.0, 1e-9, 1.0, 10, 100, 1000, 1e6])
    assert values[0] == values[1] == 0
    assert bool((values.diff()[1:] > 0).all())
    assert values[-1].item() == pytest.approx(6 * R, rel=1e-6)


def test_absolute_zero_is_the_exact_limit_with_finite_gradients():
    spectrum = random_spectrum()
    for function in FUNCTIONS:
        at = torch.tensor([0.0, 1e-300, 1e-12, 1e-6, 1e-3], dtype=torch.float64)
        at.requires_grad_()
        density = spectrum.density.clone().requires_grad_()
        values = function(Spectrum(GRID, density, 2.0), at)
        gradients = torch.autograd.grad(values.sum(), (at, density))
        assert all(bool(g.isfinite().all()) for g in (values, *gradients))
        zero = thermo.zero_point_energy(spectrum) if "energy" in function.__name__ else 0 * T[0]
        torch.testing.assert_close(values[0].detach(), zero)


@given(st.integers(0, 1000), st.floats(1.0, 2000.0))
@settings(max_examples=30, deadline=None)
def test_the_laws_between_the_functions(seed, temperature):
    spectrum = random_spectrum(seed)
    at = torch.tensor(temperature, dtype=torch.float64, requires_grad=True)
    C, S, U, F = (function(spectrum, at) for function in FUNCTIONS)
    torch.testing.assert_close(F, U - 1e-3 * at * S)
    torch.testing.assert_close(torch.autograd.grad(F, at)[0], -1e-3 * S)
    torch.testing.assert_close(torch.autograd.grad(U, at)[0], 1e-3 * C)
    torch.testing.assert_close(torch.autograd.grad(S, at)[0], C / at)


def test_entropy_is_the_integral_of_the_heat_capacity_over_temperature():
    spectrum = random_spectrum()
    logarithm = torch.linspace(math.log(1e-2), math.log(500), 4001, dtype=torch.float64)
    C = thermo.heat_capacity(spectrum, logarithm.exp())
    S = thermo.entropy(spectrum, [1e-2, 500.0])
    torch.testing.assert_close(torch.trapezoid(C, logarithm), S[1] - S[0], rtol=1e-6, atol=0)


@pytest.mark.parametrize("frequency", [5.0, 200.0, 3000.0])
def test_an_einstein_oscillator_has_its_closed_forms(frequency):
    x = CM1_TO_K * frequency / 300.0
    spectrum = einstein(frequency)
    close = {"rel": 1e-6}
    C, S, U, F = (function(spectrum, 300.0).item() for function in FUNCTIONS)
    assert pytest.approx(3 * R * (x / 2 / math.sinh(x / 2)) ** 2, **close) == C
    ln = math.log(2 * math.sinh(x / 2))
    assert pytest.approx(3 * R * (x / 2 / math.tanh(x / 2) - ln), **close) == S
    assert pytest.approx(3 * thermo.KJ_PER_MOL * frequency / 2 / math.tanh(x / 2), **close) == U
    assert pytest.approx(3 * 1e-3 * R * 300.0 * ln, **close) == F
    u2 = thermo.mean_square_displacement(spectrum, 300.0, mass=12.0).item()
    # ħ / 2mω = 1.0545718e-34 / (2 · 1.66053907e-27 · 1.88365157e11) m² for 1 u and 1 cm⁻¹
    assert u2 == pytest.approx(16.857630 / 12 / frequency / math.tanh(x / 2), **close)


def test_the_debye_model_has_its_closed_forms():
    cutoff, n = 300.0, 3 * R
    theta = CM1_TO_K * cutoff
    spectrum = debye(cutoff, points=8001)
    cold = torch.tensor([theta / 500, theta / 100], dtype=torch.float64)
    cube = n * 4 * math.pi**4 / 5 * (cold / theta) ** 3  # (12 π⁴/5) N k (T/θ)³
    torch.testing.assert_close(thermo.heat_capacity(spectrum, cold), cube, rtol=1e-3, atol=0)
    torch.testing.assert_close(thermo.entropy(spectrum, cold), cube / 3, rtol=1e-3, atol=0)
    zero_point = thermo.zero_point_energy(spectrum).item()
    assert zero_point == pytest.approx(9 / 8 * 1e-3 * R * theta, rel=1e-5)
    y = theta / torch.tensor([20.0, 100.0, 300.0], dtype=torch.float64)
    exact = n * debye_heat_capacity(y)
    torch.testing.assert_close(thermo.heat_capacity(spectrum, theta / y), exact, rtol=1e-5, atol=0)
    u2 = thermo.mean_square_displacement(spectrum, 0.0, mass=1.0).item()
    assert u2 == pytest.approx(thermo.A2_U_CM1 * 1.5 / cutoff, rel=1e-3)


def test_the_cube_law_holds_on_the_coarse_grid_of_the_labels():
    omega = torch.from_numpy(GRID[GRID <= 300])
    coarse = Spectrum(omega, 9 * omega**2 / 300.0**3)
    theta = CM1_TO_K * 300.0
    for temperature in (0.01, 0.1, 1.0):
        cube = 3 * R * 4 * math.pi**4 / 5 * (temperature / theta) ** 3
        value = thermo.heat_capacity(coarse, temperature).item()
        assert value == pytest.approx(cube, rel=0.03)


def test_debye_heat_capacity_limits():
    y = torch.tensor([1e-6, 1e-2, 200.0, 1e5], dtype=torch.float64)
    exact = [1.0, 1 - 1e-4 / 20, 4 * math.pi**4 / 5 / 200**3, 4 * math.pi**4 / 5 / 1e15]
    np.testing.assert_allclose(debye_heat_capacity(y).numpy(), exact, rtol=1e-9)


def test_the_quadrature_agrees_with_scipy():
    integrate = pytest.importorskip("scipy.integrate")
    spectrum = random_spectrum(5)
    grid, g = spectrum.frequency.numpy(), spectrum.density.numpy()
    rest = 20 * (g[0] / 2 + g[1] / 6)

    def density(omega):
        if omega >= 20:
            return np.interp(omega, grid, g)
        return g[1] * (omega / 20) ** 2 + 5 * rest / 20 * (omega / 20) ** 4

    for temperature in (3.0, 30.0, 300.0):

        def integrand(omega, scale=CM1_TO_K / temperature):
            x = omega * scale
            return density(omega) * (x / 2 / np.sinh(x / 2)) ** 2 if x < 700 else 0.0

        pieces = [integrate.quad(integrand, a, a + 20, epsrel=1e-10)[0] for a in grid[:-1]]
        value = thermo.heat_capacity(spectrum, temperature).item()
        assert value == pytest.approx(R * sum(pieces), rel=2e-8)


def test_a_batch_equals_a_loop():
    rows = [random_spectrum(seed, n_atoms=seed + 1.0) for seed in range(3)]
    n_atoms = torch.stack([row.n_atoms for row in rows])
    batch = Spectrum(GRID, torch.stack([row.density for row in rows]), n_atoms)
    mass = torch.tensor([1.0, 12.0, 56.0], dtype=torch.float64)
    for function in FUNCTIONS:
        assert function(batch, T).shape == (3, len(T))
        assert function(batch, 300.0).shape == (3,)
        loop = torch.stack([function(row, T) for row in rows])
        torch.testing.assert_close(function(batch, T), loop)
    u2 = [thermo.mean_square_displacement(row, T, m) for row, m in zip(rows, mass, strict=True)]
    torch.testing.assert_close(thermo.mean_square_displacement(batch, T, mass), torch.stack(u2))
    for definition in DEFINITIONS:
        kind = {"temperature": 100.0} if definition == "heat-capacity" else {}
        loop = torch.stack([debye_temperature(row, definition, **kind) for row in rows])
        torch.testing.assert_close(debye_temperature(batch, definition, **kind), loop)


def test_the_normalisation_and_the_sum_over_sites_do_not_matter():
    spectrum = random_spectrum()
    sites = Spectrum(GRID, torch.stack([spectrum.density / 2] * 2))
    expected = thermo.entropy(spectrum, T)
    for view in ("3", "1", "max"):
        torch.testing.assert_close(thermo.entropy(spectrum.to(view), T), expected)
    torch.testing.assert_close(thermo.entropy(sites, T).sum(0), expected)
    torch.testing.assert_close(
        thermo.mean_square_displacement(sites, T, 28.0)[0],
        thermo.mean_square_displacement(spectrum, T, 28.0),
    )


def test_single_precision_stays_single_and_close():
    double = random_spectrum()
    single = Spectrum(GRID, double.density.float(), 2.0)
    for function in FUNCTIONS:
        value = function(single, T)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), function(double, T), rtol=1e-5, atol=1e-6)


def test_imaginary_modes_are_left_out_and_told():
    axis = np.arange(-100.0, 301.0, 20.0)
    density = np.exp(-(((axis - 100) / 80) ** 2))
    spectrum = Spectrum(axis, density, 1, "max").to("3N")
    real, lost = spectrum.clip(lower=0.0)
    table = thermodynamics(spectrum, T)
    torch.testing.assert_close(table.imaginary_fraction, lost)
    torch.testing.assert_close(table.heat_capacity, thermo.heat_capacity(real, T))
    hot = thermo.heat_capacity(spectrum, 1e6).item()
    assert hot == pytest.approx(3 * R * (1 - lost.item()), rel=1e-5)


def test_the_b_factor_is_the_crystallographers():
    spectrum = random_spectrum()
    u2 = thermo.mean_square_displacement(spectrum, T, 63.5)
    torch.testing.assert_close(thermo.b_factor(spectrum, T, 63.5), 8 * math.pi**2 * u2)
    assert bool((u2.diff() > 0).all())


@pytest.mark.parametrize("cutoff", [150.0, 600.0])
def test_every_debye_temperature_of_the_debye_model_is_its_own(cutoff):
    spectrum = debye(cutoff)
    theta = pytest.approx(CM1_TO_K * cutoff, rel=1e-3)
    assert debye_temperature(spectrum).item() == theta
    assert debye_temperature(spectrum, "low-frequency").item() == theta
    assert debye_temperature(spectrum, "low-frequency", fit_below=50.0).item() == theta
    for temperature in (2.0, 50.0, 300.0):
        found = debye_temperature(spectrum, "heat-capacity", temperature=temperature)
        assert found.item() == theta


def test_debye_temperatures_are_differentiable():
    density = (random_spectrum(2).density[:12] + 0.01).requires_grad_()

    def all_three(values):
        spectrum = Spectrum(GRID[:12], values, 2.0, "max")
        return torch.stack(
            [
                debye_temperature(spectrum),
                debye_temperature(spectrum, "low-frequency", fit_below=100.0),
                debye_temperature(spectrum, "heat-capacity", temperature=100.0),
            ]
        )

    assert torch.autograd.gradcheck(all_three, density, rtol=1e-3)


def test_the_bases_are_ratios_of_one_another():
    cell = random_spectrum(n_atoms=6.0)
    tables = {
        basis: thermodynamics(cell, T, basis=basis, formula_units=2, mass=120.0) for basis in BASES
    }
    per_cell = tables["per-mole-of-cells"]
    for basis, amount in (("per-atom", 6.0), ("per-formula-unit", 2.0), ("per-kg", 0.120)):
        for name in ("heat_capacity", "entropy", "helmholtz_energy", "zero_point_energy"):
            value = getattr(tables[basis], name) * amount
            torch.testing.assert_close(value, getattr(per_cell, name))
    high = thermodynamics(cell, [1e6]).heat_capacity.item()
    assert high == pytest.approx(3 * R, rel=1e-6)


def test_the_table_names_its_units():
    table = thermodynamics(random_spectrum(), [0.0, 300.0], basis="per-kg", mass=40.0)
    header, *rows = table.to_csv().splitlines()
    assert header.split(",")[:3] == [
        "temperature_K",
        "heat_capacity_J_per_K_per_kg",
        "entropy_J_per_K_per_kg",
    ]
    assert len(rows) == 2
    assert rows[0].startswith("0.0,0.0,0.0,")
    zero_point = table.to_dict()["zero_point_energy_kJ_per_kg"]
    assert zero_point == float(f"{table.zero_point_energy.item():.7g}")
    batch = Spectrum(GRID, torch.stack([random_spectrum().density] * 2), 2.0)
    with pytest.raises(InputError, match="batch"):
        thermodynamics(batch, T).to_csv()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: thermo.entropy(s, [-1.0]), "negative or not finite"),
        (lambda s: thermo.entropy(s, [math.nan]), "NaN or infinity"),
        (lambda s: thermo.entropy(s, [[1.0]]), "their shape"),
        (lambda s: thermo.mean_square_displacement(s, 1.0, 0.0), "positive number of u"),
        (lambda s: thermodynamics(s, T, basis="per-gram"), "the choices are per-atom"),
        (lambda s: thermodynamics(s, T, basis="per-kg"), "mass is None"),
        (lambda s: thermodynamics(s, T, basis="per-formula-unit"), "formula_units is None"),
        (lambda s: debye_temperature(s, "debye"), "the definitions are second-moment"),
        (lambda s: debye_temperature(s, "heat-capacity"), "needs a temperature"),
        (lambda s: debye_temperature(s, temperature=1.0), "no other definition takes one"),
        (lambda s: debye_temperature(s, "heat-capacity", temperature=0.0), "above zero"),
        (lambda s: debye_temperature(s, fit_below=3.0), "only 'low-frequency' fits"),
        (lambda s: debye_temperature(s, "low-frequency", fit_below=3.0), "raise fit_below"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(random_spectrum())


@pytest.fixture(scope="module")
def copper():
    """Phonopy's phonons of copper, force constants from ASE's EMT potential."""
    phonopy = pytest.importorskip("phonopy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ase import Atoms
        from ase.build import bulk
        from ase.calculators.emt import EMT
        from phonopy.structure.atoms import PhonopyAtoms

        cell = bulk("Cu", a=3.59)  # EMT's own lattice constant: no imaginary modes
        unit = PhonopyAtoms(["Cu"], cell=cell.cell[:], scaled_positions=[[0, 0, 0]])
        phonons = phonopy.Phonopy(unit, np.eye(3) * 4)
        phonons.generate_displacements(distance=0.01)
        forces = []
        for moved in phonons.supercells_with_displacements:
            atoms = Atoms(moved.symbols, positions=moved.positions, cell=moved.cell, pbc=True)
            atoms.calc = EMT()
            forces.append(atoms.get_forces())
        phonons.forces = forces
        phonons.produce_force_constants()
        phonons.symmetrize_force_constants()
        yield phonons


def dos_of(phonons):
    phonons.run_mesh([31] * 3)
    phonons.run_total_dos(freq_min=0, freq_pitch=0.02, use_tetrahedron_method=True)
    found = phonons.get_total_dos_dict()
    return Spectrum.from_unit("THz", found["frequency_points"], found["total_dos"])


@pytest.mark.filterwarnings("ignore")
def test_copper_agrees_with_phonopy(copper):
    spectrum = dos_of(copper)
    kelvin = np.array([0.0, 30.0, 100.0, 300.0, 1000.0])
    copper.run_thermal_properties(temperatures=kelvin)
    theirs = copper.get_thermal_properties_dict()
    for name, function, tolerance in (
        ("heat_capacity", thermo.heat_capacity, 0.01),  # J/(K mol), of 24.9
        ("entropy", thermo.entropy, 0.04),  # J/(K mol), of 31 at 300 K
        ("free_energy", thermo.helmholtz_energy, 0.03),  # kJ/mol
    ):
        ours = function(spectrum, kelvin).numpy()
        np.testing.assert_allclose(ours, theirs[name], rtol=1e-3, atol=tolerance)
    zero_point = thermo.zero_point_energy(spectrum).item()
    assert zero_point == pytest.approx(theirs["free_energy"][0], rel=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_copper_on_the_grid_of_the_labels_is_still_close(copper):
    fine = dos_of(copper)
    coarse = fine.resample(np.arange(0.0, 401.0, 20.0))
    kelvin = [100.0, 300.0, 1000.0]
    for function in (thermo.heat_capacity, thermo.entropy):
        torch.testing.assert_close(
            function(coarse, kelvin), function(fine, kelvin), rtol=0.01, atol=0
        )


@pytest.mark.filterwarnings("ignore")
def test_the_displacements_of_copper_agree_with_phonopy(copper):
    spectrum = dos_of(copper)
    kelvin = np.array([0.0, 100.0, 300.0])
    copper.run_mesh([20] * 3, with_eigenvectors=True, is_mesh_symmetry=False)
    copper.run_thermal_displacements(temperatures=kelvin, freq_min=1e-3)
    theirs = copper.get_thermal_displacements_dict()["thermal_displacements"].mean(1)
    ours = thermo.mean_square_displacement(spectrum, kelvin, mass=63.546).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=0.04)  # their mesh of 20³ loses what is near Γ


@pytest.mark.filterwarnings("ignore")
def test_the_low_frequency_debye_temperature_is_phonopys(copper):
    pytest.importorskip("scipy")
    spectrum = dos_of(copper)
    copper.total_dos.run_debye_frequency()
    theirs = copper.total_dos.debye_frequency * 47.9924307
    quarter = spectrum.frequency[len(spectrum.frequency) // 4 - 1].item()  # their points
    ours = debye_temperature(spectrum, "low-frequency", fit_below=quarter).item()
    assert ours == pytest.approx(theirs, rel=1e-5)
