"""`debye screen` and `debye top` as a user, an adversary and a dying machine would treat them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from processes import PATIENCE
from verbs import refused

import debye as package
from debye.crystals.dos.quantities import PROPERTIES
from debye.crystals.predict.predictor import Predictor
from debye.crystals.predict.record import record
from debye.crystals.structure_io.read import read_crystals, read_structures, write_structures

SIDES = {"LiF": 4.0, "NaCl": 5.6, "KBr": 6.6, "MgO": 4.2, "CaO": 4.8, "KI": 7.1}


def rock_salt(formula, scale=1.0):
    cut = 1 if formula.startswith("K") else 2
    half = SIDES[formula] * scale / 2
    lattice = f"0 {half} {half} {half} 0 {half} {half} {half} 0"
    head = f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 name="{formula}"'
    return f"2\n{head}\n{formula[:cut]} 0 0 0\n{formula[cut:]} {half} {half} {half}\n"


BAD = '2\nLattice="4 0 0 0 4 0 0 0 4"\nNa 0 0 0\nCl 0.01 0 0\n'


def salts(count):
    names = list(SIDES)
    return "".join(rock_salt(names[i % 6], 1 + 0.0001 * i) for i in range(count))


@pytest.fixture
def many(tmp_path):
    path = tmp_path / "many.xyz"
    path.write_text(salts(20))
    return path


@pytest.fixture
def screen(debye, model_file, tmp_path):
    """`debye screen` with a small model and one worker, into a folder of the test."""

    def run(*words, output="out"):
        fixed = ("--output", tmp_path / output, "--model", model_file, "--workers", 1)
        return debye("screen", *fixed, "--device", "cpu", *words)

    return run


def rows(folder):
    parts = sorted((Path(folder) / "parts").glob("*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


# What is written.


def test_rows_are_the_predictions(screen, many, model_file, tmp_path):
    result = screen(many, "--shard-size", 7, "--temperatures", "100,300", "--partial", "element")
    assert result.exit_code == 0, result.stderr
    assert len(list((tmp_path / "out/parts").iterdir())) == 3
    found = rows(tmp_path / "out")
    predicted = list(Predictor.load(model_file)(read_structures(many)))
    assert [row["id"] for row in found] == [f"{many}[{i}]" for i in range(20)]
    assert len({row["id"] for row in found}) == 20
    for row, prediction in zip(found, predicted, strict=True):
        crystal = prediction.crystal
        assert (row["formula"], row["name"]) == (crystal.formula, crystal.name)
        assert row["elements"] == list(crystal.elements)
        assert row["dos"] == pytest.approx(prediction.total.density.tolist(), rel=1e-5)
        partial = dict(row["partial_dos"])
        assert list(partial) == list(crystal.elements)
        summed = [sum(column) for column in zip(*partial.values(), strict=True)]
        assert summed == pytest.approx(row["dos"], rel=1e-5)
        for T in (100, 300):
            told = record(prediction, temperature=T)
            per_atom = row[f"heat_capacity_J_per_K_per_mol_atoms_at_{T}_K"]
            assert per_atom == pytest.approx(told["heat_capacity_J_per_K_per_mol_atoms"], rel=1e-5)
            per_kg = per_atom * crystal.n_atoms / (crystal.mass * 1e-3)
            assert row[f"heat_capacity_J_per_K_per_kg_at_{T}_K"] == pytest.approx(per_kg)
            assert row[f"entropy_J_per_K_per_mol_atoms_at_{T}_K"] == pytest.approx(
                told["entropy_J_per_K_per_mol_atoms"], rel=1e-5
            )
        assert row["mean_frequency_cm-1"] == pytest.approx(told["mean_frequency_cm-1"], rel=1e-5)
        assert row["warnings"] == list(prediction.warnings)
        assert row["error"] is None


def test_the_manifest_tells_the_run(screen, many, tmp_path, model_file):
    from debye.core.checkpoint import read_card

    screen(many, "--temperatures", "100,300")
    told = json.loads((tmp_path / "out/debye-screen.json").read_text())
    assert told["model_sha256"] == read_card(model_file)["sha256"]
    assert told["temperatures"] == [100, 300]
    assert told["debye_version"] == package.__version__
    assert len(told["frequency"]) == len(rows(tmp_path / "out")[0]["dos"])
    assert told["done"] == {"parts": 1, "structures": 20, "failed": 0}


def test_the_best_are_printed(screen, many):
    result = screen(many, "--top", 3, "--json")
    best = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(best) == 3
    assert all(row["formula"] == "LiF" for row in best)  # the lightest atoms


def test_folders_tables_and_repeats(screen, tmp_path, many):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("LiF", "MgO"):
        (folder / f"{name}.xyz").write_text(rock_salt(name))
    (folder / "POSCAR").write_text(poscar())
    result = screen(folder, folder / "*.xyz", many)
    assert result.exit_code == 0, result.stderr
    assert len(rows(tmp_path / "out")) == 3 + 20


def poscar():
    return "MgO\n1\n0 2.1 2.1\n2.1 0 2.1\n2.1 2.1 0\nMg O\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"


def test_results_inside_the_input_folder_are_no_input(screen, many, tmp_path):
    first = screen(tmp_path)
    again = screen(tmp_path)
    assert (first.exit_code, again.exit_code) == (0, 0), again.stderr


# What fails.


def test_a_bad_structure_is_a_row(screen, many, tmp_path):
    many.write_text(salts(2) + BAD + salts(2))
    result = screen(many)
    refused(result, "1 of 5 structures failed", code=3)
    failed = rows(tmp_path / "out")[2]
    assert failed["id"] == f"{many}[2]"
    assert "overlap" in failed["error"]
    assert failed["formula"] is None
    assert screen(many).exit_code == 3


def test_nothing_but_bad_structures(screen, many):
    many.write_text(BAD)
    refused(screen(many), "1 of 1 structures failed")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["nowhere.xyz"], ["there is no such file"]),
        (["no/*.cif"], ["the pattern matches no file"]),
        (["MANY", "--temperatures", "-5"], ["--temperatures -5"]),
        (["MANY", "--temperatures", "warm"], ["'warm'"]),
        (["MANY", "--executor-config", "x.toml"], ["need no config"]),
        (
            ["MANY", "--executor", "parsl", "--executor-config", "x.toml"],
            ["cannot read the config"],
        ),
        (["MANY", "--device", "cuda:99"], ["cuda:99"]),
        (["MANY", "--model", "none.safetensors"], ["none.safetensors"]),
    ],
)
def test_bad_usage_leaves_no_folder(screen, many, tmp_path, words, parts):
    result = screen(*[many if word == "MANY" else word for word in words])
    refused(result, *parts)
    assert not (tmp_path / "out/debye-screen.json").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--temperatures", 77], "temperatures is [293.15] and not [77"),
        (["--partial", "site"], 'partial is "none" and not "site"'),
        (["--shard-size", 5], "shard size is 1000 and not 5"),
    ],
)
def test_another_run_is_refused(screen, many, words, told):
    assert screen(many).exit_code == 0
    refused(screen(many, *words), "holds another screening", told)


def test_another_model_is_refused(screen, many, debye, tmp_path):
    assert screen(many).exit_code == 0
    result = debye("screen", many, "--output", tmp_path / "out")
    refused(result, "model sha256")


def test_another_version_is_refused(screen, many, tmp_path):
    assert screen(many).exit_code == 0
    path = tmp_path / "out/debye-screen.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "debye_version": "0.0.1"}))
    refused(screen(many), 'debye version is "0.0.1"')
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    refused(screen(many), "format 99")
    path.write_text("{")
    refused(screen(many), "holds no screening")


def test_changed_inputs_are_refused(screen, many, tmp_path):
    assert screen(many, "--shard-size", 5).exit_code == 0
    many.write_text(salts(19))
    refused(screen(many, "--shard-size", 5), "inputs have changed")
    assert len(rows(tmp_path / "out")) == 20


def test_a_damaged_part_is_told_and_made_anew(screen, many, tmp_path, debye):
    screen(many, "--shard-size", 5)
    part = sorted((tmp_path / "out/parts").iterdir())[1]
    part.write_bytes(part.read_bytes()[:100])
    refused(screen(many, "--shard-size", 5), part.name, "delete it")
    refused(debye("top", tmp_path / "out"), part.name, "delete it")
    part.unlink()
    assert screen(many, "--shard-size", 5).exit_code == 0
    assert len(rows(tmp_path / "out")) == 20


def test_a_folder_that_may_not_be_written(screen, many, tmp_path):
    if os.geteuid():  # root may write anywhere
        (tmp_path / "out").mkdir(mode=0o500)
        refused(screen(many), "cannot write")
    refused(screen(many, output="many.xyz/out"), "cannot write into the folder")


def test_a_full_disk_keeps_what_is_finished(many, model_file, tmp_path):
    """A limit on the size of a file stands for it: the part of the large file is beyond it."""
    many.write_text(salts(150))
    large = write_structures(tmp_path / "large.json", read_crystals(many))
    many.write_text(salts(3))
    wanted = [str(large), "--shard-size", "3", "--partial", "site"]

    def run(output, before=""):
        command = [*command_line(many, model_file, tmp_path / output, workers=1), *wanted]
        return subprocess.run(
            [sys.executable, "-c", before + IN_PROCESS, *command], check=False, **QUIET
        )

    assert run("ample").returncode == 0
    first, second = (p.stat().st_size for p in sorted((tmp_path / "ample/parts").iterdir()))
    assert first < second
    limit = f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, ({second - 1}, {second - 1}))\n"
    stopped = run("out", limit)
    assert stopped.returncode == 1, stopped.stderr
    assert "free some space" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert len(rows(tmp_path / "out")) == 3
    again = run("out")
    assert again.returncode == 0, again.stderr
    assert rows(tmp_path / "out") == rows(tmp_path / "ample")


def test_two_at_once_are_refused(screen, many, tmp_path):
    from debye.crystals.screening.store import locked

    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"):
        refused(screen(many), "another `debye screen`")
    assert screen(many).exit_code == 0


# What dies.

IN_PROCESS = "import sys; from debye.cli.command import app; app(sys.argv[1:])"
QUIET = {"capture_output": True, "text": True}


def command_line(many, model_file, output, workers=2):
    return ["screen", str(many), "--output", str(output), "--model", str(model_file),
            "--workers", str(workers), "--device", "cpu", "--top", "0"]  # fmt: skip


@pytest.fixture
def long(tmp_path, model_file):
    """A command of many small shards, and how long it is: 60 shards of 30."""
    path = tmp_path / "long.xyz"
    path.write_text(salts(1800))
    return [*command_line(path, model_file, tmp_path / "out"), "--shard-size", "30"]


class Held:
    """A screening whose first three shards are done, and whose two workers hold the next two."""

    def __init__(self, child, command, gate):
        os.mkfifo(gate)
        environment = {"GATE": str(gate), "HELD_FROM": "3", "PYTHONPATH": os.pathsep.join(sys.path)}
        code = "from held_screening import main; main()"
        self.process, self.gate = (
            child("-c", code, *command, start_new_session=True, env={**os.environ, **environment}),
            gate,
        )
        self.workers = [int(self.process.says("holds").split()[1]) for _ in range(2)]

    def release(self):
        with self.gate.open("w"):
            self.gate.unlink()


@pytest.fixture
def held(child, long, tmp_path):
    return Held(child, long, tmp_path / "gate")


def complete(folder):
    found = [row["id"] for row in rows(folder)]
    return len(found) == len(set(found)) == 1800


def test_killed_and_run_again(held, child, long, tmp_path):
    """Nobody is left behind by a parent that is killed, and nothing is lost or done twice."""
    psutil = pytest.importorskip("psutil", reason="lists processes")
    family = psutil.Process(held.process.pid).children(recursive=True)
    held.process.kill()
    held.process.end()
    _, left = psutil.wait_procs(family, timeout=PATIENCE)
    assert not left
    kept = tmp_path / "kept"
    kept.mkdir()
    for part in (tmp_path / "out/parts").glob("part-*"):
        os.link(part, kept / part.name)
    assert len(list(kept.iterdir())) == 3
    code, _, told = child("-m", "debye", *long).end()
    assert code == 0, told
    assert complete(tmp_path / "out")
    assert not list(tmp_path.glob("out/**/.debye-*"))
    for part in kept.iterdir():  # a part written anew would be another file of the same name
        assert part.samefile(tmp_path / "out/parts" / part.name)


def test_a_worker_that_dies_costs_nothing(held, tmp_path):
    held.gate.unlink()
    os.kill(held.workers[0], signal.SIGKILL)
    code, _, told = held.process.end()
    assert code == 0, told
    assert "a worker died" in told
    assert complete(tmp_path / "out")


@pytest.mark.parametrize(
    ("number", "kill"),
    [(signal.SIGINT, os.killpg), (signal.SIGTERM, os.kill), (signal.SIGTERM, os.killpg)],
    ids=["SIGINT to all", "SIGTERM", "SIGTERM to all"],
)
def test_interrupted_and_run_again(held, tmp_path, number, kill):
    """By the keyboard, by a person, by a batch system that ends the workers as well."""
    kill(held.process.pid, number)
    held.process.says("stopping once the shards in work are done")
    if (number, kill) != (signal.SIGTERM, os.killpg):  # after that nobody is left to be released
        held.release()
    code, _, told = held.process.end()
    assert code == 130, told
    assert "Traceback" not in told
    assert "run the same command" in told
    assert len(list(tmp_path.glob("out/parts/*"))) < 60


# debye top.


@pytest.fixture
def screened(screen, many, tmp_path):
    assert screen(many, "--shard-size", 6, "--temperatures", "100,300").exit_code == 0
    return tmp_path / "out"


@pytest.mark.parametrize("target", PROPERTIES)
@pytest.mark.parametrize("lowest", [False, True])
def test_top_ranks_as_sorting_does(debye, screened, target, lowest):
    words = ["--by", target, "--temperature", 300, "--top", 7, *(["--lowest"] if lowest else [])]
    result = debye("top", screened, *words, "--json")
    column = PROPERTIES[target].column(300)
    best = [json.loads(line)[column] for line in result.stdout.splitlines()]
    assert best == sorted((row[column] for row in rows(screened)), reverse=not lowest)[:7]


def test_top_filters_by_composition(debye, screened):
    result = debye("top", screened, "--contains", "O", "--without", "Mg", "--top", 99, "--json")
    assert {json.loads(line)["formula"] for line in result.stdout.splitlines()} == {"CaO"}
    none = debye("top", screened, "--contains", "Pb")
    assert (none.exit_code, none.stdout) == (0, "")
    assert "no structure fits" in none.stderr


def test_top_draws(debye, screened, tmp_path):
    result = debye("top", screened, "--plot", tmp_path / "top.svg")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "top.svg").read_text().rstrip().endswith("</svg>")
    none = debye("top", screened, "--contains", "Pb", "--plot", tmp_path / "none.svg")
    refused(none, "holds no crystals")


def test_top_warns_of_an_unfinished_screening(debye, screened):
    path = screened / "debye-screen.json"
    known = json.loads(path.read_text())
    known.pop("done")
    path.write_text(json.dumps(known))
    assert "not finished" in debye("top", screened).stderr


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--contains", "Xx"], ["'Xx' is no element"]),
        (["--temperature", 50], ["screened at 100, 300 K"]),
        (["--plot", "top.txt"], ["--plot", "'.txt'"]),
    ],
)
def test_top_refuses(debye, screened, words, parts):
    refused(debye("top", screened, *words), *parts)


def test_top_knows_one_level(debye, screen, many, screened, tmp_path):
    assert debye("top", screened, "--level", 0.9).exit_code == 0
    refused(debye("top", screened, "--level", 0.8), "of level 0.9, not 0.8", "--level 0.8")
    assert screen(many, "--level", 0.8, output="other").exit_code == 0
    assert debye("top", tmp_path / "other", "--level", 0.8).exit_code == 0
    refused(screen(many, "--level", 0.9, output="other"), "its interval level is 0.8 and not 0.9")
    refused(screen(many, "--level", 1, output="more"), "--level")


def test_top_of_no_screening(debye, tmp_path):
    refused(debye("top", tmp_path), "holds no screening")
    refused(debye("top", tmp_path / "nowhere"), "holds no screening")
