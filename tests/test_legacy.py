"""Files that debye 0.1.0 wrote stay readable, and mean what they meant.

``legacy/`` holds a small network with both heads, a law of a swarm, and a screening of the demo's
structures, with the numbers that 0.1.0 itself got from them.
"""

import json
from pathlib import Path

import pytest
import torch
from verbs import refused

from debye.core import checkpoint
from debye.crystals.inversion.rank import screened
from debye.crystals.model.ensemble import upgraded
from debye.crystals.predict.model_files import FAST, LABELS, probe_crystal
from debye.crystals.predict.predictor import Predictor
from debye.crystals.screening.store import read_manifest
from debye.crystals.training.crossval import load_final
from debye.crystals.training.out_of_fold import load_out_of_fold
from debye.errors import InputError
from debye.speckle.fitting.fitted import load

LEGACY = Path(__file__).parent / "legacy"
NUMBERS = json.loads((LEGACY / "numbers.json").read_text())


def test_a_network_predicts_what_it_did():
    prediction = Predictor.load(LEGACY / "network.safetensors").predict(probe_crystal())
    assert prediction.kinds == ("force_constants", "corrected")
    published = prediction.published.sum()
    assert published.mean_frequency.item() == pytest.approx(NUMBERS["mean"], rel=1e-5)
    expected = torch.tensor(NUMBERS["density"])
    torch.testing.assert_close(published.density, expected, atol=1e-6, rtol=1e-4)


def test_a_finished_run_is_read():
    net, _ = load_final(LEGACY / "run")
    assert net.heads == ["force_constants"]


def test_predictions_of_a_cross_validation_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 1)
    card = {"names": ["a"], "kinds": ["springs", "density"], "answers": [1]}
    tensors = {"fold": torch.zeros(1), "readings": torch.ones(1, 2, 51)}
    checkpoint.save(tmp_path / "out-of-fold.safetensors", card, tensors)
    found = load_out_of_fold(tmp_path / "out-of-fold.safetensors")
    assert found.kinds == ("force_constants", "density")
    assert found.head_outputs.shape == (1, 2, 51)


def test_an_unfinished_run_is_refused(debye, labelled):
    """Not by a KeyError: its tensors have other names."""
    words = "train", labelled, "--output", LEGACY / "run", "--resume"
    refused(debye(*words), "cannot go on with the run", "debye 0.1 began it", "or train anew")


def test_a_file_written_again_is_of_today(tmp_path):
    """The calibration of the first ensemble belongs to its new names as it did to the old."""
    checkpoint.amend(LABELS, tmp_path / "new.safetensors", {}, upgraded)
    card = checkpoint.read_card(tmp_path / "new.safetensors")
    assert card["format"] == checkpoint.FORMAT
    assert "readouts" not in json.dumps(card["arguments"])
    old, new = (Predictor.load(path) for path in (LABELS, tmp_path / "new.safetensors"))
    a, b = (p.predict(probe_crystal()) for p in (old, new))
    assert torch.equal(a.total.density, b.total.density)
    assert a.uncertainty.expected_error == b.uncertainty.expected_error


def test_a_law_goes_where_it_did():
    law = load(LEGACY / "swarm.safetensors")
    start = torch.tensor(NUMBERS["start"], dtype=torch.float64)
    end = law.extrapolate(start, torch.tensor([0.0, 0.5], dtype=torch.float64)).states[-1]
    torch.testing.assert_close(end, torch.tensor(NUMBERS["swarm"], dtype=torch.float64))
    assert law.system.term.cutoff == pytest.approx(NUMBERS["cutoff"])


def test_a_screening_is_ranked(debye):
    done = debye("top", LEGACY / "screened", "--json", "--top", 2)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["formula"]


def test_a_screening_is_searched_for_a_spectrum():
    """By the model that made it; the fast one has been calibrated since, and is another."""
    folder = LEGACY / "screened"
    made_by = read_manifest(folder)["model_sha256"]
    assert len(screened(folder, made_by)) > 5
    with pytest.raises(InputError, match="another model"):
        screened(folder, checkpoint.read_card(FAST)["sha256"])
