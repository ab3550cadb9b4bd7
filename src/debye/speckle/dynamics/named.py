"""Functions that have a name, and sums of them: a term of an equation in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import torch
from torch import Tensor, nn

from debye.errors import InputError
from debye.speckle.dynamics.learnable import Learnable

Function = Callable[[Tensor, Tensor], Tensor]
"""Positions (…, D), or distances (P,), and a shape k to values (…)."""


@dataclass(frozen=True, repr=False)
class Named:
    """A function with a name, and with one number k of its own where it has a shape.

    Args:
        name: What it is called, such as ``x y`` or ``sin kx``; a shape is the letter k.
        latex: The same for LaTeX.
        function: The function of positions (…, D) or distances (P,), and of k.
        shape: Between which k may be, in units of the inverse size of what is described; None if
            it has none.

    Example:
        >>> wave = POSITIONS["sin kx"]
        >>> wave.function(torch.tensor([[0.5, 0.0]]), torch.tensor(torch.pi))
        tensor([1.])
        >>> wave
        sin kx
    """

    name: str
    latex: str
    function: Function
    shape: tuple[float, float] | None = None

    def __repr__(self) -> str:
        return self.name

    def said(self, shape: str, latex: bool = False) -> str:
        """Its name with a number for k."""
        name = self.latex if latex else self.name
        if self.shape is None:
            return name
        number = f"({shape})" if " " in shape else shape
        return name.replace("k", number + (r"\," if latex else " "))


AXES = "xy"
WAVES: dict[str, Callable[[Tensor], Tensor]] = {
    "sin": torch.sin,
    "cos": torch.cos,
    "tanh": torch.tanh,
    "exp": torch.exp,
}


def powers(exponents: Sequence[int]) -> Function:
    """The monomial Π_i x_i^n_i.

    Example:
        >>> powers((1, 2))(torch.tensor([2.0, 3.0]), torch.tensor(0.0))
        tensor(18.)
    """

    def function(x: Tensor, k: Tensor) -> Tensor:
        found = torch.ones_like(x[..., 0])
        for axis, n in enumerate(exponents):
            found = found * x[..., axis] ** n if n else found
        return found

    return function


def monomials(degree: int = 3) -> Iterator[Named]:
    """All products of x and y up to a degree.

    Example:
        >>> list(monomials(2))
        [1, x, y, x², x y, y²]
    """
    marks = ["", "", "²", "³", "⁴", "⁵"]
    for total in range(degree + 1):
        for letters in combinations_with_replacement(AXES, total):
            counts = [letters.count(a) for a in AXES]
            held = [(a, n) for a, n in zip(AXES, counts, strict=True) if n]
            name = " ".join(f"{a}{marks[n]}" for a, n in held) or "1"
            latex = r"\,".join(a if n == 1 else f"{a}^{n}" for a, n in held) or "1"
            yield Named(name, latex, powers(counts))


def waves() -> Iterator[Named]:
    """Sines, hyperbolic tangents and exponentials of each coordinate, of any wave number k."""
    for word, wave in WAVES.items():
        for axis, letter in enumerate(AXES):

            def function(
                x: Tensor, k: Tensor, wave: Callable[[Tensor], Tensor] = wave, axis: int = axis
            ) -> Tensor:
                return wave(k * x[..., axis])

            yield Named(f"{word} k{letter}", rf"\{word}(k{letter})", function, (1.5, 12.0))


POSITIONS = {one.name: one for one in (*monomials(), *waves())}
"""Functions of a position in the plane."""

_PAIRS = (
    Named("1", "1", lambda r, k: torch.ones_like(r)),
    Named("r", "r", lambda r, k: r),
    *(
        Named(f"r^−{n}", f"r^{{-{n}}}", lambda r, k, n=n: r**-n)  # type: ignore[misc]
        for n in (1, 2, 3, 4, 7, 13)
    ),
    Named("exp(−kr)", "e^{-kr}", lambda r, k: torch.exp(-k * r), (1.0, 40.0)),
    Named("exp(−kr)/r", "e^{-kr}/r", lambda r, k: torch.exp(-k * r) / r, (1.0, 40.0)),
    Named(
        "exp(−kr) (1 + kr)/r²",
        "e^{-kr}(1+kr)/r^2",
        lambda r, k: torch.exp(-k * r) * (1 + k * r) / r.square(),
        (1.0, 40.0),
    ),
    Named(
        "r exp(−(kr)²)", "r e^{-(kr)^2}", lambda r, k: r * torch.exp(-((k * r) ** 2)), (1.0, 20.0)
    ),
)
DISTANCES = {one.name: one for one in _PAIRS}
"""Functions of the distance of a pair."""


class NamedSum(Learnable):
    """A sum of named functions for each component: the equation as one would write it down.

    v_i(x) = Σ_n a_in φ_in(x; k_in)

    Args:
        sums: For every component the functions, by their names in `POSITIONS`, or in `DISTANCES`
            where there is a cutoff.
        cutoff: Of a function of a distance, from where on it is left out.

    Raises:
        InputError: There is no function of a name.

    Example:
        >>> pendulum = NamedSum((("y",), ("sin kx",)))
        >>> with torch.no_grad():
        ...     _ = pendulum.amplitudes.copy_(torch.tensor([1.0, -2.0]))
        >>> pendulum.formula()
        'v_x = 1 y, v_y = −2 sin 1 x'
    """

    def __init__(self, sums: Sequence[Sequence[str | Named]], cutoff: float | None = None) -> None:
        super().__init__()
        self.sums, self.cutoff = tuple(map(tuple, sums)), cutoff
        self.functions = [[named(f, cutoff is not None) for f in one] for one in sums]
        every = [f for one in self.functions for f in one]
        shaped = sum(f.shape is not None for f in every)
        self.amplitudes = nn.Parameter(torch.zeros(len(every), dtype=torch.float64))
        self.shapes = nn.Parameter(torch.ones(shaped, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Values (…, component) at positions (…, D), or (P,) at distances (P,)."""
        found, terms = [], iter(self.columns(x))
        for one in self.functions:
            parts = [next(terms) for _ in one]
            found.append(torch.stack(parts).sum(0) if parts else torch.zeros_like(x[..., 0]))
        return found[0] if self.cutoff is not None else torch.stack(found, dim=-1)

    def columns(self, x: Tensor) -> Iterator[Tensor]:
        """Each function in turn, times its amplitude."""
        amplitudes, shapes = self.amplitudes.to(x.dtype), iter(self.shapes.to(x.dtype))
        zero = amplitudes.new_zeros(())
        for a, f in zip(amplitudes, (f for one in self.functions for f in one), strict=True):
            yield a * f.function(x, next(shapes) if f.shape else zero)

    def formula(self) -> str:
        """The sums with their numbers."""
        return self.written()

    def written(self, errors: Tensor | None = None, latex: bool = False) -> str:
        """The sums with their numbers and errors (amplitudes, then shapes), or as LaTeX."""
        count = len(self.amplitudes)
        e = [math.nan] * (count + len(self.shapes)) if errors is None else errors.tolist()
        numbers = iter(zip(self.amplitudes.tolist(), e[:count], strict=True))
        shapes = iter(zip(self.shapes.tolist(), e[count:], strict=True))
        lines = []
        for k, one in enumerate(self.functions):
            parts = []
            for f in one:
                a = number(*next(numbers), latex)
                parts.append(
                    join(a, f.said(number(*next(shapes), latex) if f.shape else "", latex), latex)
                )
            left = "f" if self.cutoff is not None else f"v_{(AXES + 'z')[k]}"
            lines.append(f"{left} = {add(parts)}")
        return (r",\quad " if latex else ", ").join(lines)


