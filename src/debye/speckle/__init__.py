"""Dynamics → frames → dynamics: learn a law of motion from time-resolved coherent scattering.

    equation → System → Trajectory → Scattering → frames
                  ↑______________ loss ____________|

The names most used, imported when first asked for:

    from debye.speckle import Swarm, Solver, Cloud, simulate, learn

The rooms, in the order of the arrows: `dynamics` (laws, their holes, solvers), `light` (optics,
scattering, photons, correlations), `data` (frames and files), `learning` (Gauss–Newton, the
curriculum, law files), `studies` (the published cases and how they are judged).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "dynamics.systems": ("Drift", "Kuramoto", "ReactionDiffusion", "Swarm", "Swarmalator"),
    "dynamics.solver": ("Solver", "solve"),
    "scattering.optics": ("Detector", "GaussianProbe", "GridProbe"),
    "scattering.models": ("Lattice", "Cloud", "RigidCloud"),
    "scattering.ptychography": ("Scan",),
    "data.frames": ("Frames", "simulate"),
    "data.nexus": ("load_frames", "save_frames"),
    "fitting.fit": ("Plan", "Stage", "learn"),
    "fitting.model_file": ("FittedSystem", "load_fitted", "save_fitted"),
    "studies.evaluate": ("conduct",),
    "studies.cases": ("study",),
}
_WHERE = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_WHERE)  # noqa: PLE0605 - a list of names


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever stands behind the name
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
