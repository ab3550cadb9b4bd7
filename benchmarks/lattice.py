"""Phonons at high-symmetry points against measurement, and the cost of a band structure.

    OMP_NUM_THREADS=1 python benchmarks/lattice.py [--model FILE] [--lattice measured] \
        [--taught DATA/data.csv TAUGHT]

Frequencies were measured by inelastic neutron scattering and are in cm⁻¹. Modes are told apart by
their order, lowest first. Spectra that a model learns from come from density-functional theory,
which for these crystals agrees with measurement to a few per cent; so does the potential that its
force constants are from, but for transverse sound, 15 % too slow in silicon. LO modes of polar
crystals at Γ are left out: they lie higher by a field that force constants between pairs do not
know. With --taught those force constants stand in place of the model's, whole and cut off at
several distances, and the norms of either by distance. Cells are measured ones, at room
temperature; --lattice measured brings their lengths to those that models learned on.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from debye.core.neighbors import pairs_within
from debye.crystals.data.dataset import read_labelled
from debye.crystals.data.force_constants import read_force_constants
from debye.crystals.lattice.bands import Bands
from debye.crystals.lattice.elastic import Elasticity
from debye.crystals.lattice.force_constants import (
    ForceConstants,
    frequencies,
    mean_force_constants,
    solved,
)
from debye.crystals.lattice.path import QPath, special_points
from debye.crystals.predict.predictor import Predictor
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.functional import to_pbesol
from debye.errors import DebyeError
from debye.units import U

FCC = np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2


def diamond(a: float, *species: str) -> Crystal:
    """Diamond or zinc blende."""
    return Crystal(species, [[0, 0, 0], [a / 4] * 3], a * FCC, name="".join(dict.fromkeys(species)))


def rock_salt(a: float, *species: str) -> Crystal:
    """Rock salt."""
    return Crystal(species, [[0, 0, 0], [a / 2] * 3], a * FCC, name="".join(species))


THZ = 33.35641
MEASURED = {
    # G. Nilsson and G. Nelin, Phys. Rev. B 6, 3777 (1972), room temperature.
    "Si": (
        diamond(5.431, "Si", "Si"),
        {
            "G": {"O": 15.53 * THZ},
            "X": {"TA": 4.49 * THZ, "L": 12.32 * THZ, "TO": 13.90 * THZ},
            "L": {"TA": 3.43 * THZ, "LA": 11.35 * THZ, "LO": 12.60 * THZ, "TO": 14.68 * THZ},
        },
    ),
    # G. Nilsson and G. Nelin, Phys. Rev. B 3, 364 (1971), 80 K.
    "Ge": (
        diamond(5.658, "Ge", "Ge"),
        {
            "G": {"O": 304.0},
            "X": {"TA": 80.0, "L": 241.0, "TO": 276.0},
            "L": {"TA": 63.0, "LA": 222.0, "LO": 245.0, "TO": 290.0},
        },
    ),
    # D. Strauch and B. Dorner, J. Phys.: Condens. Matter 2, 1457 (1990), 12 K.
    "GaAs": (
        diamond(5.653, "Ga", "As"),
        {
            "G": {"TO": 271.0},
            "X": {"TA": 82.0, "LA": 225.0, "LO": 240.0, "TO": 257.0},
            "L": {"TA": 63.0, "LA": 207.0, "LO": 240.0, "TO": 264.0},
        },
    ),
}
"""Crystals, and at each point the measured frequency of each kind of mode."""

VOIGT = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])

ORDER = {
    "G": {"O": [3, 4, 5], "TO": [3, 4]},
    "X": {"TA": [0, 1], "L": [2, 3], "LA": [2], "LO": [3], "TO": [4, 5]},
    "L": {"TA": [0, 1], "LA": [2], "LO": [3], "TO": [4, 5]},
}
"""Which modes, counted from the lowest, each kind is in these crystals."""


SOUND = {
    "Si": (MEASURED["Si"][0], 5.84, 8.43, 64.0),
    "GaAs": (MEASURED["GaAs"][0], 3.35, 4.73, 54.0),
    "diamond": (diamond(3.567, "C", "C"), 12.8, 17.5, 125.0),
    "NaCl": (rock_salt(5.640, "Na", "Cl"), 2.41, 4.74, 12.5),
    "MgO": (rock_salt(4.212, "Mg", "O"), 6.61, 9.12, 95.0),
}
"""Velocities of transverse and longitudinal sound along a cube's edge, km/s, and C12, GPa, by
ultrasound at room temperature."""


def beside_measured(
    force_constants_of: dict[str, ForceConstants],
) -> list[tuple[str, str, str, float, float]]:
    """Crystal, point, mode, measured and predicted frequency, cm⁻¹."""
    found = []
    for name, force_constants in force_constants_of.items():
        crystal, points = MEASURED[name]
        known, _ = special_points(crystal.cell)
        for label, modes in points.items():
            q = torch.from_numpy(np.array(known[label]))[None]
            ((_, square, _),) = solved(force_constants, q)
            omega = frequencies(square)[0]
            for mode, measured in modes.items():
                predicted = omega[ORDER[label][mode]].mean().item()
                found.append((name, label, mode, measured, predicted))
    return found


def compare(force_constants_of: dict[str, ForceConstants]) -> None:
    """A table of predicted against measured frequencies."""
    print(f"{'':6}{'point':>6}{'mode':>6}{'measured':>10}{'predicted':>11}{'difference':>12}")
    found = beside_measured(force_constants_of)
    for name, label, mode, measured, predicted in found:
        difference = predicted - measured
        print(f"{name:6}{label:>6}{mode:>6}{measured:10.0f}{predicted:11.0f}{difference:12.0f}")
    differences = np.array([predicted - measured for *_, measured, predicted in found])
    print(
        f"mean absolute difference {np.abs(differences).mean():.1f} cm-1, "
        f"mean {differences.mean():.1f} cm-1, {len(differences)} frequencies"
    )


def taught(data: Path, folder: Path) -> dict[str, tuple[Crystal, ForceConstants]]:
    """The measured crystals as rows of the data have them, and their force constants."""
    rows, *_ = read_labelled(data)
    names = {c.formula: n for n, c in zip(rows.names, rows.crystals, strict=True) if c.n_sites == 2}
    with tempfile.TemporaryDirectory() as few:
        for name in names.keys() & MEASURED.keys():
            file = folder / f"{names[name]}.npz"
            if file.exists():
                (Path(few) / file.name).symlink_to(file.resolve())
        labels, _ = read_force_constants(few, rows)
    of = {formula: labels[name].folded for formula, name in names.items() if name in labels}
    return {name: (folded.crystal, folded.unfolded()) for name, folded in of.items()}


def lengths(crystal: Crystal, force_constants: ForceConstants) -> torch.Tensor:
    """(P,) of pairs, Å."""
    return (force_constants.step.double() @ torch.from_numpy(crystal.cell.copy())).norm(dim=1)


def compare_cutoffs(known: dict[str, tuple[Crystal, ForceConstants]], predictor: Predictor) -> None:
    """What force constants are measured by where they end, and their norms by distance."""
    for cutoff in (20.0, 7.3, 7.0, 6.8, 6.5, 6.0):
        cut = {
            name: replace(K, values=K.values * (lengths(c, K) < cutoff)[:, None, None])
            for name, (c, K) in known.items()
        }
        found = beside_measured(cut)
        off = np.mean([abs(predicted - measured) for *_, measured, predicted in found])
        slow = [f"{n} {f / m - 1:+.0%}" for n, point, mode, m, f in found if point + mode == "XTA"]
        print(f"cut at {cutoff:4.1f} Å: {off:.1f} cm-1 off; TA at X {', '.join(slow)}")
    for name, (crystal, K) in known.items():
        shells = lengths(crystal, K).round(decimals=2).unique()
        predicted = mean_force_constants(predictor.force_constants(crystal))
        for whose, kept in ("taught", K), ("model", predicted):
            r, norm = lengths(crystal, kept), kept.values.double().flatten(1).norm(dim=1)
            near = ((d, (r - d).abs() < 0.01) for d in shells if d < 7.5)
            of_each = (f"{d:.2f} Å {norm[at].sum() / max(int(at.sum()), 1):.3f}" for d, at in near)
            print(f"{name}, |K| {whose}: {', '.join(of_each)}")


def compare_sound(constants: dict[str, tuple[Crystal, np.ndarray]]) -> None:
    """A table of velocities and C12 by elastic constants (6, 6), GPa, against measured ones."""
    print(f"{'':9}{'TA':>7}{'':>9}{'LA':>7}{'':>9}{'C12':>7}   km/s and GPa, beside measured ones")
    for name, (crystal, C) in constants.items():
        density = crystal.masses.sum() * U * 1e27 / abs(np.linalg.det(crystal.cell))  # g/cm³
        velocities = [max(float(C[k, k]), 0.0) ** 0.5 / density**0.5 for k in (3, 0)]
        found = zip([*velocities, float(C[0, 1])], SOUND[name][1:], strict=True)
        print(f"{name:9}" + "".join(f"{x:7.2f} ({y:6.2f})" for x, y in found))


def of_model(predictor: Predictor, lattice: str) -> dict[str, tuple[Crystal, np.ndarray]]:
    """Elastic constants by a model's force constants."""
    found = {}
    for name, (measured, *_) in SOUND.items():
        crystal = to_pbesol(measured, lattice)
        force_constants = mean_force_constants(predictor.force_constants(crystal))
        found[name] = crystal, Elasticity.of(crystal, force_constants).constants
    return found


