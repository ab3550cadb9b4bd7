"""What a PBE cell costs, and what `--lattice pbe` gives back.

    python benchmarks/relaxed_cells.py relax DATA.csv SPLIT.csv --calculator MODULE:FUNCTION \
        --number 60 --output relaxed.extxyz
    python benchmarks/relaxed_cells.py compare DATA.csv SPLIT.csv --output relaxed.extxyz

Validation rows of up to 8 sites are relaxed by a calculator that learned from PBE, their symmetry
kept; then spectra of the labelled cells, the relaxed ones, and those with their lengths put right
are compared with the labels: mean Wasserstein distance and mean frequency.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
from pathlib import Path

import numpy as np
from ase.io import read, write
from teaching import relaxed, rows_of

import debye
from debye.crystals.data.dataset import read_labelled
from debye.crystals.dos.distances import wasserstein
from debye.crystals.dos.spectrum import Spectrum

MOST_SITES = 8


def relax(asked: argparse.Namespace) -> None:
    """Write relaxed rows, one after the other."""
    module, function = asked.calculator.split(":")
    calculator = getattr(importlib.import_module(module), function)()
    valid = {line.split(",")[0] for line in asked.split.read_text().split() if "valid" in line}
    rows = [row for row in rows_of(asked.data, MOST_SITES) if row[0] in valid]
    for name, atoms in random.Random(0).sample(rows, min(asked.number, len(rows))):
        found = relaxed(atoms, calculator)
        if found is None:
            print(f"{name}: relaxed to something odd", file=sys.stderr, flush=True)
            continue
        found.info = {"name": name}
        write(asked.output, found, format="extxyz", append=True)


def compare(asked: argparse.Namespace) -> None:
    """Print the table."""
    relaxed = {atoms.info["name"]: atoms for atoms in read(asked.output, ":")}
    rows = read_labelled(asked.data).rows.take(list(relaxed))
    cells = [relaxed[name] for name in rows.names]
    volumes = [abs(np.linalg.det(crystal.cell)) for crystal in rows.crystals]
    longer = [(atoms.get_volume() / V) ** (1 / 3) for atoms, V in zip(cells, volumes, strict=True)]
    print(f"{len(longer)} rows, lengths multiplied by {np.median(longer):.4f} in the median")
    truth = [
        Spectrum(rows.spectra.frequency, g, normalisation="max")
        for g in rows.spectra.to("max").density
    ]
    for kind, given, lattice in (
        ("labelled cells", rows.crystals, "given"),
        ("relaxed cells", cells, "given"),
        ("relaxed cells, --lattice pbe", cells, "pbe"),
    ):
        found = [debye.predict(each, lattice=lattice, smooth=True).total for each in given]
        pairs = list(zip(found, truth, strict=True))
        off = np.mean([wasserstein(*pair).item() for pair in pairs])
        shift = np.mean([mean_frequency(a) / mean_frequency(b) - 1 for a, b in pairs])
        print(f"{kind:30} Wasserstein {off:5.2f} cm-1, mean frequency {100 * shift:+.1f} %")


def mean_frequency(spectrum: Spectrum) -> float:
    """∫ ω g dω / ∫ g dω on an even axis."""
    return float((spectrum.frequency * spectrum.density).sum() / spectrum.density.sum())


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=["relax", "compare"])
    parser.add_argument("data", type=Path)
    parser.add_argument("split", type=Path)
    parser.add_argument("--calculator")
    parser.add_argument("--number", type=int, default=60)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    (relax if asked.what == "relax" else compare)(asked)


if __name__ == "__main__":
    main()
