"""`debye invert rank`, `refine`, `design` as a user and as an adversary would call them."""

import doctest
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from test_cli_predict import frame, refused

from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos_io.files import read_measured
from debye.crystals.dos_io.header import unit_named
from debye.crystals.dos_io.measured import likely_units
from debye.errors import InputError

ROOT = Path(__file__).parents[1]
SALT = frame("Na 0 0 0", "Cl 2 2 2")
CSCL = frame("Cs 0 0 0", "Cl 2 2 2", lattice="4.2 0 0 0 4.2 0 0 0 4.2")


@pytest.fixture
def small_model(model_file, monkeypatch):
    monkeypatch.setattr("debye.crystals.predict.model_files.SHIPPED", model_file)


def text_of(energy, intensity, error=None, header="# energy (meV)"):
    columns = [energy, intensity] + ([error] if error is not None else [])
    rows = [" ".join(f"{x:.6g}" for x in row) for row in zip(*columns, strict=True)]
    return "\n".join([header, *rows]) + "\n"


ENERGY = np.linspace(0, 120, 61)
INTENSITY = 5 + 100 * np.exp(-(((ENERGY - 40) / 12) ** 2))
ERROR = np.sqrt(INTENSITY)


@pytest.fixture
def files(tmp_path):
    """A measured spectrum, and a folder with two structures."""
    (tmp_path / "run.dat").write_text(text_of(ENERGY, INTENSITY, ERROR))
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "salt.xyz").write_text(SALT)
    (tmp_path / "cells" / "cscl.xyz").write_text(CSCL)
    return tmp_path


# Measured spectra.


@pytest.mark.parametrize("separator", [" ", ",", ";", "\t", " ; "])
@pytest.mark.parametrize("header", ["E (meV){s}S", "# E / meV\n#", "title\nE [meV]{s}S(E)"])
def test_columns_of_text(tmp_path, separator, header):
    path = tmp_path / "a.txt"
    lines = [header.format(s=separator), *(f"{E}{separator}{E + 1}" for E in (0, 40, 80))]
    path.write_text("\n".join(lines))
    found = read_measured(path)
    assert found.frequency.tolist() == pytest.approx([0, 322.622, 645.243], rel=1e-5)
    assert found.intensity.tolist() == [1, 41, 81]
    assert (found.error, found.unit, found.notes) == (None, "meV", ())


@pytest.mark.parametrize(
    ("header", "unit"),
    [("# cm^-1", "cm-1"), ("# E / cm⁻¹", "cm-1"), ("wavenumber", "cm-1"), ("1/cm", "cm-1"),
     ("nu (THz)", "THz"), ("Energy[meV]", "meV"), ("T (K)", "K"), ("meV THz", None), ("", None)],
)  # fmt: skip
def test_units_in_headers(header, unit):
    assert unit_named(header) == unit


def test_energies_that_decrease_are_turned_round(tmp_path):
    (tmp_path / "a.txt").write_text("# meV\n80 3 .1\n40 2 .2\n0 1 .3\n")
    found = read_measured(tmp_path / "a.txt")
    assert found.intensity.tolist() == [1, 2, 3]
    assert found.error.tolist() == pytest.approx([0.3, 0.2, 0.1])


def test_a_measurement_as_a_spectrum(tmp_path):
    (tmp_path / "a.txt").write_text("0 0\n40 2\n80 0\n")
    found = Spectrum.read(tmp_path / "a.txt", unit="meV")
    assert found.normalisation == "1"
    assert found.mean_frequency.item() == pytest.approx(322.622, rel=1e-5)


