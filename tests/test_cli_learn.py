"""`debye train` and `debye evaluate`: interruptions, resuming, bad data, and the numbers told."""

import csv
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from salts import PAIRS, labelled_row, write_rows
from verbs import refused

from debye.cli.console import GO_ON
from debye.crystals.data.dataset import read_collection
from debye.crystals.predict.predictor import Predictor

EPOCHS = 40
CONFIG = f"""
batch_size = 4
[network]
channels = 4
layers = 1
l_max = 1
hidden = 8
[recipe]
epochs = {EPOCHS}
seed = 2
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, labelled, split_file, config, one_thread):
    """A run that was never interrupted, and what it said."""
    from typer.testing import CliRunner

    from debye.cli.command import app

    folder = tmp_path_factory.mktemp("runs") / "whole"
    words = ["train", labelled, "--split", split_file, "--config", config, "--output", folder]
    result = CliRunner().invoke(app, [str(w) for w in words])
    torch.use_deterministic_algorithms(False)
    assert result.exit_code == 0, result.output
    return folder, result


def same_files(a, b):
    names = ("last.safetensors", "best.safetensors", "metrics.csv", "split.csv")
    return all((a / n).read_bytes() == (b / n).read_bytes() for n in names)


# train.


def test_train_tells_what_it_does(whole):
    folder, result = whole
    for part in (
        "8 train, 4 valid",
        "channels 4",
        "parameters",
        f"epochs {EPOCHS}",
        "kl 1",
        f"{2 * EPOCHS} steps",
    ):
        assert part in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("epoch ")]
    assert len(lines) == EPOCHS
    assert "left " in lines[0]
    assert result.stdout.startswith("best epoch ")
    assert result.stdout.splitlines()[-1] == str(folder / "best.safetensors")
    assert (folder / "learning-curve.png").stat().st_size > 1000


SIGNALLED = """
import os, signal, sys
from debye.cli import main
from debye.crystals.training.run import TrainingRun

number, end_epoch = signal.Signals[sys.argv.pop(1)], TrainingRun._end_epoch

def signalled(run, step):
    end_epoch(run, step)
    if len(run.history) == 3:
        os.kill(os.getpid(), number)

