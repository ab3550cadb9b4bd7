"""Elastic constants against potentials under strain, and what a turn of the whole costs."""

from dataclasses import replace
from math import pi

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.tersoff import Tersoff, TersoffParameters
from lattices import CRYSTALS, CU3AU, CUAU, computed, force_constants_of
from scipy.optimize import minimize, minimize_scalar

from debye.core.neighbors import pairs_within
from debye.crystals.lattice.elastic import (
    VOIGT,
    Elasticity,
    debye_temperature,
    elastic_constants,
    rotational_cost,
)
from debye.crystals.structure.crystal import Crystal


def cell(crystal):
    return torch.tensor(crystal.cell)


def energy(atoms, strain=0.0, calculator=EMT):
    """Energy of a strained cell, the atoms where they were in it, eV."""
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
    atoms.calc = calculator()
    return atoms.get_potential_energy()


def stiffness(atoms, calculator=EMT, h=2e-3):
    """Second derivatives of the energy by strains, (6, 6) GPa."""
    units = [np.zeros((3, 3)) for _ in VOIGT]
    for unit, (i, j) in zip(units, VOIGT, strict=True):
        unit[i, j] += 0.5
        unit[j, i] += 0.5

    def curved(strain):
        ends = energy(atoms, h * strain, calculator) + energy(atoms, -h * strain, calculator)
        return (ends - 2 * energy(atoms, 0.0, calculator)) / h**2 / atoms.get_volume() * 160.2176634

    return np.array([[(curved(a + b) - curved(a - b)) / 4 for a in units] for b in units])


# Cubic crystals.

# T3 of J. Tersoff, Phys. Rev. B 38, 9902 (1988); ASE's R ± D are its R and S.
SILICON = TersoffParameters(
    m=3, gamma=1.0, lambda3=0.0, c=1.0039e5, d=16.217, h=-0.59825, n=0.78734, beta=1.1e-6,
    lambda2=1.7322, B=471.18, R=2.85, D=0.15, lambda1=2.4799, A=1830.8,
)  # fmt: skip


def argon():
    return LennardJones(sigma=3.4, epsilon=0.0104, rc=7.2)  # between two shells


def tersoff():
    return Tersoff({("Si", "Si", "Si"): SILICON})


CUBIC = {
    "Cu": (bulk("Cu", cubic=True), EMT, 4),
    "Al": (bulk("Al", cubic=True), EMT, 3),
    "Cu3Au": (CU3AU, EMT, 4),
    "Ar": (bulk("Ar", "fcc", a=5.25, cubic=True), argon, 3),
    "Si": (bulk("Si", cubic=True), tersoff, 2),
}


@pytest.fixture(scope="module")
def cubic():
    """Atoms without stress, their crystal, its force constants, and its stiffness under strain."""
    pytest.importorskip("phonopy")
    from debye.crystals.lattice.phonopy import from_phonopy

    found = {}
    for name, (start, calculator, times) in CUBIC.items():

        def stretched(factor, start=start):
            atoms = start.copy()
            atoms.set_cell(factor * start.cell, scale_atoms=True)
            return atoms

        edge = minimize_scalar(
            lambda x, s=stretched, c=calculator: energy(s(x), 0.0, c), bracket=(0.98, 1.0), tol=1e-9
        ).x
        atoms = stretched(edge)
        phonon = computed(atoms, times=times, calculator=calculator)
        primitive = phonon.primitive
        crystal = Crystal(list(primitive.symbols), primitive.positions, primitive.cell)
        found[name] = crystal, from_phonopy(phonon), stiffness(atoms, calculator)
    return found


@pytest.mark.parametrize("name", CUBIC)
def test_cubic_elastic_constants_are_those_of_strain(cubic, name):
    """In silicon the atoms give way to a shear, which the strained energy here lets them not."""
    crystal, force_constants, expected = cubic[name]
    found = elastic_constants(crystal, force_constants).numpy()
    tolerance = 4e-3 * expected.max()
    np.testing.assert_allclose(found[:3, :3], expected[:3, :3], atol=tolerance)
    if name != "Si":
        np.testing.assert_allclose(found, expected, atol=tolerance)


def test_silicon_has_the_published_constants_of_its_potential(cubic):
    """J. Tersoff, Phys. Rev. B 38, 9902 (1988), table II: 1.425, 0.754 and 0.690 Mbar."""
    crystal, force_constants, expected = cubic["Si"]
    C = elastic_constants(crystal, force_constants)
    assert [round(x) for x in (C[0, 0].item(), C[0, 1].item(), C[3, 3].item())] == [143, 75, 69]
    assert expected[3, 3] == pytest.approx(118.8, abs=0.5)  # the atoms held, ibid.