def test_what_debye_writes_can_be_read(tmp_path):
    dos = Spectrum([0, 100, 200], [0.0, 0.03, 0.0])
    assert read_measured(dos.write(tmp_path / "d.csv")).intensity.tolist() == [0, 0.03, 0]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the file is empty"),
        ("# meV\n", "0 lines of numbers"),
        ("# meV\n1 2\n", "1 lines of numbers"),
        ("0 1\n40 2\n", "could be in meV or THz"),
        ("0 1\n400 2\n", "could be in meV or cm-1"),
        ("# meV\n0 1\n1 2\n1 3\n", "do not increase"),
        ("# meV\n0 1\n2 2\n1 3\n", "do not increase"),
        ("# meV\n0 1\n10 -2\n20 3\n", "point 2 is -2, and there is no error column"),
        ("# meV\n0 1 1\n10 -9 1\n20 3 1\n", "far below zero"),
        ("# meV\n0 1 1\n10 2 0\n20 3 1\n", "an error is not positive"),
        ("# meV\n0 1\n10 nan\n20 3\n", "NaN or infinity"),
        ("# meV\n0 0\n10 0\n20 0\n", "no point lies above zero"),
        ("# meV\n0 1\n10 2 3\n20 3\n", "line 3 has 3 columns"),
        ("# meV\n0 1\n10 x\n20 3\n", "line 3"),
        ("# meV\n0\n10\n20\n", "has 1 columns"),
        ("# meV\n0 1 1 1\n10 2 2 2\n", "4 columns"),
    ],
)
def test_bad_spectra(tmp_path, text, why):
    path = tmp_path / "a.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=r"a\.txt") as caught:
        read_measured(path)
    assert why in str(caught.value)


def test_noise_below_zero_is_kept(tmp_path):
    (tmp_path / "a.txt").write_text("# meV\n0 -1 1\n40 2 1\n80 -0.5 1\n")
    assert read_measured(tmp_path / "a.txt").intensity.min() == -1
    assert read_measured(tmp_path / "a.txt").spectrum.density.min() == 0


def test_a_unit_against_the_header(tmp_path):
    (tmp_path / "a.txt").write_text("# meV\n0 1\n40 2\n")
    with pytest.raises(InputError, match="its header names meV, and THz was asked for"):
        read_measured(tmp_path / "a.txt", "THz")


def test_an_unusual_end_is_told(tmp_path):
    (tmp_path / "a.txt").write_text("0 1\n40 2\n")
    (note,) = read_measured(tmp_path / "a.txt", "cm-1").notes
    assert "ends at 40 cm-1 is unusual" in note
    assert "looks like meV or THz" in note
    assert likely_units(1000.0) == ["cm-1"]


# rank.


def test_rank(debye, small_model, files):
    result = debye(
        "invert",
        "rank",
        files / "run.dat",
        files / "cells",
        "--background",
        "none",
        "--plot",
        files / "r.png",
        "--output",
        files / "r.json",
    )
    assert result.exit_code == 0, result.output
    assert f"wrote {files / 'r.json'}" in result.stderr
    assert (files / "r.png").stat().st_size > 1000
    told = json.loads((files / "r.json").read_text(), parse_constant=pytest.fail)
    assert sum(c["probability"] for c in told["candidates"]) == pytest.approx(1.0)
    assert {c["formula"] for c in told["candidates"]} == {"NaCl", "CsCl"}
    for candidate in told["candidates"]:
        assert candidate["scale_lower"] < candidate["scale"] < candidate["scale_upper"]
        assert candidate["background_fraction"] == []
    words = ("invert", "rank", files / "run.dat", files / "cells", "--background", "none")
    table = debye(*words, "--top", 1).stdout
    assert "and 1 more" in table
    assert len(json.loads(debye(*words, "--json").stdout)["candidates"]) == 2


