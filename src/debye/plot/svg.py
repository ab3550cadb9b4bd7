"""Small pictures for notebooks: SVG and PNG written by hand, without matplotlib or scripts.

Axes and words take the colour of the page's text, so that they are read in light and dark.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

WIDTH, HEIGHT = 640, 280
"""Units of a picture, two of which are a pixel: whole numbers are short to write."""
LEFT, RIGHT, TOP, BOTTOM = 16, 16, 16, 60
"""Room around its axes; the last holds the ticks and the axis' name."""


class Picture:
    """Curves on one pair of axes, in the units of what is drawn.

    Args:
        x: First and last value across.
        y: Lowest and highest value.
        left: Room before the axes, which an upright one needs more of, units of the picture.
        bottom: Room below them.

    Example:
        >>> picture = Picture((0.0, 10.0), (0.0, 1.0))
        >>> picture.curve([0, 5, 10], [0, 1, 0])
        >>> picture.svg("a triangle").count("<path")
        1
    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        left: int = LEFT,
        bottom: int = BOTTOM,
    ) -> None:
        self.x, self.y, self.left, self.bottom = x, y, left, bottom
        self.parts: list[str] = []

    def at(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.int64]:
        """Where points are in the picture, (n, 2)."""
        (x0, x1), (y0, y1) = self.x, self.y
        width = WIDTH - self.left - RIGHT
        across = self.left + (np.asarray(x, float) - x0) / ((x1 - x0) or 1) * width
        floor = HEIGHT - self.bottom
        up = floor - (np.asarray(y, float) - y0) / ((y1 - y0) or 1) * (floor - TOP)
        up = np.clip(up, 0, HEIGHT)
        return np.stack(np.broadcast_arrays(across, up), -1).round().astype(int)

    def curve(self, x: ArrayLike, y: ArrayLike, *, look: str = 'stroke="currentColor"') -> None:
        """A line through points."""
        self.curves([(x, y)], look=look)

    def curves(self, lines: Iterable[tuple[ArrayLike, ArrayLike]], *, look: str) -> None:
        """Lines of one look."""
        steps = "".join(_steps(self.at(x, y)) for x, y in lines)
        self.parts.append(f'<path fill="none" {look} d="{steps}"/>')

    def area(self, x: ArrayLike, low: ArrayLike, high: ArrayLike, look: str) -> None:
        """What lies between two lines."""
        around = np.concatenate([self.at(x, high), self.at(x, low)[::-1]])
        around = around[np.r_[True, (np.diff(around, axis=0) != 0).any(1)]]
        self.parts.append(f'<path {look} d="{_steps(around)}z"/>')

    def upright(self, x: float, look: str = 'stroke="currentColor" stroke-opacity=".3"') -> None:
        """A line from the lowest to the highest value."""
        self.curve([x, x], self.y, look=look)

    def bar(self, x: float, middle: float, half: float, look: str) -> None:
        """A point with its error."""
        self.curve([x, x], [middle - half, middle + half], look=look)
        across, up = self.at(x, middle).tolist()
        self.parts.append(f'<circle cx="{across}" cy="{up}" r="5" {look}/>')

    def axis(self, ticks: Iterable[tuple[float, str]], name: str = "") -> None:
        """The horizontal axis with its ticks, and what it is called."""
        self.curve(self.x, (self.y[0], self.y[0]))
        floor = HEIGHT - self.bottom
        end = 0.0
        for value, label in ticks:
            across = float(self.at(value, self.y[0])[0])
            half = 7.0 * len(label)
            middle = min(max(across, half), WIDTH - half)
            if middle - half >= end:  # a label that would touch the last is left out
                self.word(middle, floor + 24, label)
                end = middle + half + 8
        if name:
            self.word(WIDTH / 2, HEIGHT - 8, name)

    def upward(self, ticks: Iterable[tuple[float, str]]) -> None:
        """The vertical axis with its ticks, whose labels stand before it."""
        self.upright(self.x[0], 'stroke="currentColor"')
        for value, label in ticks:
            _, up = self.at(self.x[0], value).tolist()
            self.word(self.left - 6, up + 7, label, anchor="end")

    def word(self, x: float, y: float, text: str, anchor: str = "middle") -> None:
        """A word, its middle (or end) at a place of the picture."""
        self.parts.append(
            f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def svg(self, title: str) -> str:
        """The picture, with what it shows in words."""
        return svg("".join(self.parts), title)


def svg(parts: str, title: str, width: int = WIDTH, height: int = HEIGHT) -> str:
    """An inline picture made of elements, with what it shows in words.

    Example:
        >>> svg("", "nothing").endswith("<title>nothing</title></svg>")
        True
    """
    size = f'width="{width // 2}" height="{height // 2}" viewBox="0 0 {width} {height}"'
    look = 'style="max-width:100%" font-family="sans-serif" font-size="20" fill="currentColor"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size} {look} stroke-width="2">'
    return f"{head}{parts}<title>{escape(title)}</title></svg>"


def card(title: str, facts: Sequence[str], picture: str = "", warnings: Sequence[str] = ()) -> str:
    """What a notebook shows of a thing: title, facts, a picture, warnings; well-formed XML.

    Args:
        title: In words; escaped here.
        facts: A line each; HTML.
        picture: Of `Picture.svg`.
        warnings: In words; escaped here.

    Example:
        >>> card("NaCl", ["8 atoms"])
        '<div><b>NaCl</b><br/>8 atoms</div>'
    """
    lines = [f"<b>{escape(title)}</b>", *facts]
    notes = [f'<span role="note">⚠ {escape(w)}</span>' for w in warnings]
    return f"<div>{'<br/>'.join([*lines, *([picture] if picture else []), *notes])}</div>"


def swatch(colour: str, name: str) -> str:
    """A name beside a square of its colour.

    Example:
        >>> swatch("#D55E00", "O")
        '<span style="color:#D55E00">■</span> O'
    """
    return f'<span style="color:{colour}">■</span> {escape(name)}'


def ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Round values within limits, about four, with their labels.

    Example:
        >>> [label for _, label in ticks(0.0, 700.0)]
        ['0', '200', '400', '600']
    """
    raw = (high - low) / 4 or 1.0
    digit = 10.0 ** np.floor(np.log10(raw))
    step = min((n * digit for n in (1, 2, 5, 10)), key=lambda s: abs(np.log(s / raw)))
    values = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
    return [(float(v), f"{v:.10g}") for v in values]


