"""Which errors leave each function of debye, read from its source.

Calls are followed by name: functions, functions of modules, and methods of the same class. Those
of other objects are not, as their names do not say whose they are; nor are constructors, which
would have all that makes a Spectrum say that its own numbers might be refused.
"""

import ast
from pathlib import Path

import debye

ROOT = Path(debye.__file__).parent
KINDS = {
    "InputError": "InputError",
    "ComputationError": "ComputationError",
    "SolveError": "ComputationError",
}
"""Each error, and the kind that it is."""
BOTH = frozenset(KINDS.values())
PARENTS = {
    "ValueError": {"InputError"},
    "RuntimeError": {"ComputationError"},
    "DebyeError": BOTH,
    "Exception": BOTH,
    "BaseException": BOTH,
} | {name: {kind} for name, kind in KINDS.items()}
"""What each class catches of ours."""


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


def meanings(module):
    """What each name in a module means, where it is ours: (module, name)."""
    found = {}
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("debye"):
            for alias in node.names:
                found[alias.asname or alias.name] = (node.module, alias.name)
    own = [n.name for n in TREES[module].body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    return found | {name: (module, name) for name in own}


NAMES = {module: meanings(module) for module in TREES}


def classes(handler):
    """The names of the classes that a handler catches."""
    if handler.type is None:
        return {"BaseException"}
    of = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {ast.unparse(kind) for kind in of}


def raises_again(handler):
    return any(isinstance(n, ast.Raise) and n.exc is None for n in ast.walk(handler))


def stopped(handlers):
    """The errors of ours that come no further than these handlers."""
    passed, ended = set(), set()
    for handler in handlers:
        here = set().union(*(PARENTS.get(name, ()) for name in classes(handler)))
        (passed if raises_again(handler) else ended).update(here - passed - ended)
    return ended


class Body(ast.NodeVisitor):
    """What leaves a body: pairs of an error or a function called, and what is caught around it."""

    def __init__(self, module, name, nodes):
        self.module, self.owner = module, name.rpartition(".")[0]
        self.caught, self.found = frozenset(), set()
        for node in nodes:
            self.visit(node)

    def visit_FunctionDef(self, node):
        pass  # an inner function raises where it is called, mostly elsewhere

    def visit_Lambda(self, node):
        pass

    def visit_Try(self, node):
        outside = self.caught
        self.caught = outside | stopped(node.handlers)
        for part in node.body:
            self.visit(part)
        self.caught = outside
        for part in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(part)

    def visit_Raise(self, node):
        if isinstance(node.exc, ast.Call):
            name, target = ast.unparse(node.exc.func), self.target(node.exc.func)
            made = FUNCTIONS[target].returns if target in FUNCTIONS else None
            name = ast.unparse(made) if made else name
            # A function that makes either kind is annotated with what they have in common.
            for kind in PARENTS.get(name, ()):
                self.found.add((kind, self.caught))
        self.generic_visit(node)

    def visit_Call(self, node):
        if (target := self.target(node.func)) in FUNCTIONS:
            self.found.add((target, self.caught))
        self.generic_visit(node)

    def target(self, called):
        """The function that a call runs, if it is ours."""
        if isinstance(called, ast.Name):
            return NAMES[self.module].get(called.id)
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            owner = called.value.id
            if owner in ("self", "cls"):
                return (self.module, f"{self.owner}.{called.attr}")
            module, name = NAMES[self.module].get(owner, ("", owner))
            if f"{module}.{name}" in TREES:
                return NAMES[f"{module}.{name}"].get(called.attr)
            return (module, f"{name}.{called.attr}")
        return None


def leaving():
    """The kinds of error that leave each function, those of the functions it calls included."""
    bodies = {key: Body(*key, node.body).found for key, node in FUNCTIONS.items()}
    found = {key: set() for key in bodies}
    changed = True
    while changed:
        changed = False
        for key, body in bodies.items():
            now = found[key].union(*(found.get(what, {what}) - caught for what, caught in body))
            changed |= now != found[key]
            found[key] = now
    return found


RAISED = leaving()
