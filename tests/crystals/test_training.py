"""A training run: its folder, its refusals, and that interruptions leave no trace in the result."""

import csv
import json
import math

import numpy as np
import pytest
import torch
from salts import PAIRS, labelled_row, write_rows

from debye.core import checkpoint
from debye.crystals.data.dataset import read_collection, read_split
from debye.crystals.dos.spectrum import trapezoid_weights
from debye.crystals.model.network import PhononNet
from debye.crystals.predict.model_files import TAUGHT_BEYOND
from debye.crystals.predict.predictor import Predictor
from debye.crystals.training.begun import (
    Beginning,
    network_table,
    read_beginning,
    taught_beyond,
)
from debye.crystals.training.config import Settings
from debye.crystals.training.crossval import cross_validate
from debye.crystals.training.loss import DensityLoss
from debye.crystals.training.run import BEST, LAST, METRICS, SPLIT, TrainingRun, saved_settings
from debye.errors import ComputationError, InputError

TABLES = {
    "batch_size": 4,
    "network": {"channels": 4, "layers": 1, "l_max": 1, "hidden": 8},
    "recipe": {"epochs": 4, "seed": 1},
}


def settings(**changes):
    return Settings.from_tables({**TABLES, **changes})


@pytest.fixture(scope="module")
def rows(labelled):
    return read_collection(labelled)[0]


def start(rows, folder, **facts):
    facts = {"settings": settings(), **facts}
    return TrainingRun(rows.take(PAIRS[:8]), rows.take(PAIRS[8:]), folder, **facts)


def finish(run):
    return list(run.steps())


def content(folder):
    """All that a run leaves, as bytes."""
    return {name: (folder / name).read_bytes() for name in (LAST, BEST, METRICS, SPLIT)}


def test_a_run_leaves_what_it_should(rows, tmp_path):
    run = start(rows, tmp_path / "run", data={"source": "salts.csv"})
    assert run.steps_per_epoch == 2
    assert not run.finished
    finish(run)
    assert run.finished
    card = checkpoint.read_card(run.folder / BEST)
    assert card["metrics"]["valid_mse"] == run.best.valid_mse
    assert card["data"] == {"source": "salts.csv", "train_rows": 8, "valid_rows": 4}
    assert card["settings"]["recipe"]["epochs"] == 4
    assert card["elements"] == sorted(rows.take(PAIRS[:8]).elements)
    with (run.folder / METRICS).open() as stream:
        table = list(csv.DictReader(stream))
    assert [row["epoch"] for row in table] == ["1", "2", "3", "4"]
    assert float(table[-1]["valid_mse"]) == pytest.approx(run.history[-1].valid_mse)
    assert read_split(run.folder / SPLIT) == {"train": [*PAIRS[:8]], "valid": [*PAIRS[8:]]}


def test_best_model_predicts_what_was_validated(rows, tmp_path):
    run = start(rows, tmp_path)
    finish(run)
    valid = rows.take(PAIRS[8:])
    found = [p.total.to("max").density for p in Predictor.load(tmp_path / BEST)(valid.crystals)]
    error = (torch.stack(found) - valid.spectra.density).square().mean().item()
    assert error == pytest.approx(run.best.valid_mse, rel=1e-5)


@pytest.mark.parametrize("stop", [1, 2, 5])
def test_a_run_stopped_and_resumed_leaves_the_same_bytes(rows, tmp_path, stop):
    finish(start(rows, tmp_path / "whole"))
    first = start(rows, tmp_path / "parts")
    for _ in first.steps(lambda: first.training.step >= stop):
        pass
    assert first.training.step == stop
    second = start(rows, tmp_path / "parts", resume=True)
    assert second.training.step == stop
    finish(second)
    assert content(tmp_path / "parts") == content(tmp_path / "whole")


def test_a_finished_run_resumes_to_nothing(rows, tmp_path):
    finish(start(rows, tmp_path))
    before = content(tmp_path)
    assert finish(start(rows, tmp_path, resume=True)) == []
    assert content(tmp_path) == before


def test_metrics_lost_in_a_crash_come_back(rows, tmp_path):
    finish(start(rows, tmp_path))
    before = content(tmp_path)
    (tmp_path / METRICS).unlink()
    start(rows, tmp_path, resume=True)
    assert content(tmp_path) == before