def named(given: str | Named, of_distance: bool) -> Named:
    """The function of that name.

    Raises:
        InputError: There is none.

    Example:
        >>> named("x y", of_distance=False)
        x y
    """
    library = DISTANCES if of_distance else POSITIONS
    if isinstance(given, Named):
        return given
    if given not in library:
        raise InputError(
            f"no function is called {given!r}",
            why=f"there are {', '.join(library)}",
            fix="use one of these, or give a Named of your own",
        )
    return library[given]


def number(value: float, error: float = math.nan, latex: bool = False) -> str:
    """A number to the digits that its error allows.

    Example:
        >>> number(-0.33331, 0.0042), number(2.0)
        ('−0.3333 ± 0.0042', '2')
    """
    if not (math.isfinite(error) and error > 0):
        return f"{value:.4g}".replace("-", "-" if latex else "−")
    digits = max(1 - math.floor(math.log10(error)), 0)
    between = r"\pm" if latex else "±"
    text = f"{value:.{digits}f} {between} {error:.{digits}f}"
    return text if latex else text.replace("-", "−")


def join(amplitude: str, name: str, latex: bool) -> str:
    """An amplitude before a name, in brackets where it has an error."""
    if "±" in amplitude or r"\pm" in amplitude:
        amplitude = f"({amplitude})"
    space = r"\," if latex else " "
    return amplitude if name == "1" else f"{amplitude}{space}{name}"


def add(parts: Sequence[str]) -> str:
    """The parts as a sum, with a minus where one begins with it.

    Example:
        >>> add(["1 x", "−2 y"]), add([])
        ('1 x − 2 y', '0')
    """
    line = " + ".join(parts) or "0"
    return line.replace("+ −", "− ").replace("+ -", "- ")