def test_rank_with_some_that_fail(debye, small_model, files):
    (files / "cells" / "bad.cif").write_text("")
    words = ("invert", "rank", files / "run.dat", files / "cells", "--background", "none")
    result = debye(*words)
    refused(result, "bad.cif", "1 candidate left out, 2 compared", code=3)
    assert "NaCl" in result.stdout


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["none.dat", "cells"], ["cannot read a spectrum from none.dat"]),
        (["run.dat", "nowhere"], ["no candidate can be compared", "all 1 failed"]),
        (["run.dat", "cells/none*.cif"], ["no candidate"]),
        (["run.dat", "cells", "--unit", "cm-1"], ["its header names meV"]),
        (["run.dat", "cells", "--resolution", "wide"], ["resolution 'wide'"]),
        (["run.dat", "cells", "--window", "9"], ["window '9'"]),
        (["run.dat", "cells", "--window", "3:4"], ["hardly overlap"]),
        (["run.dat", "cells", "--output", "r.txt"], ["--output r.txt"]),
        (["run.dat", "cells", "--plot", "r.gif"], ["'.gif'"]),
        (["short.dat", "cells", "--unit", "cm-1"], ["unusual", "hardly overlap", "meV or THz"]),
        (["run.dat", "cells", "--top", "0"], ["--top"]),
        (["run.dat"], ["Missing argument"]),
    ],
)
def test_rank_refuses(debye, small_model, files, monkeypatch, words, parts):
    monkeypatch.chdir(files)
    (files / "short.dat").write_text(text_of(np.linspace(0, 40, 21), np.ones(21), header="#"))
    result = debye("invert", "rank", *words)
    refused(result, *parts)
    assert result.stdout == ""


def test_rank_of_a_screening(debye, small_model, model_file, files):
    from pyarrow import Table, parquet

    from debye.core.checkpoint import read_card
    from debye.crystals.screening.store import FORMAT, part_path
    from debye.crystals.structure_io.read import RESULTS

    card = read_card(model_file)
    place = files / "screening"
    (place / "parts").mkdir(parents=True)
    grid = card["arguments"]["frequency"]
    kept = {"temperatures": [300.0], "calibrated": False}
    manifest = {"format": FORMAT, "model_sha256": card["sha256"], "frequency": grid, **kept}
    (place / RESULTS).write_text(json.dumps(manifest))
    near, far = (np.exp(-(((np.array(grid) - x) / 100) ** 2)).tolist() for x in (322, 800))
    empty = {"warnings": [], "expected_error_cm-1": None}
    rows = [{"id": f"{n}.cif", "formula": n, "dos": dos, **empty}
            for n, dos in (("Far", far), ("Near", near))]  # fmt: skip
    parquet.write_table(Table.from_pylist(rows), part_path(place, 0, "0" * 8))
    told = json.loads(debye("invert", "rank", files / "run.dat", place, "--json").stdout)
    assert told["candidates"][0]["formula"] == "Near"
    refused(debye("invert", "rank", files / "run.dat", place, "--neutron"), "holds total densities")
    (place / RESULTS).write_text(json.dumps({**manifest, "model_sha256": "0" * 64}))
    refused(debye("invert", "rank", files / "run.dat", place), "another model")


# refine.


def test_refine(debye, small_model, files):
    salt = files / "cells" / "salt.xyz"
    result = debye(
        "invert",
        "refine",
        files / "run.dat",
        salt,
        "--free",
        "lattice",
        "--free",
        "Cl=Br",
        "--samples",
        20,
        "--resolution",
        "1",
        "--background",
        "none",
        "--json",
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout, parse_constant=pytest.fail)
    assert [p["name"] for p in told["parameters"]] == ["strain xx+yy+zz", "fraction of Br for Cl"]
    assert np.array(told["samples"]).shape == (20, 2)
    assert all(0 <= d["width_ratio"] <= 1 for d in told["directions"])
    assert told["misfit"] <= told["misfit_before"] + 1e-6
    for name in ("o.cif", "o.json"):
        result = debye(
            "invert",
            "refine",
            files / "run.dat",
            salt,
            "--resolution",
            "1",
            "--background",
            "none",
            "--output",
            files / name,
            "--plot",
            files / "p.png",
        )
        assert result.exit_code == 0, result.output
        assert (files / name).exists()
    table = debye("invert", "refine", files / "run.dat", salt, "--resolution", "1", "--exact",
                  "--background", "none")  # fmt: skip
    assert "independent directions" in table.stdout


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--free", "everything"], ["cannot free 'everything'"]),
        (["--free", "positions"], ["nothing to refine"]),
        (["--free", "K=Na"], ["cannot replace K by Na"]),
        (["--toward", "none.cif"], ["there is no such file"]),
        (["--toward", "cells/cscl.xyz", "--free", "Q"], ["cannot free 'Q'"]),
        (["--output", "o.txt"], ["--output o.txt"]),
        (["--samples", "-1"], ["--samples"]),
    ],
)
def test_refine_refuses(debye, small_model, files, monkeypatch, words, parts):
    monkeypatch.chdir(files)
    refused(debye("invert", "refine", "run.dat", "cells/salt.xyz", *words), *parts)


