"""Compressed files: read wherever a path is taken, and never more of them than is sensible."""

import bz2
import gzip
import lzma
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import CASES, needs_cases

from debye.core import packed
from debye.crystals.data.dataset import read_collection
from debye.crystals.dos_io.files import read_measured
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure_io.anything import crystals_of
from debye.crystals.structure_io.read import FailedInput, read_file, read_structures
from debye.errors import InputError

SALT = Crystal(["Cs", "Cl"], [[0, 0, 0], [2.06, 2.06, 2.06]], 4.12 * np.eye(3))
PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
KINDS = ["a.cif", "POSCAR", "a.extxyz", "a.json", "a.jsonl", "a.vasp"]


def pack(path, suffix):
    """The file in its place, compressed."""
    new = path.with_name(path.name + suffix)
    new.write_bytes(PACKERS[suffix](path.read_bytes()))
    path.unlink()
    return new


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("name", KINDS)
def test_packed_structures_are_read_by_path_folder_pattern_and_content(tmp_path, name, suffix):
    path = pack(SALT.write(tmp_path / name), suffix)
    for given in (path, tmp_path, str(tmp_path / "*")):
        assert [item.formula for item in read_structures(given)] == ["CsCl"]
    assert next(crystals_of(path.read_bytes())[0]).formula == "CsCl"
    with path.open("rb") as stream:
        assert next(crystals_of(stream)[0]).formula == "CsCl"
    misnamed = path.rename(tmp_path / name)
    assert Crystal.read(misnamed).formula == "CsCl"


def test_a_name_that_promises_more_than_there_is(tmp_path):
    plain = SALT.write(tmp_path / "a.cif").rename(tmp_path / "a.cif.gz")  # as browsers unpack
    assert Crystal.read(plain).formula == "CsCl"


def test_packed_files_are_not_written(tmp_path):
    with pytest.raises(InputError, match="format is unknown"):
        SALT.write(tmp_path / "a.cif.gz")


def test_packed_stdin(tmp_path):
    path = pack(SALT.write(tmp_path / "a.cif"), ".xz")
    code = "import sys; from debye.cli.inputs import structures; print(next(structures(['-'])))"
    run = subprocess.run(
        [sys.executable, "-c", code], input=path.read_bytes(), capture_output=True, check=True
    )
    assert b"CsCl" in run.stdout


@pytest.mark.parametrize("suffix", PACKERS)
def test_packed_spectra_and_tables(tmp_path, suffix, labelled):
    path = tmp_path / "run.dat"
    path.write_text("# E (meV)  S  err\n1 0.1 0.2\n10 3 0.2\n20 0.2 0.2\n")
    assert len(read_measured(pack(path, suffix)).frequency) == 3
    table = tmp_path / "labels.csv"
    table.write_bytes(labelled.read_bytes())
    assert len(read_collection(pack(table, suffix))[0].names) == 12


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("lost", [1, 10, 40])
def test_what_is_cut_off_is_refused(tmp_path, suffix, lost):
    path = pack(SALT.write(tmp_path / "a.cif"), suffix)
    path.write_bytes(path.read_bytes()[:-lost])
    (item,) = read_file(path)
    assert "compressed and damaged or cut off" in item.error.why
    assert str(path) in item.error.what


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("name", KINDS)
def test_bombs_are_refused(tmp_path, monkeypatch, name, suffix):
    monkeypatch.setattr(packed, "FREE", 1_000_000)
    path = tmp_path / (name + suffix)
    for filling in (b"\n", b" ", b"0 "):
        path.write_bytes(PACKERS[suffix](filling * 20_000_000))
        (item,) = read_file(path)
        assert isinstance(item, FailedInput)
    assert "1 to 200" in item.error.why or "is 10 MB long" in item.error.why


def test_packed_twice_and_other_archives_are_refused_by_name(tmp_path):
    twice = tmp_path / "a.cif.gz"
    twice.write_bytes(gzip.compress(gzip.compress(b"data_x")))
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04rest")
    (tmp_path / "c.cif.zst").write_bytes(b"\x28\xb5\x2f\xfdrest")
    items = list(read_structures(tmp_path))
    assert [Path(item.source).name for item in items] == ["a.cif.gz", "b.zip", "c.cif.zst"]
    assert all("compressed" in item.error.why for item in items)


def test_a_packed_database_is_refused_by_name(tmp_path):
    path = tmp_path / "a.db.gz"
    path.write_bytes(gzip.compress(b"SQLite format 3\0" + bytes(100)))
    assert "unpacked only" in next(read_file(path)).error.why


# Folders: what could hold a structure is read or told.


def test_files_of_a_folder_that_could_hold_structures(tmp_path):
    for name in ("a.cif", "b.mcif", "POSCAR_1", "CONTCAR.gz"):
        SALT.write(tmp_path / "x.cif" if "cif" in name else tmp_path / "x.vasp", None).rename(
            tmp_path / name
        )
    for kind, name in (("cif", "text.txt"), ("vasp", "nameless"), ("extxyz", "frames.txt")):
        SALT.write(tmp_path / f"x.{kind}").rename(tmp_path / name)
    (tmp_path / "d.cell").write_text("%BLOCK LATTICE_CART\n")
    (tmp_path / "e.res").write_text("TITL x\n")
    (tmp_path / "notes.txt").write_text("not a structure\n1 2 3\n")
    (tmp_path / "total_dos.dat").write_text("# Sigma\n0 1\n1 2\n")
    SALT.write(tmp_path / "x.vasp").rename(tmp_path / "XDATCAR")
    (tmp_path / "FORCE_CONSTANTS").write_text("1 1\n1 1\n 1.0 0 0\n 0 1.0 0\n 0 0 1.0\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    items = {Path(item.source).name: item for item in read_structures(tmp_path)}
    read = {name for name, item in items.items() if isinstance(item, Crystal)}
    assert read == {
        "a.cif",
        "b.mcif",
        "POSCAR_1",
        "CONTCAR.gz",
        "text.txt",
        "nameless",
        "frames.txt",
    }
    assert items.keys() - read == {"d.cell", "e.res"}
    assert "CASTEP" in items["d.cell"].error.why


@needs_cases
def test_the_shared_folder():
    items = {Path(item.source).name: item for item in read_structures(CASES / "compressed/folder")}
    assert list(items) == ["POSCAR.gz", "one.cif", "two.cif.gz"]
    assert (items["one.cif"].formula, items["two.cif.gz"].formula) == ("CsCl", "CsCl")
    assert "truncated" in items["POSCAR.gz"].error.why
