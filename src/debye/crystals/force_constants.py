"""Force constants to labelled crystals: phonopy folders, brought onto the published grid.

A calculation is a folder. It holds a phonopy record with the cells (``phonopy_params.yaml``,
``phonopy.yaml`` or ``phonopy_disp.yaml``, plain or packed as ``.xz``, ``.gz``, ``.bz2``), or
``POSCAR`` with ``DIM`` in ``phonopy.conf``; and forces or force constants, in that record or beside
it as ``FORCE_CONSTANTS``, ``force_constants.hdf5`` or ``FORCE_SETS``. Born charges, in the
record or in ``BORN``, are used where present.

Calculations come from strangers, so nothing in a folder may execute, and only that folder counts:
``phonopy.load`` keeps neither rule (see `_record`), and is not used.
"""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import lzma
import warnings
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from debye.crystals.crystal import Crystal
from debye.crystals.dataset import FREQUENCY, Row, published_view
from debye.crystals.elements import MASSES
from debye.crystals.exchange import with_isotope
from debye.crystals.spectrum import Spectrum
from debye.crystals.structures import Rejected, _attempt
from debye.errors import Refusal
from debye.units import frequency_factor

if TYPE_CHECKING:
    from phonopy import Phonopy
    from phonopy.interface.phonopy_yaml import PhonopyYamlData

Result = TypeVar("Result")

WINDOW, DEGREE = 101, 3
"""The published Savitzky–Golay filter: points of about 1 cm⁻¹, and degree of the polynomial."""
LENGTH = 150.0
"""Fineness of the q mesh, Å: N_i = l |a*_i| points along each reciprocal vector. Against l = 300 Å
and the tetrahedron method, the 1 cm⁻¹ density of Al and Cu3Au (EMT) differs by 2 and 3 % of its
states, most of it the broadening, and the published view by 0.002 and 0.004 at most."""
SIGMA = 1.0
"""Standard deviation of the Gaussian that each mode becomes, cm⁻¹."""
IMAGINARY = 0.05
"""Share of imaginary modes above which a calculation is no label: the structure is not the one
that vibrates, and the states that are left would be scaled up to hide it."""
NOTED = 1e-3
"""Share of lost states that a crystal's notes tell."""

RECORDS = ("phonopy_params.yaml", "phonopy.yaml", "phonopy_disp.yaml")
FORCES = ("FORCE_CONSTANTS", "force_constants.hdf5", "FORCE_SETS")
POSCARS = ("POSCAR", "POSCAR-unitcell")
PACKED: dict[str, Callable[..., Any]] = {
    "": open,
    ".xz": lzma.open,
    ".gz": gzip.open,
    ".bz2": bz2.open,
}
REQUIRED = (
    "phonopy_params.yaml; or FORCE_SETS or FORCE_CONSTANTS beside phonopy_disp.yaml, or beside "
    "POSCAR and a phonopy.conf with DIM"
)

LARGEST = 200_000_000
"""Bytes of a record, unpacked."""
DEEPEST, LONGEST = 100, 5_000
"""Brackets inside brackets, and characters in a line: libyaml crashes on a nesting of 10⁵."""
FASTEST = 20_000.0
"""No solid vibrates faster, cm⁻¹ (H₂: 4,400); beyond, the force constants are damaged."""


def read_phonopy_folders(path: Path) -> Iterator[Row | Rejected]:
    """Labelled crystals from phonopy calculations, in the published view.

    The crystal is phonopy's primitive cell; its notes tell states that the label lost, imaginary
    or above 1000 cm⁻¹. More than 5 % of imaginary modes reject the calculation.

    Args:
        path: One calculation's folder, or a folder of such folders, read in the order of their
            names; see the module for what each must hold.

    Yields:
        The folder's name, the crystal and its spectrum; or `Rejected` in their place.

    Raises:
        Refusal: phonopy is not installed, or there is no folder. Told with the first row.
    """
    if importlib.util.find_spec("phonopy") is None:
        raise Refusal(
            f"cannot read the calculations in {path}",
            why="phonopy is not installed",
            fix="pip install 'debye[phonopy]'",
        )
    for folder in _calculations(Path(path)):
        yield _attempt(str(folder), lambda folder=folder: _row(folder))  # type: ignore[misc]


