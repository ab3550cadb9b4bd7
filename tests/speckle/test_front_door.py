"""Everything public of debye.speckle is reached by TAB, and studies by their names."""

import ast
import pickle
import subprocess
import sys

import pytest

import debye.speckle
from debye.speckle.studies.run import STUDIES
from debye.speckle.studies.study import Study


@pytest.mark.parametrize("name", debye.speckle.__all__)
def test_every_name_is_there_and_documented(name):
    assert name in dir(debye.speckle)
    assert getattr(debye.speckle, name).__doc__


def test_names_for_the_type_checker_are_those_of_the_table():
    """What an editor completes is what Python finds."""
    tree = ast.parse(debye.speckle.__loader__.get_source("debye.speckle"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {name.asname for line in block.body for name in line.names}
    assert typed == set(debye.speckle.__all__) - set(debye.speckle._ROOMS)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'learn'"):
        debye.speckle.learn  # noqa: B018 - looking it up is the test


def test_importing_it_is_light():
    code = "import sys, debye.speckle; dir(debye.speckle); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.parametrize("case", STUDIES.values(), ids=lambda c: c.name)
def test_a_case_is_found_by_its_name_and_pickled(case):
    assert debye.speckle.study(case.name) is case
    assert pickle.loads(pickle.dumps(case)) == case
    assert repr(case).startswith("Study(" if isinstance(case, Study) else "Case(")
