"""Force constants as labels: files of them, and what a network is asked of each.

A spectrum does not fix the force constants, and they fix the spectrum. A label holds what finite
displacements in a supercell tell, folded as they tell it, and the frequencies at some wave vectors:
those at which it is exact, others between them, and short ones, whose modes are sound.

    DIR/NAME.npz    numbers (n,), cell (3, 3) Å, positions (n, 3) Å, supercell (3,),
                    fc (n, n · cells, 3, 3) eV/Å²: phonopy's compact force constants;
                    elastic (6, 6) GPa, if known, else left out or NaN: stress by strain with the
                    sites at rest, in Voigt's order (xx, yy, zz, yz, xz, xy)

A supercell holds no long wave, and what its force constants say of sound is off by tenths; where
the elastic constants are known, the short wave vectors have their modes from these.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from debye.core.packed import HEADER_DAMAGE
from debye.crystals.data.labels import Collection, published_recipe
from debye.crystals.lattice.dos import SIGMA, low_discrepancy, spectrum_of_modes
from debye.crystals.lattice.folded import FoldedForceConstants
from debye.crystals.lattice.force_constants import ForceConstants, frequencies
from debye.crystals.lattice.harmonic import unit_warning
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.elements import SYMBOLS
from debye.crystals.structure_io.read import FailedInput
from debye.errors import DebyeError, InputError
from debye.units import STRESS_TO_GPA

EXACT, BETWEEN, SHORT = 8, 12, 6
"""Wave vectors of a label: how many of each kind."""
AGREEING = 0.015
"""Mean squared error between a crystal's spectrum and that of its force constants, both scaled to
a maximum of 1, above which one of the two is doubted."""
ARRAYS = ("numbers", "cell", "positions", "supercell", "fc")
ELASTIC = "elastic"
MOST_STIFF = 5e3
"""GPa, four times diamond's."""
MOST_TIMES = 5.0
"""By which ω² of the fastest sound by elastic constants may be another than by force constants; of
235 crystals it was 0.6 to 3.4. A kbar taken for a GPa makes it 10."""
MODES = 600
"""Modes of each coordinate, about, by which a spectrum is compared."""
MOST_CELLS = 100_000
"""Of a supercell."""
MOST_BYTES = 2**30
"""Of an array."""
APART = 1e-3
"""Å by which a site may lie beside that of the row of its name."""


@dataclass(frozen=True, eq=False)
class LatticeLabel:
    """Force constants of a crystal, as something to be taught.

    Attributes:
        folded: The force constants.
        q: (Q, 3) wave vectors in units of the reciprocal lattice vectors.
        square: (Q, 3n) ω² there, ascending, eV/(Å² u), for natural masses.
        weight: Weight of the crystal, 0 … 1.
    """

    folded: FoldedForceConstants
    q: Tensor
    square: Tensor
    weight: float = 1.0

    @classmethod
    def of(
        cls,
        folded: FoldedForceConstants,
        density: Tensor | None = None,
        seed: int = 0,
        elastic: Tensor | None = None,
    ) -> LatticeLabel:
        """Choose wave vectors, solve for the modes there, and weigh the label.

        Args:
            folded: Force constants of a crystal.
            density: (51,) its spectrum in the published view, if there is one. Where that of the
                force constants is another, by a mean squared error above `AGREEING`, the crystal
                counts in inverse proportion. Imaginary modes are made real where the
                spectrum says so.
            seed: Of the wave vectors.
            elastic: (6, 6) GPa in Voigt's order, with the sites at rest: what the three slowest
                modes of short waves follow from, where these travel.

        Raises:
            InputError: They or the elastic constants are likely in another unit, a mode is
                impossibly fast, or none lies within the view of the spectrum.
        """
        weight = 1.0
        if density is not None:
            error, folded = _as_the_spectrum_says(folded, density)
            weight = min(1.0, AGREEING / max(error, 1e-9))
        pairs = folded.unfolded()
        if warning := unit_warning(folded.crystal, pairs):
            raise _unusable(folded.crystal.source or folded.crystal.formula, warning)
        q = _wave_vectors(folded.commensurate, np.random.default_rng(seed))
        square = torch.linalg.eigvalsh(pairs.dynamical_matrix(q.unsqueeze(0))).squeeze(0)
        if elastic is not None:
            waves = sound_waves(elastic.double(), folded.crystal, q[-SHORT:].double())
            if (waves > 0).all():
                _check_alike(folded.crystal, waves, square[-SHORT:])
                square[-SHORT:, :3] = waves.to(square)
                square = square.sort(-1).values
        return cls(folded, q.float(), square.float(), weight)


