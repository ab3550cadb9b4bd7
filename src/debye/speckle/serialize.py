"""Describe an experiment in JSON, and build it again: constructor arguments are the description.

`describe` turns a system, a scattering model or a detector into its class name and arguments,
and sets tensors among the arguments aside; `build` makes it anew. Only the classes listed here
can be built, so that a file cannot name any other code.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from debye.errors import InputError
from debye.speckle.dynamics import known, learnable, systems
from debye.speckle.scattering import models, optics
from debye.speckle.values import arguments

_ROOMS = {
    systems: ("Drift", "Swarm", "Swarmalator", "Kuramoto", "ReactionDiffusion"),
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
        "Kernel",
        "PhaseSeries",
        "Flow",
        "FlowNetwork",
        "RoundFlow",
    ),
    optics: ("Detector", "GaussianProbe", "GridProbe"),
    models: ("Lattice", "Cloud", "RigidCloud", "Scan"),
}
CLASSES: dict[str, type] = {
    name: getattr(room, name) for room, names in _ROOMS.items() for name in names
}
"""Every class that a file may name."""
OLD = {"reach": "cutoff"}
"""Arguments that 0.1.0 called otherwise."""


def describe(thing: object, tensors: dict[str, Tensor] | None = None, at: str = "") -> Any:  # noqa: ANN401
    """The class and arguments of a thing, as JSON.

    Args:
        thing: Of a class in `CLASSES`, or a plain value.
        tensors: Receives the tensors among the arguments, by their path.
        at: Path of the thing itself.

    Raises:
        InputError: A class is not known, so the file could not be read back.

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
    name = type(thing).__name__
    if CLASSES.get(name) is not type(thing):
        raise InputError(
            f"cannot save a {name}",
            why="only the classes of debye can be named in a file",
            fix="keep your own class in code, and save its state with debye.core.checkpoint.save",
        )
    made = {k: describe(v, tensors, f"{at}.{k}") for k, v in arguments(thing).items()}
    return {"class": name, "arguments": made}


def build(plan: Any, tensors: dict[str, Tensor] | None = None) -> Any:  # noqa: ANN401
    """The thing that `describe` described.

    Raises:
        InputError: The plan names an unknown class, or its arguments do not fit.

    Example:
        >>> build({"class": "Detector", "arguments": {"n": 16, "dq": 0.5, "L": 2.0}}).pixels
        32
    """
    if isinstance(plan, list):
        return [build(x, tensors) for x in plan]
    if not isinstance(plan, dict):
        return plan
    if "tensor" in plan:
        return (tensors or {})[plan["tensor"]]
    name = plan.get("class")
    if name not in CLASSES:
        raise InputError(
            f"cannot build {name!r}",
            why=f"known are {', '.join(sorted(CLASSES))}",
            fix="check the file, or install the debye that wrote it",
        )
    made = {OLD.get(k, k): build(v, tensors) for k, v in plan.get("arguments", {}).items()}
    try:
        return CLASSES[name](**made)
    except TypeError as error:
        raise InputError(
            f"cannot build a {name}", why=str(error), fix="check the arguments in the file"
        ) from error
