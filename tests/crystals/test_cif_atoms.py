"""The atoms that a CIF lists: which element each is, where it lies, and what is told of it."""

import pytest
from test_cif import FM3M, cif, read

from debye.errors import InputError


@pytest.mark.parametrize(
    "spelling",
    [str, str.upper, lambda text: text.replace("_site_", "_site.").replace("_cell_", "_cell.")],
)
def test_names_are_read_in_every_spelling(tmp_path, spelling):
    text = cif("_space_group_name_H-M_alt 'F m -3 m'")
    lines = [
        spelling(line) if line.startswith("_") and "H-M" not in line else line
        for line in text.splitlines()
    ]
    assert read(tmp_path, "\n".join(lines)).n_sites == 8


UNTYPED = "label fract_x fract_y fract_z"


@pytest.mark.parametrize(
    ("labels", "formula", "elements", "told"),
    [
        ("Si1 O1", "", "Si O", ""),
        ("AL1 O1", "", "Al O", ""),
        ("T1 O1 O2", "Si O2", "Si O O", "T1 is read as Si"),
        ("T1 T2 O1", "Si2 O", "Si Si O", "T1 is read as Si, T2 is read as Si"),
        ("M1 O1", "Mg O", "Mg O", "M1 is read as Mg"),
        ("T1 O1", "", "T O", "T1 is read as T"),
        ("D1 O1", "", "D O", "D1 is read as D"),
        ("D1 O1", "H O", "D O", ""),
        ("Ho1 O1", "", "Ho O", "Ho1 is read as Ho"),
        ("HO1 O1", "H O", "H O", ""),
        ("HO1 O1", "Ho O", "Ho O", ""),
        ("CL1 Na1", "", "Cl Na", "CL1 is read as Cl"),
        ("CL1 Na1", "Cl Na", "Cl Na", ""),
        ("CA1 O1", "C O", "C O", ""),
        ("OW1 Na1", "", "O Na", "OW1 is read as O"),
        ("Na1A Cl1B", "", "Na Cl", ""),
    ],
)
def test_labels_whose_element_was_guessed_are_told(tmp_path, labels, formula, elements, told):
    sites = [f"{label} 0 0 {i / 4}" for i, label in enumerate(labels.split())]
    sums = [f"_chemical_formula_sum '{formula}'"] if formula else []
    text = cif(*sums, sites=sites, columns=UNTYPED, operations=["x,y,z"], cell="9 9 9 90 90 90")
    crystal = read(tmp_path, text)
    assert [next(iter(site)) for site in crystal.species] == elements.split()
    guesses = [note for note in crystal.notes if "guessed" in note]
    assert [told in note for note in guesses] == ([True] if told else [])


def test_a_type_that_is_no_element_of_the_formula_is_guessed_and_told(tmp_path):
    sites = ["T1 T 0 0 0 1", "O1 O .4 0 0 1", "O2 O 0 .4 0 1"]
    crystal = read(
        tmp_path, cif("_chemical_formula_sum 'Si O2'", sites=sites, operations=["x,y,z"])
    )
    assert crystal.formula == "SiO2"
    assert "T1 is read as Si" in crystal.notes[0]


def test_what_cannot_be_guessed_is_refused(tmp_path):
    sites = ["T1 0 0 0", "O1 0 0 .5"]
    text = cif("_chemical_formula_sum 'Al Si O4'", sites=sites, columns=UNTYPED)
    with pytest.raises(InputError, match="unknown species 'T1'"):
        read(tmp_path, text)


@pytest.mark.parametrize("kind", ["Fe3+", "Fe+3", "FE", "Fe2.5+", "Fe0+", "Fe"])
def test_types_with_charges(tmp_path, kind):
    assert read(tmp_path, cif(FM3M, sites=[f"Fe1 {kind} 0 0 0 1"])).formula == "Fe"


def test_an_unknown_occupancy_is_told(tmp_path):
    crystal = read(tmp_path, cif(FM3M, sites=["Na1 Na 0 0 0 ?", "Cl1 Cl .5 .5 .5 ."]))
    assert (crystal.formula, crystal.notes) == (
        "NaCl",
        ("an occupancy is unknown (?): taken as 1",),
    )


@pytest.mark.parametrize("third", ["0.3333", "0.333", ".33333", "0.33333333", "0.3333(2)"])
def test_special_positions_with_few_digits(tmp_path, third):
    two = f"{1 - float(third.partition('(')[0]):.5f}"
    text = cif("_space_group_name_H-M_alt 'P 63/m m c'", sites=[f"Mg1 Mg {third} {two} .25 1"],
               cell="3.209 3.209 5.211 90 90 120")  # fmt: skip
    assert read(tmp_path, text).n_sites == 2


@pytest.mark.parametrize(
    ("moiety", "told"),
    [("'Na 1+, Cl 1-'", 0), ("'Na2 Cl2'", 0), ("'2(Na 1+), Cl 1-'", 1), ("'see text'", 0)],
)
def test_the_moiety_stands_in_for_the_sum(tmp_path, moiety, told):
    crystal = read(tmp_path, cif(FM3M, f"_chemical_formula_moiety {moiety}"))
    assert len(crystal.notes) == told


def test_hydrogens_without_positions_are_told(tmp_path):
    columns = "label type_symbol fract_x fract_y fract_z attached_hydrogens"
    for count, told in (("0", 0), (".", 0), ("1", 1)):
        sites = ["Na1 Na1+ 0 0 0 0", f"O1 O2- .5 .5 .5 {count}"]
        assert len(read(tmp_path, cif(FM3M, sites=sites, columns=columns)).notes) == told


def test_cartesian_coordinates_alone_are_refused_by_name(tmp_path):
    columns = "label type_symbol Cartn_x Cartn_y Cartn_z occupancy"
    with pytest.raises(InputError, match="only Cartesian coordinates"):
        read(tmp_path, cif(FM3M, columns=columns))
