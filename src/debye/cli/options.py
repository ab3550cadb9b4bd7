"""Every option of the command line, declared once: a name means one thing in every verb.

What OUTPUT may be, which tables a config has and the like stand in the help of each verb. In every
path ``~`` is the home folder, and ``-`` is stdin where a file is read.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from debye.cli.paths import expanded, read_path


class Unit(str, Enum):
    """Units of frequency that can be asked for."""

    WAVENUMBER = "cm-1"
    TERAHERTZ = "THz"
    MILLIELECTRONVOLT = "meV"


class Partial(str, Enum):
    """How finely the density of states is split."""

    NONE = "none"
    ELEMENT = "element"
    SITE = "site"


class Basis(str, Enum):
    """What thermodynamic quantities are per."""

    ATOM = "per-atom"
    FORMULA_UNIT = "per-formula-unit"
    CELL = "per-mole-of-cells"
    KILOGRAM = "per-kg"


class Background(str, Enum):
    """What lies under a measured spectrum."""

    NONE = "none"
    CONSTANT = "constant"
    LINEAR = "linear"


class Quantity(str, Enum):
    """What can be ranked by: `debye.crystals.dos.quantities.PROPERTIES`."""

    HEAT_CAPACITY_PER_KG = "heat-capacity-per-kg"
    HEAT_CAPACITY_PER_ATOM = "heat-capacity-per-atom"
    ENTROPY_PER_ATOM = "entropy-per-atom"
    ZERO_POINT_ENERGY_PER_ATOM = "zero-point-energy-per-atom"
    MEAN_FREQUENCY = "mean-frequency"


class Goal(str, Enum):
    """What can be designed for: what can be ranked by, and a gap."""

    HEAT_CAPACITY_PER_KG = "heat-capacity-per-kg"
    HEAT_CAPACITY_PER_ATOM = "heat-capacity-per-atom"
    ENTROPY_PER_ATOM = "entropy-per-atom"
    ZERO_POINT_ENERGY_PER_ATOM = "zero-point-energy-per-atom"
    MEAN_FREQUENCY = "mean-frequency"
    GAP = "gap"


class ExecutorName(str, Enum):
    """Who does the work."""

    LOCAL = "local"
    PARSL = "parsl"
    DASK = "dask"


class Case(str, Enum):
    """Systems that can be simulated."""

    SWARM = "swarm"
    KURAMOTO = "kuramoto"
    DRIFT = "drift"
    GRAY_SCOTT = "gray-scott"
    TURING = "turing"
    SCAN = "scan"


class StudyName(str, Enum):
    """Systems with a term to learn."""

    SWARM = "swarm"
    KURAMOTO = "kuramoto"
    DRIFT = "drift"
    SCAN = "scan"


class Method(str, Enum):
    """How a system is fitted."""

    GAUSS_NEWTON = "gauss-newton"
    LBFGS = "lbfgs"
    ADAM = "adam"


# What is given.

Files = Annotated[
    list[str],
    typer.Argument(
        help="Structures: CIF, POSCAR, (ext)xyz, ASE database, pymatgen JSON, phonopy YAML; "
        "folders, globs; -.",
        show_default=False,
    ),
]
Structure = Annotated[
    str,
    typer.Argument(help="A structure, in any format of `debye dos`.", show_default=False),
]
SecondStructure = Annotated[
    str, typer.Argument(help="The parent at fraction 1.", show_default=False)
]
Candidates = Annotated[
    list[str],
    typer.Argument(
        help="Structures: files, folders, globs; or a folder that `debye screen` wrote.",
        show_default=False,
    ),
]
Measured = Annotated[
    Path,
    typer.Argument(
        callback=read_path,
        help="Measured spectrum: columns energy, intensity and, if known, error.",
        show_default=False,
    ),
]
Data = Annotated[
    Path,
    typer.Argument(
        callback=read_path,
        help="Labelled crystals: a CSV (mp_id, structure, phfreq, phdos) or phonopy folders.",
        show_default=False,
    ),
]
Frames = Annotated[
    Path,
    typer.Argument(
        callback=read_path,
        help="HDF5 file of frames; FILE::/PATH names the dataset.",
        show_default=False,
    ),
]
Fitted = Annotated[
    Path,
    typer.Argument(callback=read_path, help="Fitted system of `debye learn`.", show_default=False),
]
Screened = Annotated[
    Path, typer.Argument(callback=expanded, help="What `debye screen` wrote.", show_default=False)
]
ModelArgument = Annotated[
    Path | None,
    typer.Argument(
        callback=expanded, help="Model file, fast or labels; the shipped ensemble by default."
    ),
]
CaseName = Annotated[Case, typer.Argument(help="What to simulate.", show_default=False)]
StudyArgument = Annotated[StudyName, typer.Argument(help="Which study.", show_default=False)]

# What is written and printed.

_OUTPUT = typer.Option(
    "--output", callback=expanded, help="Where to write the result; see above.", show_default=False
)
Output = Annotated[Path, _OUTPUT]
OptionalOutput = Annotated[Path | None, _OUTPUT]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Begin anew, whatever OUTPUT holds of an earlier run.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with what OUTPUT holds, and begin nothing.")
]
Predictions = Annotated[
    Path | None,
    typer.Option(
        "--predictions",
        callback=expanded,
        help="CSV of the predicted spectra to write, max-1 view.",
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        callback=expanded,
        help="Figure to draw: a PNG, SVG or PDF file.",
        show_default=False,
    ),
]
Movie = Annotated[bool, typer.Option("--movie/--no-movie", help="Draw the movie too.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Imports = Annotated[
    bool,
    typer.Option("--imports", help="Import systems and terms of your own that the file names."),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="No notes or progress; warnings and errors remain.")
]
Top = Annotated[int, typer.Option("--top", min=0, help="How many of the best to print.")]

# How it is computed.

ModelFile = Annotated[
    Path | None,
    typer.Option(
        "--model",
        callback=expanded,
        help="Model file, fast or labels; the shipped ensemble by default.",
    ),
]
Device = Annotated[
    str, typer.Option("--device", help="Where to compute: auto, cpu, cuda, xpu or mps.")
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", callback=expanded, metavar="<path>", help="TOML file of settings; see above."
    ),
]
Configs = Annotated[
    list[Path],
    typer.Option(
        "--config", callback=expanded, metavar="<path>", help="TOML file of settings; see above."
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything that is random.")]
OptionalSeed = Annotated[
    int | None, typer.Option("--seed", help="Seed of everything that is random.")
]

# Spectra and what follows from them.

UnitName = Annotated[Unit, typer.Option("--unit", help="Unit of frequency or energy.")]
OptionalUnit = Annotated[
    Unit | None,
    typer.Option("--unit", help="Unit of frequency or energy.", show_default="from its header"),
]
PartialName = Annotated[
    Partial, typer.Option("--partial", help="Split the density of states by this.")
]
BasisName = Annotated[Basis, typer.Option("--basis", help="What the amounts are per.")]
Temperature = Annotated[float, typer.Option("--temperature", help="Temperature, K.")]
OptionalTemperature = Annotated[float | None, typer.Option("--temperature", help="Temperature, K.")]
Temperatures = Annotated[
    str,
    typer.Option("--temperatures", help="In K, as start:stop:step or with commas between."),
]
_LEVEL = typer.Option(
    "--level", help="How often the intervals hold, 0.5 to 0.99; ± is half of one."
)
Level = Annotated[float, _LEVEL]
OptionalLevel = Annotated[float | None, _LEVEL]
Reference = Annotated[
    Path | None,
    typer.Option(
        "--reference", callback=read_path, help="A calculated or measured spectrum to draw beside."
    ),
]
ReferenceFraction = Annotated[
    float, typer.Option("--reference-fraction", help="The fraction that the reference belongs to.")
]
Sideways = Annotated[
    bool, typer.Option("--sideways", help="Draw it upright, as beside a band structure.")
]
Fractions = Annotated[
    str,
    typer.Option("--fractions", help="Fractions of B, as start:stop:step or with commas between."),
]

# Training and evaluation.

SplitFile = Annotated[
    Path | None,
    typer.Option(
        "--split", callback=read_path, help="CSV of mp_id and split (train, valid, test)."
    ),
]
Subset = Annotated[
    str | None,
    typer.Option("--subset", help="Which part of the split to use.", show_default="valid"),
]

# Screening.

By = Annotated[Quantity, typer.Option("--by", help="What to rank by.")]
Lowest = Annotated[bool, typer.Option("--lowest", help="The smallest first.")]
Contains = Annotated[
    list[str] | None,
    typer.Option("--contains", help="An element that must be there; may be repeated."),
]
Without = Annotated[
    list[str] | None,
    typer.Option("--without", help="An element that may not be there; may be repeated."),
]
MaxError = Annotated[
    float | None,
    typer.Option(
        "--max-error", help="Leave out rows of a larger expected error, cm⁻¹.", show_default=False
    ),
]
Executor = Annotated[ExecutorName, typer.Option("--executor", help="Who does the work.")]
ExecutorConfig = Annotated[
    Path | None,
    typer.Option(
        "--executor-config",
        callback=expanded,
        help="TOML file that describes a Parsl or Dask executor.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Shards in work at a time; the cores of this machine, or what the executor's config "
        "has, by default.",
    ),
]
ShardSize = Annotated[int, typer.Option("--shard-size", min=1, help="Structures of a shard.")]

# From a spectrum to a structure.

ResolutionText = Annotated[
    str,
    typer.Option(
        "--resolution",
        help="Standard deviation of the energy: 1.5, a fraction 2%, a polynomial 1,0.02; or fit.",
    ),
]
BackgroundName = Annotated[
    Background, typer.Option("--background", help="Background that is fitted.")
]
Neutron = Annotated[
    bool, typer.Option("--neutron", help="Weight each atom by its cross-section over its mass.")
]
Window = Annotated[
    str | None,
    typer.Option(
        "--window", help="Part of the axis to compare, as low:high.", show_default="all of it"
    ),
]
Free = Annotated[
    list[str] | None,
    typer.Option(
        "--free",
        help="What may change: lattice, positions, or Sb=Bi (how much Bi stands for Sb); "
        "may be repeated.",
        show_default="lattice",
    ),
]
Toward = Annotated[
    str | None,
    typer.Option("--toward", help="Free the fraction of an alloy with this second parent instead."),
]
Exact = Annotated[
    bool,
    typer.Option("--exact", help="Take the predictions as exact; only measured errors count."),
]
Samples = Annotated[
    int, typer.Option("--samples", min=0, help="Draw so many values from the posterior.")
]
Replace = Annotated[
    list[str],
    typer.Option(
        "--replace", help="Elements that may replace one of it: Sb=As,Bi; may be repeated."
    ),
]
Target = Annotated[
    Goal, typer.Option("--target", help="What should have the value.", show_default=False)
]
Value = Annotated[
    str,
    typer.Option("--value", help="The value; for a gap its ends in cm⁻¹, as low:high."),
]

# Frames and what moves in them.

_RUNS = typer.Option("--runs", min=1, help="How many runs, each from an initial state of its own.")
Runs = Annotated[int, _RUNS]
OptionalRuns = Annotated[int | None, _RUNS]
Run = Annotated[int, typer.Option("--run", min=0, help="Which run, from 0.")]
Until = Annotated[float, typer.Option("--until", help="Last time.", show_default=False)]
OptionalUntil = Annotated[
    float | None, typer.Option("--until", help="Last time.", show_default="as published")
]
Photons = Annotated[
    float,
    typer.Option(
        "--photons", min=0, help="Expected counts in the brightest pixel; 0 for no noise."
    ),
]
System = Annotated[
    StudyName | None,
    typer.Option("--system", help="Equation; the file's own by default."),
]
MethodName = Annotated[Method, typer.Option("--method", help="How to fit.")]
Quick = Annotated[bool, typer.Option("--quick", help="Follow the shortened plan.")]
From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        callback=read_path,
        help="Frames whose first states to start from; those it was fitted to if none.",
    ),
]
Functions = Annotated[
    list[str] | None,
    typer.Option(
        "--function",
        help='A function that may stand in it, such as "x y" or "sin kx"; may be repeated.',
        show_default="all of the library",
    ),
]
Alone = Annotated[
    bool, typer.Option("--alone", help="Use what was fitted alone, without any frames.")
]
Latex = Annotated[bool, typer.Option("--latex", help="Print the formulas for LaTeX.")]
