"""Crystals whose force constants are worth teaching: prototypes, substitutions, strained copies.

    python benchmarks/teaching.py prototypes DATA.csv --exclude exclude.txt \
        --calculator MODULE:FUNCTION --number 40 --seed 1 --output prototypes-1.extxyz

Prototypes are filled with elements whose charges cancel; in crystals of the data elements are
exchanged for others of their column (``substituted``); both are relaxed at their symmetry by the
calculator, which the function makes. ``strained`` copies of the data are 1 to 3 % longer or shorter
and not relaxed. No formula of the exclude file is made. What relaxes to something odd is left out
and told on stderr.
"""

from __future__ import annotations

import argparse
import ast
import csv
import importlib
import itertools
import random
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from functools import reduce
from math import gcd
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.constraints import FixSymmetry
from ase.data import covalent_radii
from ase.filters import FrechetCellFilter
from ase.io import write
from ase.neighborlist import neighbor_list
from ase.optimize import FIRE

OF_CHARGE = {
    1: "Li Na K Rb Cs Ag Cu Tl", 2: "Be Mg Ca Sr Ba Zn Cd Pb", 3: "Al Ga In Sc Y La Bi B",
    4: "Si Ge Sn Ti Zr Hf", 5: "Nb Ta V Sb P As", 6: "Mo W",
    -1: "F Cl Br I H", -2: "O S Se Te", -3: "N P As Sb Bi", -4: "Si Ge Sn",
}  # fmt: skip
COLUMNS = (
    "Li Na K Rb Cs", "Be Mg Ca Sr Ba", "Zn Cd Hg", "Mg Zn", "Al Ga In Tl", "B Al", "Sc Y La Lu",
    "Ti Zr Hf", "V Nb Ta", "Mo W", "Cu Ag Au", "Si Ge Sn Pb", "C Si", "N P As Sb Bi", "O S Se Te",
    "F Cl Br I", "H F", "Ni Pd Pt", "Co Rh Ir", "Fe Ru Os", "Ga Sc", "In Y",
)  # fmt: skip
LIGHT = {"H", "B", "C", "N"}
CLOSEST = 0.97
"""Of the sum of the covalent radii, where relaxation begins."""
MOST_SITES = 10
FORCE, STRESS, VOLUME = 0.3, 0.1, (3.0, 90.0)
"""eV/Å, eV/Å³, and Å³ an atom: what a relaxed crystal may have."""

h, t = 1 / 2, 1 / 3
CUBE, FCC = np.eye(3), np.array([[0, h, h], [h, 0, h], [h, h, 0]])


def hexagonal(c: float) -> np.ndarray:
    """A cell with a = 1."""
    return np.array([[1, 0, 0], [-h, 3**0.5 / 2, 0], [0, 0, c]])


def rhombohedral(c: float) -> np.ndarray:
    """The primitive cell of a hexagonal one with a = 1."""
    x = 1 / (2 * 3**0.5)
    return np.array([[h, x, c / 3], [-h, x, c / 3], [0, -2 * x, c / 3]])


def body_centred(c: float) -> np.ndarray:
    """The primitive cell of a tetragonal one with a = 1."""
    return np.array([[-h, h, c / 2], [h, -h, c / 2], [h, h, -c / 2]])


class Prototype(NamedTuple):
    """A structure to be filled."""

    cell: np.ndarray
    slots: str
    """The kind of each site; a letter of an element stays that element."""
    sites: list[list[float]]
    charges: list[tuple[int, ...]]
    """Of each kind in the order of first appearance, the ways to fill them."""


