"""What docs/xpcs.md shows runs, on files as beamlines write them, and names every option."""

import glob
import re
import shlex
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import typer
from stacks import DETECTOR, write_master, write_tiffs
from typer.testing import CliRunner

from debye.cli.command import app
from debye.speckle.data.read_results import read_results
from debye.speckle.xpcs.diffusion import power_law
from debye.speckle.xpcs.fit import fit
from debye.speckle.xpcs.geometry import Geometry
from debye.speckle.xpcs.qmap import make_qmap
from debye.speckle.xpcs.simulate import Simulated

PAGE = Path(__file__).parents[2] / "docs" / "xpcs.md"
pytestmark = pytest.mark.skipif(
    not PAGE.is_file(), reason="the documentation is not beside the tests"
)
GEOMETRY = Geometry(x=47.2, y=46.6, distance=5.0, pixel=75e-6, wavelength=1.24)
STATED = {
    f"{DETECTOR}/{name}": value
    for name, value in {
        "beam_center_x": GEOMETRY.x,
        "beam_center_y": GEOMETRY.y,
        "detector_distance": 5.0,
        "x_pixel_size": 75e-6,
        "y_pixel_size": 75e-6,
        "frame_time": 1e-3,
    }.items()
} | {"/entry/instrument/beam/incident_wavelength": GEOMETRY.wavelength}


def run_of(seed):
    """300 frames of Brownian motion, 10⁷ Å²/s."""
    qmap = make_qmap(GEOMETRY, torch.ones(94, 96) > 0, 12)
    seen = Simulated(qmap, frames=300, frame_time=1e-3, diffusion=1e7, photons=2.0, seed=seed)
    return np.concatenate(list(seen.blocks()))


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A folder in which every command of the page was run, and what each printed."""
    folder = tmp_path_factory.mktemp("page")
    runs = [run_of(seed) for seed in (1, 2)]
    write_master(folder, runs[0], **STATED)
    (folder / "scans").mkdir()
    for name, run in zip("ab", runs, strict=True):
        write_master(folder / name, run, **STATED)
        for path in (folder / name).iterdir():
            shutil.copy(path, folder / "scans" / path.name.replace("run", name))
        with h5py.File(folder / "scans" / f"{name}_master.h5", "r+") as file:
            for part in (1, 2):
                del file[f"/entry/data/data_{part:06d}"]
                link = h5py.ExternalLink(f"{name}_data_{part:06d}.h5", "/entry/data/data")
                file[f"/entry/data/data_{part:06d}"] = link
    write_tiffs(folder / "frames", runs[0][:200])
    with h5py.File(folder / "live.h5", "w") as file:
        file["/entry/data/data"] = runs[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shown = {}
        for command in commands():
            _, *words = shlex.split(command)
            if words[0] == "average":  # of two runs, correlated like the first
                for name in ("one", "two"):
                    master = f"scans/{'a' if name == 'one' else 'b'}_master.h5"
                    done("correlate", master, "--output", f"{name}_results.hdf", "--rings", "6")
            shown[command] = done(*words)
    return folder, shown


def commands():
    """Lines of the page that begin with debye, joined where they go on."""
    text = PAGE.read_text().replace("\\\n", " ")
    return [line.strip() for line in re.findall(r"^    debye .*$", text, re.MULTILINE)]


def done(*words):
    words = [w for word in words for w in (sorted(glob.glob(word)) if "*" in word else [word])]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, (words, result.output)
    return result.output


def test_every_command_runs_and_the_files_are_there(ran):
    folder, shown = ran
    assert len(shown) >= 5
    for name in ("g2.png", "tau.png", "run_results.hdf", "frames_results.hdf"):
        assert (folder / name).stat().st_size > 1000
    assert len(list((folder / "results").glob("*.hdf"))) == 2


def test_it_ends_at_the_relaxation_that_was_put_in(ran):
    folder, _ = ran
    found = read_results(folder / "run_results.hdf").correlation
    law = power_law(fit(found, "single", fixed={"baseline": 1.0}))
    assert abs(law.power - 2) < 4 * law.power_error
    assert law.power_error < 0.1


def test_pyxpcsviewer_opens_what_comes_out(ran):
    files = pytest.importorskip(
        "pyxpcsviewer.core.xpcs_file", reason="xpcs-viewer is not installed: its core reads results"
    )
    opened = files.XpcsFile(str(ran[0] / "run_results.hdf"))
    _, time, g2, _, _ = opened.get_g2_data()
    assert g2.shape[1] == 6
    assert len(time) == len(g2)


def test_the_tables_name_every_option_and_no_other():
    group = typer.main.get_command(app)
    known = {
        option
        for verb in ("correlate", "fit", "average")
        for parameter in group.get_command(None, verb).params
        for option in parameter.opts
        if option.startswith("--")
    } - {"--help", "--quiet"}
    part = PAGE.read_text().split("## All options")[1].split("## What debye says")[0]
    assert set(re.findall(r"--[a-z][a-z-]*", part)) == known


def test_the_python_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(code, str(PAGE), "exec"), names)
    assert names["centre_warnings"](names["found"]) == ()
    assert (tmp_path / "a_results.hdf").is_file()
    law = names["power_law"](names["fitted"])
    assert abs(law.power - 2) < 4 * law.power_error
    centre = names["find_centre"](names["found"].saxs_2d, names["qmap"].mask, names["geometry"])
    assert abs(centre.x - 31.2) < 2