def _check_alike(crystal: Crystal, waves: Tensor, square: Tensor) -> None:
    """Refuse elastic constants by which sound is far from what the force constants make it.

    Args:
        crystal: Whose they are.
        waves: (Q, 3) ω² of sound by the elastic constants, ascending.
        square: (Q, 3n) ω² by the force constants, ascending.

    Raises:
        InputError: They are likely in another unit.
    """
    times = float(waves[:, 2].sum() / square[:, 2].sum())
    if times > MOST_TIMES or 0 < times < 1 / MOST_TIMES:
        why = (
            f"ω² of sound by its elastic constants is {times:.3g} times that by its force "
            "constants: is it GPa, a tenth of the number in kbar?"
        )
        raise _unusable(crystal.source or crystal.formula, why)


def _as_the_spectrum_says(
    folded: FoldedForceConstants, density: Tensor
) -> tuple[float, FoldedForceConstants]:
    """Force constants, their imaginary modes made real or not, and how far `apart` they are."""
    real = folded.with_real_modes()
    error = apart(folded.unfolded(), density)
    if real.values.equal(folded.values):
        return error, folded
    if_real = apart(real.unfolded(), density)
    return (if_real, real) if if_real < error else (error, folded)


def _wave_vectors(exact: Tensor, rng: np.random.Generator) -> Tensor:
    """`EXACT` of the commensurate ones, `BETWEEN` anywhere, `SHORT` ones in any direction."""
    some = exact[torch.from_numpy(rng.permutation(len(exact))[:EXACT])]
    between = (low_discrepancy(BETWEEN).double() + torch.from_numpy(rng.random(3))) % 1.0
    way = rng.normal(size=(SHORT, 3))
    short = way / np.linalg.norm(way, axis=1, keepdims=True) * rng.uniform(0.04, 0.14, (SHORT, 1))
    return torch.cat([some, between, torch.from_numpy(short)])


def sound_waves(elastic: Tensor, crystal: Crystal, q: Tensor) -> Tensor:
    """ω² of long waves: V/M eig(K C Kᵀ), where K ε̂ = ε k of a strain ε in Voigt's order.

    Args:
        elastic: C, (6, 6) GPa in Voigt's order.
        crystal: Of volume V and mass M.
        q: (Q, 3) wave vectors in units of the reciprocal lattice vectors.

    Returns:
        (Q, 3) eV/(Å² u), ascending.

    Example:
        Of a medium without preferred directions, C11 = 3, C44 = 1.

        >>> C = torch.diag(torch.tensor([2.0, 2, 2, 1, 1, 1]))
        >>> C[:3, :3] += 1
        >>> cube = Crystal(["H"], [[0, 0, 0]], torch.eye(3).numpy())
        >>> square = sound_waves(C, cube, torch.tensor([[0.06, 0.0, 0.08]]))
        >>> (square / square[:, :1]).round(decimals=4)
        tensor([[1., 1., 3.]])
    """
    cell = torch.tensor(crystal.cell).to(q)
    k = 2 * torch.pi * q @ torch.linalg.inv(cell).mT
    zero = torch.zeros_like(k[:, 0])
    x, y, z = k.unbind(-1)
    rows = [[x, zero, zero, zero, z, y], [zero, y, zero, z, zero, x], [zero, zero, z, y, x, zero]]
    K = torch.stack([torch.stack(row, -1) for row in rows], 1)  # [q, xyz, Voigt]
    scale = torch.linalg.det(cell).abs() / float(np.sum(crystal.masses)) / STRESS_TO_GPA
    return scale * torch.linalg.eigvalsh(K @ elastic.to(q) @ K.mT)


