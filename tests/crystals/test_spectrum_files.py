"""Spectra survive their files, phonopy's and pymatgen's own readers included."""

import json
import os
import stat

import numpy as np
import pytest
import torch

from debye.core.files import atomic_write
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos_io.files import read_spectrum, write_spectrum
from debye.crystals.dos_io.layouts import (
    from_phonon_dos,
    from_phonopy,
    from_record,
    to_csv,
    to_phonon_dos,
    to_phonopy,
    to_record,
)
from debye.errors import ComputationError, InputError

GRID = np.arange(0.0, 601.0, 20.0)


@pytest.fixture
def total():
    density = np.exp(-(((GRID - 250.0) / 90.0) ** 2))
    return Spectrum(GRID, density, 3, "max").to("3N")


@pytest.fixture
def sites():
    density = [np.exp(-(((GRID - at) / 60.0) ** 2)) for at in (150.0, 250.0, 400.0)]
    return Spectrum(GRID, density, 1, "max", ["Ga1", "Ga, 2", "N_1"]).to("3N")


def assert_same(one, other, tolerance=1e-12):
    torch.testing.assert_close(one.frequency, other.frequency, rtol=tolerance, atol=1e-8)
    torch.testing.assert_close(one.density, other.density, rtol=tolerance, atol=1e-9)
    torch.testing.assert_close(one.n_atoms, other.n_atoms)
    assert one.normalisation == other.normalisation


@pytest.mark.parametrize("name", ["dos.csv", "dos.json"])
@pytest.mark.parametrize("unit", ["cm-1", "THz", "meV"])
@pytest.mark.parametrize("normalisation", ["3N", "3", "1", "max"])
def test_our_own_layouts_return_the_same(tmp_path, total, sites, name, unit, normalisation):
    for spectrum in (total.to(normalisation), sites.to(normalisation)):
        path = spectrum.write(tmp_path / name, unit=unit)
        back = Spectrum.read(path)
        assert_same(back, spectrum)
        assert back.labels == spectrum.labels
        assert unit in path.read_text()


def test_a_share_of_an_alloy_keeps_its_fraction_of_atoms(tmp_path, total):
    back = Spectrum.read((0.3 * total).write(tmp_path / "share.csv"))
    assert back.n_atoms.item() == pytest.approx(0.9)


def test_rows_without_names_are_numbered(tmp_path, sites):
    bare = Spectrum(GRID, sites.density)
    assert Spectrum.read(bare.write(tmp_path / "dos.csv")).labels == ("1", "2", "3")


def test_json_names_its_units(total):
    record = json.loads(json.dumps(to_record(total, "meV")))
    assert {"frequency_meV", "dos_3N_per_meV"} < record.keys()
    assert record["n_atoms"] == 3
    assert_same(from_record(record), total)


def test_the_layout_follows_the_content_not_the_name(tmp_path, total, sites):
    for layout in ("csv", "json", "total_dos.dat", "pymatgen"):
        path = write_spectrum(total, tmp_path / "spectrum.txt", layout=layout)
        assert_same(read_spectrum(path), total, 1e-6)
    path = write_spectrum(sites, tmp_path / "spectrum.txt", layout="projected_dos.dat")
    assert_same(read_spectrum(path), sites, 1e-6)


def test_windows_line_ends_and_byte_order_marks_are_read(tmp_path, total):
    path = tmp_path / "dos.csv"
    path.write_bytes(b"\xef\xbb\xbf" + to_csv(total).replace("\n", "\r\n").encode())
    assert_same(read_spectrum(path), total)


def test_phonopy_layouts_are_those_of_phonopys_writer(tmp_path, total, sites):
    dos = pytest.importorskip("phonopy.phonon.dos")
    frequency, density = (values.numpy() for values in total.in_unit("THz"))
    dos.write_total_dos(
        frequency, density, comment=f"Sigma = {0.1:f}", filename=tmp_path / "theirs"
    )
    assert to_phonopy(total, sigma=0.1) == (tmp_path / "theirs").read_text()
    ours = total.write(tmp_path / "total_dos.dat")
    np.testing.assert_allclose(np.loadtxt(ours)[:, 1], density, atol=1e-10)

    partial = sites.in_unit("THz")[1].numpy()
    dos.write_projected_dos(frequency, partial, filename=tmp_path / "projected_dos.dat")
    theirs = (tmp_path / "projected_dos.dat").read_text()
    assert to_phonopy(sites, projected=True) == theirs
    back = read_spectrum(tmp_path / "projected_dos.dat")
    assert_same(back, sites, 1e-6)
    assert back.labels == ("1", "2", "3")
    assert back.sum().n_atoms.item() == 3


