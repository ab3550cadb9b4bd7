"""A prediction in a notebook: the cell and mode viewer of the studio, in one piece, offline.

The page's modules are put into functions, one after another, so that they run from within the
notebook's own HTML: no file, server or network is asked.
"""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path
from typing import Any

from debye import InputError, Prediction
from debye.studio import describe

STATIC = Path(__file__).parent / "static"
MODULES = (
    "dom", "units", "colours", "store", "api", "chart", "geometry", "spheres", "motion", "cell",
    "cellpanel", "bands", "spectra", "notebook",
)  # fmt: skip
"""Of the page, each after those that it imports."""
MOST_SITES = 40
"""Of the primitive cell; the eigenvectors of larger ones would be megabytes."""
HEIGHT = 760
"""Pixels."""
_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";$', re.M)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:const|function|class) (\w+))", re.M)


class View:
    """What a notebook shows of a prediction: its cell, its bands, and each mode as it moves.

    Args:
        prediction: Whose.
        points: About how many wave vectors.

    Raises:
        InputError: The model predicts no force constants, or the primitive cell is too large.
        ComputationError: The modes cannot be found.
    """

    def __init__(self, prediction: Prediction, points: int = 60) -> None:
        bands = prediction.bands(points=points)
        if bands.crystal.n_sites > MOST_SITES:
            why = f"its primitive cell holds {bands.crystal.n_sites} sites, more than {MOST_SITES}"
            fix = "open it in the studio: debye studio FILE"
            raise InputError("cannot show the modes in a notebook", why=why, fix=fix)
        modes = [bands.modes(i) for i in range(len(bands.path.q))]
        self.title = repr(prediction)
        self.data = {
            "about": {"elements": _elements(prediction), "bands": True},
            "current": describe.structure(prediction, 0),
            "bands": describe.bands(bands),
            "modes": [_rounded(describe.modes(m)) for m in modes],
        }

    def __repr__(self) -> str:
        return f"View({self.title})"

    def _repr_html_(self) -> str:
        """A frame of its own, which holds all that it needs."""
        page = escape(self.page(), quote=True)
        look = f'style="width:100%;height:{HEIGHT}px;border:0"'
        return f'<iframe title="{escape(self.title)}" {look} srcdoc="{page}"></iframe>'

    def page(self) -> str:
        """The whole as a page of HTML, which can be kept as a file too."""
        style = (STATIC / "studio.css").read_text(encoding="utf-8")
        data = json.dumps(self.data, separators=(",", ":")).replace("<", "\\u003c")
        return (
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            f"<title>{escape(self.title)}</title><style>{style}</style>"
            '<body><main id="view"></main><div id="told" hidden></div>'
            f"<script>{_bundled()}\nM.notebook.show(document.getElementById('view'), {data});"
            "</script></body></html>"
        )


def _bundled() -> str:
    """The modules as functions that return what they export."""
    return "const M = {};\n" + "\n".join(map(_module, MODULES))


def _module(name: str) -> str:
    text = (STATIC / "js" / f"{name}.js").read_text(encoding="utf-8")
    text = _IMPORT.sub(lambda m: f"const {{ {m[1]} }} = M.{m[2]};", text)
    names = _EXPORT.findall(text)
    return (
        f"M.{name} = (() => {{\n{_EXPORT.sub('', text)}\nreturn {{ {', '.join(names)} }};\n}})();"
    )


def _elements(prediction: Prediction) -> dict[str, Any]:
    return {symbol: describe.element(symbol) for symbol in prediction.crystal.elements}


def _rounded(modes: dict[str, Any]) -> dict[str, Any]:
    """Modes with their components cut to five digits, which a picture is worth."""

    def cut(value: Any) -> Any:  # noqa: ANN401 - nested lists
        return [cut(v) for v in value] if isinstance(value, list) else round(value, 5)

    return modes | {key: cut(modes[key]) for key in ("real", "imaginary")}


def viewed(prediction: Prediction, points: int = 60) -> View:
    """The view of a prediction; see `View`.

    Args:
        prediction: Whose.
        points: About how many wave vectors.

    Raises:
        InputError: The model predicts no force constants, or the primitive cell is too large.
        ComputationError: The modes cannot be found.
    """
    return View(prediction, points)