def apart(force_constants: ForceConstants, density: Tensor) -> float:
    """Mean squared error between a spectrum and that of force constants, maxima scaled to 1.

    Args:
        force_constants: Of one crystal.
        density: (51,) in the published view.

    Raises:
        InputError: A mode is impossibly fast, or none lies within the view.
    """
    q = low_discrepancy(max(24, MODES // len(force_constants.mass))).double()
    square = torch.linalg.eigvalsh(force_constants.dynamical_matrix(q.unsqueeze(0)))
    omega = frequencies(square).flatten().numpy()
    n_atoms = len(force_constants.mass)
    raw = spectrum_of_modes(omega, np.full_like(omega, 1 / len(q)), n_atoms, SIGMA)
    view = published_recipe(raw.frequency, raw.density)
    return float((view - density / density.max()).square().mean())


def read_force_constants(
    path: str | os.PathLike[str],
    rows: Collection,
    *,
    train: Iterable[str] | None = None,
    valid: Iterable[str] = (),
) -> tuple[dict[str, LatticeLabel], list[FailedInput]]:
    """Read labels from a folder of ``.npz`` files.

    Args:
        path: The folder.
        rows: Labelled crystals; a file that bears a row's name must be of its cell.
        train: Names of the rows that are trained on; all by default. Of the others, and of their
            formulas, nothing is read but what ``valid`` names.
        valid: Names of the rows that are validated on.

    Returns:
        Labels by name, those of rows and others; and the files that cannot be used, and why.

    Raises:
        InputError: There is no such folder, or nothing in it can be used.
    """
    folder, row = Path(path), {name: i for i, name in enumerate(rows.names)}
    taught = set(rows.names if train is None else train)
    held = {rows.crystals[i].formula for name, i in row.items() if name not in taught}
    wanted = taught | set(valid)
    good: dict[str, LatticeLabel] = {}
    bad: list[FailedInput] = []
    for file in sorted(folder.glob("*.npz")):
        if file.stem in row and file.stem not in wanted:
            continue
        try:
            at = row.get(file.stem)
            crystal = None if at is None else rows.crystals[at]
            folded, elastic = _read(file, crystal)
            if at is None and folded.crystal.formula in held:
                continue
            density = None if at is None else rows.spectra.density[at]
            seed = crc32(file.stem.encode())
            good[file.stem] = LatticeLabel.of(folded, density, seed, elastic)
        except DebyeError as error:
            bad.append(FailedInput(str(file), error))
    if not good:
        raise InputError(
            f"there are no force constants in {folder}",
            why=bad[0].error.why if bad else "it holds no .npz file",
            fix="name a folder of files as `debye train --help` describes them",
        )
    return good, bad


def _read(file: Path, row: Crystal | None) -> tuple[FoldedForceConstants, Tensor | None]:
    """What a file holds, its force constants of the sites of its row as the row has them."""
    arrays = _arrays(file)
    numbers, supercell = (arrays[k].astype(int).ravel() for k in ("numbers", "supercell"))
    cells, n = int(np.prod(supercell.clip(min=0))), len(numbers)
    if len(supercell) != 3 or not 0 < cells <= MOST_CELLS or arrays["fc"].size != 9 * n * n * cells:
        raise _unusable(
            file, f"its fc is of shape {arrays['fc'].shape} for {n} sites, supercell {supercell}"
        )
    try:
        symbols = [SYMBOLS[number] for number in numbers]
    except IndexError:
        raise _unusable(file, f"there is no element {numbers.max()}") from None
    crystal = Crystal(
        symbols, arrays["positions"], arrays["cell"], name=file.stem, source=str(file)
    )
    values = torch.from_numpy(arrays["fc"].astype(np.float64)).view(n, n, cells, 3, 3)
    if row is not None:
        _check_same(file, crystal, row)
    times: tuple[int, int, int] = (*map(int, supercell),)  # type: ignore[assignment]
    return FoldedForceConstants(row or crystal, times, values), _elastic(file, arrays.get(ELASTIC))


def _elastic(file: Path, given: NDArray[Any] | None) -> Tensor | None:
    """The elastic constants of a file, if it knows them."""
    if given is None or np.isnan(given).all():
        return None
    if given.shape != (6, 6) or not np.abs(given - given.T).max() <= 0.05 * np.abs(given).max():
        raise _unusable(file, f"its elastic is no symmetric matrix (6, 6), but {given.shape}")
    if np.abs(given).max() > MOST_STIFF:
        why = (
            f"its elastic constants reach {np.abs(given).max():.3g} GPa, where diamond's are 1,100"
        )
        raise _unusable(file, why)
    return torch.from_numpy(given.astype(np.float64))


def _arrays(file: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file; pickled ones are refused."""
    try:
        with zipfile.ZipFile(file) as archive:
            more = [ELASTIC] if f"{ELASTIC}.npy" in archive.namelist() else []
            found = {name: _array_of(archive, name) for name in [*ARRAYS, *more]}
    except KeyError as error:
        raise _unusable(file, str(error.args[0])) from error
    except (*HEADER_DAMAGE, zipfile.BadZipFile, zlib.error) as error:
        raise _unusable(file, str(error)) from error
    for name, array in found.items():
        unknown = name == ELASTIC and array.dtype.kind == "f" and np.isnan(array).all()
        if not unknown and (array.dtype.kind not in "iuf" or not np.isfinite(array).all()):
            raise _unusable(file, f"its {name} holds no finite numbers")
    return found


def _array_of(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """An array of an archive, if it is not larger than a label can be."""
    if archive.getinfo(f"{name}.npy").file_size > MOST_BYTES:
        raise zipfile.BadZipFile(f"{name} is larger than {MOST_BYTES:.0e} bytes")
    held = BytesIO(archive.read(f"{name}.npy"))
    return np.asarray(np.lib.format.read_array(held, allow_pickle=False))


def _check_same(file: Path, crystal: Crystal, row: Crystal) -> None:
    """Refuse force constants of other sites than those of the row that has their name."""
    if crystal.species != row.species or np.abs(crystal.cell - row.cell).max() > APART:
        raise _unusable(file, "its cell or elements are not those of the row of its name")
    beside = (crystal.positions - row.positions) @ np.linalg.inv(row.cell)
    if np.abs((beside - np.round(beside)) @ row.cell).max() > APART:
        raise _unusable(file, "its sites are not those of the row of its name")


def _unusable(file: Path | str, why: str) -> InputError:
    return InputError(
        f"cannot use the force constants {file}", why=why, fix="calculate them again, or remove it"
    )
