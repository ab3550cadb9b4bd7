"""The field's words: what 0.1.0 called by names of its own is called by them no more.

Each word stands with what is said instead. In names every one is looked for; in prose and help
only those that are no plain English.
"""

import ast
import re

import pytest
from raises import ROOT, TREES

from debye.cli import command

REPOSITORY = ROOT.parents[1]

INSTEAD = {
    "reach": "cutoff",
    "spring": "force constants",
    "springs": "force constants",
    "readout": "head",
    "readouts": "heads",
    "reading": "head output; file",
    "readings": "head outputs",
    "hole": "term",
    "holes": "terms",
    "truths": "known terms",
    "eye": "scattering",
    "light": "intensity",
    "law": "system, fitted system",
    "laws": "systems",
    "learn": "fit",
    "learned": "fitted",
    "learning": "fitting",
    "blueprint": "serialize",
    "judge": "metrics, likelihood",
    "freedom": "free parameters",
    "evidence": "uncertainty features",
    "doubt": "uncertainty",
    "doubts": "uncertainties",
    "caution": "warning",
    "cautions": "warnings",
    "trust": "uncertainty",
    "assess": "uncertainty",
    "novelty": "applicability",
    "draft": "lazy structure; temporary file",
    "rejected": "failed input",
    "told": "record",
    "share": "fraction",
    "shares": "fractions",
    "place": "output, path",
    "sure": "uncertainty",
    "campaign": "run",
    "rehearse": "dry run",
    "engine": "executor",
    "engines": "executors",
    "ranks": "process group",
    "rings": "q-map",
    "refusal": "InputError",
    "refusals": "InputError",
    "failure": "ComputationError",
    "failures": "failed",
}

KEPT = {
    ("learn", "learn"): "the verb `debye learn`, as it was in 0.1.0",
    ("correlate", "rings"): "the argument for so many rings of equal width, which is what they are",
    ("xpcs", "rings"): "the option that is handed to it",
}
"""Where a name stands, the name, and why it may stay."""
TERMS = ("learning_curve", "power_law", "PowerLaw")
"""Terms of the field that hold one of the words."""


def words_of(name):
    """The words of a name in any case: ``from_dict`` and ``FailedInput`` have two each."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def is_private(name):
    return name.startswith("_")


def public_names(body, owner=""):
    """(where, name) of functions, classes and methods, and of what they are called with."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not is_private(node.name):
            where = f"{owner}{node.name}"
            yield where, node.name
            if isinstance(node, ast.ClassDef):
                yield from public_names(node.body, f"{where}.")
                yield from ((where, field) for field in fields(node))
            else:
                arguments = node.args
                every = arguments.posonlyargs + arguments.args + arguments.kwonlyargs
                yield from ((where, argument.arg) for argument in every)
        elif isinstance(node, ast.FunctionDef) and node.name == "__init__":
            every = node.args.args + node.args.kwonlyargs
            yield from ((owner.rstrip("."), argument.arg) for argument in every)


def fields(node):
    """Annotated attributes of a class: arguments of a dataclass, parts of a tuple."""
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and not is_private(part.target.id):
            yield part.target.id


def old_words(where, name):
    if (where, name) in KEPT:
        return []
    for term in TERMS:
        name = name.replace(term, "")
    return [f"{word} (say {INSTEAD[word]})" for word in words_of(name) if word in INSTEAD]


@pytest.mark.parametrize("module", TREES)
def test_public_names_are_the_fields(module):
    names = [("module", module.removeprefix("debye")), *public_names(TREES[module].body)]
    found = {(where, name): old_words(where, name) for where, name in names}
    assert {key: words for key, words in found.items() if words} == {}


# Prose.

NO_ENGLISH = re.compile(
    r"\b(springs|readouts?|truths|blueprints?|Freedom|Refusals?|Failure|Rejected|Draft"
    r"|campaigns?|rehearse[ds]?|rehearsal|engines?|novelty|cautions?"
    r"|(the|a|its|their|whose|of|within|same) (reach|holes?))\b"
)
BUILT = {"_build", "generated"}
PAGES = [
    REPOSITORY / "README.md",
    *(p for p in sorted((REPOSITORY / "docs").rglob("*.md")) if not BUILT & {*p.parts}),
]


def lines_with_old_words(text):
    return [line for line in text.splitlines() if NO_ENGLISH.search(line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_pages_speak_the_fields_words(page):
    assert lines_with_old_words(page.read_text()) == []


VERBS = [
    *([name] for section in command.VERBS.values() for name in section),
    *(["invert", name] for section in command.INVERT.values() for name in section),
]


@pytest.mark.parametrize("words", [[], *VERBS], ids=" ".join)
def test_help_speaks_the_fields_words(debye, words):
    result = debye(*words, "--help")
    assert result.exit_code == 0
    assert lines_with_old_words(result.stdout) == []


def test_an_old_word_would_be_found():
    tree = ast.parse(
        "class A:\n    reach: int\n    def _of(self, eye): ...\ndef f(x, *, eye=1): ..."
    )
    found = [name for where, name in public_names(tree.body) if old_words(where, name)]
    assert found == ["reach", "eye"]
    assert lines_with_old_words("an equation with a hole") == ["an equation with a hole"]
    assert lines_with_old_words("as far as it reaches, a black hole is cut out") == []
