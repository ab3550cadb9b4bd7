"""The command as a whole: what it loads, its help, its options, its pipes."""

import json
import os
import re
import subprocess
import sys
from importlib import import_module

import pytest
import typer
from processes import PATIENCE
from test_cli_predict import SALT
from verbs import refused

import debye as package
from debye.cli.command import INVERT, LONG, VERBS, app


def names(sections):
    return [name for part in sections.values() for name in part]


CALLS = [
    *((name,) for name in names(VERBS) if name not in ("help", "invert")),
    *(("invert", name) for name in names(INVERT)),
]
"""How each verb is called."""


@pytest.fixture(autouse=True)
def small_model_by_default(model_file, monkeypatch):
    """The tests are of the command, whatever the shipped weights."""
    monkeypatch.setattr("debye.crystals.predict.model_files.SHIPPED", model_file)


@pytest.fixture
def salt(tmp_path):
    path = tmp_path / "salt.xyz"
    path.write_text(SALT)
    return path


# What it loads.

MODULES = "import sys; sys.argv = ['debye', *sys.argv[1:]]\nfrom debye.cli import main\n" + (
    "try:\n    main()\nfinally:\n    print('modules', *sys.modules)"
)


@pytest.mark.parametrize(
    ("words", "absent"),
    [
        (["--version"], {"torch", "numpy", "rich", "typer", "click"}),
        (["--help"], {"torch", "numpy", "rich", "debye.cli.options", "debye.cli.predict"}),
        (["dos", "--help"], {"torch", "numpy", "rich", "debye.cli.training"}),
    ],
)
def test_help_and_version_load_next_to_nothing(words, absent):
    run = subprocess.run(
        [sys.executable, "-c", MODULES, *words], capture_output=True, text=True, check=True
    )
    loaded = run.stdout.rpartition("modules")[2].split()
    assert "debye.cli" in loaded
    assert absent & set(loaded) == set()


def test_the_version_is_told_wherever_it_is_asked_for(debye):
    assert debye("--version").stdout == f"debye {package.__version__}\n"
    run = subprocess.run(
        [sys.executable, "-m", "debye", "--version"], capture_output=True, text=True, check=True
    )
    assert run.stdout == f"debye {package.__version__}\n"


# Help.


def command(*call):
    """The command of a verb, as typer has made it."""
    group = typer.main.get_command(app)
    for name in call:
        group = group.get_command(None, name)
    return group


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_help_of_each_verb_is_its_docstring(debye, call):
    """The line of the list too, which is written where the verb is not loaded."""
    result = debye(*call, "--help")
    assert result.exit_code == 0
    assert debye("help", *call).stdout == result.stdout
    sections, name = (INVERT, call[1]) if len(call) == 2 else (VERBS, call[0])
    module, about = next(part[name] for part in sections.values() if name in part)
    first = getattr(import_module(f"debye.cli.{module}"), name).__doc__.splitlines()[0]
    said, meant = ({w[:5] for w in re.findall(r"[a-z]{3,}", x.lower())} for x in (about, first))
    assert len(said & meant) >= len(said) / 2, (about, first)
    parent = debye("invert", "--help") if len(call) == 2 else debye("--help")
    assert re.search(rf"^  {name} +{re.escape(about)}$", parent.stdout, re.MULTILINE)


def test_help_of_families_and_of_none(debye):
    assert debye("help").stdout == debye("--help").stdout
    assert debye("help", "invert").stdout == debye("invert", "--help").stdout
    assert "Usage: debye invert rank" in debye("help", "invert", "rank").stdout
    unknown = debye("help", "dso")
    assert unknown.exit_code == 2
    assert "Did you mean 'dos'?" in unknown.stderr


# The design's own words, which the field has others for, as whole words.
OURS = """
reach springs? readouts? readings? holes? truths? eyes? light laws? blueprints? judges? judged
judging freedoms? evidence doubts? cautions? trust assess novelty novelties drafts? rejected told
shares? places? sure campaigns? rehearse engines? refusals? failures?
"""
ALLOWED = re.compile(r"isotopes with share, spread|truth lies|in the places?\b")


@pytest.mark.parametrize("call", [(), ("invert",), *CALLS], ids=" ".join)
def test_help_speaks_the_words_of_the_field(debye, call):
    text = ALLOWED.sub("", " ".join(debye(*call, "--help").stdout.split()))
    found = re.findall(rf"(?i)\b({'|'.join(OURS.split())})\b", text)
    assert found == []
    assert "cm-1" not in re.sub(r"<cm-1\|THz\|meV>|\[default: cm-1\]", "", text)


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_every_option_has_a_help(call):
    for parameter in command(*call).params:
        assert parameter.help, parameter.name
        assert parameter.help.endswith((".", "mode.")), parameter.help


