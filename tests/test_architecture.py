"""The house: who may know of whom, which library lives where, and what importing may not do."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import debye

ROOT = Path(debye.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
ROOMS = sorted({path.parent for path in FILES})


def imported(path):
    """Modules a file names in its imports, at the top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def imports_any(path, packages):
    return [m for m in imported(path) if any(m == p or m.startswith(f"{p}.") for p in packages)]


def test_rooms_import_only_those_below_them():
    """The contracts of pyproject.toml."""
    from importlinter.cli import lint_imports

    assert lint_imports(str(ROOT.parents[1] / "pyproject.toml"), no_cache=True) == 0


def test_no_module_stands_in_a_circle():
    from graphlib import TopologicalSorter

    import grimp

    graph = grimp.build_graph("debye", exclude_type_checking_imports=False, cache_dir=None)
    below = {m: graph.find_modules_directly_imported_by(m) for m in graph.modules}
    TopologicalSorter(below).prepare()  # names the circle if there is one


def test_what_is_looked_up_in_higher_rooms_is_there():
    from debye.core.upward import HIGHER, higher

    assert all(callable(higher(name)) for name in HIGHER)


def test_files_are_read_in_one_sitting():
    lines = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in FILES}
    assert {name: n for name, n in lines.items() if n > 450} == {}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_runs_code_from_files(path):
    assert imports_any(path, ["pickle", "dill", "joblib"]) == []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in ("eval", "exec", "torch.load", "np.load")


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_import_is_light():
    """`import debye` must not load torch: a version or a help text should come at once."""
    heavy = {"numpy", "rich", *OWNERS} - {"typer"}
    code = f"import sys, debye, debye.cli; dir(debye); print(sorted({heavy} & set(sys.modules)))"
    assert run(code).stdout.strip() == "[]"


def test_import_leaves_everything_as_it_was():
    """No default dtype, seed, style, filter of warnings or limit is set; no variable either."""
    code = """
import importlib, locale, os, pkgutil, random, sys, warnings
import matplotlib, numpy, torch
import debye

def state():
    return {
        "dtype": (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "random": (random.getstate(), numpy.random.get_state()[1].tolist()),
        "torch": (torch.get_rng_state().tolist(), torch.initial_seed()),
        "numpy": (numpy.geterr(), numpy.get_printoptions()),
        "style": dict(matplotlib.rcParams),
        "warnings": list(warnings.filters),
        "process": (dict(os.environ), os.getcwd(), sys.getrecursionlimit(), locale.getlocale()),
    }

before = state()
for module in pkgutil.walk_packages(debye.__path__, "debye."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
now = state()
print([name for name in before if before[name] != now[name]])
"""
    assert run(code).stdout.strip() == "[]"


def test_nothing_is_kept_in_globals():
    """But which worker of its machine a process is, which is said once, where it starts."""
    found = {
        (str(path.relative_to(ROOT)), name)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Global)
        for name in node.names
    }
    assert found == {("core/executors.py", "worker_number")}


@pytest.mark.parametrize("path", ROOMS, ids=lambda p: str(p.relative_to(ROOT)))
def test_each_room_says_in_a_sentence_what_it_holds(path):
    first = (ast.get_docstring(ast.parse((path / "__init__.py").read_text())) or "").splitlines()[0]
    assert first[0].isupper() or first.startswith("`"), first
    assert first.endswith("."), first


OWNERS = {
    "ase": ("crystals/structure", "crystals/lattice"),
    "pymatgen": ("crystals/structure", "crystals/dos"),  # a spectrum names its type
    "euphonic": ("crystals/dos", "crystals/lattice/euphonic.py"),
    "gemmi": ("crystals/structure",),
    "phonopy": (
        "crystals/data",
        "crystals/lattice/calculate.py",
        "crystals/lattice/phonopy.py",
        "crystals/structure/convert.py",  # a calculator's unit of length
    ),
    "seekpath": ("crystals/lattice/path.py",),
    "spglib": ("crystals/structure/symmetry.py",),
    "vesin": ("core/neighbors.py",),
    "safetensors": ("core/checkpoint.py",),
    "typer": ("cli",),
    "rich": ("cli",),
    "matplotlib": ("plot",),
    "PIL": ("plot/speckle.py",),
    "scipy": (
        "core/neighbors.py",
        "crystals/data/labels.py",
        "crystals/inversion",
        "crystals/uncertainty",
        "speckle/xpcs",  # sparse products, least squares, distributions
    ),
    "h5py": ("speckle/data",),
    "hdf5plugin": ("speckle/data",),
    "fabio": ("speckle/data/images.py",),
    "pandas": (
        "crystals/dos",
        "crystals/screening/run.py",
        "crystals/training/evaluate.py",
        "speckle/values.py",
    ),
    "yaml": ("crystals/data/phonopy_files.py",),
    "tomli": ("core/files.py",),
    "pyarrow": (
        "crystals/screening",
        "crystals/predict/record.py",
        "crystals/structure_io/tables.py",
        "crystals/inversion/rank.py",
    ),
    "starlette": ("studio",),
    "uvicorn": ("studio/serve.py",),
    "filelock": ("crystals/screening/store.py",),
    "parsl": ("core/executors.py",),
    "dask": ("core/executors.py",),
    "dask_jobqueue": ("core/executors.py",),
    "distributed": ("core/executors.py",),
}


@pytest.mark.parametrize("library", OWNERS)
def test_each_library_has_its_room(library):
    users = {str(p.relative_to(ROOT)) for p in FILES if imports_any(p, [library])}
    assert all(user.startswith(OWNERS[library]) for user in users), users


def test_every_library_has_an_owner():
    named = {module.partition(".")[0] for path in FILES for module in imported(path)}
    theirs = named - sys.stdlib_module_names - {"debye"}
    assert theirs == {"torch", "numpy", *OWNERS}
