"""What the models that come with debye say of themselves, and what they were not taught."""

import re
from pathlib import Path

import pytest
import torch
from cases import CASES

from debye.core import checkpoint
from debye.crystals.model.modes import FineSites
from debye.crystals.predict.model_files import DATA, NAMED, SHIPPED, TAUGHT, TAUGHT_BEYOND
from debye.crystals.predict.predictor import Predictor

EXCLUDED = CASES.parent / "data" / "force_constants" / "exclude.txt"
"""Formulas of the yardsticks."""


@pytest.mark.parametrize("name", NAMED)
def test_a_card_says_what_was_learned(name):
    card = checkpoint.read_card(NAMED[name])
    data = card["data"]
    assert {"name", "licence", "citation"} <= data.keys()
    assert data["train_rows"] > 1000
    assert Predictor.load(name).taught == (name == "ensemble")
    assert (TAUGHT in data) == ("Nequix" in data["name"]) == ("MIT" in data["licence"])


def test_the_ensemble_tells_of_its_teacher():
    """That had seen calculations of crystals which are none of ours to test on."""
    data = checkpoint.read_card(SHIPPED)["data"]
    assert data[TAUGHT] > 1000
    assert "Hessians by DFT" in data["name"]


def test_nothing_of_the_yardsticks_is_taught_beyond_the_rows():
    if not EXCLUDED.exists():
        pytest.skip("there is no list of excluded formulas beside the checkout")
    excluded = {*EXCLUDED.read_text().split()}
    assert len(excluded) > 300
    assert not excluded & {*checkpoint.read_card(SHIPPED)["data"][TAUGHT_BEYOND]}


def test_what_comes_along_is_small():
    """All data of the package; a wheel of 15 MB is its limit, and it hardly shrinks them."""
    assert sum(file.stat().st_size for file in Path(DATA).rglob("*") if file.is_file()) < 13e6


@pytest.mark.parametrize(
    ("lowest", "below", "words"),
    [
        ([-90.0, -80.0, -85.0, 0.0], 0.1, "predicted to be unstable"),
        ([-60.0, -40.0, -45.0, 0.0], 0.1, "may be unstable"),
        ([-200.0, 0.0, -1.0, 0.0], 0.05, r"5% of the states are imaginary, down to -200 .* 1 of 4"),
        ([-200.0, 0.0, -1.0, 0.0], 0.001, None),
        ([0.0, 0.0, -1.0, 0.0], 0.0, None),
    ],
)
def test_imaginary_modes_are_told(lowest, below, words):
    """Those of a minority too, where they are seen in the spectrum."""
    grid, states = torch.tensor([-100.0, 0.0, 100.0]), torch.tensor([[below, 0.5, 0.5 - below]])
    fine = FineSites(grid, states, torch.tensor(lowest))
    told = " ".join(Predictor.load("ensemble")._instability(fine))
    assert re.match(words, told) if words else told == ""
