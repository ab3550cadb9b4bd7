"""Explicit Runge–Kutta methods as data: a method is a table of numbers and an order.

One step of size h from (t, y) is

    k_s = f(t + c_s h, y + h Σ_r a_sr k_r),    y(t + θh) = y + h Σ_s k_s b_s(θ)

with b_s(θ) = Σ_p dense[s][p] θ^(p+1) where a method brings its own interpolation.

References: Dormand & Prince, J. Comput. Appl. Math. 6, 19 (1980), with Shampine's
interpolation, Math. Comput. 46, 135 (1986); Tsitouras, Comput. Math. Appl. 62, 770 (2011).
"""

from __future__ import annotations

from dataclasses import dataclass

from debye.errors import InputError


@dataclass(frozen=True, repr=False)
class Tableau:
    """The coefficients of one explicit Runge–Kutta method.

    Args:
        name: What the method is called.
        order: The error of a fixed-step solution falls as step**order.
        a: Rows of the stage matrix; row s has s entries.
        b: Weights of the stages in the step.
        c: Times of the stages in units of the step.
        error: ``b`` minus the weights of an embedded method of lower order; None if there is
            none, and then the method cannot choose its own steps.
        dense: Polynomial weights for the solution inside a step.
    """

    name: str
    order: int
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]
    error: tuple[float, ...] | None = None
    dense: tuple[tuple[float, ...], ...] | None = None

    def __repr__(self) -> str:
        return f"Tableau({self.name!r}, order={self.order}, stages={len(self.b)})"

    @property
    def adaptive(self) -> bool:
        """Whether the method estimates its own error."""
        return self.error is not None

    @property
    def reuses_last(self) -> bool:
        """Whether the last stage is the first of the next step ("first same as last")."""
        return self.c[-1] == 1.0 and self.a[-1] == self.b[: len(self.b) - 1]

    def weights_at(self, theta: float) -> tuple[float, ...]:
        """Stage weights for the solution at the fraction ``theta`` of a step.

        Example:
            >>> round(sum(DOPRI5.weights_at(0.5)), 12)
            0.5
        """
        assert self.dense is not None, f"{self.name} has no dense output"  # noqa: S101 - a caller's slip
        return tuple(sum(p * theta ** (i + 1) for i, p in enumerate(row)) for row in self.dense)


EULER = Tableau("euler", 1, a=((),), b=(1.0,), c=(0.0,))
MIDPOINT = Tableau("midpoint", 2, a=((), (0.5,)), b=(0.0, 1.0), c=(0.0, 0.5))
RK4 = Tableau(
    "rk4",
    4,
    a=((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)),
    b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
    c=(0.0, 0.5, 0.5, 1.0),
)

_DOPRI5_B = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
DOPRI5 = Tableau(
    "dopri5",
    5,
    a=(
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        _DOPRI5_B,
    ),
    b=(*_DOPRI5_B, 0.0),
    c=(0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    error=(71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
    dense=(
        (1.0, -8048581381 / 2820520608, 8663915743 / 2820520608, -12715105075 / 11282082432),
        (0.0, 0.0, 0.0, 0.0),
        (0.0, 131558114200 / 32700410799, -68118460800 / 10900136933, 87487479700 / 32700410799),
        (0.0, -1754552775 / 470086768, 14199869525 / 1410260304, -10690763975 / 1880347072),
        (
            0.0,
            127303824393 / 49829197408,
            -318862633887 / 49829197408,
            701980252875 / 199316789632,
        ),
        (0.0, -282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844),
        (0.0, 40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423),
    ),
)

_TSIT5_B = (
    0.09646076681806523,
    0.01,
    0.4798896504144996,
    1.379008574103742,
    -3.290069515436081,
    2.324710524099774,
)


def _expand(scale: float, *factors: tuple[float, ...]) -> tuple[float, ...]:
    """Coefficients of θ¹…θ⁴ of a product of polynomials given by rising powers."""
    product = [scale]
    for factor in factors:
        longer = [0.0] * (len(product) + len(factor) - 1)
        for i, x in enumerate(product):
            for j, y in enumerate(factor):
                longer[i + j] += x * y
        product = longer
    return tuple(product[1:5])


TSIT5 = Tableau(
    "tsit5",
    5,
    a=(
        (),
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (
            5.86145544294642,
            -12.92096931784711,
            8.159367898576159,
            -0.071584973281401,
            -0.028269050394068383,
        ),
        _TSIT5_B,
    ),
    b=(*_TSIT5_B, 0.0),
    c=(0.0, 0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0),
    error=(
        -0.00178001105222577714,
        -0.0008164344596567469,
        0.007880878010261995,
        -0.1447110071732629,
        0.5823571654525552,
        -0.45808210592918697,
        1 / 66,
    ),
    dense=(
        _expand(
            -1.0530884977290216,
            (0.0, 1.0),
            (-1.3299890189751412, 1.0),
            (0.7139816917074209, -1.4364028541716351, 1.0),
        ),
        _expand(0.1017, (0.0, 0.0, 1.0), (1.2949852507374631, -2.1966568338249754, 1.0)),
        _expand(
            2.490627285651252793, (0.0, 0.0, 1.0), (1.57803468208092486, -2.38535645472061657, 1.0)
        ),
        _expand(
            -16.54810288924490272,
            (-1.21712927295533244, 1.0),
            (-0.61620406037800089, 1.0),
            (0.0, 0.0, 1.0),
        ),
        _expand(
            47.37952196281928122,
            (-1.203071208372362603, 1.0),
            (-0.658047292653547382, 1.0),
            (0.0, 0.0, 1.0),
        ),
        _expand(-34.87065786149660974, (-1.2, 1.0), (-2 / 3, 1.0), (0.0, 0.0, 1.0)),
        _expand(2.5, (-1.0, 1.0), (-0.6, 1.0), (0.0, 0.0, 1.0)),
    ),
)

METHODS = {m.name: m for m in (EULER, MIDPOINT, RK4, DOPRI5, TSIT5)}
"""Every method by its name."""


def tableau(method: str | Tableau) -> Tableau:
    """The tableau of that name.

    Raises:
        InputError: There is no such method.

    Example:
        >>> tableau("rk4").order
        4
    """
    if isinstance(method, Tableau):
        return method
    if method not in METHODS:
        raise InputError(
            f"unknown integration method {method!r}",
            why=f"the methods are {', '.join(METHODS)}",
            fix="use one of them, or pass a Tableau of your own",
        )
    return METHODS[method]