@pytest.mark.parametrize("name", CUBIC)
def test_the_turn_is_what_parts_a_constant_from_its_cauchy_partner(cubic, name):
    crystal, force_constants, expected = cubic[name]  # strained with the atoms held
    turning = Elasticity.of(crystal, force_constants).turning
    partner = expected[5, 5] - expected[0, 1]
    assert turning[0, 1].item() == pytest.approx(partner, abs=5e-3 * expected.max())
    assert (turning[0, 0], turning[5, 5], turning[3, 4]) == (0, 0, 0)
    assert Elasticity.of(crystal, force_constants).known.all()


def test_central_forces_without_stress_cost_no_turn(cubic):
    """Cauchy's relation of argon by Lennard and Jones; many-body forces break it either way."""
    cost = {name: rotational_cost(cubic[name][1], cell(cubic[name][0])) for name in CUBIC}
    assert abs(cost["Ar"].energy) < 1e-4
    assert cost["Cu"].energy < -0.01
    assert cost["Si"].energy > 0.01
    C = elastic_constants(*cubic["Ar"][:2])
    assert C[0, 1].item() == pytest.approx(C[3, 3].item(), rel=2e-3)


def lennard_jones(a):
    """Argon's crystal at some lattice constant, and its force constants as a formula."""
    crystal = Crystal.from_atoms(bulk("Ar", "fcc", a=a))
    pairs = pairs_within(crystal.positions, crystal.cell, 7.2)
    r = torch.from_numpy(pairs.vector)
    r = r[r @ torch.tensor([1.0, 0.7548777, 0.5698403]).double() > 0]
    d = r.norm(dim=1)[:, None, None]
    x = (3.4 / d) ** 6
    slope, curve = 0.0416 * (6 * x - 12 * x**2) / d, 0.0416 * (156 * x**2 - 42 * x) / d**2
    along = r[:, :, None] * r[:, None, :] / d**2
    one = force_constants_of(crystal)
    return crystal, replace(
        one,
        first=torch.zeros(len(r), dtype=torch.long),
        second=torch.zeros(len(r), dtype=torch.long),
        step=r @ torch.from_numpy(np.linalg.inv(crystal.cell)),
        values=curve * along + slope / d * (torch.eye(3).double() - along),
    )


@pytest.mark.parametrize("a", [4.9, 5.1, 5.4])
def test_a_turn_of_central_forces_costs_their_stress(a):
    crystal, force_constants = lennard_jones(a)
    atoms = bulk("Ar", "fcc", a=a)
    atoms.calc = argon()
    stress = atoms.get_stress()[:3] * 160.2176634
    turning = Elasticity.of(crystal, force_constants).turning[0, 1].item()
    assert turning == pytest.approx(stress[0] + stress[1], rel=1e-6)


@pytest.mark.parametrize("name", ["polonium", "copper", "salt", "silicon"])
def test_sideways_forces_of_a_cubic_crystal_are_told_by_the_turn_alone(name):
    """The rules of Born and Huang say nothing here; C12 comes out far too low all the same."""
    crystal = CRYSTALS[name]
    central = force_constants_of(crystal, transverse=0.0)
    sideways = force_constants_of(crystal, transverse=0.3)
    for force_constants in (central, sideways):
        cost = rotational_cost(force_constants, cell(crystal))
        assert max(cost.forces, cost.stress) < 1e-12
    assert abs(rotational_cost(central, cell(crystal)).energy) < 1e-12
    assert cost.energy > 0.05
    good, bad = (Elasticity.of(crystal, x) for x in (central, sideways))
    assert good.turning.abs().max() < 1e-9
    assert good.known.all()
    assert not bad.known[[0, 0, 1], [1, 2, 2]].any()
    assert bad.known.diagonal().all()


def test_constants_that_are_not_known_are_not_told():
    crystal = CRYSTALS["salt"]
    members = [force_constants_of(crystal, transverse=t) for t in (0.2, 0.4)]
    found = Elasticity.of(crystal, members)
    record = found.to_record()
    assert record["elastic_constants_GPa"][0][1] is None
    low, high = (record[f"elastic_constants_{end}_GPa"][3][3] for end in ("lowest", "highest"))
    assert low < record["elastic_constants_GPa"][3][3] < high
    assert record["rotational_cost_energy"] > 0.05
    assert repr(found).endswith("3 of 21 constants unknown)")


