"""POSCARs, as VASP reads them."""

import numpy as np
import pytest
from cases import CASES, needs_cases

from debye.core.numbers import number_of
from debye.crystals.structure.crystal import Crystal
from debye.errors import InputError

FCC = 2.82 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])


def read(tmp_path, text):
    path = tmp_path / "POSCAR"
    path.write_text(text)
    return Crystal.read(path)


def poscar(
    title="rock salt", scale="5.64", species="Na Cl", counts="1 1", mode="Direct", rows=None
):
    cell = ["0.0 0.5 0.5", "0.5 0.0 0.5", "0.5 0.5 0.0"]
    rows = rows or ["0 0 0", ".5 .5 .5"]
    head = [title, scale, *cell, *([species] if species else []), counts, *mode.split("\n")]
    return "\n".join([*head, *rows]) + "\n"


@needs_cases
@pytest.mark.parametrize(
    ("name", "formula"),
    [("POSCAR.comment-scale", "NaCl"), ("POSCAR.dexp", "NaCl"), ("POSCAR.title-trap", "FeO")],
)
def test_the_shared_cases(name, formula):
    crystal = Crystal.read(CASES / "structures" / name)
    assert (crystal.formula, crystal.notes) == (formula, ())
    if formula == "NaCl":
        assert crystal.cell == pytest.approx(FCC)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"scale": "5.64 ! lattice constant"},
        {"scale": "  5.64d0  "},
        {"scale": "5.64D+00 Angstrom"},
        {"scale": "0.564E+01 0.3"},  # neither one nor three: the first
        {"scale": "5.64 5.64 5.64"},
        {"scale": "5.64, 5.64, 5.64 ! each"},
        {"scale": f"{-2 * 2.82**3:.10f}"},  # minus the volume
        {"scale": f"{-2 * 2.82**3:.10f} # volume"},
        {"species": "Na Cl ! species", "counts": "1 1 ! counts"},
        {"species": "  Na_pv   Cl  # POTCARs"},
        {"species": "Na_sv_GW Cl_GW"},
        {"species": "Na/6a73d34c2a Cl/f51c1b4d9e"},
        {"species": "Na1 Cl2"},
        {"species": "NA cl"},
        {"mode": "direct"},
        {"mode": "D ! mode"},
        {"mode": "Fractional"},
        {"mode": "Selective dynamics\nDirect", "rows": ["0 0 0 T T F", ".5 .5 .5 F F F"]},
        {"mode": "selective\ndirect", "rows": ["0 0 0 T T F Na", ".5 .5 .5 F F F Cl"]},
        {"mode": "Cartesian", "rows": ["0 0 0", "5D-1 .5 .5"], "scale": "11.28 11.28 11.28"},
        {"rows": ["0 0 0 ! Na", ".5 .5 5.0D-1 Cl"]},
        {"rows": ["0, 0, 0", "5.0D-1, 0.5, 0.5"]},
        {"title": "", "species": "Na Cl"},
    ],
)  # fmt: skip
def test_forms_that_vasp_reads(tmp_path, changed):
    crystal = read(tmp_path, poscar(**changed))
    assert crystal.formula == "NaCl"
    scale = 2 if changed.get("mode") == "Cartesian" else 1
    assert crystal.cell == pytest.approx(scale * FCC)
    assert crystal.fractional[1] % 1 == pytest.approx([0.5, 0.5, 0.5])
    assert crystal.notes == ()


def test_three_factors_scale_components(tmp_path):
    crystal = read(tmp_path, poscar(scale="5 6 7", mode="K", rows=["0 0 0", ".5 0 0"]))
    assert crystal.cell == pytest.approx(np.array([[0, 3, 3.5], [2.5, 0, 3.5], [2.5, 3, 0]]))
    assert crystal.positions[1] == pytest.approx([2.5, 0, 0])


@pytest.mark.parametrize(
    ("title", "rows", "formula", "told"),
    [
        ("C O", ["0 0 0 Fe", ".5 .5 .5 O"], "FeO", False),
        ("C O", ["0 0 0 T T T Fe", ".5 .5 .5 F F F O"], "FeO", False),
        ("C O", ["0 0 0 ! Fe", ".5 .5 .5 ! O2-"], "FeO", False),
        ("C O", ["0 0 0 FE1", ".5 .5 .5 O1"], "FeO", False),
        ("Mg O", ["0 0 0 # first atom", ".5 .5 .5"], "MgO", True),
        ("Mg O", ["0 0 0 ! in plane", ".5 .5 .5 ! as above"], "MgO", True),
        ("Mg O", ["0 0 0 Site1", ".5 .5 .5 Site2"], "MgO", True),
        ("Mg_pv O_s", ["0 0 0", ".5 .5 .5"], "MgO", True),
    ],
)
def test_species_of_version_4(tmp_path, title, rows, formula, told):
    crystal = read(tmp_path, poscar(title=title, species="", rows=rows))
    assert crystal.formula == formula
    assert crystal.notes == (("it names no species but in its title: Mg O",) if told else ())


def test_the_line_of_species_wins_over_the_rows_and_says_so(tmp_path):
    crystal = read(tmp_path, poscar(rows=["0 0 0 K", ".5 .5 .5 Cl"]))
    assert (crystal.formula, len(crystal.notes)) == ("NaCl", 1)
    assert "other species than its line 6" in crystal.notes[0]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"species": "", "title": "rock salt of ours"}, "species 'rock salt of ours' and counts"),
        ({"species": "", "title": "rock salt"}, "unknown species 'rock'"),
        ({"scale": "1 -1 1"}, "three scaling factors one is -1"),
        ({"scale": "0"}, "its scaling factor is '0'"),
        ({"scale": ""}, "its scaling factor is ''"),
        ({"species": "Na Cl K"}, "species 'Na Cl K' and counts '1 1' do not fit"),
    ],
)
def test_what_vasp_or_nobody_could_read(tmp_path, changed, why):
    with pytest.raises(InputError, match=why):
        read(tmp_path, poscar(**changed))


def test_texts_are_known_as_poscars_in_every_form(tmp_path):
    for changed in ({"scale": "5.64 ! lattice constant"}, {"scale": "5.64d0"}):
        path = tmp_path / "structure.txt"
        path.write_text(poscar(**changed))
        assert Crystal.read(path).formula == "NaCl"


@pytest.mark.parametrize(
    ("text", "number"),
    [("1.5D+00", 1.5), ("-1.5d-2", -0.015), ("2q3", 2000), ("1.0-100", 1e-100), ("1.0+100", 1e100),
     ("−2", -2), ("7", 7), ("1e3", 1000), (".5", 0.5)],
)  # fmt: skip
def test_numbers_of_fortran(text, number):
    assert number_of(text) == pytest.approx(number, rel=1e-15)


@pytest.mark.parametrize("text", ["1-2", "D5", "d", "1D", "1.0D+", "1.5.2D3", "5-3", "2026-11"])
def test_what_is_no_number(text):
    with pytest.raises(ValueError, match="could not convert"):
        number_of(text)
