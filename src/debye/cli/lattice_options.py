"""Options of the verbs that know force constants: bands, what is added to them, where they lie."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from debye.cli.paths import read_path


class Lattice(str, Enum):
    """What cells structures come in: `debye.crystals.structure.functional.FACTORS`."""

    GIVEN = "given"
    PBE = "pbe"
    LDA = "lda"
    MEASURED = "measured"


LatticeName = Annotated[
    Lattice,
    typer.Option("--lattice", help="Whose cells these are; lengths are brought to PBEsol's."),
]
BandPath = Annotated[
    str,
    typer.Option(
        "--path", help="auto; seekpath, by the space group; or labels, | for a jump: 'G X W | L G'."
    ),
]
Points = Annotated[int, typer.Option("--points", help="Points along the path, about.")]
Born = Annotated[
    Path | None,
    typer.Option(
        "--born",
        callback=read_path,
        help="phonopy's BORN of the one crystal: its charges split LO and TO modes.",
    ),
]
Smooth = Annotated[
    bool,
    typer.Option("--smooth", help="As the published labels are: smoothed, 51 points to 1000 cm⁻¹."),
]
Grid = Annotated[
    float | None,
    typer.Option(
        "--grid",
        help="Spacing of the spectrum, cm⁻¹; 20 with --max 1000 is the view of the labels.",
        show_default="5, or as the model has it",
    ),
]
Max = Annotated[
    float | None,
    typer.Option(
        "--max", help="Where the spectrum ends, cm⁻¹.", show_default="behind the highest mode"
    ),
]
PUBLISHED = (20.0, 1000.0)
"""Spacing and end of the published labels' view."""
Velocities = Annotated[
    bool, typer.Option("--velocities", help="Group velocities, sound, elastic constants too.")
]
Refine = Annotated[
    str | None,
    typer.Option(
        "--refine",
        help="How many of the largest expected error go to a calculator: 25%, or a number.",
        show_default=False,
    ),
]
Calculator = Annotated[
    str | None,
    typer.Option(
        "--calculator",
        help="module:function that returns an ASE calculator; it is imported and run.",
        show_default=False,
    ),
]