def test_the_tetrahedron_header_is_read(total):
    text = "# Tetrahedron method\n" + to_phonopy(total)
    assert from_phonopy(text).n_atoms.item() == 3


def test_one_atom_is_projected_only_by_name(tmp_path, sites):
    projected = sites[:1].write(tmp_path / "projected_dos.dat")
    assert read_spectrum(projected).shape == (1,)
    alone = sites[0].write(tmp_path / "total_dos.dat")
    assert read_spectrum(alone).shape == ()


def test_pymatgen_reads_ours_and_we_read_pymatgens(total):
    dos = pytest.importorskip("pymatgen.phonon.dos")
    theirs = dos.PhononDos.from_dict(to_phonon_dos(total))
    density = total.in_unit("THz")[1].numpy()
    np.testing.assert_allclose(theirs.densities, density)
    record = json.loads(json.dumps(dos.PhononDos(theirs.frequencies, density).as_dict()))
    assert record.keys() == to_phonon_dos(total).keys()
    assert_same(from_phonon_dos(record), total)
    # Pymatgen sums to J/(K mol) on its own grid; it agrees where a sum can.
    from debye.crystals.dos.thermo import heat_capacity

    assert theirs.cv(300.0) == pytest.approx(heat_capacity(total, 300.0).item(), rel=2e-3)


def test_numbers_of_unknown_count_are_refused(total):
    short = to_phonon_dos(0.45 * total)
    with pytest.raises(
        InputError, match=r"its integral is 4\.05, where 3 states were expected"
    ) as told:
        from_phonon_dos(short)
    assert "n_atoms" in told.value.fix
    with pytest.raises(InputError, match=r"Spectrum\.from_unit"):
        from_phonon_dos(short, n_atoms=3)
    cut = to_phonon_dos(total.clip(upper=380.0)[0])
    assert from_phonon_dos(cut, n_atoms=3).n_atoms.item() == 3
    directions = to_phonopy(Spectrum(GRID, total.density / 9), projected=False)
    with pytest.raises(InputError, match="its integral is 1"):
        from_phonopy(directions, projected=True)


