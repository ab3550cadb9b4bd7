"""Every public function says which errors it raises: its own, and those of what it calls."""

import ast

import pytest
from raises import FUNCTIONS, KINDS, RAISED


def is_public(module, name):
    return not any(p.startswith("_") for p in (*module.split("."), *name.split(".")))


PUBLIC = [key for key in FUNCTIONS if is_public(*key) and not key[0].startswith("debye.cli")]


def documented(docstring):
    """The kinds of error that the section names."""
    _, _, section = docstring.partition("Raises:")
    return {kind for name, kind in KINDS.items() if f"{name}:" in section}


@pytest.mark.parametrize("module", sorted({m for m, _ in PUBLIC}))
def test_raises_sections_are_complete(module):
    missing = {
        key[1]: RAISED[key] - documented(ast.get_docstring(FUNCTIONS[key]) or "")
        for key in PUBLIC
        if key[0] == module
    }
    assert {name: kinds for name, kinds in missing.items() if kinds} == {}