def test_force_constants_that_break_huangs_rule_tell_no_such_constant():
    crystal = CRYSTALS["triclinic"]
    found = Elasticity.of(crystal, force_constants_of(crystal, transverse=0.9))
    assert found.asymmetry.max() > 1
    beyond = found.asymmetry > 0.5 * (found.constants.abs() + found.turning.abs())
    assert beyond.any()
    assert not (found.known & beyond & (found.asymmetry > 0.01 * found.constants.max())).any()


# Less symmetry.


@pytest.fixture(scope="module")
def cuau():
    """CuAu, tetragonal, at the lattice constants where EMT has no stress."""
    pytest.importorskip("phonopy")
    from debye.crystals.lattice.phonopy import from_phonopy

    def stretched(edges):
        atoms = CUAU.copy()
        atoms.set_cell(np.diag([edges[0], edges[0], edges[1]]), scale_atoms=True)
        return atoms

    edges = minimize(lambda x: energy(stretched(x)), [2.8, 3.7], method="Nelder-Mead", tol=1e-9).x
    atoms = stretched(edges)
    return atoms, from_phonopy(computed(atoms, times=5))


def test_elastic_constants_are_those_of_strain(cuau):
    atoms, force_constants = cuau
    expected = stiffness(atoms)
    found = elastic_constants(Crystal.from_atoms(atoms), force_constants)
    assert expected[0, 0] > 100
    np.testing.assert_allclose(found.numpy(), expected, atol=0.1)


def test_the_debye_temperature_is_that_of_the_elastic_constants(cuau):
    atoms, force_constants = cuau
    C = elastic_constants(Crystal.from_atoms(atoms), force_constants).numpy()
    index = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
    z, weight = np.polynomial.legendre.leggauss(24)
    phi = 2 * pi * np.arange(48) / 48
    across = np.sqrt(1 - z**2)
    n = np.stack(
        [np.outer(across, np.cos(phi)), np.outer(across, np.sin(phi)), np.outer(z, 1 + 0 * phi)], -1
    )
    gamma = np.einsum("zpb,abcd,zpd->zpac", n, C[index[:, :, None, None], index[None, None]], n)
    density = sum(atoms.get_masses()) * 1.66053906892e-27 / (atoms.get_volume() * 1e-30)
    speed = np.sqrt(np.linalg.eigvalsh(gamma) * 1e9 / density)  # m/s
    mean = (weight[:, None, None] * speed**-3).sum() / (2 * 48 * 3)
    k = (6 * pi**2 * len(atoms) / (atoms.get_volume() * 1e-30)) ** (1 / 3)
    theta = 1.054571817e-34 * k * mean ** (-1 / 3) / 1.380649e-23
    found = debye_temperature(Crystal.from_atoms(atoms), force_constants)
    assert found == pytest.approx(theta, rel=2e-3)


def test_rotations_cost_nothing_in_a_potential_without_stress(cuau):
    atoms, force_constants = cuau
    forces, stress, _ = rotational_cost(force_constants, torch.tensor(atoms.cell.array))
    assert forces < 1e-6
    assert stress < 1e-5


def test_stress_makes_rotations_cost():
    from debye.crystals.lattice.phonopy import from_phonopy

    atoms = CUAU.copy()
    atoms.set_cell(np.diag([2.6, 2.6, 3.7]), scale_atoms=True)
    force_constants = from_phonopy(computed(atoms, times=4))
    forces, stress, _ = rotational_cost(force_constants, torch.tensor(atoms.cell.array))
    assert forces < 1e-6
    assert 1e-3 < stress < 0.1


def test_rotations_cost_nothing_where_no_symmetry_says_so():
    from debye.crystals.lattice.phonopy import from_phonopy

    atoms = bulk("Cu", "hcp", a=2.55, c=4.2)  # no atom is a centre of inversion
    lattice = torch.tensor(atoms.cell.array)
    force_constants = from_phonopy(computed(atoms, times=4))
    assert rotational_cost(force_constants, lattice).forces < 1e-5
    turned = replace(
        force_constants, values=force_constants.values.diagonal(dim1=1, dim2=2).diag_embed()
    )
    assert rotational_cost(turned, lattice).forces > 1e-2


def test_central_force_constants_keep_both_rules():
    for crystal in CRYSTALS.values():
        force_constants = force_constants_of(crystal, transverse=0.0)
        assert max(rotational_cost(force_constants, cell(crystal))) < 1e-12
        sideways = force_constants_of(crystal, transverse=0.5)
        assert max(rotational_cost(sideways, cell(crystal))) < 0.5
    assert min(rotational_cost(sideways, cell(crystal))) > 1e-3  # the triclinic one
