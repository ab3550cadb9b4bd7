"""Dynamics → frames → dynamics: learn a law of motion from time-resolved coherent scattering.

    equation → System → Trajectory → Scattering → frames
                  ↑______________ loss ____________|

The names most used, imported when first asked for:

    from debye.speckle import Swarm, Solver, Cloud, simulate, learn

Modules, in the order of the arrows: `systems` and `truths` (laws of motion, each with a hole),
`holes` (what is learned), `integrate` (solvers with budgets), `optics`, `scattering`,
`ptychography`, `photons`, `xpcs`; `frames`, `dataset`, `scan_files` (data); `gauss_newton`,
`learning`, `law` (learning); `studies`, `evaluate`, `judge`, `scan` (the published cases).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "systems": ("Swarm", "Swarmalator", "Kuramoto", "Drift", "ReactionDiffusion"),
    "integrate": ("Solver", "solve"),
    "optics": ("Detector", "GaussianProbe", "GridProbe"),
    "scattering": ("Lattice", "Cloud", "RigidCloud"),
    "ptychography": ("Scan",),
    "frames": ("Frames", "simulate"),
    "dataset": ("load_frames", "save_frames"),
    "learning": ("Plan", "Stage", "learn"),
    "law": ("Law", "load_law", "save_law"),
    "evaluate": ("conduct",),
    "studies": ("study",),
}
_WHERE = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_WHERE)  # noqa: PLE0605 - a list of names


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever stands behind the name
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
