"""`debye bands` as a user and as an adversary would call it."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from lattices import CRYSTALS, force_constants_of
from verbs import refused

from debye.crystals.predict.predictor import Predictor
from debye.crystals.structure_io.read import write_structures


@pytest.fixture(autouse=True)
def force_constants_by_formula(model_file, monkeypatch):
    """The tests are of the command: a formula stands for what a network learned."""
    monkeypatch.setattr("debye.crystals.predict.model_files.SHIPPED", model_file)
    monkeypatch.setattr(
        Predictor,
        "force_constants",
        lambda self, crystal: [force_constants_of(crystal)],
        raising=False,
    )


@pytest.fixture
def salt(tmp_path):
    """Rock salt in its cubic cell of eight atoms."""
    crystal = CRYSTALS["salt"]
    cubic = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    shifts = [[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]
    positions = [crystal.positions + 2.8 * np.array(shift) for shift in shifts]
    whole = replace(
        crystal,
        species=crystal.species * 4,
        positions=np.concatenate(positions),
        cell=cubic @ crystal.cell,
    )
    return write_structures(tmp_path / "salt.cif", whole)


def test_table(debye, salt):
    result = debye("bands", salt)
    assert result.exit_code == 0
    title, header, *rows = result.stdout.splitlines()
    assert title.startswith("# NaCl")
    assert header == "point  frequencies in cm⁻¹"
    assert {row.split()[0] for row in rows} == set("GXUWKL")
    assert all(len(row.split()) == 7 for row in rows)  # the primitive cell has two atoms
    assert rows[0].split()[:4] == ["G", "0.00", "0.00", "0.00"]
    for text in ("no branch", "LO and TO", "8 sites, the primitive one 2"):
        assert text in result.stderr


def test_everything_is_written(debye, salt, tmp_path):
    place, figure = tmp_path / "out", tmp_path / "bands.png"
    result = debye(
        "bands", salt, "--path", "G X | L G", "--points", 40, "--velocities", "--json",
        "--unit", "THz", "--output", place, "--plot", figure,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told == json.loads((place / "bands.json").read_text())
    assert told["segments"] == [["G", "X"], ["L", "G"]]
    assert np.shape(told["frequency_THz"]) == (len(told["q"]), 6)
    assert told["n_sites"] == 2
    assert 0 < told["debye_temperature_of_sound_K"] < 2000
    assert 0 <= told["rotational_cost_stress"] < 1
    assert len(told["warnings"]) >= 3
    assert figure.read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((place / "bands.csv").read_text().splitlines()))
    assert float(rows[3]["frequency_6_THz"]) == pytest.approx(told["frequency_THz"][3][5], abs=1e-5)
    points = yaml.safe_load((place / "band.yaml").read_text())["phonon"]
    assert len(points) == len(rows)
    assert np.shape(points[0]["band"][0]["eigenvector"]) == (2, 3, 2)
    assert (place / "dos.csv").read_text()
    phonopy = pytest.importorskip("phonopy")
    phonon = phonopy.load(place / "phonopy_params.yaml")
    phonon.run_qpoints([told["q"][5]])
    np.testing.assert_allclose(phonon.qpoints.frequencies[0], told["frequency_THz"][5], atol=1e-5)


def test_members_are_averaged_and_imaginary_modes_told(debye, salt, tmp_path, monkeypatch):
    def members(self, crystal):
        force_constants = force_constants_of(crystal)
        return [replace(force_constants, values=x * force_constants.values) for x in (-1.5, -0.5)]

    monkeypatch.setattr(Predictor, "force_constants", members, raising=False)
    result = debye("bands", salt, "--json", "--points", 20, "--plot", tmp_path / "bands.svg")
    assert result.exit_code == 0, result.output
    assert "some modes are imaginary, down to -" in result.stderr
    told = json.loads(result.stdout)
    assert told["imaginary"]
    low, omega, high = (
        np.array(told[key]) for key in ("lowest_cm-1", "frequency_cm-1", "highest_cm-1")
    )
    assert (low <= omega + 1e-3).all()
    assert (omega <= high + 1e-3).all()


def test_a_mixed_site_has_bands_but_no_phonopy_file(debye, tmp_path):
    mixed = replace(CRYSTALS["copper"], species=({"Cu": 0.75, "Au": 0.25},))
    path = write_structures(tmp_path / "mixed.cif", mixed)
    result = debye("bands", path, "--output", tmp_path / "out", "--plot", tmp_path / "b.pdf")
    assert result.exit_code == 0, result.output
    assert "phonopy_params.yaml is not written" in result.stderr
    assert (tmp_path / "out" / "band.yaml").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--path", "G Q"], ["no point Q", "fix: use"]),
        (["--path", ""], ["two points or more"]),
        (["--points", 1], ["--points 1"]),
        (["--points", 10**9], ["--points"]),
        (["--plot", "bands.gif"], ["--plot bands.gif", ".png"]),
        (["--model", "nowhere.safetensors"], ["nowhere.safetensors"]),
    ],
)
def test_bad_options(debye, salt, words, parts):
    refused(debye("bands", salt, *words), *parts)


def test_bad_files(debye, tmp_path):
    refused(debye("bands", tmp_path / "nowhere.cif"), "nowhere.cif")
    two = write_structures(tmp_path / "two.xyz", [CRYSTALS["salt"], CRYSTALS["copper"]])
    refused(debye("bands", two), "several structures")
    (tmp_path / "empty.cif").write_text("")
    refused(debye("bands", tmp_path / "empty.cif"), "empty")
    (tmp_path / "out").write_text("a file")
    refused(debye("bands", two, "--output", tmp_path / "out"), "cannot write into the folder")


def test_force_constants_that_cannot_be_solved(debye, salt, monkeypatch):
    def broken(self, crystal):
        force_constants = force_constants_of(crystal)
        return [replace(force_constants, values=force_constants.values * float("nan"))]

    monkeypatch.setattr(Predictor, "force_constants", broken, raising=False)
    refused(debye("bands", salt), "NaN or infinity", code=1)
