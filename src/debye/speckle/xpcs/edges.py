"""Where rings of q and parts of azimuth begin and end: counted, evenly or by ratio, or given."""

from __future__ import annotations

import numpy as np

from debye.errors import InputError
from debye.speckle.values import Numbers, to_tensor


def parse_q(text: str) -> tuple[int | list[float], str]:
    """Rings as they are told in one word: how many, or their borders, and how they are spaced.

    Args:
        text: ``8`` rings of equal width, ``log:8`` of equal ratio, or borders ``0.01,0.02,0.05``.

    Raises:
        InputError: It is none of these.

    Example:
        >>> parse_q("8"), parse_q("log:8"), parse_q("0.01,0.02,0.05")
        ((8, 'linear'), (8, 'log'), ([0.01, 0.02, 0.05], 'linear'))
    """
    before, colon, after = text.rpartition(":")
    spacing = before.strip() or "linear"
    try:
        if "," in after and not colon:
            return [float(part) for part in after.split(",")], spacing
        return int(after), "linear" if spacing == "lin" else spacing
    except ValueError:
        raise InputError(
            f"cannot make rings of {text!r}",
            why="it is no number of rings, and no numbers with ',' between",
            fix="say 8, log:8, or their borders in q: 0.01,0.02,0.05",
        ) from None


def edges_in_q(
    q: int | Numbers,
    spacing: str,
    between: tuple[float, float],
    seen: np.ndarray,
    fewest: int = 0,
) -> np.ndarray:
    """(n + 1,) borders of rings in q.

    Args:
        q: How many, or their borders.
        spacing: ``linear`` or ``log``.
        between: Where the first of them begins and the last ends.
        seen: q of the pixels that count.
        fewest: Pixels that the innermost ring of a logarithmic scale must hold: it begins farther
            out where it would hold fewer.

    Raises:
        InputError: There are none, they do not rise, one is negative, or a spacing is unknown.

    Example:
        >>> edges_in_q(3, "log", (0.0, 8.0), np.array([0.0, 1.0, 2.0])).round(3).tolist()
        [1.0, 2.0, 4.0, 8.0]
    """
    if not isinstance(q, int | np.integer):
        edges = rising(q, "the borders of the rings")
        if edges[0] < 0:
            raise InputError(
                "cannot use the borders of the rings",
                why=f"q is never negative, and one is {edges[0]:g}",
                fix="begin at 0 or beyond",
            )
        return edges
    if q < 1:
        raise InputError(f"cannot make {q} rings", why="there are none", fix="ask for one")
    if spacing not in ("linear", "log"):
        raise InputError(
            f"unknown spacing {spacing!r}", why="there are linear and log", fix="use one"
        )
    inner, outer = between
    if spacing == "log" and not inner > 0:
        inner = float(seen[seen > 0].min(initial=outer))  # the pixel in the beam has q = 0
    while spacing == "log" and 0 < inner < outer:
        after = inner * (outer / inner) ** (1 / q)
        if np.count_nonzero((seen >= inner) & (seen < after)) >= fewest:
            break
        inner *= 1.02
    space = np.geomspace if spacing == "log" else np.linspace
    return rising(space(inner, outer, q + 1), "the range of q")


def edges_in_azimuth(phi: int | Numbers) -> np.ndarray:
    """(n + 1,) borders in azimuth, degrees.

    Args:
        phi: How many equal parts, or their borders.

    Raises:
        InputError: There are none, they do not rise, or go round more than once.

    Example:
        >>> edges_in_azimuth(4).tolist(), edges_in_azimuth([-20, 20]).tolist()
        ([0.0, 90.0, 180.0, 270.0, 360.0], [-20.0, 20.0])
    """
    if not isinstance(phi, int | np.integer):
        edges = rising(phi, "the borders in azimuth")
        if edges[-1] - edges[0] > 360 + 1e-9:
            raise InputError(
                "cannot use the borders in azimuth",
                why="they go round more than once",
                fix="end at 360",
            )
        return edges
    if phi < 1:
        raise InputError(
            f"cannot make {phi} azimuthal parts", why="there are none", fix="ask for one"
        )
    return np.linspace(0.0, 360.0, int(phi) + 1)


def rising(edges: Numbers, name: str) -> np.ndarray:
    """(n + 1,) float64 borders, seen to rise.

    Args:
        edges: As given.
        name: What to call them in an error.

    Raises:
        InputError: They do not, are not finite, or fewer than two.
    """
    found = to_tensor(edges, name).double().numpy()
    fine = found.ndim == 1 and len(found) > 1 and np.isfinite(found).all()
    if not fine or not (np.diff(found) > 0).all():
        raise InputError(
            f"cannot use {name}",
            why=f"{np.array2string(found, threshold=8)} does not rise"
            if np.isfinite(found).all()
            else "one is not finite",
            fix="give at least two rising numbers",
        )
    return found