def load_phonon(folder: Path) -> Phonopy:
    """The phonopy object of one calculation, with force constants, and Born charges if any.

    Like ``phonopy.load``, but confined to its folder, and executing nothing of it.

    Args:
        folder: See the module for what it must hold.

    Raises:
        Refusal: Something is missing, damaged, or does not fit the cell.
    """
    from phonopy import Phonopy

    found = next(_named(folder, RECORDS), None)
    setup = _record(found) if found else _poscar_setup(folder)
    matrix = setup.primitive_matrix
    phonon = Phonopy(
        setup.unitcell,
        supercell_matrix=np.eye(3, dtype=int)
        if setup.supercell_matrix is None
        else setup.supercell_matrix,
        primitive_matrix="auto" if matrix is None else matrix,
        calculator=setup.calculator,
    )
    _set_born_charges(phonon, setup, folder)
    _set_force_constants(phonon, setup, folder)
    return phonon


def total_dos(phonon: Phonopy, length: float = LENGTH, sigma: float = SIGMA) -> Spectrum:
    """Density of states on a 1 cm⁻¹ axis, in states per cm⁻¹ of the primitive cell.

    g(ω) = Σ_q w_q Σ_j G_σ(ω - ω_qj), with Σ w_q = 1. Each mode is shared between the two points
    beside it, then broadened: every state is counted, in however flat a band, which the
    tetrahedron method, sampled at points, does not promise. Imaginary modes lie at ω < 0.

    Args:
        phonon: With force constants.
        length: Fineness of the q mesh, Å, see `LENGTH`.
        sigma: Standard deviation of the Gaussian, cm⁻¹.

    Returns:
        Normalised to 3N, on whole wavenumbers from below the lowest mode to above the highest.

    Raises:
        Refusal: The frequencies are not finite, or impossibly high.
    """
    # phonopy measures the length in the calculator's unit, which may be the Bohr radius.
    phonon.run_mesh(length / _angstrom(phonon))
    mesh = phonon.mesh
    omega = mesh.frequencies * frequency_factor("THz", "cm-1")  # [q, band]
    if not np.abs(omega).max() < FASTEST:  # NaN is not
        why = f"a mode lies at {np.abs(omega).max():.3g} cm-1"
        raise Refusal(
            "the force constants make no sense", why=why, fix="check them, and the calculator named"
        )
    weights = np.broadcast_to(mesh.weights[:, None] / mesh.weights.sum(), omega.shape)
    margin = int(np.ceil(6 * sigma)) + 1
    first = int(np.floor(omega.min())) - margin
    left = np.floor(omega).astype(int) - first
    share = omega - np.floor(omega)
    size = int(left.max()) + margin + 2
    density = np.bincount(left.ravel(), (weights * (1 - share)).ravel(), size)
    density += np.bincount(left.ravel() + 1, (weights * share).ravel(), size)
    gaussian = np.exp(-((np.arange(-margin, margin + 1) / sigma) ** 2) / 2)
    density = np.convolve(density, gaussian / gaussian.sum(), "same")
    return Spectrum(np.arange(first, first + size), density, len(phonon.primitive), "3N")


def published_recipe(frequency: Tensor | ArrayLike, density: Tensor | ArrayLike) -> Tensor:
    """A raw density of states in the published view: 51 points, 0 to 1000 cm⁻¹, maximum 1.

    In each window of 101 points ω_k, 1 cm⁻¹ apart, the cubic p with the least Σ_k (p(ω_k) - g_k)²
    gives the smoothed s(ω) = p(ω), ω in the middle: a Savitzky–Golay filter. Then

        y_i = max(s(20 i cm⁻¹), 0) / max_j s(20 j cm⁻¹),    i = 0 … 50.

    States at ω < 0 (imaginary modes) are cut off before smoothing, as the published raw data begin
    at 0; there the first window's cubic serves for all its points. The filter sees 50 points beyond
    1000 cm⁻¹; above the axis given, the density is zero.

    The authors state filter, window and degree in github.com/ninarina12/phononDoS_tutorial/issues/1
    for the data of Chen et al., Adv. Sci. 8, 2004214 (2021).

    Args:
        frequency: Points about 1 cm⁻¹ apart, increasing, cm⁻¹, (F,).
        density: Density there in any normalisation, (F,).

    Returns:
        y, (51,), float64.

    Raises:
        Refusal: They are no spectrum, or it is empty between 0 and 1000 cm⁻¹.

    Example:
        >>> omega = torch.arange(0.0, 600.0)
        >>> view = published_recipe(omega, torch.exp(-(((omega - 300) / 80) ** 2)))
        >>> view.argmax().item(), view[14].item()  # at 280 cm-1, unsmoothed 0.939
        (15, 0.940...)
    """
    from scipy.signal import savgol_filter  # type: ignore[import-untyped,unused-ignore]

    raw = Spectrum(frequency, density, normalisation="max")
    # A window beyond the last point wanted, so that the filter's own end stays out of sight.
    axis = np.arange(FREQUENCY[-1] + WINDOW)
    points = np.interp(
        axis, raw.frequency.detach().cpu(), raw.density.detach().cpu(), left=0.0, right=0.0
    )
    smooth = savgol_filter(points, WINDOW, DEGREE)
    view = np.interp(FREQUENCY, axis, smooth).clip(min=0.0)
    if not view.max() > 0:
        low, high = raw.frequency[0].item(), raw.frequency[-1].item()
        raise Refusal(
            "the spectrum has no published view",
            why=f"it holds no states between 0 and 1000 cm-1 (its axis: {low:g} to {high:g})",
            fix="check its unit; the recipe takes cm-1",
        )
    return torch.from_numpy(view / view.max())


