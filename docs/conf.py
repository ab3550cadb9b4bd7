"""The documentation site: Sphinx, MyST with code cells that are run, furo; all of it offline."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import pages  # noqa: E402 - it stands beside this file

import debye  # noqa: E402

project = "debye"
author = "The debye developers"
project_copyright = "The debye developers, BSD-3-Clause"
version = release = debye.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "myst_nb",
]
exclude_patterns = ["_build", "Makefile", "**/.ipynb_checkpoints"]

html_theme = "furo"
html_title = f"debye {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "../src/debye/studio/static/icon.svg"
html_show_sphinx = False
html_copy_source = False
html_logo = "../src/debye/studio/static/icon.svg"
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#0f5f9e", "color-brand-content": "#0f5f9e"},
    "dark_css_variables": {"color-brand-primary": "#6db5ec", "color-brand-content": "#6db5ec"},
}

# MathJax comes from its package on PyPI, and from no other host.
mathjax_path = "mathjax/tex-svg.js"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_block"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "jupyter_cache")
nb_execution_timeout = 400
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_execution_in_temp = True
smartquotes_action = "D"  # dashes alone; quotes stay as they are typed

default_role = "py:obj"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_use_rtype = False
napoleon_use_ivar = True
# A name in backticks that many classes have leads to one of them.
suppress_warnings = ["ref.python"]
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


OTHERS = {"matplotlib", "torch"}


def readable(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text: indented formulas stay as they stand, and a bar is a bar."""
    lines[:] = pages.restructured(lines)


def foreign(app: Any, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Methods that other libraries put into a class are documented there."""
    return True if (getattr(thing, "__module__", None) or "debye").split(".")[0] in OTHERS else None


def linked(app: Any, docname: str, source: list[str]) -> None:
    """Links between files of the repository lead to the pages made of them."""
    source[0] = pages.relinked(source[0], docname)


def with_mathjax(app: Any, error: Exception | None) -> None:
    """The one file of MathJax that the pages load, and its licence."""
    if error is None and app.builder.format == "html":
        package = files("mathjax") / "static" / "mathjax"
        target = Path(app.outdir) / "_static" / "mathjax"
        target.mkdir(parents=True, exist_ok=True)
        for name in ("es5/tex-svg.js", "LICENSE"):
            (target / Path(name).name).write_bytes((package / name).read_bytes())


def setup(app: Any) -> None:
    """Make the pages that nobody writes, before Sphinx looks which there are."""
    pages.generate(HERE / "generated")
    app.connect("autodoc-process-docstring", readable, priority=400)
    app.connect("autodoc-skip-member", foreign)
    app.connect("source-read", linked)
    app.connect("build-finished", with_mathjax)
