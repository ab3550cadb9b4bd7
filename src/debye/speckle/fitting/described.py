"""An equation written down in a config: its class, its constants, and a term for what is unknown.

    [system]
    class = "Particles"
    L = 5.0
    [system.force]
    class = "PairSpline"
    cutoff = 2.0

Every key is an argument of the class. A term that is left out becomes one that may take any smooth
form, of hundreds of coefficients, over the box that the detector sees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from torch import nn

from debye.errors import InputError
from debye.speckle.data.frames import Frames
from debye.speckle.dynamics.couplings import Kernel, PhaseSeries
from debye.speckle.dynamics.particles import Particles
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.splines import PairSpline, SplineFlow, SplineReaction
from debye.speckle.dynamics.systems import (
    Drift,
    Kuramoto,
    ReactionDiffusion,
    RigidMotion,
    Swarm,
    Swarmalator,
    System,
)
from debye.speckle.fitting.instrument import Instrument
from debye.speckle.fitting.plan import Plan
from debye.speckle.scattering.models import Scattering
from debye.speckle.serialize import CLASSES, build

Begun = TypeVar("Begun")
Make = Callable[[float, Mapping[str, Any]], nn.Module]
"""A term for a box of side L, next to the other arguments of its equation."""


def flow(L: float, given: Mapping[str, Any]) -> SplineFlow:
    """Any smooth flow in a box."""
    return SplineFlow((-L / 2, -L / 2), (L / 2, L / 2))


def pairs(L: float, given: Mapping[str, Any]) -> PairSpline:
    """Any smooth function of a distance below half a box, for each pair of species."""
    species = len(given.get("species", ())) or 1
    return PairSpline(0.49 * L, columns=species * (species + 1) // 2)


RICH: dict[type[System], dict[str, Make]] = {
    Drift: {"velocity": flow},
    RigidMotion: {
        "velocity": flow,
        "spin": lambda L, given: SplineFlow((-L / 2, -L / 2), (L / 2, L / 2), outputs=1),
    },
    Particles: {"force": pairs},
    Swarm: {"interaction": pairs},
    Swarmalator: {"interaction": pairs, "coupling": lambda L, given: PhaseSeries()},
    Kuramoto: {"coupling": lambda L, given: Kernel(axes=given.get("axes", 2))},
    ReactionDiffusion: {"reaction": lambda L, given: SplineReaction()},
}
"""For each equation, what its terms are where nobody says: any smooth function."""
IMPLIED = {"detector": "Detector", "probe": "GaussianProbe"}
"""Classes of tables that need not name one."""
TABLES = ("system", "scattering", "solver")
"""Tables of a config that describe an experiment; the rest of it is the plan."""


class Described(NamedTuple):
    """What a config says of an experiment.

    Attributes:
        system: The equation.
        scattering: What the detector sees; None if the frames say it.
        solver: How to integrate; None for the default.
        plan: The fields of the plan.
    """

    system: System
    scattering: Scattering | None
    solver: Solver | None
    plan: dict[str, Any]


def described(
    config: Mapping[str, Any], scattering: Scattering | None = None, *, imports: bool = False
) -> Described:
    """The experiment of a config.

    Args:
        config: Tables ``system``, ``scattering`` and ``solver``, and fields of a `Plan`.
        scattering: That of the frames, which a table of the config overrules.
        imports: Whether classes of your own, ``package.module:Name``, may be imported.

    Raises:
        InputError: A table names no class, an unknown one, or one that is no system; its arguments
            do not fit; or a term is left out and nothing says how large the box is.

    Example:
        >>> lines = {"system": {"class": "Particles", "L": 4.0, "force": {"class": "Yukawa"}}}
        >>> described(lines).system
        Particles(force=Yukawa(), L=4.0)
    """
    seen = scattering
    if "scattering" in config:
        seen = build(spelled(config["scattering"], "scattering"), imports=imports)
    table = dict(config["system"])
    kind = CLASSES.get(str(table.get("class")))
    if kind in RICH:
        table |= left_out(kind, table, seen)
    made = build(spelled(table, "system"), imports=imports)
    if not isinstance(made, System):
        raise InputError(
            f"a {table.get('class')} is no equation of motion",
            why="it is not derived from System",
            fix=f"name one of {', '.join(k.__name__ for k in RICH)}, or a System of your own",
        )
    how = solver_of(config["solver"]) if "solver" in config else None
    rest = {k: v for k, v in config.items() if k not in TABLES}
    return Described(made, seen, how, rest)


def begun(
    config: Mapping[str, Any],
    data: Frames,
    begin: Callable[..., Begun],
    planned: Callable[[Frames, System], Plan],
    *,
    instrument: Instrument | bool | None = None,
    imports: bool = False,
) -> Begun:
    """What is made of a config's equation and frames: a fit, ready to run, or a stream.

    Args:
        config: What `described` takes.
        data: The frames.
        begin: Makes it, as `prepare` and `Stream` do.
        planned: The plan, but for what the config changes of it.
        instrument: What of the instrument is fitted too, as `prepare` takes it.
        imports: Whether classes of your own may be imported.

    Raises:
        InputError: The config describes no experiment, or one that the frames are not of.
    """
    made = described(config, data.scattering, imports=imports)
    return begin(
        made.system,
        data,
        planned(data, made.system).changed(made.plan),
        solver=made.solver,
        scattering=made.scattering,
        instrument=instrument,
    )


def filled(
    kind: System | type[System],
    scattering: Scattering | None,
    given: Mapping[str, Any] | None = None,
) -> System:
    """An equation whose terms are any smooth functions.

    Args:
        kind: Its class; what is an equation already stays as it is.
        scattering: Says how large the box is.
        given: Its other arguments.

    Raises:
        InputError: Nothing says how large the box is, or the class has other arguments.

    Example:
        >>> from debye.speckle.scattering.models import Cloud
        >>> from debye.speckle.scattering.optics import Detector, GaussianProbe
        >>> filled(Drift, Cloud(Detector(16, 0.5, 2.0), GaussianProbe(0.25, 2.0), R=0.1))
        Drift(velocity=SplineFlow())
    """
    if not isinstance(kind, type):
        return kind
    known = dict(given or {})
    try:
        return kind(**known | left_out(kind, known, scattering))
    except TypeError as error:
        raise InputError(
            f"cannot fill a {kind.__name__}", why=str(error), fix="make it with its arguments"
        ) from error


def left_out(
    kind: type[System], given: Mapping[str, Any], scattering: Scattering | None
) -> dict[str, nn.Module]:
    """The terms that are not given, each any smooth function over the box.

    Raises:
        InputError: Nothing says how large the box is.
    """
    missing = {name: make for name, make in RICH.get(kind, {}).items() if name not in given}
    L = given.get("L", getattr(getattr(scattering, "detector", None), "L", None))
    if missing and L is None:
        raise InputError(
            f"cannot choose the {', '.join(missing)} of a {kind.__name__}",
            why="nothing says how large the box is that the motion goes through",
            fix="write the term down, or give L or the scattering model",
        )
    return {name: make(float(L), given) for name, make in missing.items()}


def spelled(value: Any, name: str) -> Any:  # noqa: ANN401 - TOML
    """A table as `debye.speckle.serialize.build` takes it: a class, and arguments of its own.

    Args:
        value: The table, or a plain value.
        name: What the table is called.

    Raises:
        InputError: A table names no class.
    """
    if isinstance(value, list):
        return [spelled(x, name) for x in value]
    if not isinstance(value, Mapping) or "function" in value:
        return value
    kind = value.get("class", IMPLIED.get(name))
    if kind is None:
        raise InputError(
            f"the table [{name}] names no class",
            why="so nothing says what it describes",
            fix='write class = "…" into it, such as Particles, PairSpline or Cloud',
        )
    given = {k: spelled(v, k) for k, v in value.items() if k != "class"}
    return {"class": kind, "arguments": given}


def solver_of(table: Mapping[str, Any]) -> Solver:
    """The solver of a config.

    Raises:
        InputError: It takes no such argument.
    """
    try:
        return Solver(**table)
    except TypeError as error:
        raise InputError(
            "cannot use the table [solver]", why=str(error), fix="use the arguments of Solver"
        ) from error