# One folder to one row.


def _calculations(path: Path) -> list[Path]:
    """The folder itself if it is a calculation, or else the folders in it."""
    if not path.is_dir():
        raise Refusal(
            f"cannot read {path}",
            why="it is no folder" if path.exists() else "there is no such folder",
            fix="give a phonopy calculation, or a folder of them",
        )
    if next(_named(path, (*RECORDS, *FORCES)), None):
        return [path]
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise Refusal(
            f"no phonopy calculation in {path}",
            why="it holds no force constants and no folders",
            fix=f"give a folder that holds {REQUIRED}; or a folder of such folders",
        )
    return folders


def _row(folder: Path) -> Row:
    with warnings.catch_warnings(record=True) as caught:
        # A different mesh than the one asked for, or coming changes, are not the reader's concern.
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        phonon = load_phonon(folder)
        dos = total_dos(phonon)
    imaginary = dos.imaginary_fraction.item()
    if imaginary > IMAGINARY:
        raise Refusal(
            f"cannot use {folder}",
            why=f"{100 * imaginary:.3g} % of its modes are imaginary, more than the "
            f"{100 * IMAGINARY:g} % allowed",
            fix="relax the structure, use a larger supercell, or leave it out",
        )
    notes = [str(warning.message) for warning in caught] + _lost(dos, imaginary)
    crystal = _crystal(phonon, folder, notes)
    view = published_recipe(dos.frequency, dos.density)
    return crystal.name, crystal, published_view(FREQUENCY, view, crystal.n_atoms)


def _lost(dos: Spectrum, imaginary: float) -> list[str]:
    """What the published grid leaves out."""
    beyond = 1 - (dos.cumulative([FREQUENCY[-1]])[0] / dos.integral).item()
    shares = {"imaginary": imaginary, f"above {FREQUENCY[-1]:g} cm-1": beyond}
    return [
        f"{100 * share:.2g} % of the states are {where} and not in the labelled spectrum"
        for where, share in shares.items()
        if share > NOTED
    ]


def _crystal(phonon: Phonopy, folder: Path, notes: Sequence[str]) -> Crystal:
    cell = phonon.primitive
    scale = _angstrom(phonon)
    # phonopy may number the kinds of an element: Fe1, Fe2.
    names = [symbol.rstrip("0123456789") for symbol in cell.symbols]
    species = [with_isotope(s, m) for s, m in zip(names, cell.masses, strict=True)]
    odd = {
        f"the force constants were used with a mass of {m:g} u for {s}"
        for s, m in zip(species, cell.masses, strict=True)
        if s in MASSES and abs(m / MASSES[s] - 1) > 0.01
    }
    return Crystal(
        species,
        cell.positions * scale,
        cell.cell * scale,
        name=folder.resolve().name,
        source=str(folder),
        notes=[*notes, *sorted(odd)],
    )


def _angstrom(phonon: Phonopy) -> float:
    """Å in the calculator's unit of length."""
    from phonopy.physical_units import get_calculator_physical_units

    return float(get_calculator_physical_units(phonon.calculator).distance_to_A)


# The cells.


