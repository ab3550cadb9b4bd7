"""Result files by their verbs: fitted, averaged, opened by others, and what is refused."""

import json

import h5py
import numpy as np
import pytest
import torch
from typer.testing import CliRunner
from verbs import refused

from debye.cli.command import app
from debye.speckle import Geometry, make_qmap, read_results, stokes_einstein
from debye.speckle.xpcs.diffusion import diffusion
from debye.speckle.xpcs.simulate import Simulated

GEOMETRY = Geometry(x=24.0, y=24.0, distance=5.0, pixel=75e-6, wavelength=1.24)
QMAP = make_qmap(GEOMETRY, torch.ones(49, 49) > 0, 4, q_range=(3e-4, 1.7e-3))
DIFFUSION = 3e7


def debye(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def write(path, **options):
    """A result file of simulated Brownian motion."""
    given = {"frames": 400, "diffusion": DIFFUSION, "photons": 3.0, "frame_time": 1e-3} | options
    return Simulated(QMAP, **given).correlate().write(path)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    return [write(folder / f"{name}_results.hdf", seed=k) for k, name in enumerate("abc", 1)]


def test_relaxation_is_fitted_and_told(results, tmp_path):
    words = ("fit", results[0], "--model", "single", "--fix", "baseline=1")
    done = debye(*words, "--json", "--temperature", 298, "--viscosity", 8.9e-4)
    assert done.exit_code == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["parameters"] == ["baseline", "contrast", "tau"]
    want = 1 / (DIFFUSION * np.array(record["q"]) ** 2)
    assert np.abs(np.array(record["tau"]) / want - 1).max() < 0.3
    assert abs(record["power"] - 2) < 4 * record["power_error"]
    assert abs(record["D"] - DIFFUSION) < 4 * record["D_error"]
    assert record["D_unit"] == "Å²/s"
    fitted = read_results(results[0]).correlation.fit("single", fixed={"baseline": 1.0})
    radius, _ = stokes_einstein(diffusion(fitted), 298, 8.9e-4)
    assert record["radius_nm"] == pytest.approx(radius)
    told = debye(*words, "--plot", tmp_path / "fit.png")
    assert told.exit_code == 0
    assert "τ ∝ q^−n" in told.stdout
    assert (tmp_path / "fit.png").stat().st_size > 5000
    part = json.loads(debye(*words, "--q", "6e-4:", "--times", ":0.1", "--json").stdout)
    assert part["q"] == record["q"][1:]
    every = json.loads(debye(*words, "--global", "--power", 2, "--json").stdout)
    scaled = np.array(every["tau"]) * np.array(every["q"]) ** 2
    assert scaled == pytest.approx(scaled[0])


def test_a_fit_is_written_beside_what_was_fitted(results, tmp_path):
    out = tmp_path / "fitted.hdf"
    assert debye("fit", results[0], "--output", out).exit_code == 0
    held = read_results(out)
    assert held.fit.model == "stretched"
    assert held.correlation == read_results(results[0]).correlation
    refused(debye("fit", out, "--output", out), "it exists", "--overwrite")
    assert debye("fit", out, "--model", "single", "--output", out, "--overwrite").exit_code == 0
    assert read_results(out).fit.model == "single"


def test_a_bin_whose_fit_fails_is_named_and_the_others_are_told(results, tmp_path):
    path = tmp_path / "b.hdf"
    path.write_bytes(results[0].read_bytes())
    with h5py.File(path, "a") as file:
        file["/xpcs/multitau/normalized_g2"][:, 2] = np.nan
    done = debye("fit", path, "--model", "single", "--json")
    assert done.exit_code == 3
    record = json.loads(done.stdout)
    assert record["tau"][2] is None
    assert all(record["tau"][k] > 0 for k in (0, 1, 3))
    assert "cannot fit" in done.stderr
    assert record["D"] > 0
    with h5py.File(path, "a") as file:
        file["/xpcs/multitau/normalized_g2"][:] = np.nan
    refused(debye("fit", path), "cannot fit")


def test_relaxation_beyond_the_delays_and_bad_fits_are_told(tmp_path):
    path = write(tmp_path / "slow.hdf", diffusion=3e4)
    assert "lies outside the delays" in debye("fit", path, "--model", "single").stderr


def test_what_boost_corr_writes_is_fitted(results, tmp_path):
    path = tmp_path / "boost.hdf"
    path.write_bytes(results[0].read_bytes())
    with h5py.File(path, "a") as file:
        del file["/xpcs/debye"]
        del file["/entry/data"]
    done = debye("fit", path, "--model", "single", "--json")
    assert done.exit_code == 0, done.stderr
    assert abs(json.loads(done.stdout)["D"] / DIFFUSION - 1) < 0.3


def test_runs_that_agree_are_averaged_and_the_mean_opens_again(results, tmp_path):
    out = tmp_path / "mean.hdf"
    done = debye("average", *results, "--output", out, "--json", "--plot", tmp_path / "m.png")
    assert done.exit_code == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["frames"] == 1200
    mean = read_results(out).correlation
    assert mean.g2.tolist() == record["g2"]
    assert len(mean.slices) == 3
    assert mean.slices[1].g2.equal(read_results(results[1]).correlation.g2)
    refused(debye("average", *results, "--output", out), "it exists", "--overwrite")


def test_runs_that_do_not_agree_are_named_and_may_be_left_out(results, tmp_path):
    odd = write(tmp_path / "odd.hdf", seed=9, diffusion=6 * DIFFUSION)
    done = debye("average", *results, odd, "--output", tmp_path / "m.hdf")
    refused(done, "odd.hdf differs", "most by ", "at q = ", "p = ")
    assert not (tmp_path / "m.hdf").exists()
    kept = debye("average", *results, odd, "--leave-out", odd, "--output", tmp_path / "m.hdf")
    assert kept.exit_code == 0
    slower = write(tmp_path / "slower.hdf", frame_time=2e-3)
    refused(
        debye("average", results[0], slower), "slower.hdf", "a frame time of 0.002 s, not 0.001"
    )
    qmap = make_qmap(GEOMETRY, torch.ones(49, 49) > 0, 3, q_range=(3e-4, 1.7e-3))
    other = Simulated(qmap, frames=100).correlate().write(tmp_path / "other.hdf")
    refused(debye("average", results[0], other), "other.hdf", "another q-map")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--fix", "size=3"), "no parameter 'size'"),
        (("--fix", "tau"), "no name=value"),
        (("--fix", "tau=x"), "no number"),
        (("--bound", "tau=3"), "no low:high"),
        (("--bound", "tau=3:1"), "does not rise"),
        (("--q", "1:2"), "no bin of the q-map"),
        (("--q", "a:2"), "no number"),
        (("--times", "0:0.002"), "cannot fit"),
        (("--temperature", 300), "--viscosity"),
        (("--temperature", -3, "--viscosity", 1), "must be positive"),
        (("--power", 2), "--global"),
        (("--plot", "fit.doc"), "--plot"),
    ],
)
def test_options_of_a_fit_that_are_of_no_use_are_refused(words, part, results):
    refused(debye("fit", results[0], *words), part)


def test_files_that_hold_no_results_are_refused(results, tmp_path):
    refused(debye("fit", tmp_path / "no.hdf"), "no such file")
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["/entry/data/data"] = np.ones((4, 8, 8))
    refused(debye("fit", tmp_path / "frames.h5"), "not the frames")
    refused(debye("average", results[0], "--leave-out", results[0]), "there is no run")
    refused(debye("average", results[0], "--leave-out", results[1]), "none of the results")
