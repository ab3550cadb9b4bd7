"""Every public function says which errors it raises: its own, and those of what it calls."""

import ast
from functools import cache
from pathlib import Path

import pytest

import debye

ROOT = Path(debye.__file__).parent
ERRORS = {"InputError", "ComputationError"}


def module_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {module_of(p): ast.parse(p.read_text()) for p in sorted(ROOT.rglob("*.py"))}


def functions(tree):
    """(qualified name, node) of every function at the top and in classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    yield f"{node.name}.{inner.name}", inner


FUNCTIONS = {(m, name): node for m, tree in TREES.items() for name, node in functions(tree)}


@cache
def names(module):
    """What each name at the top of a module means: (module, name) of ours."""
    found = {name: (module, name) for m, name in FUNCTIONS if m == module}
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("debye"):
            for alias in node.names:
                found[alias.asname or alias.name] = (node.module, alias.name)
    return found


def returned(node):
    """The error class that a function makes for others to raise."""
    text = ast.unparse(node.returns) if node.returns else ""
    return {text} & ERRORS


def caught(handlers):
    text = " ".join(ast.unparse(h.type) if h.type else "BaseException" for h in handlers)
    return ERRORS if "DebyeError" in text else {e for e in ERRORS if e in text}


class Raised(ast.NodeVisitor):
    """The errors that leave a function."""

    def __init__(self, module, owner):
        self.module, self.owner, self.found = module, owner, set()

    def visit_FunctionDef(self, node):
        pass  # an inner function raises where it is called, mostly elsewhere

    def visit_Lambda(self, node):
        pass

    def visit_Try(self, node):
        inside = Raised(self.module, self.owner)
        for part in node.body:
            inside.visit(part)
        self.found |= inside.found - caught(node.handlers)
        for part in [*node.handlers, *node.orelse, *node.finalbody]:
            self.visit(part)

    def visit_With(self, node):
        if any("suppress" in ast.unparse(i) for i in node.items):
            return
        self.generic_visit(node)

    def visit_Raise(self, node):
        if isinstance(node.exc, ast.Call):
            name = ast.unparse(node.exc.func)
            target = self.target(node.exc.func)
            if name in ERRORS:
                self.found.add(name)
            elif target in FUNCTIONS:
                self.found |= returned(FUNCTIONS[target])
        self.generic_visit(node)

    def visit_Call(self, node):
        target = self.target(node.func)
        if target in FUNCTIONS:
            self.found |= raised(*target)
        self.generic_visit(node)

    def target(self, called):
        if isinstance(called, ast.Name):
            return names(self.module).get(called.id)
        if isinstance(called, ast.Attribute) and ast.unparse(called.value) in ("self", "cls"):
            return (self.module, f"{self.owner}.{called.attr}")
        return None


SEEN = {}


def raised(module, name):
    """What leaves a function: its own errors, and those of the functions it calls."""
    key = (module, name)
    if key in SEEN:
        return SEEN[key]
    SEEN[key] = set()  # a function that calls itself adds nothing new
    visitor = Raised(module, name.rpartition(".")[0])
    for part in FUNCTIONS[key].body:
        visitor.visit(part)
    SEEN[key] = visitor.found
    return visitor.found


def is_public(module, name):
    return not any(p.startswith("_") for p in (*module.split("."), *name.split(".")))


PUBLIC = [key for key in FUNCTIONS if is_public(*key) and not key[0].startswith("debye.cli")]


def told(docstring):
    """Errors that the section names."""
    _, _, section = docstring.partition("Raises:")
    return {e for e in ERRORS if f"{e}:" in section}


@pytest.mark.parametrize("module", sorted({m for m, _ in PUBLIC}))
def test_raises_sections_are_complete(module):
    missing = {
        name: sorted(raised(module, name) - told(ast.get_docstring(FUNCTIONS[module, name]) or ""))
        for m, name in PUBLIC
        if m == module
    }
    assert {name: errors for name, errors in missing.items() if errors} == {}
