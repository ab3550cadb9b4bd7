"""What people hand in becomes tensors; what debye hands out shows itself in a line and compares.

Every constructor argument of a system, a term, a probe or a scattering model is an attribute of
the same name. That makes a line of text of it here, and a JSON description in
`debye.speckle.serialize`.
"""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from debye.errors import InputError

if TYPE_CHECKING:
    import pandas


def arguments(thing: object) -> dict[str, Any]:
    """What a thing was made with.

    Example:
        >>> from debye.speckle.scattering.optics import Detector
        >>> arguments(Detector(n=16, dq=0.5, L=2.0))
        {'n': 16, 'dq': 0.5, 'L': 2.0, 'f_mask': 0.0}
    """
    if is_dataclass(thing):
        return {f.name: getattr(thing, f.name) for f in fields(thing) if f.init}
    return {name: getattr(thing, name) for name in parameters(thing)}


def compared(thing: object) -> dict[str, Any]:
    """The arguments that two equal things share."""
    asides = {f.name for f in fields(thing) if not f.compare} if is_dataclass(thing) else set()
    return {k: v for k, v in arguments(thing).items() if k not in asides}


def parameters(thing: object) -> dict[str, inspect.Parameter]:
    """The parameters of a thing's constructor."""
    return dict(inspect.signature(type(thing)).parameters)


def one_line(thing: object) -> str:
    """The class and those arguments that are not the defaults.

    Example:
        >>> from debye.speckle.dynamics.systems import Swarm
        >>> from debye.speckle.dynamics.learnable import RadialSpline
        >>> one_line(Swarm(RadialSpline(size=12), L=2.0))
        'Swarm(interaction=RadialSpline(size=12), L=2.0)'
    """
    try:
        made = arguments(thing)
    except AttributeError:  # somebody's own class, which keeps its arguments elsewhere
        return f"{type(thing).__name__}(…)"
    default = {k: p.default for k, p in parameters(thing).items()}
    changed = [f"{k}={shown(v)}" for k, v in made.items() if not same(v, default[k])]
    return f"{type(thing).__name__}({', '.join(changed)})"