SIX = [[x, -x, -x] for x in (0.24, -0.24)] + [[-x, x, -x] for x in (0.24, -0.24)]
OCTAHEDRON = [*SIX, *([-x, -x, x] for x in (0.24, -0.24))]
QUARTERS = [[0.25] * 3, [0.75] * 3]
PROTOTYPES = {
    "rocksalt": Prototype(FCC, "AX", [[0, 0, 0], [h, h, h]], [(1, -1), (2, -2), (3, -3)]),
    "zincblende": Prototype(
        FCC, "AX", [[0, 0, 0], [0.25] * 3], [(1, -1), (2, -2), (3, -3), (4, -4)]
    ),
    "caesium-chloride": Prototype(CUBE, "AX", [[0, 0, 0], [h, h, h]], [(1, -1), (2, -2)]),
    "wurtzite": Prototype(
        hexagonal(1.63),
        "AAXX",
        [[t, 2 * t, 0], [2 * t, t, h], [t, 2 * t, 0.375], [2 * t, t, 0.875]],
        [(2, -2), (3, -3)],
    ),
    "layered-nitride": Prototype(
        hexagonal(2.6),
        "AAXX",
        [[t, 2 * t, 0.25], [2 * t, t, 0.75], [2 * t, t, 0.25], [t, 2 * t, 0.75]],
        [(3, -3)],
    ),
    "fluorite": Prototype(FCC, "AXX", [[0, 0, 0], *QUARTERS], [(2, -1), (4, -2)]),
    "antifluorite": Prototype(FCC, "XAA", [[0, 0, 0], *QUARTERS], [(-2, 1), (-4, 2)]),
    "rutile": Prototype(
        np.diag([1, 1, 0.65]),
        "AAXXXX",
        [
            [0, 0, 0],
            [h, h, h],
            [0.305, 0.305, 0],
            [0.695, 0.695, 0],
            [0.805, 0.195, h],
            [0.195, 0.805, h],
        ],
        [(2, -1), (4, -2)],
    ),
    "anatase": Prototype(
        body_centred(2.5),
        "AAXXXX",
        [
            [0, 0, 0],
            [0.75, 0.25, h],
            [0.208, 0.208, 0],
            [0.958, 0.458, h],
            [0.792, 0.792, 0],
            [0.542, 0.042, h],
        ],
        [(4, -2)],
    ),
    "cadmium-iodide": Prototype(
        hexagonal(1.6), "AXX", [[0, 0, 0], [t, 2 * t, 0.25], [2 * t, t, 0.75]], [(2, -1), (4, -2)]
    ),
    "molybdenite": Prototype(
        hexagonal(3.9),
        "AAXXXX",
        [
            [t, 2 * t, 0.25],
            [2 * t, t, 0.75],
            [t, 2 * t, 0.621],
            [t, 2 * t, 0.879],
            [2 * t, t, 0.379],
            [2 * t, t, 0.121],
        ],
        [(4, -2)],
    ),
    "perovskite": Prototype(
        CUBE,
        "ABXXX",
        [[0, 0, 0], [h, h, h], [h, h, 0], [h, 0, h], [0, h, h]],
        [(1, 2, -1), (2, 4, -2), (1, 5, -2), (3, 3, -2)],
    ),
    "antiperovskite": Prototype(
        CUBE,
        "XYAAA",
        [[0, 0, 0], [h, h, h], [h, h, 0], [h, 0, h], [0, h, h]],
        [(-1, -2, 1), (-3, -3, 2)],
    ),
    "half-heusler": Prototype(
        FCC, "ABX", [[0, 0, 0], [h, h, h], [0.25] * 3], [(1, 2, -3), (1, 3, -4), (2, 1, -3)]
    ),
    "antifluorite-complex": Prototype(
        FCC, "AABXXXXXX", [*QUARTERS, [0, 0, 0], *OCTAHEDRON], [(1, 4, -1)]
    ),
    "elpasolite": Prototype(
        FCC, "AABDXXXXXX", [*QUARTERS, [0, 0, 0], [h, h, h], *OCTAHEDRON], [(1, 3, 1, -1)]
    ),
    "matlockite": Prototype(
        np.diag([1, 1, 1.75]),
        "AAYYXX",
        [
            [0.25, 0.25, 0.19],
            [0.75, 0.75, 0.81],
            [0.25, 0.75, 0],
            [0.75, 0.25, 0],
            [0.25, 0.25, 0.65],
            [0.75, 0.75, 0.35],
        ],
        [(2, -1, -1), (3, -2, -1)],
    ),
    "delafossite": Prototype(
        rhombohedral(5.7), "ABXX", [[0, 0, 0], [h, h, h], [0.11] * 3, [0.89] * 3], [(1, 3, -2)]
    ),
    "layered-oxide": Prototype(
        rhombohedral(5.3), "ABXX", [[0, 0, 0], [h, h, h], [0.24] * 3, [0.76] * 3], [(1, 3, -2)]
    ),
    "zintl": Prototype(
        hexagonal(1.65),
        "ABBXX",
        [[0, 0, 0], [t, 2 * t, 0.63], [2 * t, t, 0.37], [t, 2 * t, 0.26], [2 * t, t, 0.74]],
        [(2, 2, -3)],
    ),
    "lanthana": Prototype(
        hexagonal(1.56),
        "AAYXX",
        [[t, 2 * t, 0.25], [2 * t, t, 0.75], [0, 0, 0], [t, 2 * t, 0.64], [2 * t, t, 0.36]],
        [(3, -2, -2)],
    ),
    "tetradymite": Prototype(
        rhombohedral(7.0),
        "AAYXX",
        [[0.4] * 3, [0.6] * 3, [0, 0, 0], [0.21] * 3, [0.79] * 3],
        [(3, -2, -2)],
    ),
    "cuprite": Prototype(
        CUBE, "AAAAXX", [[0, 0, 0], [h, h, 0], [h, 0, h], [0, h, h], *QUARTERS], [(1, -2)]
    ),
    "ruddlesden-popper": Prototype(
        body_centred(3.25),
        "AABXXXX",
        [
            [0.355, 0.355, 0],
            [0.645, 0.645, 0],
            [0, 0, 0],
            [h, 0, h],
            [0, h, h],
            [0.155, 0.155, 0],
            [0.845, 0.845, 0],
        ],
        [(2, 4, -2), (1, 2, -1)],
    ),
    "brucite": Prototype(
        hexagonal(1.5),
        "AOOHH",
        [[0, 0, 0], [t, 2 * t, 0.22], [2 * t, t, 0.78], [t, 2 * t, 0.42], [2 * t, t, 0.58]],
        [(2,)],
    ),
    "azide": Prototype(
        rhombohedral(4.2), "ANNN", [[0, 0, 0], [h, h, h], [0.423] * 3, [0.577] * 3], [(1,)]
    ),
    "cyanamide": Prototype(
        rhombohedral(4.0), "ACNN", [[0, 0, 0], [h, h, h], [0.417] * 3, [0.583] * 3], [(2,)]
    ),
    "acetylide": Prototype(
        body_centred(1.65), "ACC", [[0, 0, 0], [0.4, 0.4, 0], [0.6, 0.6, 0]], [(2,)]
    ),
    "peroxide": Prototype(
        body_centred(1.75), "AOO", [[0, 0, 0], [0.39, 0.39, 0], [0.61, 0.61, 0]], [(2,)]
    ),
    "complex-hydride": Prototype(
        FCC, "AABHHHHHH", [*QUARTERS, [0, 0, 0], *OCTAHEDRON], [(1, 4), (2, 2)]
    ),
}


