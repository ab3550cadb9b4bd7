"""Labelled data: what is read, what is left out and why, and how it is split."""

import csv

import pytest
import torch
from salts import PAIRS, labelled_row, write_rows

from debye.crystals.data.dataset import (
    element_balanced_split,
    read_collection,
    read_label,
    read_split,
    subset,
    write_split,
)
from debye.crystals.data.labels import FREQUENCY
from debye.errors import InputError

GOOD = labelled_row("NaCl")


def reading(tmp_path, *rows):
    return read_collection(write_rows(tmp_path / "data.csv", [labelled_row("KF"), *rows]))


def test_reads_every_row(labelled):
    collection, failed = read_collection(labelled)
    assert collection.names == PAIRS
    assert not failed
    assert collection.spectra.frequency.tolist() == list(FREQUENCY)
    assert torch.equal(collection.spectra.density.amax(-1), torch.ones(12))
    assert collection.crystals[3].formula == "NaCl"
    assert {"Na", "Cl", "O"} <= collection.elements


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"phdos": str([float("nan"), *[1.0] * 50])}, "NaN or infinity"),
        ({"phdos": str([float("inf"), *[1.0] * 50])}, "column phdos is no literal"),
        ({"phdos": str([-0.5, *[1.0] * 50])}, "negative"),
        ({"phdos": str([0.0] * 51)}, "holds no states"),
        ({"phdos": str([1.0] * 50)}, "differ in length"),
        ({"phdos": "1, 2, ["}, "column phdos is no literal"),
        ({"phdos": "__import__('os').getcwd()"}, "column phdos is no literal"),
        ({"phdos": ""}, "column phdos is no literal"),
        ({"phdos": "{'a': 1}"}, "is not numbers"),
        ({"phfreq": str([10.0 * k for k in range(51)])}, "51 points from 0 to 500"),
        ({"phfreq": str([0.0] * 51)}, "do not increase"),
        ({"structure": "[1, 2]"}, "no dictionary"),
        ({"structure": "{'numbers': [11]}"}, "'positions' is missing"),
        ({"structure": GOOD["structure"].replace("[11, 17]", "[11, 999]")}, "atomic numbers"),
        ({"structure": GOOD["structure"].replace("[2.3, 2.3, 2.3]", "[0.1, 0, 0]")}, "overlap"),
        ({"structure": GOOD["structure"].replace("2.3", "nan")}, "NaN or infinity"),
        ({"mp_id": ""}, "mp_id is empty"),
        ({"mp_id": "KF"}, "stands in an earlier row"),
    ],
)
def test_a_bad_row_is_left_out_by_its_cause(tmp_path, changes, why):
    collection, failed = reading(tmp_path, GOOD | changes, labelled_row("MgO"))
    assert collection.names == ("KF", "MgO")
    assert len(failed) == 1
    assert why in failed[0].error.why
    assert str(failed[0].error).count("data.csv row ") == 1


def test_reading_changes_no_setting_of_others(labelled):
    limit = csv.field_size_limit()
    read_collection(labelled)
    assert csv.field_size_limit() == limit


def test_nothing_usable_is_refused(tmp_path):
    with pytest.raises(InputError, match="no labelled crystal in") as caught:
        read_collection(write_rows(tmp_path / "d.csv", [GOOD | {"phdos": "[]"}]))
    assert caught.value.why
    with pytest.raises(InputError, match="no labelled crystal in"):
        read_collection(write_rows(tmp_path / "d.csv", []))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "lacks the column"),
        (b"mp_id,structure,phfreq\na,b,c\n", "lacks the column 'phdos'"),
        (b"key,structure,phfreq,phdos\na,b,c,d\n", "lacks the column 'mp_id'"),
        (b"\x93NUMPY\xff\xfe", "no text in UTF-8"),
    ],
)
def test_files_that_are_no_table(tmp_path, content, why):
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_collection(path)
    assert why in caught.value.why
    assert str(path) in caught.value.what


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        read_collection(tmp_path / "none.csv")


def test_a_spreadsheets_byte_order_mark_is_no_part_of_the_first_column(tmp_path, labelled):
    path = tmp_path / "excel.csv"
    path.write_bytes(b"\xef\xbb\xbf" + labelled.read_bytes())
    assert len(read_collection(path)[0]) == 12


def test_split_round_trip(tmp_path):
    split = {"train": ["a", "b,c", 'd"'], "test": ["é"]}
    write_split(tmp_path / "s.csv", split)
    assert read_split(tmp_path / "s.csv") == split


def test_split_forgives_spaces(tmp_path):
    (tmp_path / "s.csv").write_text("mp_id, split\nKF, valid\nNaF , train\n")
    assert read_split(tmp_path / "s.csv") == {"valid": ["KF"], "train": ["NaF"]}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("mp_id,set\na,train\n", "its columns are mp_id, set"),
        ("", "its columns are none"),
        ("mp_id,split\n", "it has no rows"),
        ("mp_id,split\na,train\na,valid\n", "a stands in it twice"),
    ],
)
def test_bad_splits(tmp_path, text, why):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(InputError, match="is not a split") as caught:
        read_split(tmp_path / "s.csv")
    assert why in caught.value.why


def test_a_split_of_other_data_is_refused(labelled):
    collection, _ = read_collection(labelled)
    with pytest.raises(InputError, match="names 2 unknown row") as caught:
        subset(collection, {"train": ["KF", "mp-1", "mp-2"]}, "train")
    assert "'mp-1'" in caught.value.what
    with pytest.raises(InputError, match="no rows in the subset 'valid'"):
        subset(collection, {"train": ["KF"]}, "valid")


def test_take_keeps_names_crystals_and_spectra_together(labelled):
    collection, _ = read_collection(labelled)
    part = collection.take(["MgO", "KF"])
    assert [c.formula for c in part.crystals] == ["MgO", "KF"]
    assert torch.equal(part.spectra.density[1], collection.spectra.density[PAIRS.index("KF")])


@pytest.mark.parametrize(("count", "subsets"), [(1, 1), (2, 2), (3, 3), (9, 3), (24, 3)])
def test_few_rows_leave_no_subset_empty(labelled, count, subsets):
    """A training needs something to be validated on."""
    collection, _ = read_collection(labelled)
    some = collection.take(collection.names[:count])
    split = element_balanced_split(some)
    assert len(split) == subsets
    assert sorted(n for names in split.values() for n in names) == sorted(some.names)
    assert max(split, key=lambda part: len(split[part])) == "train"


def test_balanced_split_places_each_row_once_and_shares_elements(labelled):
    rows = [labelled_row(p) | {"mp_id": f"{p}-{i}"} for i in range(20) for p in PAIRS]
    collection, _ = read_collection(write_rows(labelled.with_name("many.csv"), rows))
    split = element_balanced_split(collection)
    assert sorted(n for names in split.values() for n in names) == sorted(collection.names)
    assert split == element_balanced_split(collection)
    assert split != element_balanced_split(collection, seed=1)
    for element in ("Na", "O", "Br"):
        counts = [
            sum(element in c.elements for c in collection.take(split[part]).crystals)
            for part in ("train", "valid", "test")
        ]
        assert counts[0] / sum(counts) == pytest.approx(0.8, abs=0.1)


def test_read_label(labelled, tmp_path):
    spectrum = read_label(labelled)
    assert spectrum.normalisation == "max"
    assert spectrum.density.max() == 1
    (tmp_path / "other.csv").write_text("frequency,dos\n0,1\n")
    assert read_label(tmp_path / "other.csv") is None
    assert read_label("spectrum.dat") is None
