"""`debye learn` of a drifting object that nobody has seen: object and law together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debye.cli.console import DONE, SOME_FAILED, show, to_json, warn
from debye.errors import InputError

if TYPE_CHECKING:
    from debye.speckle.data.frames import Frames
    from debye.speckle.scattering.rigid import RigidLattice

TABLES = {
    "object": "points of the lattice a side, support (its radius), degree of the flow, "
    "starts and seed",
    "detector": "n, dq, L and f_mask: what Detector takes",
    "probe": "f_probe and curvature: what CurvedProbe takes",
}
"""Tables of the config; detector and probe where the frames' file does not know them."""


def fit_object(
    data: Frames,
    output: Path,
    tables: Mapping[str, Any],
    config: Path,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Reconstruct the object of frames together with the flow that carries it, and write that.

    Args:
        data: Counts of one run.
        output: File of the fitted system.
        tables: What the config holds.
        config: Where it comes from.
        overwrite: Whether the output may be replaced.
        as_json: Whether to print a record, which holds object and path too.

    Raises:
        InputError: The config does not describe an object, or the frames cannot be its.
        ComputationError: The flow blows up on the way.
    """
    from debye.speckle.dynamics.learnable import Flow
    from debye.speckle.dynamics.systems import Drift
    from debye.speckle.fitting.fitted import save
    from debye.speckle.unknown_starts.first_states import reconstruct_object

    if output.exists() and not overwrite:
        raise InputError(
            f"{output} exists", why="it would be replaced", fix="add --overwrite, or name another"
        )
    given = dict(tables["object"])
    model = _described(data, given, tables, config)
    system = Drift(Flow(degree=int(given.pop("degree", 1))))
    support = model.sites.norm(dim=-1) <= float(given.pop("support", model.detector.L))
    if odd := set(given) - {"starts", "seed"}:
        raise _refused(config, f"[object] has {', '.join(sorted(odd))}, which nothing takes")
    law, found = reconstruct_object(system, data, model, support=support, **given)
    save(output, law)
    lines = [*law.lines()[:1], *found.lines()]
    record = {**law.as_json(), "object": found.as_json(), "output": str(output)}
    show(to_json(record) if as_json else "\n".join([*lines, str(output)]))
    if not found.goodness.fits:
        warn(lines[-1])
    return DONE if found.goodness.fits else SOME_FAILED


def _described(
    data: Frames, given: dict[str, Any], tables: Mapping[str, Any], config: Path
) -> RigidLattice:
    """The scattering model of a config, or the frames' own.

    Raises:
        InputError: A table is missing or unknown, or holds what its class does not take.
    """
    from debye.speckle.scattering.optics import Detector
    from debye.speckle.scattering.rigid import CurvedProbe, RigidLattice

    if isinstance(data.scattering, RigidLattice) and set(tables) == {"object"}:
        given.pop("points", None)
        return data.scattering
    if set(tables) != set(TABLES):
        odd = sorted(set(tables) ^ set(TABLES))[0]
        raise _refused(config, f"it has {'no' if odd in TABLES else 'a'} table [{odd}]")
    try:
        detector = Detector(**tables["detector"])
        probe = CurvedProbe(L=detector.L, **tables["probe"])
        return RigidLattice(detector, probe, int(given.pop("points")))
    except (TypeError, KeyError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise _refused(config, f"a table does not hold what its class takes: {error}") from error


def _refused(config: Path, why: str) -> InputError:
    return InputError(
        f"cannot use {config}",
        why=why,
        fix="; ".join(f"[{name}] holds {what}" for name, what in TABLES.items()),
    )
