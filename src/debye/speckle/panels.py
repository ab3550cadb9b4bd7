"""What a figure shows, as data: curves, images, points, arrows. `debye.plot` draws them.

A panel knows numbers, names and roles (the truth, what was fitted, what lies beyond the data);
colours, sizes and lines are the drawer's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from torch import Tensor

Role = Literal["true", "fitted", "trained", "beyond", "other", "series"]
"""What a curve is, which decides its colour; one of a ``series`` takes the next of the palette."""
Scale = Literal["intensity", "difference", "phase", "signed", "grey"]
"""What an image holds, which decides its colours."""
Mark = Literal["-", "=", "--", "step", "o-", ".", "o", "+"]
"""How a curve is drawn."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A line, or marks without one.

    Attributes:
        x: (N,) abscissas.
        y: (N,) ordinates.
        label: Its name in the legend; none if empty.
        role: What it is.
        mark: ``-`` thin, ``=`` broad (to lie under another), ``--``, ``step``, ``o-`` with its
            points marked, or marks alone, ``.``, ``o``, ``+``.
        error: (N,) standard errors, drawn as a band of twice that to both sides.
    """

    x: Tensor
    y: Tensor
    label: str = ""
    role: Role = "true"
    mark: Mark = "-"
    error: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Curves:
    """Curves on two axes.

    Attributes:
        curves: What to draw.
        x: Label of the abscissa.
        y: Label of the ordinate.
        title: What it is.
        log: Whether the ordinate is logarithmic; what is not above 0 is left out then.
        trained: Stretch of the abscissa that the fit saw, shaded.
        lost: Stretch that could not be followed, hatched.
        marks: Abscissas to mark with a dotted line.
        limits: Of the ordinate.
        equal: Whether both axes have one scale.
        legend: Where the names of the curves stand.
    """

    curves: Sequence[Curve]
    x: str = ""
    y: str = ""
    title: str = ""
    log: bool = False
    trained: tuple[float, float] | None = None
    lost: tuple[float, float] | None = None
    marks: Sequence[float] = ()
    limits: tuple[float, float] | None = None
    equal: bool = False
    legend: Literal["inside", "beside", "none"] = "inside"


@dataclass(frozen=True, eq=False)
class Image:
    """Values on a grid.

    Attributes:
        values: (y, x).
        scale: What they are: counts on a logarithmic scale, phases on a cyclic one.
        title: What it is.
        label: What stands at its side.
        bar: Label of a colour bar for this image and those before it without one; none if empty.
        mask: (y, x) False where nothing is shown.
        limits: Least and largest value shown; of the values if None.
    """

    values: Tensor
    scale: Scale
    title: str = ""
    label: str = ""
    bar: str = ""
    mask: Tensor | None = None
    limits: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Points:
    """Particles in a square box around the origin.

    Attributes:
        points: (N, 2) ordered x, y.
        half: Half the side of the box shown.
        title: What it is.
        label: What stands at its side.
        unit: What the ticks count.
        curves: What else is drawn in the box.
    """

    points: Tensor
    half: float
    title: str = ""
    label: str = ""
    unit: str = ""
    curves: Sequence[Curve] = ()


@dataclass(frozen=True, eq=False)
class Arrows:
    """A velocity field.

    Attributes:
        x: (X,) coordinates.
        y: (Y,) coordinates.
        velocity: (Y, X, 2).
        known: (Y, X) 1 where the field is known from data … 0 where nothing was ever seen.
        title: What it is.
        curves: What else is drawn, such as an orbit.
        fastest: Speed at the end of the colours; that of the fastest arrow if 0.
        bar: Label of a colour bar of the speed, for this field and those before it without one.
    """

    x: Tensor
    y: Tensor
    velocity: Tensor
    known: Tensor
    title: str = ""
    curves: Sequence[Curve] = ()
    fastest: float = 0.0
    bar: str = ""


Panel: TypeAlias = Curves | Image | Points | Arrows
Scene: TypeAlias = Image | Points
"""What moves, at one time."""


@dataclass(frozen=True, eq=False)
class Strip:
    """Panels side by side, in one row or several, across a page.

    Attributes:
        rows: Panels, row by row.
        title: What they are.
        height: In inches.
        widths: Relative widths of the columns; equal if None.
    """

    rows: Sequence[Sequence[Panel]]
    title: str = ""
    height: float = 1.2
    widths: Sequence[float] | None = field(default=None)