HEADER = "frequency_cm-1,total_3N_per_cm-1_of_1_atoms\n"
MIXED = "frequency_cm-1,total_3N_per_cm-1_of_1_atoms,a_max_of_1_atoms\n0,0,0\n1,1,1\n"
RECORD = {"format": "debye spectrum", "version": 1, "normalisation": "3N"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        (" \n\n", "empty"),
        (b"\x89HDF\r\n\x1a\n\x00\x00", "binary"),
        (b"\xff\xfe1 2", "binary"),
        ("hello", "neither|none of JSON"),
        ("hello world\n", "line 1: could not convert"),
        (HEADER, "two points"),
        (HEADER + "0,0\n", "two points"),
        (HEADER + "0,0\n1,1\n2\n", "line 4 has 1 columns, where 2 are needed"),
        (HEADER + "0,0\n1,x\n", "line 3: could not convert"),
        (HEADER + "0,0\n1,nan\n", "NaN or infinity"),
        (HEADER + "0,0\n1,-1\n", "negative"),
        (HEADER + "0,0\n1,0\n", "no states"),
        (HEADER + "1,0\n0,1\n", "do not increase"),
        (HEADER.replace("cm-1", "furlong") + "0,0\n1,1\n", "unknown frequency unit"),
        (HEADER.replace("_per_cm-1", "_per_THz") + "0,0\n1,1\n", "does not say what it counts"),
        ("frequency_cm-1,dos\n0,0\n1,1\n", "column 'dos'"),
        ("frequency_cm-1\n0\n1\n", "the table has no density"),
        ("frequency_cm-1", "the table has no density"),
        (HEADER + '"' + 200_000 * "1", "it is not CSV"),
        (MIXED, "do not share one normalisation"),
        ("frequency_cm-1,total_1_per_cm-1_of_x_atoms\n0,0\n1,1\n", "n_atoms is not numbers"),
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ('{"densities": [1, 2]}', "frequencies missing"),
        ('{"frequencies": [0, 1], "densities": "x"}', "density is not numbers"),
        ('{"frequencies": [0, 1], "densities": [1e999, 1]}', "NaN or infinity"),
        ('{"frequencies": null, "densities": [1, 1]}', "frequency"),
        ('{"a": 1}', "neither a record"),
        ("[1, 2]", "neither a record"),
        (json.dumps(RECORD), "incomplete"),
        (json.dumps({**RECORD, "version": 2}), "another version"),
        (json.dumps({**RECORD, "n_atoms": 1, "dos_3N_per_": [1]}), "unknown frequency unit"),
        (json.dumps({**RECORD, "normalisation": ["x"]}), "unknown normalisation"),
        (json.dumps({**RECORD, "n_atoms": 1, "frequency_THz": [0]}), "'dos_3N_per_THz' is missing"),
        ("0 1\n1 2\n2", "line 3 has 1 columns"),
        ("0 1 1\n1 2\n2 3 4", "line 2 has 2 columns"),
    ],
)
def test_a_malformed_file_is_refused_by_name_and_cause(tmp_path, content, message):
    path = tmp_path / "some_dos"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        read_spectrum(path)
    assert "some_dos" in caught.value.what
    assert caught.value.fix
    assert caught.value.exit_code == 2


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path / "missing.csv", tmp_path):
        with pytest.raises(InputError, match="cannot read a spectrum from"):
            read_spectrum(path)
    huge = tmp_path / "huge.csv"
    with huge.open("wb") as stream:
        stream.truncate(100 * 2**20)
    with pytest.raises(InputError, match="100 MB"):
        read_spectrum(huge)


def test_what_cannot_be_written_is_refused(tmp_path, total, sites):
    for name, layout, message in (
        ("dos.xlsx", None, "'.xlsx' names no layout"),
        ("dos", None, "'no' names no layout"),
        ("dos.csv", "yaml", "no layout 'yaml'"),
        ("missing/dos.csv", None, "there is no folder"),
    ):
        with pytest.raises(InputError, match=message):
            write_spectrum(total, tmp_path / name, layout=layout)
    batch = Spectrum(GRID, sites.density[None])
    with pytest.raises(InputError, match="one crystal at a time"):
        batch.write(tmp_path / "dos.csv")
    with pytest.raises(InputError, match="unknown frequency unit"):
        total.write(tmp_path / "dos.csv", unit="Hz")
    assert list(tmp_path.iterdir()) == []


def test_a_write_replaces_the_whole_file_and_keeps_its_permissions(tmp_path):
    path = tmp_path / "data"
    path.write_text("a much longer old content")
    path.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(path)
    assert atomic_write(link, b"new") == link
    assert path.read_bytes() == b"new"
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["data", "link"]


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "usual").touch()
    path = atomic_write(tmp_path / "ours", "text")
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch):
    path = tmp_path / "data"
    path.write_text("old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ComputationError, match="No space left") as caught:
        atomic_write(path, "new")
    assert caught.value.exit_code == 1
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_replaced_is_refused_or_written_straight(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="it is a folder") as caught:
        atomic_write(tmp_path / "folder", "x")
    assert caught.value.exit_code == 2
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="there is no folder"):
        atomic_write(tmp_path / "file" / "below", "x")
    with pytest.raises(InputError, match="too long"):
        atomic_write(tmp_path / ("x" * 300), "x")
    assert str(atomic_write("/dev/null", "x")) == "/dev/null"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="may not be written"):
        atomic_write(tmp_path / "data", "x")


def test_a_read_only_file_system_is_refused(tmp_path, monkeypatch):
    def read_only(*arguments):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(InputError, match="may not be written") as caught:
        atomic_write(tmp_path / "data", "x")
    assert caught.value.exit_code == 2
