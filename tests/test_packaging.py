"""One version and one list of requirements, wherever they are written down."""

import re
from pathlib import Path

import pytest
import yaml

import debye

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="the checkout is not beside the tests"
)
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
"""Packages that have another name on conda-forge."""


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def recipe():
    return yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text("utf-8"))


@pytest.fixture(scope="module")
def citation():
    return yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))


def conda(requirements):
    """Requirements of pip as conda writes them; what a noarch package cannot ask is left out."""
    found = set()
    for requirement in requirements:
        name, least = re.fullmatch(
            r"([\w-]+)(>=[\w.]+)(?:;.*)?", requirement.replace(" ", "")
        ).groups()
        found.add(f"{CONDA.get(name, name)} {least}")
    return found


def test_the_recipe_needs_what_pip_needs(project, recipe):
    run = set(recipe["requirements"]["run"])
    assert run == {"python >=${{ python_min }}"} | conda(project["dependencies"])
    assert f">={recipe['context']['python_min']}" == project["requires-python"]
    extras = {"phonopy", "pymatgen", "parsl", "dask", "studio"}
    optional = [r for name in extras for r in project["optional-dependencies"][name]]
    assert set(recipe["requirements"]["run_constraints"]) == conda(optional)


def test_one_version(recipe, citation):
    cited = citation["version"], citation["preferred-citation"]["version"]
    assert {recipe["context"]["version"], *cited} == {debye.__version__}


def test_the_recipe_starts_the_same_command(project, recipe):
    entries = [f"{name} = {where}" for name, where in project["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == entries


def test_the_container_copies_what_is_there_and_starts_the_studio():
    text = (ROOT / "Containerfile").read_text("utf-8")
    copied = [
        word for words in re.findall(r"^COPY (.+) \S+$", text, re.M) for word in words.split()
    ]
    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert 'ENTRYPOINT ["debye"]\nCMD ["studio"' in text
