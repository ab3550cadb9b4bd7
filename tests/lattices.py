"""Crystals with force constants: force constants of a formula, and those of the EMT potential."""

import warnings
from functools import cache

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from debye.core.neighbors import pairs_within
from debye.crystals.lattice.force_constants import ForceConstants
from debye.crystals.structure.crystal import Crystal

FCC = np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
CUAU = Atoms(
    "AuCu", cell=np.diag([2.8, 2.8, 3.7]), scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], pbc=True
)
CU3AU = Atoms(
    "AuCu3", cell=3.75 * np.eye(3), positions=1.875 * np.vstack([np.zeros(3), FCC]), pbc=1
)

CRYSTALS = {
    "polonium": Crystal(["Po"], np.zeros((1, 3)), 3.36 * np.eye(3)),
    "copper": Crystal(["Cu"], np.zeros((1, 3)), 1.8 * FCC),
    "salt": Crystal(["Na", "Cl"], [[0, 0, 0], [2.8, 2.8, 2.8]], 2.8 * FCC),
    "silicon": Crystal(["Si", "Si"], [[0, 0, 0], [1.36, 1.36, 1.36]], 2.72 * FCC),
    "triclinic": Crystal(
        ["Ga", "N", "O"],
        [[0.1, 0, 0], [1.9, 1.2, 0.3], [0.4, 2.1, 2.2]],
        [[3.6, 0.2, 0], [0.5, 4.1, 0.3], [-0.6, 0.9, 4.4]],
    ),
}


def force_constants_of(crystal, cutoff=4.5, transverse=0.15, strength=8.0):
    """K = k(r) (n nᵀ + t (1 − n nᵀ)), k = strength · (m_i m_j)^¼ · e^{−1.2 (r − 2)} to a cutoff."""
    pairs = pairs_within(crystal.positions, crystal.cell, cutoff)
    upward = np.sign(pairs.shift) @ [4, 2, 1]  # positive for one of shift and −shift
    once = (pairs.center < pairs.other) | ((pairs.center == pairs.other) & (upward > 0))
    first, second, vector = (torch.from_numpy(x[once]) for x in pairs[:3])
    r = vector.norm(dim=1)
    n = vector / r[:, None]
    mass = torch.tensor(crystal.masses)
    along = n[:, :, None] * n[:, None, :]
    across = torch.eye(3).double() - along
    stiffness = strength * (mass[first] * mass[second]) ** 0.25 * torch.exp(-1.2 * (r - 2))
    return ForceConstants(
        crystal=torch.zeros(crystal.n_sites, dtype=torch.long),
        mass=mass,
        first=first,
        second=second,
        step=vector @ torch.from_numpy(np.linalg.inv(crystal.cell)),
        values=stiffness[:, None, None] * (along + transverse * across),
        n_crystals=1,
    )


def omega(force_constants, q):
    """Frequencies at wave vectors (Q, 3) of one crystal, cm⁻¹."""
    from debye.crystals.lattice.force_constants import frequencies

    return frequencies(squares(force_constants, torch.as_tensor(q).double()[None]))[0]


def squares(force_constants, q):
    """ω² at wave vectors (B, Q, 3) of crystals of equal size, eV/(Å² u)."""
    return torch.linalg.eigvalsh(force_constants.dynamical_matrix(q))


def random_q(count, seed=0):
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cell_of(atoms):
    from phonopy.structure.atoms import PhonopyAtoms

    return PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(), cell=atoms.cell.array, positions=atoms.positions
    )


def forces(cell, calculator):
    atoms = Atoms(cell.symbols, cell=cell.cell, positions=cell.positions, pbc=True)
    atoms.calc = calculator()
    return atoms.get_forces()


def computed(atoms, matrix="auto", times=2, calculator=EMT):
    """Force constants of a potential, by phonopy's own path."""
    from phonopy import Phonopy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # phonopy's announcements
        phonon = Phonopy(cell_of(atoms), np.diag([times] * 3), primitive_matrix=matrix)
        phonon.generate_displacements(distance=0.01)
        phonon.forces = [forces(cell, calculator) for cell in phonon.supercells_with_displacements]
        phonon.produce_force_constants()
        phonon.symmetrize_force_constants()
    return phonon


METALS = {
    "Cu": (bulk("Cu", cubic=True), 3),
    "Al": (bulk("Al", cubic=True), 2),  # so small that pairs have several shortest vectors
    "Pt": (bulk("Pt"), 4),
    "Cu3Au": (CU3AU, 2),
    "CuAu": (CUAU, 3),
}


@cache
def emt(name):
    """The phonopy object of a metal, computed once, and its primitive cell as a Crystal."""
    atoms, times = METALS[name]
    phonon = computed(atoms, times=times)
    cell = phonon.primitive
    return phonon, Crystal(list(cell.symbols), cell.positions, cell.cell)
