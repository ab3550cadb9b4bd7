"""Physics-guided machine learning for materials characterization.

Two halves that are one sentence: *a local rule between neighbours, seen only
through a summed, far-away signal.*

- `debye.crystals`: structure file → Crystal → Graph → PhononNet → Spectrum → heat capacity.
- `debye.speckle`: equation → System → Trajectory → Scattering → frames → the law behind them.

The names below are imported when they are first used, so that ``import debye`` costs nothing.

Example:
    >>> import debye
    >>> debye.Spectrum([0, 100, 200], [0.0, 0.03, 0.0]).mean_frequency.item()
    100.0
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from debye.crystals.dos.spectrum import Spectrum as Spectrum
    from debye.crystals.dos.thermo_table import thermodynamics as thermodynamics
    from debye.crystals.predict.predictor import Prediction as Prediction
    from debye.crystals.predict.predictor import Predictor as Predictor
    from debye.crystals.structure.alloy import interpolate as interpolate
    from debye.crystals.structure.crystal import Crystal as Crystal
    from debye.crystals.structure_io.read import read_crystal as read_crystal
    from debye.crystals.structure_io.read import read_structures as read_structures
    from debye.errors import InputError as InputError

__version__ = "0.1.0"

_HOMES = {
    "Crystal": "debye.crystals.structure.crystal",
    "Prediction": "debye.crystals.predict.predictor",
    "Predictor": "debye.crystals.predict.predictor",
    "InputError": "debye.errors",
    "Spectrum": "debye.crystals.dos.spectrum",
    "interpolate": "debye.crystals.structure.alloy",
    "read_crystal": "debye.crystals.structure_io.read",
    "read_structures": "debye.crystals.structure_io.read",
    "thermodynamics": "debye.crystals.dos.thermo_table",
}

__all__ = ["__version__"]
__all__ += list(_HOMES)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any of the names above
    if name not in _HOMES:
        raise AttributeError(f"module 'debye' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