def thinned(x: ArrayLike, *rows: ArrayLike, most: int = 60) -> list[NDArray[np.float64]]:
    """Abscissae and rows (…, n), interpolated to at most so many points.

    Example:
        >>> [len(part) for part in thinned(range(1000), range(1000), most=10)]
        [10, 10]
    """
    at = np.asarray(x, float)
    if len(at) <= most:
        return [at, *(np.asarray(row, float) for row in rows)]
    fine = np.linspace(at[0], at[-1], most)
    return [fine, *(np.interp(fine, at, np.asarray(row, float)) for row in rows)]


def png(pixels: NDArray[np.uint8], palette: NDArray[np.uint8], title: str) -> str:
    """An image (rows, columns) of indices into a palette (n, 3), the first row at the bottom.

    Example:
        >>> image = png(np.zeros((2, 2), np.uint8), np.zeros((1, 3), np.uint8), "dark")
        >>> image[:32]
        '<image width="200" height="200" '
    """
    rows, columns = pixels.shape
    lines = b"".join(b"\0" + row.tobytes() for row in pixels[::-1])
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)),
        (b"PLTE", palette.tobytes()),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    data = base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()
    return (
        f'<image width="200" height="200" href="data:image/png;base64,{data}" '
        f'style="image-rendering:pixelated"><title>{escape(title)}</title></image>'
    )


def _steps(points: NDArray[np.int64]) -> str:
    """Points as a path in steps, which are short to write: a minus needs no space before it."""
    steps = np.diff(points, axis=0)
    numbers = [f"{v}" if v < 0 else f" {v}" for v in steps[(steps != 0).any(1)].ravel().tolist()]
    x, y = points[0].tolist()
    return f"M{x} {y}" + (f"l{''.join(numbers).lstrip()}" if numbers else "h0")
