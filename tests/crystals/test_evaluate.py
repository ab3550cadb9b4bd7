"""Models beside labels, by the public calls."""

import json

import pytest
from salts import PAIRS, labelled_row, write_rows

from debye.crystals.data.dataset import read_collection, read_labelled
from debye.crystals.predict.predictor import Predictor
from debye.crystals.training.crossval import cross_validate
from debye.crystals.training.evaluate import calibrate, evaluate, summary
from debye.crystals.training.out_of_fold import load_out_of_fold
from debye.errors import ComputationError, InputError

SPLIT = {"train": list(PAIRS[:8]), "valid": list(PAIRS[8:])}


def test_the_verb_prints_what_the_call_returns(debye, labelled, split_file, model_file):
    found = evaluate(model_file, labelled, split=split_file)
    words = "evaluate", labelled, "--split", split_file, "--model", model_file, "--json"
    told = {"schema": 1, "rows": len(found.rows), **found.columns}
    assert json.loads(debye(*words).stdout) == told


def test_whatever_holds_the_data_and_the_split(labelled, model_file):
    predictor, (rows, _) = Predictor.load(model_file), read_collection(labelled)
    found = evaluate(predictor, rows, split=SPLIT)
    assert found.rows.names == PAIRS[8:]
    assert evaluate(predictor, read_labelled(labelled, SPLIT)).columns == found.columns
    assert set(found.columns) == {"model", "training mean", "nearest composition"}
    predicted = [predictor.predict(c).total.density.tolist() for c in found.rows.crystals]
    for one, other in zip(predicted, found.predicted.density.tolist(), strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    assert found.columns["model"] == summary(found.predicted, found.rows.spectra)
    assert list(evaluate(predictor, rows, split=SPLIT, subset="train").columns) == ["model"]
    assert len(evaluate(predictor, rows).rows) == len(PAIRS)
    table = found.to_frame()
    assert table.loc["mse_max1", "model"] == found.columns["model"]["mse_max1"]


def test_rows_that_cannot_be_read_or_predicted_are_in_the_result(model_file, tmp_path):
    rows = [labelled_row(p) for p in PAIRS]
    rows[0]["phdos"] = "[]"
    rows[1]["structure"] = rows[1]["structure"].replace("2.3", "23.0")
    found = evaluate(model_file, write_rows(tmp_path / "d.csv", rows))
    assert found.rows.names == PAIRS[2:]
    assert [row.source.split()[-1] for row in found.failed] == list(PAIRS[:2])


def test_rows_that_every_member_has_seen_are_told(labelled):
    predictor = Predictor.load("fast")
    predictor.card["data"]["valid_rows"] = 0
    assert "too small" in evaluate(predictor, labelled).notes[0]
    predictor.card["data"]["valid_rows"] = 10
    assert evaluate(predictor, labelled).notes == ()


def test_what_is_refused(labelled, model_file):
    with pytest.raises(InputError, match="no split was given"):
        evaluate(model_file, labelled, subset="valid")
    with pytest.raises(InputError, match="without a split"):
        calibrate(model_file, labelled, None)
    with pytest.raises(InputError, match="cannot calibrate"):  # four rows are too few
        calibrate(model_file, labelled, SPLIT)


CONFIG = """
batch_size = 4
[network]
channels = 4
layers = 1
l_max = 1
hidden = 8
[recipe]
epochs = 1
"""


def test_every_row_is_predicted_by_networks_that_never_saw_it(tmp_path):
    """One row cannot be read, and one has no neighbours: the rest is done."""
    rows, told = [labelled_row(p) for p in PAIRS], []
    rows[0]["phdos"] = "[]"
    rows[1]["structure"] = rows[1]["structure"].replace("2.3", "23.0")
    data, config = write_rows(tmp_path / "d.csv", rows), tmp_path / "small.toml"
    config.write_text(CONFIG)
    found = cross_validate(data, [config], tmp_path / "run", folds=2, jobs=2, report=told.append)
    assert sorted(found.rows.names) == sorted(PAIRS[2:])
    assert [row.source.split()[-1] for row in found.failed] == list(PAIRS[:2])
    assert any("LiCl" in line and "no neighbour" in line for line in told)
    assert any("too few" in line for line in told)
    kept = load_out_of_fold(tmp_path / "run" / "out-of-fold.safetensors")
    fold = dict(zip(kept.names, kept.fold.tolist(), strict=True))
    for k in (0, 1):
        net = Predictor.load(tmp_path / "run" / f"fold-{k + 1}" / "small" / "final.safetensors")
        held = found.rows.take(name for name in kept.names if fold[name] == k)
        densities = evaluate(net, held).predicted.density.tolist()
        for name, density in zip(held.names, densities, strict=True):
            told_then = found.left_out.spectra(found.rows).density[kept.names.index(name)]
            assert density == pytest.approx(told_then.tolist(), abs=1e-6)
    assert len(Predictor.load(found.model).model.members) == 2
    assert repr(found).startswith("CrossValidation(10 rows, 2 folds, MSE ")
    (tmp_path / "run" / "fold-1" / "small" / "final.safetensors").unlink()
    with pytest.raises(ComputationError, match="1 of 2 trainings did not finish"):
        cross_validate(data, [config], tmp_path / "run", folds=2, stopping=lambda: True)
    (tmp_path / "run" / "fold-1" / "small" / "last.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match="cannot load"):
        cross_validate(data, [config], tmp_path / "run", folds=2)


def test_configs_that_name_no_runs(labelled, tmp_path):
    for configs, why in (([], "there is no config"), (["a/c.toml", "b/c.toml"], "have one name")):
        with pytest.raises(InputError, match=why):
            cross_validate(labelled, configs, tmp_path)
