"""A predictor: order, batches, warnings, and files it will not use."""

import numpy as np
import pytest
import torch

from debye.core import checkpoint
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos.thermo import entropy, heat_capacity, zero_point_energy
from debye.crystals.predict.model_files import model_card
from debye.crystals.predict.prediction import Prediction
from debye.crystals.predict.predictor import Predictor
from debye.crystals.predict.record import record, table_row
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure_io.read import FailedInput
from debye.errors import InputError

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def salt(a="Na", b="Cl", side=5.6, **facts):
    return Crystal([a, b], [[0, 0, 0], [side / 2] * 3], side * FCC, **facts)


@pytest.fixture(scope="module")
def predictor(model_file):
    return Predictor.load(model_file)


def test_batches_of_any_size_give_the_same_in_the_same_order(predictor, monkeypatch):
    crystals = [salt(side=5 + 0.1 * i, name=str(i)) for i in range(9)]
    lonely = Crystal(["Na"], [[0, 0, 0]], 40 * np.eye(3), source="lonely.cif")
    bad = FailedInput("bad.cif", InputError("cannot read bad.cif", why="bad", fix="none"))
    items = [bad, *crystals[:4], lonely, *crystals[4:], bad]
    for edges in (1, 60, 10**6):
        monkeypatch.setattr(predictor, "edges_at_once", edges)
        found = list(predictor(items))
        assert [isinstance(f, FailedInput) for f in found] == [
            i is bad or i is lonely for i in items
        ]
        assert "lonely.cif" in found[5].error.what
        for prediction in found:
            if isinstance(prediction, Prediction):
                alone = predictor.predict(prediction.crystal).total.density
                torch.testing.assert_close(prediction.total.density, alone, rtol=1e-5, atol=1e-8)


def test_it_streams(predictor, monkeypatch):
    monkeypatch.setattr(predictor, "edges_at_once", 1)
    asked = []

    def crystals():
        for i in range(5):
            asked.append(i)
            yield salt()

    next(iter(predictor(crystals())))
    assert asked == [0]


def test_partials_add_up(predictor):
    crystal = Crystal([{"Na": 0.5, "K": 0.25}, "Cl"], [[0, 0, 0], [2.8] * 3], 5.6 * FCC)
    prediction = predictor.predict(crystal)
    total = prediction.total
    assert total.integral.item() == pytest.approx(3 * 1.75, rel=1e-5)
    torch.testing.assert_close(prediction.elements.density.sum(0), total.density)
    torch.testing.assert_close(
        prediction.elements["Na"].density, 2 * prediction.elements["K"].density
    )
    assert prediction.sites.labels == ("Na/K1", "Cl2")


def test_elements_never_seen_are_told(predictor):
    assert predictor.predict(salt()).elements_unseen == ()
    prediction = predictor.predict(salt("Fm", "O"))
    assert prediction.elements_unseen == ("Fm",)
    assert any("no training structure contained Fm" in w for w in prediction.warnings)


def test_deuterium_counts_as_hydrogen(predictor):
    predictor.seen |= {"H"}
    prediction = predictor.predict(salt("Li", "D", 4.1))
    assert prediction.elements_unseen == ()
    assert any("D is treated as H" in w for w in prediction.warnings)


@pytest.mark.parametrize("temperature", [0.0, 20.0, 300.0])
def test_a_record_holds_the_thermodynamics_of_the_spectrum(predictor, temperature):
    prediction = predictor.predict(salt())
    found, total = record(prediction, temperature=temperature), prediction.total
    spectrum = Spectrum(total.frequency.double(), total.density.double(), total.n_atoms.double())
    mean = spectrum.mean_frequency.item()
    assert found["mean_frequency_cm-1"] == pytest.approx(mean, rel=1e-6)
    for key, quantity in (
        ("heat_capacity_J_per_K_per_mol_atoms", heat_capacity(spectrum, temperature)),
        ("entropy_J_per_K_per_mol_atoms", entropy(spectrum, temperature)),
        ("zero_point_energy_kJ_per_mol_atoms", zero_point_energy(spectrum)),
    ):
        assert found[key] == pytest.approx(quantity.item() / 2, rel=1e-6, abs=1e-12)


def test_record_and_row(predictor):
    prediction = predictor.predict(salt(source="salt.cif"))
    told = record(prediction, unit="THz", partial="site", temperature=77.0)
    assert (told["source"], told["formula"], told["n_atoms"]) == ("salt.cif", "NaCl", 2.0)
    step = np.diff(told["frequency"])
    dos = np.array(told["dos"])
    assert ((dos[1:] + dos[:-1]) / 2 * step).sum() == pytest.approx(6.0, rel=1e-5)
    assert np.allclose(np.sum(list(told["partial_dos"].values()), 0), dos, rtol=1e-5, atol=1e-6)
    assert told["frequency"][-1] == pytest.approx(29.9792458)
    assert f"{told['heat_capacity_J_per_K_per_mol_atoms']:.3f}" in table_row(
        prediction, 77.0, "THz"
    )
    assert table_row(prediction, 77.0, "THz").rstrip(" !").endswith("salt.cif")


def test_a_changed_probe_is_refused(tmp_path, predictor):
    path = tmp_path / "m.safetensors"
    card = model_card(predictor.model, elements=["Na"])
    checkpoint.save_model(path, predictor.model, {**card, "probe_mean_frequency_cm-1": 1.0})
    with pytest.raises(InputError, match="will not use the model") as caught:
        Predictor.load(path)
    assert "where its maker had 1.00 cm⁻¹" in caught.value.why


def test_a_card_without_a_probe_is_refused(tmp_path, predictor):
    path = tmp_path / "m.safetensors"
    del (card := model_card(predictor.model, elements=["Na"]))["probe_mean_frequency_cm-1"]
    checkpoint.save_model(path, predictor.model, card)
    with pytest.raises(InputError, match="will not use the model") as caught:
        Predictor.load(path)
    assert "no probe prediction" in caught.value.why


def test_a_training_checkpoint_is_no_model(tmp_path):
    path = tmp_path / "last.safetensors"
    checkpoint.save(path, {"step": 1}, {})
    with pytest.raises(InputError, match="as a PhononNet") as caught:
        Predictor.load(path)
    assert "no model" in caught.value.why