TrainingRun._end_epoch = signalled
main()
"""
"""The command, that is sent a signal after its third epoch."""


@pytest.mark.parametrize(
    ("name", "again"), [("SIGKILL", "--resume"), ("SIGINT", ""), ("SIGTERM", "")]
)
def test_an_interrupted_run_ends_as_if_it_never_was(
    name, again, tmp_path, whole, labelled, split_file, config, debye, child
):
    """Gone on with by the same command, or by --resume alone with the settings it has."""
    folder = tmp_path / "run"
    words = ["train", labelled, "--output", folder]
    more = ["--split", split_file, "--config", config]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    code, _, told = child("-c", SIGNALLED, name, *words, *more, env=environment).end()
    assert "Traceback" not in told
    if name == "SIGKILL":
        assert code == -signal.SIGKILL
    else:
        assert code == 130
        assert told.splitlines()[-1] == GO_ON
    assert len((folder / "metrics.csv").read_text().splitlines()) == 1 + 3
    result = debye(*words, *([again] if again else more))
    assert result.exit_code == 0, result.output
    assert same_files(folder, whole[0])


def test_resume_of_a_finished_run(whole, labelled, debye):
    before = (whole[0] / "last.safetensors").read_bytes()
    result = debye("train", labelled, "--output", whole[0], "--resume")
    assert result.exit_code == 0
    assert result.stdout == whole[1].stdout
    assert (whole[0] / "last.safetensors").read_bytes() == before


def test_resume_with_other_settings_or_data(whole, labelled, split_file, debye, tmp_path):
    words = "train", labelled, "--output", whole[0], "--resume"
    refused(debye(*words, "--epochs", 3), "cannot resume", "recipe.epochs", f"was {EPOCHS}, is 3")
    other = write_rows(tmp_path / "d.csv", [labelled_row(p) for p in PAIRS[::-1]])
    assert debye("train", other, "--output", whole[0], "--resume").exit_code == 0
    rows = [labelled_row(p) for p in PAIRS]
    rows[0]["phdos"] = rows[1]["phdos"]
    changed = write_rows(tmp_path / "e.csv", rows)
    result = debye("train", changed, "--output", whole[0], "--resume")
    refused(result, "the data has changed in the training rows")


def test_a_run_is_not_overwritten(whole, labelled, debye):
    refused(debye("train", labelled, "--output", whole[0]), "already holds a run", "--resume")


def test_the_same_command_goes_on_and_another_is_refused(
    whole, labelled, split_file, config, debye
):
    before = (whole[0] / "last.safetensors").read_bytes()
    words = "train", labelled, "--split", split_file, "--config", config, "--output", whole[0]
    result = debye(*words)
    assert (result.exit_code, result.stdout) == (0, whole[1].stdout)
    refused(debye(*words, "--epochs", 3), "already holds a run", "recipe.epochs", "--overwrite")
    refused(debye(*words, "--resume", "--overwrite"), "--resume and --overwrite together")
    assert (whole[0] / "last.safetensors").read_bytes() == before


def test_a_run_that_begins_anew(whole, labelled, split_file, config, debye, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "run")
    (folder / "notes.txt").write_text("mine")
    words = "train", labelled, "--split", split_file, "--config", config, "--output", folder
    assert debye(*words, "--epochs", 1, "--overwrite").exit_code == 0
    assert len((folder / "metrics.csv").read_text().splitlines()) == 1 + 1
    assert (folder / "notes.txt").read_text() == "mine"


def test_resume_without_a_run(labelled, debye, tmp_path):
    result = debye("train", labelled, "--output", tmp_path / "none", "--resume")
    refused(result, "there is no run to resume")
    assert not (tmp_path / "none").exists()


def test_a_damaged_checkpoint_does_not_start_anew(whole, labelled, debye, tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("last.safetensors", "split.csv"):
        (tmp_path / "run" / name).write_bytes((whole[0] / name).read_bytes()[:-9])
    refused(debye("train", labelled, "--output", tmp_path / "run", "--resume"), "cannot load")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[recipe]\nepoch = 3", ["unknown key 'epoch' in [recipe]", "epochs"]),
        ("[recipes]", ["unknown key 'recipes'"]),
        ("recipe = 3", ["recipe of the config is 3"]),
        ("[network]\nr_max = '5'", ["[network] r_max is '5'"]),
        ("epochs = = 3", ["cannot read the config"]),
        ("\udcff", ["cannot read the config"]),
        (None, ["cannot read the config"]),
    ],
)
def test_bad_configs(debye, labelled, tmp_path, text, parts):
    path = tmp_path / "c.toml"
    if text is not None:
        path.write_text(text, errors="surrogateescape")
    result = debye("train", labelled, "--config", path, "--output", tmp_path / "run")
    refused(result, *parts)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [["--epochs", 0], ["--seed", -1], ["--device", "abacus"]])
def test_bad_options(debye, labelled, tmp_path, words):
    refused(debye("train", labelled, "--output", tmp_path / "run", *words), "error: ")
    assert not (tmp_path / "run").exists()


def test_places_that_cannot_be_written(debye, labelled, split_file):
    for place in (labelled / "run", "/proc/run"):
        result = debye("train", labelled, "--split", split_file, "--output", place)
        refused(result, "cannot write into the folder")


def test_bad_rows_are_left_out_of_data_and_split(debye, split_file, config, tmp_path):
    rows = [labelled_row(p) for p in PAIRS]
    rows[0]["phdos"] = str([float("nan")] * 51)
    rows[1]["phdos"] = str([0.0] * 51)
    rows[3]["structure"] = rows[3]["structure"].replace("2.3", "23.0")
    data = write_rows(tmp_path / "d.csv", [*rows, rows[4]])
    result = debye("train", data, "--split", split_file, "--config", config, "--epochs", 2,
                   "--output", tmp_path / "run")  # fmt: skip
    refused(result, "LiF", "LiCl", "no neighbour", "NaBr", "3 rows left out, 10 used", code=3)
    assert (tmp_path / "run" / "best.safetensors").exists()


def test_data_that_bring_no_split(debye, config, tmp_path):
    rows = [labelled_row(p) | {"mp_id": f"{p}{i}"} for p in PAIRS for i in range(3)]
    data = write_rows(tmp_path / "d.csv", rows)
    words = "--config", config, "--epochs", 1, "--output", tmp_path / "run"
    assert debye("train", data, *words).exit_code == 0
    split = tmp_path / "run" / "split.csv"
    assert len(split.read_text().splitlines()) == 1 + len(rows)
    model = tmp_path / "run" / "best.safetensors"
    result = debye("evaluate", data, "--split", split, "--subset", "test", "--model", model)
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("split", "parts"),
    [
        ("mp_id,split\nLiF,train\n", ["no rows in the subset 'valid'"]),
        ("mp_id,split\nLiF,train\nmp-1,valid\n", ["unknown row", "'mp-1'"]),
        ("mp_id,set\nLiF,train\n", ["is not a split", "mp_id, set"]),
        ("", ["is not a split"]),
    ],
)
def test_bad_splits(debye, labelled, tmp_path, split, parts):
    (tmp_path / "s.csv").write_text(split)
    result = debye("train", labelled, "--split", tmp_path / "s.csv", "--output", tmp_path / "run")
    refused(result, *parts)


# evaluate.


def test_evaluate_tells_what_numpy_finds(debye, labelled, split_file, whole, tmp_path):
    model = whole[0] / "best.safetensors"
    result = debye("evaluate", labelled, "--split", split_file, "--model", model, "--json",
                   "--predictions", tmp_path / "p.csv", "--plot", tmp_path / "g.png")  # fmt: skip
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout, parse_constant=pytest.fail)
    assert told["rows"] == 4
    assert set(told) == {"schema", "rows", "model", "training mean", "nearest composition"}
    with (tmp_path / "p.csv").open() as stream:
        header, *rows = csv.reader(stream)
    assert header == ["mp_id", *(f"{20 * k}" for k in range(51))]
    collection, _ = read_collection(labelled)
    valid = [n for i, n in enumerate(PAIRS) if i % 3 == 2]
    assert [row[0] for row in rows] == valid
    predicted = np.array([[float(x) for x in row[1:]] for row in rows])
    true = collection.take(valid).spectra.density.numpy()
    assert np.array_equal(predicted.max(1), np.ones(4))
    assert told["model"]["mse_max1"] == pytest.approx(((predicted - true) ** 2).mean(), rel=1e-4)
    assert told["model"]["mae_max1"] == pytest.approx(np.abs(predicted - true).mean(), rel=1e-4)
    spectra = [p.total for p in Predictor.load(model)(collection.take(valid).crystals)]
    peak = spectra[0].to("max").density.numpy()
    assert np.allclose(predicted[0], peak, atol=1e-5)
    train = collection.take([n for n in PAIRS if n not in valid]).spectra.density.numpy().mean(0)
    mean = ((train / train.max() - true) ** 2).mean()
    assert told["training mean"]["mse_max1"] == pytest.approx(mean, rel=1e-5)
    assert (tmp_path / "g.png").exists()


def test_evaluate_table_and_all_rows(debye, labelled, model_file):
    result = debye("evaluate", labelled, "--model", model_file)
    assert result.exit_code == 0
    assert result.stdout.startswith("12 rows")
    assert "mse_max1" in result.stdout
    assert "training mean" not in result.stdout


def test_evaluate_one_row_is_strict_json(debye, labelled, model_file, tmp_path):
    (tmp_path / "s.csv").write_text("mp_id,split\nLiF,one\nKF,train\n")
    words = "--split", tmp_path / "s.csv", "--subset", "one", "--model", model_file, "--json"
    told = json.loads(debye("evaluate", labelled, *words).stdout, parse_constant=pytest.fail)
    assert told["rows"] == 1


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--subset", "valid"], ["no split was given", "--split"]),
        (["--plot", "g.txt"], ["--plot g.txt"]),
        (["--predictions", "/proc/x/p.csv"], ["cannot write into the folder"]),
        (["--split", "none.csv"], ["cannot read none.csv"]),
        (["--model", "none"], ["there is no model 'none'"]),
        (["--preditions", "p.csv"], ["--preditions"]),
    ],
)
def test_evaluate_refuses_before_the_work(debye, labelled, model_file, words, parts):
    result = debye("evaluate", labelled, "--model", model_file, *words)
    refused(result, *parts)
    assert result.stdout == ""


def test_evaluate_leaves_out_what_it_cannot_use(debye, model_file, tmp_path):
    rows = [labelled_row(p) for p in PAIRS]
    rows[0]["phdos"] = "[]"
    rows[1]["structure"] = rows[1]["structure"].replace("2.3", "23.0")
    data = write_rows(tmp_path / "d.csv", rows)
    result = debye("evaluate", data, "--model", model_file, "--predictions", tmp_path / "p.csv")
    refused(result, "LiF", "LiCl", code=3)
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 11


def test_data_that_are_no_data(debye, tmp_path):
    refused(debye("evaluate", tmp_path / "none.csv"), "cannot read")
    (tmp_path / "empty.csv").write_text("")
    refused(debye("evaluate", tmp_path / "empty.csv"), "is not a table of labelled crystals")
    Path(tmp_path / "folder").mkdir()
    refused(debye("evaluate", tmp_path / "folder"), "folder")


def test_phonopy_folders_are_labelled_data(debye, model_file, tmp_path):
    """Aluminium by the EMT potential as phonopy saves it, beside a folder that is broken."""
    phonopy = pytest.importorskip("phonopy")
    from ase import Atoms
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from phonopy.structure.atoms import PhonopyAtoms

    atoms = bulk("Al")
    cell = PhonopyAtoms(symbols=["Al"], cell=atoms.cell.array, positions=atoms.positions)
    phonon = phonopy.Phonopy(cell, 3 * np.eye(3), primitive_matrix="P")
    phonon.generate_displacements(distance=0.01)
    moved = phonon.supercells_with_displacements
    cells = [Atoms(c.symbols, cell=c.cell, positions=c.positions, pbc=True) for c in moved]
    for supercell in cells:
        supercell.calc = EMT()
    phonon.forces = [supercell.get_forces() for supercell in cells]
    for name in ("al", "broken"):
        (tmp_path / "data" / name).mkdir(parents=True)
        phonon.save(tmp_path / "data" / name / "phonopy_params.yaml")
    broken = tmp_path / "data" / "broken" / "phonopy_params.yaml"
    broken.write_text(broken.read_text()[:900])
    (tmp_path / "s.csv").write_text("name,split\nal,valid\nbroken,valid\n")
    result = debye("evaluate", tmp_path / "data", "--split", tmp_path / "s.csv", "--json",
                   "--model", model_file, "--predictions", tmp_path / "p.csv")  # fmt: skip
    refused(result, "broken", code=3)
    assert json.loads(result.stdout)["rows"] == 1
    assert (tmp_path / "p.csv").read_text().splitlines()[1].startswith("al,")


@pytest.mark.parametrize(
    ("change", "parts", "code"),
    [
        (["--jobs", "0"], ["jobs"], 2),
        (["--folds", "1"], ["cannot make 1 folds"], 2),
        (["--config", "nowhere.toml"], ["nowhere.toml"], 2),
    ],
)
def test_ensembles_that_cannot_be(debye, labelled, tmp_path, change, parts, code):
    """Refused before a training begins, not in the log of each."""
    (tmp_path / "c.toml").write_text("")
    words = ["--config", tmp_path / "c.toml", "--output", tmp_path / "run", *change]
    refused(debye("ensemble", labelled, *words), *parts, code=code)
    assert not (tmp_path / "run" / "fold-1" / "c").exists()


STOPPED = """
import os, signal
from debye.cli import main
from debye.crystals.training import crossval

ended = crossval._ended

def stopped(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)
    return ended(*arguments)

crossval._ended = stopped
main()
"""
"""The command, that is sent a signal when its first training begins."""


def test_an_interrupted_ensemble_goes_on(debye, child, labelled, tmp_path):
    (tmp_path / "small.toml").write_text(CONFIG.replace(f"epochs = {EPOCHS}", "epochs = 1"))
    words = ["ensemble", labelled, "--config", tmp_path / "small.toml", "--folds", 2,
             "--output", tmp_path / "run"]  # fmt: skip
    code, printed, told = child("-c", STOPPED, *words).end()
    assert (code, printed) == (130, "")
    assert told.splitlines()[-1] == GO_ON
    assert not list(tmp_path.glob("run/fold-*/small/final.safetensors"))
    again = debye(*words)
    assert again.exit_code == 0, again.stderr
    assert (tmp_path / "run" / "ensemble.safetensors").exists()
    (tmp_path / "small.toml").write_text(CONFIG)
    refused(debye(*words), "already holds a run", f"recipe.epochs was 1, is {EPOCHS}")