def test_resume_refuses_what_has_changed(rows, tmp_path):
    finish(start(rows, tmp_path))
    for changes, name in (
        ({"recipe": {"epochs": 5, "seed": 1}}, "recipe.epochs (recipe.epochs was 4, is 5)"),
        ({"batch_size": 2}, "batch_size"),
        ({"network": {"channels": 8}}, "network.channels"),
        ({"loss": {"kl": 2.0}}, "loss.kl"),
    ):
        with pytest.raises(InputError, match="cannot resume this training") as caught:
            start(rows, tmp_path, settings=settings(**changes), resume=True)
        assert f"the config has changed in {name}" in caught.value.why
    parts = rows.take(PAIRS[1:9]), rows.take(PAIRS[8:])
    with pytest.raises(InputError, match="cannot resume") as caught:
        TrainingRun(*parts, tmp_path, settings(), resume=True)
    assert "the data has changed in the training rows" in caught.value.why


def test_resume_without_a_run(rows, tmp_path):
    with pytest.raises(InputError, match="there is no run to resume"):
        start(rows, tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()


def test_resume_from_a_model_file(rows, tmp_path):
    finish(start(rows, tmp_path))
    (tmp_path / LAST).write_bytes((tmp_path / BEST).read_bytes())
    with pytest.raises(InputError, match="cannot resume"):
        start(rows, tmp_path, resume=True)


def test_a_run_is_not_overwritten(rows, tmp_path):
    finish(start(rows, tmp_path))
    for name in (LAST, BEST):
        with pytest.raises(InputError, match="already holds a run") as caught:
            start(rows, tmp_path)
        assert name in caught.value.why
        (tmp_path / name).unlink()


def test_a_folder_that_cannot_be_made(rows, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the folder"):
        start(rows, tmp_path / "file" / "run")


def test_saved_settings_give_the_settings(rows, tmp_path):
    start(rows, tmp_path)
    assert Settings.from_tables(saved_settings(tmp_path)) == settings()


def test_a_row_without_neighbours_is_left_out(tmp_path):
    lonely = labelled_row("NaCl")
    lonely |= {"mp_id": "gas", "structure": lonely["structure"].replace("2.3", "23.0")}
    path = write_rows(tmp_path / "d.csv", [lonely, *map(labelled_row, PAIRS)])
    rows = read_collection(path)[0]
    train = rows.take(["gas", *PAIRS[:8]])
    run = TrainingRun(train, rows.take(PAIRS[8:]), tmp_path / "run", settings())
    assert run.rows.names == PAIRS[:8]
    assert len(run.examples) == 8
    assert [r.source for r in run.failed] == ["gas"]
    assert "no neighbour" in run.failed[0].error.what
    with pytest.raises(InputError, match="no row is left"):
        TrainingRun(rows.take(["gas"]), rows, tmp_path / "other", settings())


def test_a_loss_that_becomes_nan_keeps_the_last_good(rows, tmp_path, monkeypatch):
    run = start(rows, tmp_path, settings=settings(recipe={"epochs": 9, "seed": 1, "rewinds": 1}))
    terms = DensityLoss.terms

    def broken(loss, density, *others):
        scale = math.nan if run.training.step >= 5 and density.requires_grad else 1.0
        return {name: scale * term for name, term in terms(loss, density, *others).items()}

    monkeypatch.setattr(DensityLoss, "terms", broken)
    with pytest.raises(ComputationError, match="training stopped") as caught:
        finish(run)
    assert caught.value.exit_code == 1
    monkeypatch.undo()
    assert len((tmp_path / METRICS).read_text().splitlines()) == 4
    assert Predictor.load(tmp_path / BEST).card["metrics"]["valid_mse"] > 0
    assert checkpoint.read_card(tmp_path / LAST)["step"] == 6


def test_weights_that_predict_nan_end_the_run(rows, tmp_path):
    run = start(rows, tmp_path)
    steps = run.steps()
    next(steps)
    run.training.average["density.mlp.1.weight"].fill_(math.nan)
    with pytest.raises(ComputationError, match="training stopped in epoch 1") as caught:
        next(steps)
    assert "not finite" in caught.value.why
    assert not (tmp_path / BEST).exists()


def test_headers_are_strict_json(rows, tmp_path):
    finish(start(rows, tmp_path))
    for name in (LAST, BEST):
        content = (tmp_path / name).read_bytes()
        text = content[8 : 8 + int.from_bytes(content[:8], "little")]
        json.loads(json.loads(text)["__metadata__"]["debye"], parse_constant=pytest.fail)


# The loss.


def test_loss_is_what_the_formulas_say():
    rng = np.random.default_rng(0)
    axis = np.linspace(0, 1000, 51)
    w = trapezoid_weights(torch.tensor(axis)).numpy()
    g, t = rng.random((3, 51)), rng.random((3, 51))
    p, q = (d * w / (d * w).sum(-1, keepdims=True) for d in (g, t))
    peak = [d / d.max(-1, keepdims=True) for d in (g, t)]
    found = DensityLoss(1.0, 1.0, 1.0).terms(*map(torch.tensor, (g, t, w)))
    assert found["kl"].mean().item() == pytest.approx((q * np.log(q / p)).sum(-1).mean())
    assert found["cdf"].mean().item() == pytest.approx(np.abs(np.cumsum(p - q, -1)).mean())
    assert found["mse"].mean().item() == pytest.approx(((peak[0] - peak[1]) ** 2).mean())


def test_loss_vanishes_for_the_truth_with_finite_gradients():
    target = torch.zeros(2, 51)
    target[:, 10:20] = torch.rand(2, 10) + 0.1
    density = (7.0 * target).requires_grad_()
    terms = DensityLoss().terms(density, target, torch.ones(51))
    total = torch.stack(list(terms.values())).sum()
    assert total.item() == pytest.approx(0.0, abs=1e-6)
    total.backward()
    assert density.grad.isfinite().all()


# The settings.


@pytest.mark.parametrize(
    ("tables", "what"),
    [
        ({"recipee": {}}, "unknown key 'recipee' in the config"),
        ({"recipe": {"epoch": 3}}, "unknown key 'epoch' in [recipe]"),
        ({"network": {"chanels": 3}}, "unknown key 'chanels' in [network]"),
        ({"network": {"frequency": [1]}}, "unknown key 'frequency' in [network]"),
        ({"loss": {"kll": 3}}, "unknown key 'kll' in [loss]"),
        ({"recipe": 3}, "recipe of the config is 3"),
        ({"recipe": {"epochs": "ten"}}, "[recipe] epochs is 'ten'"),
        ({"recipe": {"epochs": 2.5}}, "[recipe] epochs is 2.5"),
        ({"network": {"r_max": "5"}}, "[network] r_max is '5'"),
        ({"network": {"positive": "no"}}, "[network] positive is 'no'"),
        ({"network": {"r_pairs": 0}}, "[network] r_pairs is 0"),
        ({"network": {"l_pairs": 3}}, "[network] l_pairs is 3"),
        ({"lattice": {"matrix": -1.0}}, "[lattice] matrix is -1.0"),
        ({"strain": {"spread": 1.0}}, "[strain] spread is 1.0"),
        ({"network": {"l_max": 4}}, "[network] l_max is 4"),
        ({"network": {"channels": 0}}, "[network] channels is 0"),
        ({"network": {"dropout": 1.0}}, "[network] dropout is 1.0"),
        ({"loss": {"kl": -1.0}}, "[loss] kl is -1.0"),
        ({"loss": {"kl": 0, "cdf": 0, "mse": 0}}, "[loss] is 0 in every term"),
        ({"data": 3}, "data of the config is 3"),
        ({"data": {"year": math.nan}}, "[data] year is nan"),
        ({"isotopes": {"fraction": 2.0}}, "fraction"),
        ({"isotopes": {"fraction": "all"}}, "fraction"),
        ({"isotopes": {"spred": 2.0}}, "unknown key 'spred' in [isotopes]"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": "16"}, "batch_size is '16'"),
        ({"batch_size": 16.5}, "batch_size is 16.5"),
    ],
)
def test_settings_refuse(tables, what):
    with pytest.raises(InputError) as caught:
        Settings.from_tables(tables)
    assert what in caught.value.what


@pytest.mark.parametrize(
    ("table", "old", "new"), [("isotopes", "share", "fraction"), ("network", "readouts", "heads")]
)
def test_a_key_of_before_is_refused_with_todays(table, old, new):
    with pytest.raises(InputError, match=f"unknown key '{old}'") as caught:
        Settings.from_tables({table: {old: 0.5}})
    assert caught.value.fix == f"write {new} in its place"


@pytest.mark.parametrize("l_max", [0, 1, 2, 3])
@pytest.mark.parametrize("layers", [1, 3])
def test_every_network_that_settings_allow_can_be_made(rows, l_max, layers):
    from debye.crystals.graph import Graph

    net = PhononNet([0.0, 10.0], channels=1, layers=layers, l_max=l_max, basis=1, hidden=1)
    assert net(Graph.of(rows.crystals[0], 5.0)).total.isfinite().all()


def test_a_run_begins_with_a_model(rows, tmp_path):
    first = start(rows, tmp_path / "first")
    finish(first)
    begin = read_beginning(first.folder / BEST)
    table = {**network_table(begin.net), "dropout": 0.5}
    once = {"epochs": 1, "peak_rate": 1e-9, "seed": 2}
    facts = {"settings": settings(network=table, recipe=once), "begin": begin}
    on = start(rows, tmp_path / "on", **facts)
    finish(on)
    assert on.history[-1].valid_mse == pytest.approx(first.best.valid_mse, rel=1e-4)
    card = checkpoint.read_card(on.folder / BEST)
    begun = card["data"]["begun_with"]
    assert begun["sha256"] == checkpoint.fingerprint(begin.net)
    assert begun["data"]["train_rows"] == 8
    assert set(card["elements"]) == set(begun["elements"])
    assert card["arguments"]["dropout"] == 0.5
    again = start(rows, tmp_path / "on", **facts, resume=True)
    assert again.finished
    other = read_beginning(on.folder / BEST)
    with pytest.raises(InputError, match="the beginning has changed"):
        start(rows, tmp_path / "on", **{**facts, "begin": other}, resume=True)


def test_the_formulas_of_every_part_before_are_known():
    first = {"data": {TAUGHT_BEYOND: ["ZnS"]}}
    third = {"data": {TAUGHT_BEYOND: ["GaN"], "begun_with": {"data": {"begun_with": first}}}}
    assert taught_beyond(third) == {"GaN", "ZnS"}
    assert taught_beyond({}) == set()


@pytest.mark.parametrize(
    ("network", "what"), [({"channels": 8}, "channels"), ({"neighbours": 3.0}, "neighbours")]
)
def test_a_beginning_of_another_network_is_refused(rows, tmp_path, network, what):
    begin = Beginning(start(rows, tmp_path / "first").averaged(), {})
    table = {**network_table(begin.net), **network}
    with pytest.raises(InputError, match=rf"\[network\] {what} is {network[what]}"):
        start(rows, tmp_path / "on", settings=settings(network=table), begin=begin)


def test_a_beginning_of_another_grid_is_refused(rows, tmp_path):
    begin = Beginning(PhononNet(list(range(10)), **TABLES["network"]), {})
    with pytest.raises(InputError, match="tells 10 points up to 9"):
        start(rows, tmp_path, settings=settings(network=network_table(begin.net)), begin=begin)


def test_folds_begin_where_those_of_an_earlier_run_ended(labelled, tmp_path):
    config = tmp_path / "tiny.toml"
    config.write_text(
        "batch_size = 4\n[network]\nchannels = 4\nlayers = 1\nl_max = 1\nhidden = 8\n"
        "[recipe]\nepochs = 1\n"
    )
    first = cross_validate(labelled, [config], tmp_path / "first", folds=2)
    again = tmp_path / "again.toml"
    again.write_text("batch_size = 4\n[recipe]\nepochs = 1\npeak_rate = 1e-9\n")
    on = cross_validate(labelled, [again], tmp_path / "on", folds=2, begin=tmp_path / "first")
    assert on.summary["mse_max1"]["mean"] == pytest.approx(
        first.summary["mse_max1"]["mean"], rel=1e-4
    )
    with pytest.raises(InputError, match="there is no finished network in"):
        cross_validate(labelled, [again], tmp_path / "three", folds=3, begin=tmp_path / "first")
    split = tmp_path / "first" / "fold-1" / SPLIT
    split.write_text(split.read_text().replace("valid", "test"))
    with pytest.raises(InputError, match="its fold 1 left out other rows"):
        cross_validate(labelled, [again], tmp_path / "on", folds=2, begin=tmp_path / "first")
    with pytest.raises(InputError, match="there is no finished network"):
        cross_validate(labelled, [again], tmp_path / "none", folds=2, begin=tmp_path / "nothing")
