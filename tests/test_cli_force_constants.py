"""Odd cells through a network of force constants: they end well or in words."""

import json

import numpy as np
import pytest
import torch
from ase.build import bulk, make_supercell
from test_cli_bands import refused

from debye.core import checkpoint
from debye.crystals.model.ensemble import Ensemble
from debye.crystals.model.network import PhononNet
from debye.crystals.predict.model_files import model_card

GRID = [20.0 * i for i in range(51)]


@pytest.fixture(scope="module")
def network_file(tmp_path_factory):
    """An ensemble of two small networks as they are made."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        kept = {"heads": ["force_constants", "density"], "channels": 4, "layers": 1, "hidden": 8}
        model = Ensemble.of([PhononNet(GRID, **kept) for _ in range(2)])
    path = tmp_path_factory.mktemp("model") / "network.safetensors"
    checkpoint.save_model(path, model, model_card(model, elements=["Na", "Cl", "Cu"]))
    return path


def written(folder, atoms):
    atoms.write(folder / "cell.vasp", format="vasp")
    return folder / "cell.vasp"


def test_a_cell_of_one_atom(debye, network_file, tmp_path):
    path = written(tmp_path, bulk("Cu", "fcc", a=3.6))
    bands = debye("bands", path, "--model", network_file, "--points", 12, "--json")
    assert bands.exit_code == 0, bands.stderr
    told = json.loads(bands.stdout)
    assert np.shape(told["frequency_cm-1"])[1] == 3
    assert np.abs(told["frequency_cm-1"][0]).max() < 0.5  # Γ comes first
    dos = debye("dos", path, "--model", network_file, "--json")
    assert dos.exit_code == 0, dos.stderr
    told = json.loads(dos.stdout)
    assert np.trapezoid(told["dos"], told["frequency"]) == pytest.approx(3.0, rel=1e-4)


def test_an_isolated_atom(debye, network_file, tmp_path):
    path = written(tmp_path, bulk("Cu", "sc", a=40.0))
    for verb in ("bands", "dos"):
        refused(debye(verb, path, "--model", network_file), "no neighbour", "fix: ")


def test_a_cell_whose_modes_are_too_many(debye, network_file, tmp_path):
    whole = make_supercell(bulk("NaCl", "rocksalt", a=5.6, cubic=True), np.diag([4, 4, 4]))
    whole.rattle(0.05, seed=1)  # or its primitive cell would be found
    path = written(tmp_path, whole)
    for verb in ("bands", "dos"):
        refused(debye(verb, path, "--model", network_file), "512 sites", "--model fast")
