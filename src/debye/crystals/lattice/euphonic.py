"""Force constants to Euphonic, which makes neutron scattering S(q, ω) of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from debye.crystals.lattice.force_constants import ForceConstants, check_single
from debye.crystals.lattice.phonopy import supercell_of
from debye.crystals.lattice.polar import Dipoles, cells_within
from debye.crystals.structure.crystal import Crystal
from debye.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def to_euphonic(crystal: Crystal, force_constants: ForceConstants) -> Any:  # noqa: ANN401 - euphonic is optional
    """The ``euphonic.ForceConstants`` of force constants, Born charges included.

    They stand in the supercell in which phonopy would have them, so wide that no pair has two
    shortest vectors. Euphonic sums dipoles its own way, so that between the wave vectors that fit
    into the supercell the frequencies of polar crystals differ a little from ours.

    Args:
        crystal: Ordered; its sites are those of the force constants.
        force_constants: Of this one crystal.

    Raises:
        InputError: Euphonic is not installed, a site is mixed or vacant, there are several
            crystals, or the cell is so flat that its supercell has too many atoms.
        ComputationError: The force constants are not finite.
    """
    try:
        import euphonic
    except ImportError as error:
        why, fix = "Euphonic is not installed", "pip install euphonic"
        raise InputError("cannot make force constants of Euphonic", why=why, fix=fix) from error
    check_single(force_constants)
    given = force_constants.double()
    dipoles = given.dipoles if isinstance(given.dipoles, Dipoles) else None
    supercell = supercell_of(crystal, given) if dipoles is None else dipoles.supercell
    cells = cells_within(supercell)
    cells = cells[np.argsort(np.abs(cells).sum(1), kind="stable")]  # Euphonic's first is the home
    unit, n = euphonic.ureg, crystal.n_sites
    symbols = ["H" if s in "DT" else s for s in crystal.symbols("a crystal of Euphonic")]
    matrix = _matrix(crystal, given, supercell, cells).reshape(len(cells), 3 * n, 3 * n)
    made = euphonic.Crystal(
        crystal.cell * unit("angstrom"),
        crystal.fractional % 1.0,
        np.array(symbols),
        given.mass.numpy() * unit("amu"),
    )
    content = made, matrix * unit("eV/angstrom**2"), supercell, cells
    if dipoles is None:
        return euphonic.ForceConstants(*content)
    return euphonic.ForceConstants.from_total_fc_with_dipole(
        *content,
        born=dipoles.born.charges.numpy() * unit("e"),
        dielectric=dipoles.born.dielectric.numpy() * unit("e**2/(bohr*hartree)"),
    )


def _matrix(
    crystal: Crystal,
    force_constants: ForceConstants,
    supercell: NDArray[np.int64],
    cells: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Φ from site i to site j of each cell of the supercell, (cell, i, 3, j, 3), eV/Å²."""
    size = round(abs(np.linalg.det(supercell)))
    adjugate = np.round(np.linalg.det(supercell) * np.linalg.inv(supercell)).astype(int)

    def keys(jump: NDArray[np.int64]) -> NDArray[np.int64]:
        """One number for a cell, the same in every supercell."""
        return np.asarray(jump @ adjugate % size @ [size**2, size, 1])

    order = np.argsort(keys(cells))
    first, second = force_constants.first.numpy(), force_constants.second.numpy()
    values = force_constants.values.numpy()
    # Euphonic wants sites within the cell; ours may stand beside it.
    outside = np.floor(crystal.fractional)
    away = force_constants.step.numpy() - crystal.fractional[second] + crystal.fractional[first]
    jump = np.round(away + outside[second] - outside[first]).astype(int)

    def number(cell: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.asarray(order[np.searchsorted(keys(cells), keys(cell), sorter=order)])

    found = np.zeros((len(cells), crystal.n_sites, crystal.n_sites, 3, 3))
    np.add.at(found, (number(jump), first, second), -values)
    np.add.at(found, (number(-jump), second, first), -np.swapaxes(values, 1, 2))
    sites = torch.arange(crystal.n_sites).numpy()
    home = number(np.zeros((1, 3), dtype=int))[0]
    found[home, sites, sites] += force_constants.on_site().numpy()
    return found.swapaxes(2, 3)