def shown(value: object) -> str:
    """An argument in a few characters; of a tensor only its type and shape.

    Example:
        >>> shown(torch.zeros(3, 4)), shown((1, 2)), shown(torch.cos)
        ('float32[3 × 4]', '(1, 2)', 'cos')
    """
    if isinstance(value, Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        return f"{kind}[{' × '.join(map(str, value.shape))}]"
    if isinstance(value, tuple | list):
        inner = ", ".join(map(shown, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
    if isinstance(value, nn.Module) and not isinstance(value, OneLine):
        return f"{type(value).__name__}(…)"
    if callable(value) and not isinstance(value, nn.Module | type):
        return str(getattr(value, "__name__", type(value).__name__)).strip("<>")
    return repr(value)


def same(a: object, b: object) -> bool:
    """Whether two things mean the same: tensors by their numbers, modules by what they hold.

    Example:
        >>> from debye.speckle.dynamics.couplings import Kernel
        >>> same(torch.ones(3), torch.ones(3)), same(Kernel(5), Kernel(5)), same(Kernel(5), 5)
        (True, True, False)
    """
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and bool(torch.isclose(a, b, 0, 0, equal_nan=True).all())
    if type(a) is not type(b):
        return False
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, OneLine | ByValue):
        held = [x.state_dict() if isinstance(x, nn.Module) else {} for x in (a, b)]
        return same(compared(a), compared(b)) and same(dict(held[0]), dict(held[1]))
    return bool(a == b)


class OneLine:
    """What shows itself as its class and arguments, in one line."""

    def __repr__(self) -> str:
        return one_line(self)


class ByValue:
    """A dataclass that holds tensors and is equal to another where all their numbers are."""

    def __eq__(self, other: object) -> bool:
        return same(self, other) if type(self) is type(other) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # what is compared by its numbers is no key


Numbers: TypeAlias = ArrayLike | Tensor
"""What is taken for an array: numpy's, torch's, or lists of numbers."""


def to_tensor(values: Numbers, name: str = "the array") -> Tensor:
    """A tensor of floats that holds exactly these numbers.

    Whole numbers become float32 where that is exact, else float64; a numpy array is copied.

    Args:
        values: Of any shape.
        name: What to call it in an error.

    Raises:
        InputError: It is ragged, masked, or holds something else than real numbers.

    Example:
        >>> to_tensor(np.array([1, 65535], dtype=np.uint16))
        tensor([1.0000e+00, 6.5535e+04])
        >>> to_tensor([["a"]], "data")
        Traceback (most recent call last):
        debye.errors.InputError: cannot use data
          why: its type is <U1, not a real number
          fix: give an array of numbers
    """
    if isinstance(values, Tensor):
        if values.is_complex():
            raise _no_numbers(name, f"its type is {values.dtype}")
        return values if values.dtype in (torch.float32, torch.float64) else _floats(values)
    if isinstance(values, np.ma.MaskedArray):
        raise InputError(
            f"cannot use {name}",
            why="it is a masked array, and only whole pixels can be masked",
            fix="pass data.filled(0), and mask=… True where a pixel counts",
        )
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise _no_numbers(name, str(error).split("\n")[0]) from error
    if array.dtype.kind not in "uifb":
        raise _no_numbers(name, f"its type is {array.dtype}")
    wide = array.dtype.itemsize > (4 if array.dtype.kind == "f" else 2)
    if wide and array.dtype.kind in "ui" and array.size:
        wide = max(abs(int(array.min())), abs(int(array.max()))) > 2**24
    return torch.from_numpy(np.array(array, dtype=np.float64 if wide else np.float32))


def _floats(values: Tensor) -> Tensor:
    """Whole numbers as floats that hold them exactly."""
    if values.is_floating_point():
        return values if values.dtype in (torch.float32, torch.float64) else values.float()
    exact = values.numel() == 0 or int(values.abs().max()) <= 2**24
    return values.float() if exact else values.double()


def _no_numbers(name: str, why: str) -> InputError:
    return InputError(
        f"cannot use {name}", why=f"{why}, not a real number", fix="give an array of numbers"
    )


def positive(value: float, name: str) -> float:
    """A finite number of 0 or more.

    Raises:
        InputError: It is something else.

    Example:
        >>> positive(3, "gain")
        3.0
    """
    if isinstance(value, int | float | np.number) and 0 <= value < float("inf"):
        return float(value)
    raise InputError(
        f"cannot use {name} = {value!r}", why="it must be a number of 0 or more", fix="correct it"
    )


Kind = TypeVar("Kind")


def expect(value: object, kind: type[Kind], name: str, wanted: str = "") -> Kind:
    """What was given, once it is seen to be of the kind that is needed.

    Raises:
        InputError: It is of another.

    Example:
        >>> from debye.speckle.dynamics.solver import Solver
        >>> expect("rk4", Solver, "solver")
        Traceback (most recent call last):
        debye.errors.InputError: cannot use solver = 'rk4'
          why: it is a str
          fix: give a Solver of debye.speckle
    """
    if isinstance(value, kind):
        return value
    raise InputError(
        f"cannot use {name} = {shown(value)}",
        why=f"it is a {type(value).__name__}",
        fix=f"give {wanted or f'a {kind.__name__} of debye.speckle'}",
    )


def optional(value: object, kind: type[Kind], name: str, wanted: str = "") -> Kind | None:
    """Likewise, or None.

    Raises:
        InputError: It is of another kind.
    """
    return None if value is None else expect(value, kind, name, wanted)


Table: TypeAlias = "pandas.DataFrame"


def table(columns: dict[str, Any]) -> Table:
    """A pandas table of columns.

    Raises:
        InputError: pandas is not installed.

    Example:
        >>> table({"delay": [1, 2], "g2": [1.5, 1.25]}).g2.mean().item()
        1.375
    """
    try:
        from pandas import DataFrame
    except ImportError as error:
        raise InputError(
            "cannot make a table", why="pandas is not installed", fix="pip install pandas"
        ) from error
    return DataFrame(columns)