def _record(path: Path) -> PhonopyYamlData:
    """What a phonopy YAML file says, once it is known to hold a unit cell."""
    import yaml  # type: ignore[import-untyped,unused-ignore]
    from phonopy.interface.phonopy_yaml import PhonopyYamlLoader

    # phonopy.load parses with yaml.CLoader, which has PyYAML's unsafe constructor: a tag such as
    # !!python/object/apply:os.system runs a command. The safe loader makes plain numbers, texts,
    # lists and dictionaries and refuses such tags; phonopy gets to see only its result.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    data = _parsed(path, lambda: yaml.load(_shallow(path), Loader=loader))  # noqa: S506 - safe
    if not isinstance(data, dict):
        raise _damaged(path, "it is no phonopy record, or empty")
    setup = _parsed(path, lambda: PhonopyYamlLoader(data).parse().data)
    if setup.unitcell is None:
        raise _damaged(path, "it has no unit_cell")
    return setup


def _shallow(path: Path) -> bytes:
    """The unpacked bytes of a YAML file that libyaml's recursion can follow."""
    with PACKED[path.suffix if path.suffix in PACKED else ""](path, "rb") as stream:
        data = stream.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise _damaged(path, f"it holds more than {LARGEST / 1e6:.0f} MB")
    codes = np.frombuffer(data, np.uint8)
    brackets = codes[np.isin(codes, list(b"[]{}"))]
    depth = np.where(np.isin(brackets, list(b"[{")), 1, -1).cumsum().max(initial=0)
    ends = np.concatenate([[-1], np.flatnonzero(codes == ord("\n")), [len(codes)]])
    if depth > DEEPEST or np.diff(ends).max() > LONGEST:
        raise _damaged(path, "it is nested too deeply, or its lines are too long")
    return data


def _poscar_setup(folder: Path) -> PhonopyYamlData:
    """The unit cell of a POSCAR and the matrices of phonopy.conf."""
    from phonopy.interface.phonopy_yaml import PhonopyYamlData
    from phonopy.structure.atoms import PhonopyAtoms

    path = next(_named(folder, POSCARS), None)
    conf = folder / "phonopy.conf"
    settings = _settings(conf) if conf.is_file() else {}
    if path is None or "DIM" not in settings:
        if not next(_named(folder, FORCES), None):
            missing = "it holds neither a phonopy record nor forces"
        elif path is None:
            missing = "the unit cell is missing"
        else:
            missing = "the size of the supercell (DIM in phonopy.conf) is missing"
        raise Refusal(f"cannot read {folder}", why=missing, fix=f"it must hold {REQUIRED}")
    crystal = Crystal.read(path)
    axes = settings.get("PRIMITIVE_AXES", settings.get("PRIMITIVE_AXIS"))
    return PhonopyYamlData(
        unitcell=PhonopyAtoms(
            symbols=crystal.symbols("a unit cell"), cell=crystal.cell, positions=crystal.positions
        ),
        supercell_matrix=_parsed(conf, lambda: _matrix(settings["DIM"]).astype(int)),
        primitive_matrix=None
        if axes is None or axes.upper() == "AUTO"
        else _parsed(conf, lambda: _matrix(axes)),
    )


def _settings(conf: Path) -> dict[str, str]:
    """``KEY = value`` lines of a phonopy.conf."""
    text = _parsed(conf, lambda: conf.read_text(encoding="utf-8"))
    pairs = (line.split("#")[0].partition("=") for line in text.splitlines())
    return {key.strip().upper(): value.strip() for key, equals, value in pairs if equals}


def _matrix(text: str) -> NDArray[np.float64]:
    """Three numbers on a diagonal, or nine; 1/2 is a number."""
    numbers = np.array([float(Fraction(word)) for word in text.split()])
    return np.diag(numbers) if len(numbers) == 3 else numbers.reshape(3, 3)


# The forces.


def _set_force_constants(phonon: Phonopy, setup: PhonopyYamlData, folder: Path) -> None:
    """Take what is nearest to force constants, in phonopy's own order."""
    from phonopy.cui.load_helper import read_force_constants_from_hdf5
    from phonopy.file_IO import parse_FORCE_CONSTANTS

    text, hdf5, sets = (folder / name for name in FORCES)
    of = phonon.primitive.p2s_map
    if setup.force_constants is not None:
        found = setup.force_constants
    elif text.is_file():
        found = _parsed(text, lambda: parse_FORCE_CONSTANTS(text, p2s_map=of))
    elif hdf5.is_file():
        found = _parsed(hdf5, lambda: read_force_constants_from_hdf5(hdf5, of, phonon.calculator))
    else:
        _solve(phonon, setup.dataset, sets)
        return
    atoms, primitive = len(phonon.supercell), len(phonon.primitive)
    # Compiled code reads them without looking.
    if found.shape not in {(n, atoms, 3, 3) for n in (atoms, primitive)}:
        raise _damaged(folder, f"force constants {found.shape} for {atoms} atoms in the supercell")
    phonon.force_constants = _finite(found, folder)