def test_refine_exactly_needs_errors(debye, small_model, files):
    (files / "bare.dat").write_text(text_of(ENERGY, INTENSITY))
    result = debye("invert", "refine", files / "bare.dat", files / "cells" / "salt.xyz", "--exact")
    refused(result, "nothing says how large a misfit matters")


# design.


def test_what_can_be_asked_for_is_the_table_of_quantities():
    from debye.cli.options import Goal, Quantity
    from debye.crystals.dos.quantities import PROPERTIES

    assert [q.value for q in Quantity] == [*PROPERTIES]
    assert [g.value for g in Goal] == [*PROPERTIES, "gap"]


@pytest.mark.parametrize(
    ("target", "value"),
    [("mean-frequency", "150"), ("heat-capacity-per-atom", "20"),
     ("heat-capacity-per-kg", "500"), ("entropy-per-atom", "40"),
     ("zero-point-energy-per-atom", "2"), ("gap", "200:300")],
)  # fmt: skip
def test_design(debye, small_model, files, target, value):
    words = ("invert", "design", files / "cells" / "salt.xyz", "--replace", "Cl=Br,Fm",
             "--target", target, "--value", value)  # fmt: skip
    told = json.loads(debye(*words, "--json").stdout, parse_constant=pytest.fail)
    assert {"NaCl", "NaBr"} <= {p["formula"] for p in told["proposals"]}
    assert any(p["elements_unseen"] == ["Fm"] for p in told["proposals"])
    assert all(p["value_lower"] <= p["value"] <= p["value_upper"] for p in told["proposals"])
    result = debye(*words, "--output", files / "d", "--plot", files / "d.png", "--top", 2)
    assert result.exit_code == 0, result.output
    assert len(list((files / "d").iterdir())) == 2
    assert "never seen: Fm" in debye(*words).stdout


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--replace", "Cl", "--target", "gap", "--value", "1:2"], ["--replace 'Cl'", "Sb=As"]),
        (["--replace", "Cl=", "--target", "gap", "--value", "1:2"], ["--replace 'Cl='"]),
        (["--replace", "K=Na", "--target", "gap", "--value", "1:2"], ["cannot replace K"]),
        (["--replace", "Cl=Q", "--target", "gap", "--value", "1:2"], ["no element symbol"]),
        (["--replace", "Cl=Br", "--target", "gap", "--value", "9"], ["a gap needs low:high"]),
        (["--replace", "Cl=Br", "--target", "gap", "--value", "9:3"], ["the gap is empty"]),
        (["--replace", "Cl=Br", "--target", "mean-frequency", "--value", "x"], ["'x'"]),
        (["--replace", "Cl=Br", "--target", "colour", "--value", "1"], ["colour"]),
        (["--replace", "Cl=Br"], ["Missing option"]),
    ],
)
def test_design_refuses(debye, small_model, files, words, parts):
    refused(debye("invert", "design", files / "cells" / "salt.xyz", *words), *parts)


# The page of the docs.


def test_the_page_runs(debye, tmp_path, monkeypatch):
    """Its Python first, which makes the spectrum that its commands use."""
    (tmp_path / "src").symlink_to(ROOT / "src")
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "inversion.md"
    found = doctest.testfile(str(page), module_relative=False)
    assert found.attempted > 10
    assert found.failed == 0
    blocks = page.read_text(encoding="utf-8").split("```sh\n")[1:]
    lines = [line for block in blocks for line in block.split("```")[0].splitlines()]
    assert len(lines) == 3
    for line in lines:
        result = debye(*shlex.split(line)[1:])
        assert result.exit_code == 0, result.output
