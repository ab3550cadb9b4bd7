"""What is odd about a structure reaches stderr and the records of every verb that takes one."""

import json

import numpy as np
import pytest
import torch

from debye.crystals.structure.crystal import Crystal

NUMBER_ONLY = """data_{name}
_symmetry_Int_Tables_number 225
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
{metal}1 {metal} 0 0 0
Cl1 Cl 0.5 0.5 0.5
"""
TOLD = "only the number of its space group is given"
DESIGN = ("--replace", "Na=K", "--target", "mean-frequency", "--value", 150)


@pytest.fixture
def files(tmp_path, model_file, monkeypatch):
    monkeypatch.setattr("debye.crystals.predict.model_files.SHIPPED", model_file)
    for name, metal in (("a", "Na"), ("b", "K")):
        text = NUMBER_ONLY.format(name=name, metal=metal)
        (tmp_path / f"{name}.cif").write_text(text)
    energy = np.linspace(0, 120, 61)
    height = 5 + 100 * np.exp(-(((energy - 40) / 12) ** 2))
    rows = "".join(f"{e} {h} {np.sqrt(h)}\n" for e, h in zip(energy, height, strict=True))
    (tmp_path / "run.dat").write_text("# E (meV)\n" + rows)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("dos", "a.cif"),
        ("thermo", "a.cif"),
        ("alloy", "a.cif", "b.cif", "--fractions", "0.5"),
        ("invert", "rank", "run.dat", "a.cif", "b.cif", "--background", "none"),
        ("invert", "refine", "run.dat", "a.cif", "--background", "none"),
        ("invert", "design", "a.cif", *DESIGN),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_note_of_a_structure_is_said_and_kept(files, debye, words):
    run = debye(*words, "--json")
    assert TOLD in run.stderr
    assert TOLD in run.stdout
    assert all(json.loads(line) for line in run.stdout.splitlines())


def test_a_screening_counts_them_and_its_rows_have_them(files, debye, model_file):
    run = debye("screen", "a.cif", "b.cif", "--output", "screened", "--model", model_file)
    assert "2 of 2 structures have warnings" in run.stderr
    assert TOLD in debye("top", "screened").stderr


def test_a_refined_structure_keeps_its_notes(files):
    from debye.crystals.inversion.parameters import FreeParameters

    start = Crystal.read(files / "a.cif")
    assert FreeParameters.of(start).crystal(torch.zeros(0)).notes == start.notes
