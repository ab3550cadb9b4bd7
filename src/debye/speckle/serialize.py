"""Describe an experiment in JSON, and build it again: constructor arguments are the description.

`describe` turns a system, a scattering model or a detector into its class name and arguments,
and sets tensors among the arguments aside; `build` makes it anew. The classes listed here are
built without a question. A class or function of your own is named by its import path,
``package.module:Name``, and importing it runs its code: that needs a word of consent.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from debye.errors import InputError
from debye.speckle.dynamics import (
    brownian,
    couplings,
    known,
    learnable,
    named,
    particles,
    splines,
    systems,
)
from debye.speckle.scattering import models, optics, rigid, scan
from debye.speckle.values import arguments

_ROOMS = {
    systems: ("Drift", "RigidMotion", "Swarm", "Swarmalator", "Kuramoto", "ReactionDiffusion"),
    brownian: ("Ageing", "Brownian", "SoftRepulsion"),
    particles: ("Particles", "Yukawa", "Morse", "LennardJones"),
    known: (
        "SwarmForce",
        "PhaseCoupling",
        "MexicanHat",
        "LotkaVolterra",
        "Spiral",
        "GrayScott",
        "Turing",
    ),
    learnable: (
        "RadialSpline",
        "RadialNetwork",
        "Constant",
        "Flow",
        "FlowNetwork",
        "RoundFlow",
    ),
    couplings: ("Harmonics", "Kernel", "PhaseSeries", "Sites"),
    named: ("NamedSum",),
    splines: ("PairSpline", "SplineFlow", "SplineReaction"),
    optics: ("Detector", "GaussianProbe", "GridProbe"),
    models: ("Lattice", "Cloud", "RigidCloud"),
    rigid: ("CurvedProbe", "RigidLattice"),
    scan: ("Scan",),
}
CLASSES: dict[str, type] = {
    name: getattr(room, name) for room, names in _ROOMS.items() for name in names
}
"""Every class that a file may name."""
OLD = {"reach": "cutoff"}
"""Arguments that 0.1.0 called otherwise."""
FORMER = {name: {"illumination": "centres"} for name in ("Cloud", "RigidCloud")}
"""What was meant before there were these arguments, by class: a file names all that there are."""


def describe(thing: object, tensors: dict[str, Tensor] | None = None, at: str = "") -> Any:  # noqa: ANN401
    """The class and arguments of a thing, as JSON.

    Args:
        thing: Of a class in `CLASSES`, a module or function that can be imported, or a plain
            value.
        tensors: Receives the tensors among the arguments, by their path.
        at: Path of the thing itself.

    Raises:
        InputError: A class cannot be imported, or does not keep what it was made with, so the
            file could not be read back.

    Example:
        >>> describe(optics.Detector(n=16, dq=0.5, L=2.0))
        {'class': 'Detector', 'arguments': {'n': 16, 'dq': 0.5, 'L': 2.0, 'f_mask': 0.0}}
    """
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, list | tuple):
        return [describe(x, tensors, f"{at}.{i}") for i, x in enumerate(thing)]
    if isinstance(thing, Tensor):
        if tensors is None:
            raise InputError(
                f"cannot describe {at}", why="it is a tensor", fix="pass a dictionary for tensors"
            )
        tensors[at.lstrip(".")] = thing
        return {"tensor": at.lstrip(".")}
    if not isinstance(thing, nn.Module) and hasattr(thing, "__qualname__"):
        return {"function": import_path(thing)}
    name = type(thing).__name__
    if CLASSES.get(name) is not type(thing):
        name = import_path(type(thing))
    try:
        given = arguments(thing)
    except AttributeError as error:
        raise InputError(
            f"cannot save a {type(thing).__name__}",
            why=f"it does not keep what it was made with: {error}",
            fix="let every constructor argument be an attribute of the same name",
        ) from error
    made = {k: describe(v, tensors, f"{at}.{k}") for k, v in given.items()}
    return {"class": name, "arguments": made}


def import_path(thing: Any) -> str:  # noqa: ANN401 - a class or a function
    """Where a class or function can be imported from, ``package.module:Name``.

    Raises:
        InputError: Nowhere: it was made in a script, a notebook or another function.

    Example:
        >>> import_path(optics.sphere)
        'debye.speckle.scattering.optics:sphere'
    """
    module, name = thing.__module__, thing.__qualname__
    if module == "__main__" or getattr(sys.modules.get(module), name, None) is not thing:
        raise InputError(
            f"cannot save a {name.rpartition('.')[2]}",
            why=f"nobody else can import it from {module}",
            fix="put it into a module, a .py file that can be imported, under its own name",
        )
    return f"{module}:{name}"


def imported(path: str, consent: bool) -> Any:  # noqa: ANN401 - a class or a function
    """The class or function at an import path.

    Raises:
        InputError: Nobody has consented, or it is not there.
    """
    if not consent:
        raise InputError(
            f"this file needs {path}, which is not debye's",
            why="to import it is to run its code",
            fix="if you know that code, say imports=True, or --imports on the command line",
        )
    module, _, name = path.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"cannot import {path}",
            why=str(error),
            fix="put the module that holds it on PYTHONPATH, or install it",
        ) from error


def is_own(plan: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether a description names code that is not debye's.

    Example:
        >>> is_own([{"class": "Swarm", "arguments": {"interaction": {"function": "mine:pull"}}}])
        True
    """
    if isinstance(plan, list):
        return any(map(is_own, plan))
    if not isinstance(plan, dict):
        return False
    named = "function" in plan or ":" in str(plan.get("class", ""))
    return named or any(map(is_own, plan.get("arguments", {}).values()))


def build(
    plan: Any,  # noqa: ANN401 - JSON
    tensors: dict[str, Tensor] | None = None,
    *,
    imports: bool = False,
) -> Any:  # noqa: ANN401
    """The thing that `describe` described.

    Args:
        plan: The description.
        tensors: What was set aside.
        imports: Whether code that is not debye's may be imported.

    Raises:
        InputError: The plan names an unknown class, or code that may not or cannot be imported,
            or its arguments do not fit.

    Example:
        >>> build({"class": "Detector", "arguments": {"n": 16, "dq": 0.5, "L": 2.0}}).pixels
        32
    """
    if isinstance(plan, list):
        return [build(x, tensors, imports=imports) for x in plan]
    if not isinstance(plan, dict):
        return plan
    if "tensor" in plan:
        return (tensors or {})[plan["tensor"]]
    if "function" in plan:
        return imported(plan["function"], imports)
    name = str(plan.get("class"))
    made = CLASSES.get(name) or (imported(name, imports) if ":" in name else None)
    if made is None:
        raise InputError(
            f"cannot build {name!r}",
            why=f"known are {', '.join(sorted(CLASSES))}",
            fix="check the file, or install the debye that wrote it",
        )
    given = FORMER.get(name, {}) | plan.get("arguments", {})
    try:
        return made(**{OLD.get(k, k): build(v, tensors, imports=imports) for k, v in given.items()})
    except TypeError as error:
        raise InputError(
            f"cannot build a {name}", why=str(error), fix="check the arguments in the file"
        ) from error