def _solve(phonon: Phonopy, dataset: dict[str, Any] | None, sets: Path) -> None:
    """Force constants from displacements and forces, symmetrised."""
    atoms = len(phonon.supercell)
    source = sets.parent
    if not _has_forces(dataset):
        if not sets.is_file():
            why = "it holds neither forces nor force constants"
            raise Refusal(f"cannot read {source}", why=why, fix=f"it must hold {REQUIRED}")
        dataset, source = _parsed(sets, lambda: _force_sets(sets, atoms)), sets
    assert dataset is not None  # noqa: S101 - for the type checker
    rows = dataset.get("first_atoms", [dataset])
    for row in rows:
        if np.shape(row["forces"])[-2:] != (atoms, 3):
            shape = np.shape(row["forces"])
            raise _damaged(source, f"forces {shape} for {atoms} atoms in the supercell")
        _finite(row["forces"], source)
    phonon.dataset = dataset
    if "first_atoms" in dataset:  # one atom displaced at a time
        phonon.produce_force_constants(calculate_full_force_constants=False)
        phonon.symmetrize_force_constants()
    else:
        phonon.produce_force_constants(calculate_full_force_constants=False, fc_calculator="symfc")


def _has_forces(dataset: dict[str, Any] | None) -> bool:
    rows = dataset.get("first_atoms", [dataset]) if dataset else []
    return bool(rows) and all("forces" in row for row in rows)


def _force_sets(path: Path, atoms: int) -> dict[str, Any]:
    from phonopy.file_IO import parse_FORCE_SETS_from_strings

    text = path.read_text(encoding="utf-8")
    words = (text.split("\n", 1)[0] if text.strip() else "").split()
    # Six numbers a line, displacement and force: only the cell tells where one set ends.
    return parse_FORCE_SETS_from_strings(text, natom=atoms if len(words) == 6 else None)


def _set_born_charges(phonon: Phonopy, setup: PhonopyYamlData, folder: Path) -> None:
    """Charges and dielectric tensor for the splitting of optical modes, where known."""
    from phonopy.file_IO import parse_BORN
    from phonopy.physical_units import get_calculator_physical_units

    born, source = setup.nac_params, folder / "BORN"
    if born is None and source.is_file():
        born = _parsed(source, lambda: parse_BORN(phonon.primitive, filename=source))
    if born is None:
        return
    shapes = np.shape(born["born"]), np.shape(born["dielectric"])
    if shapes != ((len(phonon.primitive), 3, 3), (3, 3)):
        why = f"Born charges {shapes[0]} for {len(phonon.primitive)} atoms in the primitive cell"
        raise _damaged(folder, why)
    for value in (born["born"], born["dielectric"]):
        _finite(value, folder)
    if "factor" not in born:
        born["factor"] = get_calculator_physical_units(phonon.calculator).nac_factor
    phonon.nac_params = born


# Files.


def _named(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Files of these names that are there; a record may be packed."""
    for name in names:
        for packed in PACKED if name in RECORDS else [""]:
            if (path := folder / f"{name}{packed}").is_file():
                yield path


def _parsed(path: Path, parse: Callable[[], Result]) -> Result:
    """What a parser makes of a file; a refusal that names the file if it fails."""

    def attempt() -> Result:
        try:
            return parse()
        except (IndexError, RecursionError) as error:  # phonopy's ways of reading past the end
            raise _damaged(path, "it ends too early") from error

    made = _attempt(str(path), attempt)
    if isinstance(made, Rejected):
        raise made.refusal
    return made


def _finite(values: NDArray[np.float64], source: Path) -> NDArray[np.float64]:
    if not np.isfinite(values).all():
        raise _damaged(source, "it holds NaN or infinity")
    return values


def _damaged(path: Path, why: str) -> Refusal:
    return Refusal(f"cannot read {path}", why=why, fix="write it again, or copy it again in full")
