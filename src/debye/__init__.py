"""Physics-guided machine learning for materials characterization.

Two halves that are one sentence: *a local rule between neighbours, seen only
through a summed, far-away signal.*

- `debye.crystals`: structure file → Crystal → Graph → PhononNet → Spectrum → heat capacity.
- `debye.speckle`: equation → System → Trajectory → Scattering → Frames → FittedSystem.

The names below are imported when they are first used, so that ``import debye`` costs nothing.

Example:
    >>> import debye
    >>> debye.Spectrum([0, 100, 200], [0.0, 0.03, 0.0]).mean_frequency.item()
    100.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from debye.core import VERSION
from debye.core.upward import lazily

if TYPE_CHECKING:
    from debye import crystals as crystals
    from debye import plot as plot
    from debye import speckle as speckle
    from debye.core.files import DEMO as DEMO
    from debye.crystals.data.phonopy_files import from_phonopy as from_phonopy
    from debye.crystals.dos.spectrum import Spectrum as Spectrum
    from debye.crystals.dos.thermo_table import Thermodynamics as Thermodynamics
    from debye.crystals.dos.thermo_table import thermodynamics as thermodynamics
    from debye.crystals.dos_io.files import read_measured as read_measured
    from debye.crystals.dos_io.files import read_spectrum as read_spectrum
    from debye.crystals.lattice.bands import Bands as Bands
    from debye.crystals.lattice.calculate import from_calculator as from_calculator
    from debye.crystals.lattice.force_constants import ForceConstants as ForceConstants
    from debye.crystals.lattice.harmonic import HarmonicCrystal as HarmonicCrystal
    from debye.crystals.predict.call import bands as bands
    from debye.crystals.predict.call import predict as predict
    from debye.crystals.predict.prediction import Prediction as Prediction
    from debye.crystals.predict.predictor import Predictor as Predictor
    from debye.crystals.screening.run import Screening as Screening
    from debye.crystals.screening.run import screen as screen
    from debye.crystals.structure.alloy import interpolate as interpolate
    from debye.crystals.structure.crystal import Crystal as Crystal
    from debye.crystals.structure_io.read import FailedInput as FailedInput
    from debye.crystals.structure_io.read import read_crystal as read_crystal
    from debye.crystals.structure_io.read import read_structures as read_structures
    from debye.crystals.training.crossval import cross_validate as cross_validate
    from debye.crystals.training.evaluate import calibrate as calibrate
    from debye.crystals.training.evaluate import evaluate as evaluate
    from debye.errors import ComputationError as ComputationError
    from debye.errors import DebyeError as DebyeError
    from debye.errors import InputError as InputError
    from debye.speckle.data.correlate import correlate as correlate
    from debye.speckle.data.frames import Frames as Frames

__version__ = VERSION

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "crystals.dos.spectrum": ["Spectrum"],
        "crystals.dos.thermo_table": ["Thermodynamics", "thermodynamics"],
        "crystals.dos_io.files": ["read_measured", "read_spectrum"],
        "crystals.data.phonopy_files": ["from_phonopy"],
        "crystals.lattice.bands": ["Bands"],
        "crystals.lattice.calculate": ["from_calculator"],
        "crystals.lattice.harmonic": ["HarmonicCrystal"],
        "crystals.lattice.force_constants": ["ForceConstants"],
        "crystals.predict.prediction": ["Prediction"],
        "crystals.predict.call": ["bands", "predict"],
        "crystals.predict.predictor": ["Predictor"],
        "crystals.structure.alloy": ["interpolate"],
        "crystals.structure.crystal": ["Crystal"],
        "crystals.screening.run": ["Screening", "screen"],
        "crystals.training.crossval": ["cross_validate"],
        "crystals.training.evaluate": ["calibrate", "evaluate"],
        "crystals.structure_io.read": ["FailedInput", "read_crystal", "read_structures"],
        "core.files": ["DEMO"],
        "speckle.data.correlate": ["correlate"],
        "speckle.data.frames": ["Frames"],
        "errors": ["ComputationError", "DebyeError", "InputError"],
    },
    ["crystals", "plot", "speckle"],
)
__all__ += ["__version__"]