def of_taught(data: Path, folder: Path) -> dict[str, tuple[Crystal, np.ndarray]]:
    """Those that were taught, turned into the axes of the cube."""
    rows, *_ = read_labelled(data)
    found = {}
    for name, crystal in zip(rows.names, rows.crystals, strict=True):
        file, like = folder / f"{name}.npz", SOUND.get(crystal.formula)
        if crystal.n_sites != 2 or like is None or not file.exists():
            continue
        volume = abs(np.linalg.det(crystal.cell) / np.linalg.det(like[0].cell))
        known = np.load(file)
        if "elastic" in known and abs(volume - 1) < 0.05:  # another phase has another volume
            turn = np.linalg.inv(FCC) @ crystal.cell
            turn /= np.linalg.norm(turn, axis=1, keepdims=True)
            full = known["elastic"][np.ix_(VOIGT.ravel(), VOIGT.ravel())].reshape(3, 3, 3, 3)
            turned = np.einsum("ai,bj,ck,dl,ijkl->abcd", turn, turn, turn, turn, full)
            pairs = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
            C = np.array([[turned[(*one, *other)] for other in pairs] for one in pairs])
            found[crystal.formula] = crystal, C
    return found


def cost(n: int, cutoff: float = 5.0) -> None:
    """Time and memory of 300 points of bands for a cell of 2 n³ atoms."""
    crystal = MEASURED["Si"][0].supercell(n)
    pairs = pairs_within(crystal.positions, crystal.cell, cutoff)
    once = pairs.center < pairs.other
    first, second, vector = (torch.from_numpy(x[once]) for x in pairs[:3])
    force_constants = ForceConstants(
        crystal=torch.zeros(crystal.n_sites, dtype=torch.long),
        mass=torch.tensor(crystal.masses),
        first=first,
        second=second,
        step=vector @ torch.from_numpy(np.linalg.inv(crystal.cell)),
        values=torch.exp(-vector.norm(dim=1))[:, None, None] * torch.eye(3).double(),
        n_crystals=1,
    )
    path = QPath.of(crystal.cell, points=300 if n < 4 else 30)
    begun = time.perf_counter()
    Bands.of(crystal, force_constants, path)
    each = (time.perf_counter() - begun) / len(path.q)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{crystal.n_sites:4} atoms: {1e3 * each:8.2f} ms a wave vector, peak {peak:.0f} MB")


def main() -> None:
    """Compare a model with measurement, if it predicts force constants; then measure the cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="model file; the shipped one by default")
    parser.add_argument("--taught", type=Path, nargs=2, help="rows, and folder of force constants")
    parser.add_argument("--lattice", default="given", help="what debye bands knows by this")
    arguments = parser.parse_args()
    predictor = Predictor.load(arguments.model)
    if arguments.taught:
        known = taught(*arguments.taught)
        compare({name: K for name, (_, K) in known.items()})
        compare_cutoffs(known, predictor)
        compare_sound(of_taught(*arguments.taught))
        return
    try:
        force_constants = {
            name: mean_force_constants(
                predictor.force_constants(to_pbesol(crystal, arguments.lattice))
            )
            for name, (crystal, _) in MEASURED.items()
        }
        compare(force_constants)
        compare_sound(of_model(predictor, arguments.lattice))
    except DebyeError as error:
        print(error)
    for n in (1, 2, 3, 4, 5):
        cost(n)


if __name__ == "__main__":
    main()
