"""The front door: whatever a scientist holds, one call, and what comes back prints in a line."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from ase.build import bulk

import debye
from debye.crystals.lattice.bands import Bands
from debye.crystals.predict.call import bands, predict
from debye.crystals.predict.prediction import Prediction
from debye.crystals.predict.predictor import Predictor
from debye.crystals.structure_io.read import FailedInput
from debye.errors import InputError

SILICON = bulk("Si", "diamond", a=5.43)


def held():
    """The same crystal as people hold it."""
    pymatgen = pytest.importorskip("pymatgen.core")
    atoms = pytest.importorskip("phonopy.structure.atoms")
    entries = pytest.importorskip("pymatgen.entries.computed_entries")
    crystal = debye.Crystal.from_atoms(SILICON)
    structure = pymatgen.Structure(SILICON.cell.array, ["Si", "Si"], SILICON.get_scaled_positions())
    phonopy = atoms.PhonopyAtoms(["Si"] * 2, cell=SILICON.cell, positions=SILICON.positions)
    return {
        "Crystal": crystal,
        "Atoms": SILICON,
        "Structure": structure,
        "entry": entries.ComputedStructureEntry(structure, -10.0),
        "PhonopyAtoms": phonopy,
        "dict": json.loads(json.dumps(structure.as_dict())),
        "text": (debye.DEMO / "silicon.vasp").read_text(),
        "path": debye.DEMO / "silicon.vasp",
        "name": str(debye.DEMO / "silicon.vasp"),
    }


@pytest.fixture(scope="module")
def fast():
    return Predictor.load("fast")


@pytest.mark.parametrize("kind", [
    "Crystal", "Atoms", "Structure", "entry", "PhonopyAtoms", "dict", "text", "path", "name",
])  # fmt: skip
def test_one_call_takes_what_people_have(fast, kind):
    prediction = fast.predict(held()[kind])
    assert isinstance(prediction, Prediction)
    mean = fast.predict(SILICON).total.mean_frequency
    torch.testing.assert_close(prediction.total.mean_frequency, mean, rtol=2e-3, atol=0)


def test_many_come_back_in_their_places(fast):
    pandas = pytest.importorskip("pandas")
    given = [SILICON, "nowhere.cif", 3.5, debye.DEMO / "rutile.cif"]
    kinds = [Prediction, FailedInput, FailedInput, Prediction]
    for many in (given, tuple(given), iter(given), pandas.Series(given, dtype=object)):
        assert [type(item) for item in fast.predict(many)] == kinds
    assert len(fast.predict(debye.DEMO / "binaries.extxyz")) == 3
    assert fast.predict([]) == []


@pytest.mark.parametrize("foreign", [None, 3.5, object(), np.zeros((2, 3)), "nowhere.cif", {}, b""])
def test_what_is_no_structure_is_refused_in_words(fast, foreign):
    try:
        error = fast.predict(foreign)[0].error  # an array is a list of things that are none
    except InputError as refused:
        error = refused
    assert isinstance(error, InputError)
    assert error.why
    assert error.fix


def test_a_model_is_loaded_once_and_its_name_is_checked(tmp_path):
    assert predict(SILICON, model="fast") == predict(SILICON, model="fast")
    for name in ("Fast", "shipped"):
        with pytest.raises(InputError, match=f"there is no model '{name}'"):
            Predictor.load(name)
    with pytest.raises(InputError, match=r"cannot read .*gone\.safetensors"):
        Predictor.load(tmp_path / "gone.safetensors")
    with pytest.raises(InputError, match="cannot compute on 'abacus'"):
        Predictor.load("fast", device="abacus")


def test_a_prediction_is_a_value(fast):
    prediction = fast.predict(SILICON)
    again = pickle.loads(pickle.dumps(prediction))
    assert again == prediction
    assert again != fast.predict(bulk("Ge"))
    for each in (prediction, *predict([SILICON] * 20)[:2]):
        assert len(pickle.dumps(each)) < 50_000  # the model and the batch stay at home
    with pytest.raises(InputError, match="came without its model"):
        again.bands()


def test_a_prediction_knows_its_bands_and_its_heat_capacity():
    prediction = predict(SILICON)
    drawn = prediction.bands("G X", 5)
    assert isinstance(drawn, Bands)
    assert drawn.frequency.shape[1] == 6
    assert set(prediction.warnings) <= set(drawn.notes)
    torch.testing.assert_close(bands(SILICON, "G X", 5).frequency, drawn.frequency)
    table = prediction.thermo([100, 300])
    assert table.heat_capacity.shape == (2,)
    lower, upper = table.bounds["heat_capacity"]
    assert (lower < table.heat_capacity).all()
    assert (table.heat_capacity < upper).all()
    warm, hot = prediction.b_factors([100.0, 300.0]).unbind(-1)
    assert warm.shape == (2,)
    assert (hot > warm).all()
    with pytest.raises(InputError, match="predicts no force constants"):
        predict(SILICON, model="fast").bands()
    assert [type(x) for x in bands([SILICON, "nowhere.cif"], "G X", 5)] == [Bands, FailedInput]


def test_everything_public_is_listed_and_is_there():
    import debye.crystals
    import debye.speckle

    for package in (debye, debye.crystals, debye.speckle):
        assert set(dir(package)) == set(package.__all__)
        for name in dir(package):
            assert getattr(package, name) is not None


def test_speckle_is_there_without_an_import_of_its_own():
    code = "import debye; print(debye.speckle.Frames.__name__, debye.crystals.lattice.__name__)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["Frames", "debye.crystals.lattice"]


def test_what_prints_prints_a_line(fast):
    prediction = fast.predict(debye.DEMO / "rutile.cif")
    shown = [
        prediction,
        prediction.crystal,
        prediction.total,
        prediction.sites,
        prediction.thermo(300),
        predict(SILICON).bands(points=10),
        predict(SILICON).uncertainty,
        fast,
    ]
    for item in shown:
        text = repr(item)
        assert "\n" not in text
        assert len(text) < 120, text