def reduced(symbols: list[str]) -> tuple[tuple[str, int], ...]:
    """A composition, whatever the cell."""
    counts = Counter(symbols)
    divisor = reduce(gcd, counts.values())
    return tuple(sorted((symbol, count // divisor) for symbol, count in counts.items()))


def parsed(formula: str) -> tuple[tuple[str, int], ...]:
    """The composition of a formula such as Mg(OH)2."""

    def symbols(text: str) -> list[str]:
        found: list[str] = []
        for group, element, count in re.findall(r"(?:\(([^)]*)\)|([A-Z][a-z]?))(\d*)", text):
            found += (symbols(group) if group else [element]) * int(count or 1)
        return found

    return reduced(symbols(formula))


def filled(prototype: Prototype, rng: random.Random) -> Iterator[tuple[str, Atoms]]:
    """A prototype with elements whose charges cancel, in random order."""
    kinds = [kind for kind in dict.fromkeys(prototype.slots) if kind in "ABDXY"]
    ways = [
        way
        for charges in prototype.charges
        for way in itertools.product(*(OF_CHARGE[charge].split() for charge in charges))
        if len(set(way)) == len(way)
    ]
    rng.shuffle(ways)
    for way in ways:
        elements = dict(zip(kinds, way, strict=True))
        symbols = [elements.get(slot, slot) for slot in prototype.slots]
        atoms = Atoms(symbols, cell=prototype.cell, scaled_positions=prototype.sites, pbc=True)
        yield "-".join(way), as_close_as_allowed(atoms)


def as_close_as_allowed(atoms: Atoms) -> Atoms:
    """Scaled so that no two atoms are nearer than `CLOSEST` of the sum of their radii."""
    wide = atoms.copy()
    wide.set_cell(10 * atoms.cell.array, scale_atoms=True)
    i, j, distance = neighbor_list("ijd", wide, 12.0)
    radius = covalent_radii[wide.numbers]
    scale = 10 * np.max((radius[i] + radius[j]) * CLOSEST / distance)
    atoms.set_cell(scale * atoms.cell.array, scale_atoms=True)
    return atoms


def rows_of(table: Path, most: int = MOST_SITES) -> list[tuple[str, Atoms]]:
    """The crystals of the data with no more than so many sites."""
    csv.field_size_limit(10**9)
    found = []
    with table.open() as file:
        for row in csv.DictReader(file):
            known = ast.literal_eval(row["structure"])
            atoms = Atoms(
                numbers=known["numbers"], cell=known["cell"], positions=known["positions"], pbc=True
            )
            if len(atoms) <= most:
                found.append((row["mp_id"], atoms))
    return found


def substituted(rows: list[tuple[str, Atoms]], rng: random.Random) -> Iterator[tuple[str, Atoms]]:
    """Crystals with one or two elements exchanged; every other one holds a light element."""
    other: dict[str, set[str]] = {}
    for column in map(str.split, COLUMNS):
        for element in column:
            other.setdefault(element, set()).update(set(column) - {element})
    light = [row for row in rows if LIGHT & set(row[1].get_chemical_symbols())]
    while True:
        name, atoms = rng.choice(light if rng.random() < 0.5 else rows)
        elements = sorted(set(atoms.get_chemical_symbols()))
        able = [e for e in elements if e in other and e not in LIGHT]
        if not able:
            continue
        new = dict(zip(elements, elements, strict=True))
        for element in rng.sample(able, min(len(able), 1 + (rng.random() < 0.4))):
            free = sorted(other[element] - set(new.values()))
            new[element] = rng.choice(free or [element])
        made = atoms.copy()
        made.set_chemical_symbols([new[s] for s in atoms.get_chemical_symbols()])
        grown = covalent_radii[made.numbers].mean() / covalent_radii[atoms.numbers].mean()
        made.set_cell(atoms.cell * grown**0.8, scale_atoms=True)
        if made.get_chemical_symbols() != atoms.get_chemical_symbols():
            yield f"{name}-{made.get_chemical_formula()}", made


def strained(rows: list[tuple[str, Atoms]], rng: random.Random) -> Iterator[tuple[str, Atoms]]:
    """Crystals of the data, longer or shorter."""
    for name, atoms in rng.sample(rows, len(rows)):
        made = atoms.copy()
        stretch = 1 + rng.choice([-1, 1]) * rng.uniform(0.008, 0.03)
        made.set_cell(atoms.cell.array * stretch, scale_atoms=True)
        yield name, made


def relaxed(atoms: Atoms, calculator: Any) -> Atoms | None:
    """The nearest minimum of the same symmetry; None if it is odd."""
    atoms = atoms.copy()
    atoms.calc = calculator
    atoms.set_constraint(FixSymmetry(atoms, symprec=1e-3))
    FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.03, steps=80)
    force, stress = (np.abs(x).max() for x in (atoms.get_forces(), atoms.get_stress()))
    volume = atoms.get_volume() / len(atoms)
    if not (force < FORCE and stress < STRESS and VOLUME[0] < volume < VOLUME[1]):
        return None
    atoms.set_constraint()
    atoms.calc = None
    return atoms


def candidates(
    kind: str, rows: list[tuple[str, Atoms]], rng: random.Random, only: Collection[str]
) -> Iterator[tuple[str, Atoms]]:
    """Names and crystals to begin from."""
    if kind != "prototypes":
        yield from (substituted if kind == "substituted" else strained)(rows, rng)
        return
    live = {name: filled(prototype, rng) for name, prototype in PROTOTYPES.items() if name in only}
    while live:
        for name in list(live):
            found = next(live[name], None)
            if found is None:
                del live[name]
            else:
                yield f"{name}-{found[0]}", found[1]


def main() -> None:
    """Make what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("kind", choices=["prototypes", "substituted", "strained"])
    parser.add_argument("data", type=Path)
    parser.add_argument("--exclude", type=Path, required=True)
    parser.add_argument("--calculator", required=True)
    parser.add_argument("--only", choices=PROTOTYPES, nargs="*", help="prototypes to fill")
    parser.add_argument("--number", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    module, function = asked.calculator.split(":")
    calculator = getattr(importlib.import_module(module), function)()
    banned = {parsed(formula) for formula in asked.exclude.read_text().split()}
    rng, done, seen = random.Random(asked.seed), 0, set[str]()
    for name, start in candidates(asked.kind, rows_of(asked.data), rng, asked.only or PROTOTYPES):
        if done == asked.number:
            return
        if name in seen or reduced(start.get_chemical_symbols()) in banned:
            continue
        seen.add(name)
        try:
            made = start if asked.kind == "strained" else relaxed(start, calculator)
        except Exception as error:  # noqa: BLE001 - one odd crystal must not end a night's run
            print(f"{name}: {error!r}"[:200], file=sys.stderr, flush=True)
            continue
        if made is None:
            print(f"{name}: relaxed to something odd", file=sys.stderr, flush=True)
            continue
        made.info = {"name": f"{asked.kind}-{name}"}
        write(asked.output, made, format="extxyz", append=True)
        done += 1


if __name__ == "__main__":
    main()
