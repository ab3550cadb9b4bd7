"""Pages that nobody writes: the command line's reference, that of Python, files of the repository.

`generate` writes them into a folder before Sphinx looks which pages there are; `relinked` and
`restructured` turn what is written for a forge and for a terminal into what Sphinx reads.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from posixpath import normpath, relpath
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent
GENERATED = "generated"
COPIED = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", *(f"benchmarks/{path.name}"
          for path in sorted((ROOT / "benchmarks").glob("*.md"))))  # fmt: skip
"""Files of the repository that have a page each."""
REPOSITORY_ONLY = "README.md", "LICENSE", "CITATION.cff"

FRONT = ("debye", "debye.speckle")
ROOMS = (
    *(f"debye.crystals.{room}" for room in (
        "structure", "dos", "structure_io", "dos_io", "lattice", "graph", "model", "data",
        "uncertainty", "predict", "training", "screening", "inversion")),
    *(f"debye.speckle.{room}" for room in (
        "dynamics", "scattering", "xpcs", "serialize", "data", "fitting", "studies")),
    "debye.plot", "debye.core", "debye.units", "debye.errors",
)  # fmt: skip
"""Whose names are listed, from the bottom to the top of each half."""


def generate(folder: Path) -> None:
    """Write all of them, touching none that is as it should be."""
    made = {f"{name.removesuffix('.md')}.md": (ROOT / name).read_text("utf-8") for name in COPIED}
    made["benchmarks/README.md"] += "\n```{toctree}\n:hidden:\n:glob:\n*\n```\n"
    made |= {"cli.md": command_line(), "python.rst": overview()}
    made |= {f"python/{name}.rst": front(name) for name in FRONT}
    made |= {f"python/{name}.rst": room(name) for name in ROOMS}
    for path in folder.rglob("*.*"):
        if path.relative_to(folder).as_posix() not in made:
            path.unlink()
    for name, text in made.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


# The command line.


def command_line() -> str:
    """Every verb with its arguments and options, as `--help` prints them."""
    from typer.main import get_command

    from debye.cli.command import INVERT, VERBS, app

    group = get_command(app)
    parts = ["# The command line", f"`{group.help}`"[1:-1], group.epilog or ""]
    for title, section in VERBS.items():
        if title == "Help":
            continue
        parts.append(f"## {title}")
        for name in section:
            verb = group.get_command(None, name)
            if name == "invert":
                inner = [n for part in INVERT.values() for n in part]
                parts += [_verb(f"debye invert {n}", verb.get_command(None, n)) for n in inner]
            else:
                parts.append(_verb(f"debye {name}", verb))
    return "\n\n".join(parts) + "\n"


def _verb(name: str, verb: Any) -> str:
    """A verb: its usage, what it does, a table of what it takes."""
    context = type(verb).context_class(verb, info_name=name)
    usage = " ".join([name, *verb.collect_usage_pieces(context)])
    taken = [record for p in verb.params if (record := p.get_help_record(context))]
    rows = "\n".join(f"| {_code(option)} | {_cell(about)} |" for option, about in taken)
    about = _text(inspect.cleandoc(verb.help))
    return f"### {name}\n\n```text\n{usage}\n```\n\n{about}\n\n| | |\n|---|---|\n{rows}\n"


def _code(option: str) -> str:
    return ", ".join(f"`{o}`" for o in option.replace("|", "\\|").split(", "))


def _cell(text: str) -> str:
    return _text(re.sub(r"\s*\[required\]", "", text)).replace("[default: ", "[default\\: ")


def _text(text: str) -> str:
    """Help as Markdown: nothing in it is a mark, and options are code."""
    text = re.sub(r"([<>*|])", r"\\\1", text)
    return re.sub(r"(?<![\w`-])(--\w[\w-]*)", r"`\1`", text)


# Python.


def public(module: ModuleType) -> dict[str, Any]:
    """What a module defines for others: its classes and functions, in their order."""
    return {
        name: thing
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(thing) or inspect.isfunction(thing))
        and thing.__module__ == module.__name__
    }


def _named(package: str) -> dict[str, Any]:
    """What the front door of a package offers, but for its rooms."""
    module = import_module(package)
    found = {name: getattr(module, name) for name in module.__all__ if name != "__version__"}
    return {name: thing for name, thing in found.items() if not inspect.ismodule(thing)}


def _directive(package: str, name: str, thing: Any) -> str:
    if inspect.isclass(thing):
        kind = "exception" if issubclass(thing, Exception) else "class"
    else:
        kind = "function" if callable(thing) else "data"
    members = "\n   :members:\n   :show-inheritance:" if kind in ("class", "exception") else ""
    return f".. auto{kind}:: {package}.{name}{members}\n"


def _titled(title: str, mark: str = "=") -> str:
    return f"{title}\n{mark * len(title)}\n"


def front(package: str) -> str:
    """The page of a front door."""
    other = set(map(id, _named("debye").values())) if package != "debye" else set()
    things = {n: t for n, t in _named(package).items() if id(t) not in other}
    parts = [_titled(package), f".. automodule:: {package}\n", f".. currentmodule:: {package}\n"]
    return "\n".join([*parts, *(_directive(package, n, t) for n, t in things.items())])


def _modules(name: str) -> Iterator[ModuleType]:
    """A room, and the modules in it."""
    room = import_module(name)
    yield room
    for found in walk_packages(getattr(room, "__path__", []), f"{name}."):
        if not any(part.startswith("_") for part in found.name.split(".")):
            yield import_module(found.name)


def room(name: str) -> str:
    """The page of a room: its modules, with all that the front doors do not list."""
    listed = {id(thing) for door in FRONT for thing in _named(door).values()}
    parts = [_titled(name)]
    for module in _modules(name):
        elsewhere = [n for n, thing in public(module).items() if id(thing) in listed]
        if module.__name__ != name:
            parts.append(_titled(module.__name__.removeprefix(f"{name}."), "-"))
        parts.append(f".. automodule:: {module.__name__}\n   :members:\n   :show-inheritance:")
        if elsewhere:
            parts[-1] += f"\n   :exclude-members: {', '.join(elsewhere)}"
            parts.append(f"\nAt the front door: {', '.join(f'`{n}`' for n in elsewhere)}.")
        parts.append("")
    return "\n".join(parts)


def overview() -> str:
    """All names of the front doors with the first sentence of each, then the rooms."""
    parts = [_titled("Python"), "What ``debye.<TAB>`` and ``debye.speckle.<TAB>`` list.\n"]
    for door in FRONT:
        parts += [_titled(door, "-"), ".. list-table::\n   :widths: 30 70\n"]
        for name, thing in _named(door).items():
            first = (inspect.getdoc(thing) or "").split("\n\n")[0] if callable(thing) else ""
            line = " ".join(restructured(first.splitlines()))
            parts.append(f"   * - :py:obj:`{door}.{name}`\n     - {line}")
        parts.append("")
    pages = "\n".join(f"   python/{name}" for name in (*FRONT, *ROOMS))
    return "\n".join(
        [*parts, _titled("All rooms", "-"), f".. toctree::\n   :maxdepth: 1\n\n{pages}\n"]
    )


# From what a forge and a terminal show.

_LINK = re.compile(r"\]\((?!https?:|#)([^)\s#]+\.md)(#[^)\s]*)?\)")
_KEPT = re.compile(r"(``.+?``|`[^`]+`)")


def relinked(text: str, docname: str) -> str:
    """Links of a page of the repository as links between the pages of the site."""
    copied = docname.removeprefix(f"{GENERATED}/")
    home = copied if copied != docname else f"docs/{docname}"

    def link(found: re.Match[str]) -> str:
        target = normpath(f"{home}/../{found[1]}")
        if target.startswith("docs/"):
            target = target.removeprefix("docs/")
        elif target in COPIED:
            target = f"{GENERATED}/{target}"
        elif target in REPOSITORY_ONLY:
            target = "index.md"
        return f"]({relpath(target, normpath(f'{docname}/..'))}{found[2] or ''})"

    return _LINK.sub(link, text)


def restructured(lines: list[str]) -> list[str]:
    """A docstring in reStructuredText: indented formulas are literal, a bar is a bar."""
    made: list[str] = []
    before: list[str] = []
    paragraphs = "\n".join(lines).split("\n\n")
    for paragraph in paragraphs:
        rows = paragraph.split("\n")
        formula = all(row.startswith("    ") for row in rows if row) and ">>>" not in paragraph
        if formula and before and not before[-1].startswith(" ") and not before[-1].endswith("::"):
            rows = [".. code-block:: text", "", *rows]
        elif ">>>" not in paragraph:
            rows = [_plain(row) for row in rows]
        made += [*rows, ""]
        before = rows
    return made


def _plain(row: str) -> str:
    return "".join(p if p.startswith("`") else p.replace("|", "\\|") for p in _KEPT.split(row))