def test_an_option_means_one_thing_everywhere():
    """One name, one type, one help; what may differ is the default and whether it is needed."""
    known = {}
    for call in CALLS:
        made = command(*call)
        for parameter in made.params:
            if any(name.startswith("--") for name in parameter.opts):
                usage, _ = parameter.get_help_record(typer.Context(made))
                if (call, parameter.opts[0]) == (("fit",), "--model"):
                    continue  # of g2 there, and a file of networks elsewhere
                meant = (usage, parameter.help)
                assert known.setdefault(parameter.opts[0], meant) == meant, call
    assert {"--output", "--plot", "--json", "--quiet", "--device"} <= set(known)


def test_every_verb_can_be_quiet():
    for call in CALLS:
        assert any(p.name == "quiet" for p in command(*call).params), call


@pytest.mark.parametrize("name", [name for name in LONG if name not in ("learn", "study")])
def test_every_long_verb_says_how_it_goes_on(debye, name):
    text = " ".join(debye(name, "--help").stdout.split())
    assert "Interrupted by Ctrl-C, SIGTERM or a crash, the same command goes on" in text
    assert "--overwrite begins anew" in text


def test_completion(debye, tmp_path):
    for words, wanted in (("debye t", "thermo train top"), ("debye invert r", "rank refine")):
        run = subprocess.run(
            [sys.executable, "-c", "import sys; sys.argv[0] = 'debye'\n"
             "from debye.cli import main; main()"],
            env={"_DEBYE_COMPLETE": "complete_bash", "COMP_WORDS": words,
                 "COMP_CWORD": str(len(words.split()) - 1), "PATH": "/usr/bin:/bin",
                 "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert set(run.stdout.split()) == set(wanted.split())
    assert "--install-completion" in debye("--help").stdout


# Quiet.


def test_quiet_silences_notes_alone(debye, salt, tmp_path):
    (tmp_path / "fm.xyz").write_text(SALT.replace("Cl", "Fm"))
    words = ("dos", salt, tmp_path / "fm.xyz", tmp_path / "none.cif")
    loud = debye(*words, "--output", tmp_path / "a.jsonl", "--plot", tmp_path / "a.png")
    calm = debye(*words, "--output", tmp_path / "b.jsonl", "--plot", tmp_path / "b.png", "--quiet")
    assert loud.exit_code == calm.exit_code == 3
    assert loud.stdout == calm.stdout
    for part in ("wrote 2 results", "drew ", "1 of 3 structures failed"):
        assert part in loud.stderr
        assert part not in calm.stderr
    for part in ("warning: ", "error: "):
        assert part in calm.stderr
    assert (tmp_path / "a.jsonl").read_text() == (tmp_path / "b.jsonl").read_text()
    assert debye(*words, "--output", tmp_path / "c.jsonl").stderr.count("wrote") == 1


# Stdin.


@pytest.fixture
def piped():
    """``piped(path, "dos", "-")``: the command with a file on its stdin."""
    from typer.testing import CliRunner

    return lambda path, *words: CliRunner().invoke(
        app, [str(word) for word in words], input=path.read_bytes()
    )


def test_structures_from_stdin(debye, piped, salt, tmp_path):
    salt.write_text(SALT + SALT)
    there, here = debye("dos", salt, "--json"), piped(salt, "dos", "-", "--json")
    assert here.exit_code == 0
    assert here.stdout.replace("<stdin>", str(salt)) == there.stdout
    both = piped(salt, "dos", salt, "-", "--json")
    assert len(both.stdout.splitlines()) == 4
    refused(piped(salt, "dos", "-", "-"), "<stdin>", "empty", code=3)
    (tmp_path / "empty").write_text("")
    refused(piped(tmp_path / "empty", "dos", "-"), "<stdin>", "empty")
    (tmp_path / "bad").write_text("hello\nworld\n")
    refused(piped(tmp_path / "bad", "thermo", "-"), "<stdin>")


def test_other_files_from_stdin(debye, piped, salt, labelled, split_file, tmp_path):
    words = "evaluate", labelled, "--split", "-", "--json"
    assert (
        piped(split_file, *words).stdout
        == debye(*words[:2], "--split", split_file, "--json").stdout
    )
    assert piped(labelled, "evaluate", "-", "--json").exit_code == 0
    spectrum = tmp_path / "s.csv"
    assert debye("dos", salt, "--output", spectrum).exit_code == 0
    rank = piped(spectrum, "invert", "rank", "-", salt, "--background", "none", "--json")
    assert rank.exit_code == 0, rank.stderr
    drawn = piped(spectrum, "dos", salt, "--reference", "-", "--plot", tmp_path / "p.png")
    assert drawn.exit_code == 0, drawn.stderr
    (tmp_path / "no.h5").write_text("no HDF5")
    refused(piped(tmp_path / "no.h5", "xpcs", "-"), "stdin")


def test_a_screening_of_stdin_goes_on(piped, salt, model_file, tmp_path):
    words = ("screen", "-", "--output", tmp_path / "out", "--workers", 1, "--json",
             "--model", model_file)  # fmt: skip
    first = piped(salt, *words)
    assert first.exit_code == 0, first.stderr
    part = next((tmp_path / "out" / "parts").iterdir())
    with part.open("rb") as held:  # a part written again would be another file of that name
        assert piped(salt, *words).stdout == first.stdout
        assert os.path.samestat(os.fstat(held.fileno()), part.stat())
    salt.write_text(SALT + SALT)
    refused(piped(salt, *words), "stdin holds other structures", "--overwrite")
    anew = piped(salt, *words, "--overwrite")
    assert len(anew.stdout.splitlines()) == 2


def test_home_in_paths(debye, salt, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    result = debye("dos", "~/salt.xyz", "--output", "~/out.csv", "--plot=~/p.png")
    assert result.exit_code == 0, result.stderr
    assert {"out.csv", "p.png"} <= {path.name for path in tmp_path.iterdir()}


# Pipes whose reader leaves.


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Frames, and a system fitted to them."""
    from typer.testing import CliRunner

    folder = tmp_path_factory.mktemp("frames")
    (folder / "plan.toml").write_text("[[stages]]\nframes = 2\nruns = 1\niterations = 1\n")
    for words in (
        ("simulate", "kuramoto", "--runs", 1, "--until", 6, "--output", folder / "f.h5"),
        ("learn", folder / "f.h5", "--output", folder / "fit.safetensors",
         "--config", folder / "plan.toml"),
    ):  # fmt: skip
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, done.stderr
    return folder


CLOSED = """
import json, os, sys
from pathlib import Path
from debye.cli.command import app
from debye.crystals.predict import model_files

model_files.SHIPPED, codes = Path(sys.argv[1]), []
for words in json.loads(sys.argv[2]):
    read, write = os.pipe()
    os.close(read)
    os.dup2(write, 1)
    os.close(write)
    sys.stdout = open(1, "w", closefd=False)
    try:
        app(words)
    except SystemExit as end:
        codes.append(end.code)
print(codes, file=sys.stderr)
"""
"""The command, many times, with a pipe on stdout whose reader has gone."""


def test_closed_pipes_are_no_errors(
    child, debye, salt, frames, labelled, split_file, model_file, tmp_path
):
    """Of every verb that prints, and of its help."""
    spectrum, small = tmp_path / "s.csv", tmp_path / "c.toml"
    screened = ["screen", salt, "--output", tmp_path / "out", "--model", model_file,
                "--workers", 1]  # fmt: skip
    assert debye("dos", salt, "--output", spectrum).exit_code == 0
    small.write_text("[network]\nchannels = 4\nlayers = 1\nl_max = 1\nhidden = 8\n")
    split = ["--split", split_file]
    calls = [
        ["--help"], ["--version"], ["dos", "--help"], ["help", "invert", "rank"], ["model"],
        ["dos", salt], ["dos", salt, "--json"], ["thermo", salt], ["alloy", salt, salt],
        screened, ["top", tmp_path / "out"], ["evaluate", labelled, *split],
        ["train", labelled, *split, "--config", small, "--epochs", 1, "--output", tmp_path / "run"],
        ["invert", "rank", spectrum, salt, "--background", "none"],
        ["invert", "refine", spectrum, salt, "--background", "none", "--resolution", "1"],
        ["invert", "design", salt, "--replace", "Cl=Br", "--target", "mean-frequency",
         "--value", 150],
        ["simulate", "kuramoto", "--runs", 1, "--until", 6, "--output", tmp_path / "g.h5"],
        ["learn", frames / "f.h5", "--output", tmp_path / "l", "--config", frames / "plan.toml"],
        ["extrapolate", frames / "fit.safetensors", "--until", 6], ["xpcs", frames / "f.h5"],
    ]  # fmt: skip
    calls = [[str(word) for word in call] for call in calls]
    code, _, told = child("-c", CLOSED, model_file, json.dumps(calls)).end()
    assert code == 0
    assert told.splitlines()[-1] == str([0] * len(calls))
    for part in ("Traceback", "Broken pipe", "Exception ignored", "error: ", "Error: "):
        assert part not in told


@pytest.mark.parametrize(
    "words", ["--help", "--version", "dos SALT SALT SALT --model MODEL --json"]
)
def test_what_the_shell_sees_of_a_reader_that_leaves(words, salt, model_file):
    words = words.replace("SALT", str(salt)).replace("MODEL", str(model_file))
    line = f"set -o pipefail; {sys.executable} -m debye {words} --quiet | (exit 0)"
    line = line.replace(" --version --quiet", " --version").replace(" --help --quiet", " --help")
    run = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert (run.returncode, run.stdout) == (0, "")
    assert not re.search("Traceback|Broken|ignored|[Ee]rror", run.stderr)
