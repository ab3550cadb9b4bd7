"""`debye dos`, `thermo`, `alloy`, `demo`, `model` as a user and as an adversary would call them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import PATIENCE
from verbs import refused

import debye as package
from debye.cli.inputs import FIGURES
from debye.core import checkpoint

DEMO = Path(package.__file__).parent / "data" / "demo"


@pytest.fixture(autouse=True)
def small_model_by_default(model_file, monkeypatch):
    """The tests are of the command, whatever the shipped weights."""
    monkeypatch.setattr("debye.crystals.predict.model_files.SHIPPED", model_file)


def frame(*rows, lattice="4 0 0 0 4 0 0 0 4"):
    head = f'Lattice="{lattice}" Properties=species:S:1:pos:R:3'
    return "\n".join([str(len(rows)), head, *rows]) + "\n"


SALT = frame("Na 0 0 0", "Cl 2 2 2")


@pytest.fixture
def salt(tmp_path):
    path = tmp_path / "salt.xyz"
    path.write_text(SALT)
    return path


def records(result):
    """The lines of --json, parsed as strict JSON."""
    return [json.loads(line, parse_constant=pytest.fail) for line in result.stdout.splitlines()]


# dos: what it prints.


def test_table(debye, salt):
    result = debye("dos", salt)
    assert result.exit_code == 0
    header, units, row = result.stdout.splitlines()
    assert header.split()[:2] == ["formula", "atoms"]
    assert "J/K/mol-atom" in units
    assert row.split()[0] == "NaCl"
    assert str(salt) in row


@pytest.mark.parametrize(
    ("unit", "last"), [("cm-1", 1000), ("THz", 29.9792458), ("meV", 123.98419)]
)
@pytest.mark.parametrize("partial", ["none", "element", "site"])
def test_json(debye, salt, unit, last, partial):
    result = debye("dos", salt, "--json", "--unit", unit, "--partial", partial, "--temperature", 77)
    (told,) = records(result)
    assert told["source"] == str(salt)
    assert told["unit"] == unit
    assert told["normalisation"] == "3N"
    assert told["frequency"][-1] == pytest.approx(last, rel=1e-6)
    dos, step = np.array(told["dos"]), np.diff(told["frequency"])
    assert ((dos[1:] + dos[:-1]) / 2 * step).sum() == pytest.approx(6.0, rel=1e-5)
    assert 0 < told[f"mean_frequency_{unit}"] < last
    assert told["temperature_K"] == 77.0
    assert 0 < told["heat_capacity_J_per_K_per_mol_atoms"] < 24.95
    assert {"entropy_J_per_K_per_mol_atoms", "zero_point_energy_kJ_per_mol_atoms"} <= told.keys()
    names = {"none": None, "element": ["Na", "Cl"], "site": ["Na1", "Cl2"]}[partial]
    assert list(told.get("partial_dos", {})) == (names or [])
    if names:
        parts = np.sum(list(told["partial_dos"].values()), 0)
        assert np.allclose(parts, dos, rtol=1e-5, atol=1e-6)


def test_several_files_folders_globs_and_repeats(debye, tmp_path):
    for name in ("a.xyz", "b ü.xyz", "sub/c.xyz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(SALT)
    result = debye("dos", tmp_path, tmp_path / "*.xyz", tmp_path / "a.xyz", "--json")
    assert result.exit_code == 0
    names = [Path(r["source"]).name for r in records(result)]
    assert sorted(names) == ["a.xyz", "a.xyz", "a.xyz", "b ü.xyz", "b ü.xyz", "c.xyz"]


# dos: bad structures.

BAD = {
    "empty.cif": ("", "the file is empty"),
    "binary.cif": (b"\x00\x01\x02\xff" * 99, "binary"),
    "cut.cif": ((DEMO / "quartz.cif").read_text()[:600], "cut.cif"),
    "nan.xyz": (frame("Na nan 0 0"), "NaN or infinity"),
    "flat.xyz": (frame("Na 0 0 0", lattice="4 0 0 4 0 0 0 0 4"), "volume of 0"),
    "overlap.xyz": (frame("Na 0 0 0", "Cl 0.01 0 0"), "overlap"),
    "dummy.xyz": (frame("X 0 0 0"), "unknown species 'X'"),
    "isolated.xyz": (frame("Na 0 0 0", lattice="40 0 0 0 40 0 0 0 40"), "isolated.xyz: site 0"),
    "molecule.xyz": ("1\nno cell\nNa 0 0 0\n", "no cell"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file_alone(debye, tmp_path, name):
    content, why = BAD[name]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = debye("dos", path)
    refused(result, why, name)
    assert result.stdout == ""


def test_bad_files_do_not_stop_the_others(debye, tmp_path):
    for name, (content, _) in BAD.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "frames.xyz").write_text(SALT + BAD["overlap.xyz"][0] + SALT)
    result = debye(
        "dos", tmp_path / "none.cif", tmp_path, "--json", "--output", tmp_path / "o.jsonl"
    )
    refused(result, "frames.xyz[1]", "none.cif", code=3)
    assert f"{len(BAD) + 2} of {len(BAD) + 4} structures failed" in result.stderr
    assert [Path(r["source"]).name for r in records(result)] == ["frames.xyz[0]", "frames.xyz[2]"]
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 2


def test_elements_never_seen_are_predicted_with_a_warning(debye, tmp_path):
    (tmp_path / "fm.xyz").write_text(frame("Fm 0 0 0", "O 2 2 2"))
    result = debye("dos", tmp_path / "fm.xyz", "--json")
    assert result.exit_code == 0
    assert "no training structure contained Fm" in result.stderr
    (told,) = records(result)
    assert told["elements_unseen"] == ["Fm"]
    assert told["warnings"]


def test_a_warning_of_many_structures_is_counted(debye, tmp_path):
    (tmp_path / "fm.xyz").write_text(frame("Fm 0 0 0", "O 2 2 2") * 50)
    result = debye("dos", tmp_path / "fm.xyz")
    lines = [line for line in result.stderr.splitlines() if "contained Fm" in line]
    assert len(lines) == 4
    assert lines[-1].startswith("warning: 47 more structures: ")


# Options.


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--tempreature", "5"], ["--tempreature"]),
        (["--temperature", "-5"], ["--temperature -5", "0 or above"]),
        (["--temperature", "nan"], ["--temperature nan"]),
        (["--temperature", "warm"], ["--temperature"]),
        (["--unit", "eV"], ["--unit"]),
        (["--partial", "atom"], ["--partial"]),
        (["--plot", "foo.txt"], ["--plot foo.txt", "'.txt'", ".png, .svg, .pdf"]),
        (["--plot", "foo"], ["no ending"]),
        (["--output", "foo.xyz"], ["cannot write to foo.xyz", ".jsonl, .csv, .json, .dat"]),
        (["--device", "abacus"], ["cannot compute on 'abacus'"]),
        (["--device", "cpu:7"], ["cannot compute on 'cpu:7'"]),
        (["--model", "none.safetensors"], ["cannot read none.safetensors"]),
        (["--reference", "r.csv"], ["--reference", "add --plot"]),
    ],
)
def test_bad_options_are_refused_before_the_work(debye, salt, words, parts, monkeypatch):
    monkeypatch.chdir(salt.parent)
    result = debye("dos", salt, *words)
    refused(result, *parts)
    assert result.stdout == ""
    assert sorted(salt.parent.iterdir()) == [salt]


@pytest.mark.parametrize("option", ["--output", "--plot"])
def test_places_that_cannot_be_written(debye, salt, option):
    for place in (salt / "x.png", "/proc/x.png"):
        name = place if option == "--plot" else Path(place).with_suffix(".csv")
        refused(debye("dos", salt, option, name), "cannot write into the folder")


def test_a_plot_that_is_a_folder(debye, salt):
    (salt.parent / "f.png").mkdir()
    refused(debye("dos", salt, "--plot", salt.parent / "f.png"), "it is a folder")


@pytest.mark.parametrize("words", [["doss"], [], ["dos"], ["alloy", "a.cif"]])
def test_bad_usage(debye, words):
    assert debye(*words).exit_code == 2


# Files.


def test_output_folder(debye, salt, tmp_path):
    result = debye("dos", salt, salt, "--output", tmp_path / "out", "--partial", "site")
    assert result.exit_code == 0
    assert f"wrote 2 results to {tmp_path / 'out'}" in result.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["NaCl-2.csv", "NaCl.csv"]
    text = (tmp_path / "out" / "NaCl.csv").read_text()
    assert "Na1" in text
    assert "Cl2" in text


def test_formulas_that_differ_by_case_only_get_files_of_their_own(debye, tmp_path):
    (tmp_path / "s.xyz").write_text(frame("C 0 0 0", "O 2 2 2") + frame("Co 0 0 0"))
    debye("dos", tmp_path / "s.xyz", "--output", tmp_path / "out")
    names = [p.name.lower() for p in (tmp_path / "out").iterdir()]
    assert len(set(names)) == 2


@pytest.mark.parametrize("suffix", [".csv", ".json", ".dat"])
def test_output_of_one_structure_comes_back(debye, salt, tmp_path, suffix):
    from debye.crystals.dos.spectrum import Spectrum

    path = tmp_path / f"o{suffix}"
    assert debye("dos", salt, "--output", path).exit_code == 0
    assert Spectrum.read(path).integral.item() == pytest.approx(6.0, rel=1e-3)
    result = debye("dos", salt, salt, "--output", path)
    refused(result, "cannot write a second result")
    assert path.exists()


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_plot(debye, salt, tmp_path, suffix):
    path = tmp_path / "new folder" / f"p{suffix}"
    result = debye("dos", salt, "--plot", path)
    assert result.exit_code == 0
    assert f"drew {path}" in result.stderr
    assert path.stat().st_size > 1000


def test_figures_are_those_that_plot_writes():
    from debye import plot

    assert set(FIGURES) == set(plot._METADATA)


def test_reference(debye, salt, labelled, tmp_path):
    plot = tmp_path / "p.png"
    assert debye("dos", salt, "--plot", plot, "--reference", labelled).exit_code == 0
    result = debye("dos", salt, salt, "--plot", plot, "--reference", labelled)
    assert "single structure only" in result.stderr


# thermo, alloy, demo, model.


def test_thermo(debye, salt, tmp_path):
    result = debye("thermo", salt, "--temperatures", "0:300:100", "--json")
    (told,) = records(result)
    assert told["formula"] == "NaCl"
    result = debye("thermo", salt, "--temperatures", "77,300", "--output", tmp_path / "t.csv",
                   "--plot", tmp_path / "t.png", "--basis", "per-kg")  # fmt: skip
    assert result.exit_code == 0
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert len([line for line in lines if not line.startswith("#")]) == 3
    assert (tmp_path / "t.png").exists()
    assert "# NaCl" in debye("thermo", salt, "--temperatures", "300").stdout


@pytest.mark.parametrize(
    ("text", "why"),
    [("10:0:1", "cannot understand"), ("0:10:0", "cannot understand"), ("a", "cannot understand"),
     ("-5,3", "--temperatures -5"), ("0:nan:1", "cannot understand"), ("", "cannot understand"),
     ("0:1e9:1e-3", "cannot understand")],
)  # fmt: skip
def test_bad_temperatures(debye, salt, text, why):
    refused(debye("thermo", salt, "--temperatures", text), why)


def test_alloy(debye, tmp_path):
    for name, symbol, a in (("a", "Cl", 5.6), ("b", "Br", 5.9)):
        half = a / 2
        rows = ("Na 0 0 0", f"{symbol} {half} {half} {half}")
        lattice = f"0 {half} {half} {half} 0 {half} {half} {half} 0"
        (tmp_path / f"{name}.xyz").write_text(frame(*rows, lattice=lattice))
    parents = tmp_path / "a.xyz", tmp_path / "b.xyz"
    result = debye("alloy", *parents, "--fractions", "0:1:0.5", "--json",
                   "--output", tmp_path / "o", "--plot", tmp_path / "w.png")  # fmt: skip
    assert result.exit_code == 0
    told = records(result)
    assert [r["fraction"] for r in told] == [0.0, 0.5, 1.0]
    assert told[1]["formula"] in ("NaBr0.5Cl0.5", "NaCl0.5Br0.5")
    assert len(list((tmp_path / "o").iterdir())) == 3
    refused(debye("alloy", *parents, "--fractions", "0:2:1"), "--fractions 2", "from 0 to 1")
    refused(debye("alloy", *parents, "--plot", "w.gif"), "'.gif'")
    refused(debye("alloy", parents[0], tmp_path / "none.xyz"), "there is no such file")


def test_demo(debye, tmp_path):
    result = debye("demo", "--output", tmp_path / "d")
    assert result.exit_code == 0
    assert "SiO2" in result.stdout
    assert {"spectra", "spectra.png", "rutile.png", "rutile.json", "alloy.png"} <= {
        p.name for p in (tmp_path / "d").iterdir()
    }
    said = [line for line in result.stderr.splitlines() if line.startswith("warning")]
    assert len(said) == len(set(said))  # no warning is told twice


def test_model(debye, model_file, tmp_path):
    card = json.loads(debye("model").stdout, parse_constant=pytest.fail)
    assert card["class"] == "PhononNet"
    content = bytearray(model_file.read_bytes())
    content[-1] ^= 1
    (tmp_path / "m").write_bytes(content)
    refused(debye("model", tmp_path / "m"), "checksum")


def test_a_model_of_another_kind(debye, salt, tmp_path):
    from debye.core.radial import RadialMLP

    checkpoint.save_model(tmp_path / "m", RadialMLP(5.0, 1), {})
    refused(debye("dos", salt, "--model", tmp_path / "m"), "as a PhononNet", "it holds RadialMLP")


# What only a process of its own shows.


def test_help_of_every_verb_names_its_options(debye):
    for verb in ("dos", "thermo", "alloy", "demo", "model", "train", "evaluate"):
        result = debye(verb, "--help")
        assert result.exit_code == 0
        assert "tables , ," not in result.stdout
    assert debye("--version").stdout.strip() == f"debye {package.__version__}"


def run(words, **facts):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=PATIENCE,
        **facts,
    )


def test_a_reader_that_leaves(salt, model_file):
    """`debye dos … | head -1` ends well, and files are written to their end."""
    salt.write_text(SALT * 300)
    kept = salt.with_name("kept.jsonl")
    command = f"{sys.executable} -m debye dos {salt} --model {model_file} --json"
    for more, lines in (("", None), (f" --output {kept}", 300)):
        result = run(["bash", "-c", f"({command}{more}; echo code $? >&2) | head -1"])
        assert result.stdout.count("\n") == 1
        assert "code 0" in result.stderr
        assert "Traceback" not in result.stderr
        if lines:
            assert len(kept.read_text().splitlines()) == lines


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout(salt, model_file):
    words = [sys.executable, "-m", "debye", "dos", salt, "--model", model_file]
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 1
    assert "No space left" in result.stderr
    assert "Traceback" not in result.stderr
