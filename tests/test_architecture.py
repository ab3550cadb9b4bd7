"""The import rule: who may know of whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import debye

ROOT = Path(debye.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))


def imported(path):
    """Modules a file names in its imports, at the top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def room(path):
    """The first folder below the package, or the name of a shared file."""
    return path.relative_to(ROOT).parts[0]


def imports_any(path, packages):
    return [m for m in imported(path) if any(m == p or m.startswith(f"{p}.") for p in packages)]


def test_rooms_import_only_those_below_them():
    """The contracts of pyproject.toml."""
    from importlinter.cli import lint_imports

    assert lint_imports(str(ROOT.parents[1] / "pyproject.toml"), no_cache=True) == 0


def test_no_module_stands_in_a_circle():
    from graphlib import TopologicalSorter

    import grimp

    graph = grimp.build_graph("debye", exclude_type_checking_imports=True, cache_dir=None)
    below = {m: graph.find_modules_directly_imported_by(m) for m in graph.modules}
    TopologicalSorter(below).prepare()  # names the circle if there is one


def test_what_is_looked_up_in_higher_rooms_is_there():
    from debye.core.upward import HIGHER, higher

    assert all(callable(higher(name)) for name in HIGHER)


def test_files_are_read_in_one_sitting():
    lines = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in FILES}
    assert {name: n for name, n in lines.items() if n > 450} == {}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_import_rule(path):
    halves = {"crystals": "debye.crystals", "speckle": "debye.speckle"}
    here = room(path)
    if here in halves:
        others = [p for half, p in halves.items() if half != here]
        forbidden = [*others, "debye.cli", "debye.plot"]
    elif here in ("cli", "__main__.py", "__init__.py"):
        forbidden = []
    elif here == "plot":
        forbidden = ["debye.cli"]
    else:
        forbidden = [*halves.values(), "debye.cli", "debye.plot"]
    assert imports_any(path, forbidden) == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_plot_draws(path):
    if room(path) != "plot":
        assert imports_any(path, ["matplotlib"]) == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_runs_code_from_files(path):
    assert imports_any(path, ["pickle", "dill", "joblib"]) == []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in ("eval", "exec", "torch.load", "np.load")


def test_import_is_light():
    """`import debye` must not load torch: a version or a help text should come at once."""
    heavy = {"torch", "ase", "matplotlib", "pyarrow", "parsl", "dask", "distributed"}
    code = f"import sys, debye, debye.cli; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


OWNERS = {
    "ase": ("crystals/structure", "crystals/lattice"),
    "pymatgen": ("crystals/structure", "crystals/dos"),  # a spectrum names its type
    "euphonic": ("crystals/dos",),
    "gemmi": ("crystals/structure",),
    "phonopy": (
        "crystals/data",
        "crystals/lattice/phonopy.py",
        "crystals/structure/convert.py",  # a calculator's unit of length
    ),
    "spglib": ("crystals/structure/symmetry.py",),
    "vesin": ("core/neighbors.py", "crystals/structure/validate.py"),
    "safetensors": ("core/checkpoint.py",),
    "typer": ("cli",),
    "pyarrow": (
        "crystals/screening",
        "crystals/predict/rows.py",
        "crystals/structure_io/tables.py",
        "crystals/inversion/rank.py",
    ),
    "parsl": ("core/executors.py",),
    "dask": ("core/executors.py",),
    "distributed": ("core/executors.py",),
}


@pytest.mark.parametrize("library", OWNERS)
def test_each_library_has_its_room(library):
    users = {str(p.relative_to(ROOT)) for p in FILES if imports_any(p, [library])}
    assert all(user.startswith(OWNERS[library]) for user in users), users
