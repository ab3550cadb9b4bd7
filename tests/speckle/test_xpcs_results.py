"""Results open elsewhere, come back as they were, and are averaged where they agree."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from debye.errors import InputError
from debye.speckle.data.read_results import read_results
from debye.speckle.data.results import write_fit, write_results
from debye.speckle.xpcs.average import average
from debye.speckle.xpcs.correlator import Correlator
from debye.speckle.xpcs.fit import fit
from debye.speckle.xpcs.geometry import Geometry
from debye.speckle.xpcs.qmap import make_qmap
from debye.speckle.xpcs.simulate import Simulated
from debye.speckle.xpcs.twotime import TwoTimer, two_time

GEOMETRY = Geometry(x=20.0, y=19.2, distance=5.0, pixel=75e-6, wavelength=1.24)
QMAP = make_qmap(GEOMETRY, torch.ones(40, 40) > 0, 2, phi=2, q_range=(3e-4, 1.4e-3))
SEEN = Simulated(QMAP, frames=120, diffusion=5e7, photons=2.0)
FOUND = SEEN.correlate(slice_frames=40)
MAPS = two_time(SEEN.blocks(), QMAP, SEEN.frame_time, bins=[1, 3])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("results") / "a_results.hdf"
    return write_results(path, FOUND, MAPS, start_time="2026-11-25T12:00:00Z", count_time=9e-4)


def test_what_is_written_comes_back(written):
    back = read_results(written)
    assert back.correlation == replace(FOUND, two_time=MAPS)
    assert back.two_time == MAPS
    assert back.start_time == "2026-11-25T12:00:00Z"
    assert back.correlation.qmap == QMAP


@pytest.mark.parametrize(
    "geometry",
    [Geometry(x=20, y=20), Geometry(x=20, y=20, distance=2.0, pixel=(5e-5, 6e-5), wavelength=1.0)],
    ids=["pixels", "oblong"],
)
def test_any_geometry_comes_back(tmp_path, geometry):
    qmap = make_qmap(geometry, torch.ones(41, 41) > 0, 2, phi=[0.0, 90.0, 180.0])
    found = Simulated(qmap, frames=40, diffusion=0.0).correlate()
    back = read_results(write_results(tmp_path / "b.hdf", found)).correlation
    assert back == found
    assert back.qmap.unit == geometry.unit


def test_maps_alone_come_back(tmp_path):
    maps = two_time(SEEN.blocks(), QMAP, SEEN.frame_time, binned=3)
    back = read_results(write_results(tmp_path / "c.hdf", two_time=maps))
    assert back.two_time == maps
    assert back.correlation is None
    path = write_results(tmp_path / "d.hdf", FOUND, maps)
    assert read_results(path).two_time == maps
    with h5py.File(path) as file:
        assert file["/xpcs/twotime/config/avg_frame"][()] == 3


def test_both_layouts_are_the_same_bytes(written):
    """NXxpcs' names are hard links to 8-ID's datasets."""
    with h5py.File(written) as file:
        for one, other in (
            ("/entry/data/g2", "/xpcs/multitau/normalized_g2"),
            ("/entry/data/g2_derr", "/xpcs/multitau/normalized_g2_err"),
            ("/entry/data/delay_difference", "/xpcs/multitau/delay_list"),
            ("/entry/twotime/two_time_corr_func", "/xpcs/twotime/correlation_map"),
            ("/entry/instrument/masks/dynamic_roi_map", "/xpcs/qmap/dynamic_roi_map"),
        ):
            assert file[one] == file[other]
            assert isinstance(file.get(one, getlink=True), h5py.HardLink)
        assert file["/entry/definition"][()] == b"NXxpcs"
        assert file["/entry/data/g2"].attrs["storage_mode"] == "one_array"
        assert file["/entry/data/g2"].shape == (len(FOUND.delay), len(QMAP))
        assert file["/xpcs/multitau/normalized_g2_partial"].shape == (3, len(FOUND.delay), 4)
        assert file["/entry/instrument/incident_beam/incident_energy"][()] == pytest.approx(
            9.999, abs=1e-3
        )
        upper = file["/xpcs/twotime/correlation_map/c2_00002"][()]
        assert np.array_equal(upper, np.triu(upper))


def test_pyxpcsviewer_opens_it(written):
    """Version 1.2.2 of xpcs-viewer, whose core needs no window."""
    viewer = pytest.importorskip(
        "pyxpcsviewer.core.xpcs_file", reason="xpcs-viewer is not installed: its core reads results"
    )
    seen = viewer.XpcsFile(str(written))
    q, time, g2, error, _ = seen.get_g2_data()
    assert q == pytest.approx(QMAP.q.numpy())
    assert time == pytest.approx(FOUND.time.numpy())
    assert g2 == pytest.approx(FOUND.g2.T.numpy())
    assert error == pytest.approx(FOUND.error.T.numpy())
    bounds = [[0.0, 1e-6, 0.01, 0.9], [2.0, 1.0, 2.0, 1.1]]
    fitted = seen.fit_g2(bounds=bounds, fit_flag=[True] * 4, fit_func="single")
    assert np.isfinite(fitted["fit_val"]).all()
    assert seen.saxs_2d.squeeze() == pytest.approx(FOUND.saxs_2d.numpy())
    _, _, parts, _, _, labels = seen.get_g2_stability_data()
    assert parts[:, : len(FOUND.slices[0].delay)].shape[::2] == (3, 4)
    assert [label.decode() for label in labels] == ["0-39", "40-79", "80-119"]
    shared = [FOUND.delay.tolist().index(d) for d in FOUND.slices[0].delay.tolist()]
    assert parts[0][shared] == pytest.approx(FOUND.slices[0].g2.T.numpy())
    _, profile, _, _ = seen.get_saxs1d_data(target="saxs1d_partial")
    assert len(profile) == 3
    half = seen.get_twotime_c2(0, correct_diag=False)["c2_mat"]
    off = ~np.eye(len(half), dtype=bool)
    assert half[off] == pytest.approx(MAPS.maps[0].numpy()[off])


def test_runs_with_bad_pixels_of_their_own_are_averaged():
    open_ = torch.ones(40, 40) > 0
    open_[5, 5:9] = False
    holed = make_qmap(GEOMETRY, open_, 2, phi=2, q_range=(3e-4, 1.4e-3))
    assert holed.digest != QMAP.digest
    runs = [Simulated(q, frames=120, diffusion=5e7, seed=4).correlate() for q in (QMAP, holed)]
    mean = average(runs)
    assert mean.qmap.mask.equal(open_)
    assert mean.qmap.dynamic.labels.equal(QMAP.dynamic.labels * open_)
    moved = make_qmap(replace(GEOMETRY, x=20.5), open_, 2, phi=2, q_range=(3e-4, 1.4e-3))
    with pytest.raises(InputError, match="another geometry"):
        average([runs[0], Simulated(moved, frames=120, diffusion=5e7).correlate()])


def test_pyxpcsviewer_opens_a_mean(tmp_path):
    viewer = pytest.importorskip(
        "pyxpcsviewer.core.xpcs_file", reason="xpcs-viewer is not installed: its core reads results"
    )
    runs = [Simulated(QMAP, frames=120, diffusion=5e7, seed=k).correlate() for k in (1, 2)]
    mean = average(runs)
    path = mean.write(tmp_path / "mean_results.hdf")
    _, _, g2, error, _ = viewer.XpcsFile(str(path)).get_g2_data()
    assert g2 == pytest.approx(mean.g2.T.numpy())
    assert error == pytest.approx(mean.error.T.numpy())
    back = read_results(path).correlation
    assert back == mean


def test_what_others_wrote_keeps_its_errors(written, tmp_path):
    """A file of boost_corr has errors alone: replicas are made that have them."""
    path = tmp_path / "boost.hdf"
    path.write_bytes(written.read_bytes())
    with h5py.File(path, "a") as file:
        del file["/xpcs/debye"]
        file["/xpcs/multitau/config/avg_frame"][()] = 2
    back = read_results(path).correlation
    torch.testing.assert_close(back.g2, FOUND.g2)
    torch.testing.assert_close(back.error, FOUND.error)
    assert back.frame_time == 2 * FOUND.frame_time
    assert back.qmap.geometry.wavelength == pytest.approx(1.24)
    assert torch.isnan(back.contrast).all()
    off = back.covariance - torch.diag_embed(back.error.square())
    assert off.abs().max() < 1e-12


def without(file, *names):
    for name in names:
        del file[name]


def test_a_file_of_nxxpcs_alone_is_read(written, tmp_path):
    path = tmp_path / "nexus.hdf"
    path.write_bytes(written.read_bytes())
    with h5py.File(path, "a") as file:
        del file["/xpcs"]
    back = read_results(path).correlation
    torch.testing.assert_close(back.g2, FOUND.g2)
    torch.testing.assert_close(back.error, FOUND.error)
    assert (back.delay.tolist(), back.frame_time) == (FOUND.delay.tolist(), FOUND.frame_time)
    assert back.qmap.dynamic.labels.equal(QMAP.dynamic.labels)
    assert back.qmap.unit == "1/Å"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("/xpcs/debye/multitau/contrast_replicas", np.zeros(0)),
        ("/xpcs/debye/multitau/replicas", np.zeros((12, 4, 3))),
        ("/xpcs/debye/left_out", 3.0),
        ("/xpcs/qmap/dynamic_index_mapping", np.full(4, np.nan)),
        ("/xpcs/temporal_mean/scattering_2d", np.zeros((1, 3, 3))),
        ("/xpcs/debye/twotime/numbers", np.zeros((2, 2))),
    ],
)
def test_results_whose_parts_do_not_fit_are_refused_by_name(written, tmp_path, name, value):
    path = tmp_path / "spoilt.hdf"
    path.write_bytes(written.read_bytes())
    with h5py.File(path, "a") as file:
        del file[name]
        file[name] = value
    with pytest.raises(InputError, match=r"spoilt\.hdf"):
        read_results(path)


def test_a_fit_is_kept_in_a_copy_or_in_the_file_itself(written, tmp_path):
    fitted = fit(FOUND, "single")
    path = write_fit(written, tmp_path / "fitted.hdf", fitted)
    back = read_results(path)
    assert back.fit == fitted
    assert back.correlation == read_results(written).correlation
    with pytest.raises(InputError, match="it exists"):
        write_fit(path, path, fitted)
    again = fit(FOUND, "stretched")
    assert read_results(write_fit(path, path, again, overwrite=True)).fit == again


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: f["/xpcs/debye/version"].write_direct(np.array(99)), "it is of version 99"),
        (lambda f: without(f, "/xpcs/qmap", "/entry/instrument/masks"), "it has no /xpcs/qmap"),
        (
            lambda f: without(f, "/xpcs/multitau", "/xpcs/twotime", "/entry/data"),
            "neither /xpcs/multitau nor",
        ),
        (
            lambda f: without(f, "/xpcs/multitau/normalized_g2", "/entry/data/g2"),
            "normalized_g2",
        ),
    ],
)
def test_files_without_results_are_refused(written, tmp_path, spoil, words):
    path = tmp_path / "spoilt.hdf"
    path.write_bytes(written.read_bytes())
    with h5py.File(path, "a") as file:
        spoil(file)
    with pytest.raises(InputError, match=words):
        read_results(path)


def test_an_existing_file_is_kept_unless_it_may_go(tmp_path):
    path = write_results(tmp_path / "e.hdf", FOUND)
    with pytest.raises(InputError, match="it exists"):
        write_results(path, FOUND)
    write_results(path, MAPS.correlation, overwrite=True)
    assert read_results(path).correlation == MAPS.correlation
    with pytest.raises(InputError, match="there is no result"):
        write_results(tmp_path / "f.hdf")
    with pytest.raises(InputError, match="there is no folder"):
        write_results(tmp_path / "no" / "f.hdf", FOUND)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.hdf"]


@pytest.mark.parametrize("photons", [0.02, 2.0], ids=["sparse", "dense"])
def test_two_time_agrees_with_g2_and_with_its_definition(photons):
    seen = replace(SEEN, photons=photons, frames=90, diffusion=3e8)
    frames = np.concatenate(list(seen.blocks()))
    timer = TwoTimer(QMAP, seen.frame_time)
    for start in range(0, 90, 40):
        timer.update(frames[start : start + 40])
    found = timer.finish()
    torch.testing.assert_close(found.maps, found.maps.mT, equal_nan=True)
    correlator = Correlator(QMAP, seen.frame_time, delays=30)
    correlator.update(frames)
    linear = correlator.finish()
    if photons > 1:  # weighed by all frames here, by the first there: the same within errors
        away = found.correlation.g2[:, :30] - linear.g2
        assert away.abs().max() < 0.3 * linear.error.max()
        inside = (QMAP.dynamic.labels == 1).numpy()
        x = frames[:, inside].astype(float)
        plain = (x[3] * x[50]).mean() / x[3].mean() / x[50].mean()
        assert float(found.maps[0, 3, 50]) == pytest.approx(plain, rel=0.05)
    mean = found.maps.diagonal(5, 1, 2).nanmean(1)
    assert ((mean - found.correlation.g2[:, 4]).abs() < 2 * found.correlation.error[:, 4]).all()


def test_ages_and_gaps_of_two_time():
    frames = np.concatenate(list(SEEN.blocks()))
    kept = np.r_[0:50, 53:120]
    timer = TwoTimer(QMAP, SEEN.frame_time, bins=[0])
    timer.update(frames[kept], kept)
    found = timer.finish()
    assert torch.isnan(found.maps[0, 50:53]).all()
    assert torch.isfinite(found.maps[0][kept][:, kept]).all()
    whole = found.at_age([0.0, 1.0])[0, 0]
    values = found.maps[0].diagonal(1)
    assert float(whole[0]) == pytest.approx(float(values.nanmean()), rel=1e-5)
    with pytest.raises(InputError, match="do not rise"):
        found.at_age([1.0, 0.0])
    with pytest.raises(InputError, match="they take"):
        TwoTimer(QMAP, max_bytes=1000).update(frames)
    with pytest.raises(InputError, match="they make 0 rows"):
        TwoTimer(QMAP).finish()
    with pytest.raises(InputError, match="cannot sum 0 frames"):
        TwoTimer(QMAP, binned=0)


def runs(count, **how):
    return [replace(SEEN, seed=s, **how).correlate() for s in range(count)]


def test_runs_are_averaged_with_smaller_errors():
    several = runs(4)
    found = average(several)
    assert len(found.numbers) == 480
    ratio = (found.error.mean() / several[0].error.mean()).item()
    assert ratio == pytest.approx(0.5, abs=0.12)
    short = replace(SEEN, seed=9, frames=60).correlate()
    mixed = average([several[0], short])
    assert mixed.delay.tolist() == [
        d for d in several[0].delay.tolist() if d in short.delay.tolist()
    ]
    assert average(several[:1]).g2.equal(several[0].g2)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"frame_time": 2e-3}, "frame time of 0.002 s, not 0.001"),
        ({"qmap": make_qmap(GEOMETRY, torch.ones(40, 40) > 0, 2)}, "another q-map"),
        ({"qmap": make_qmap(Geometry(x=20, y=20), torch.ones(40, 40) > 0, 2)}, "another geometry"),
        ({"qmap": make_qmap(GEOMETRY, torch.ones(40, 41) > 0, 2)}, "not \\(40, 40\\)"),
        ({"diffusion": 2e9}, "g2 of run new differs from that of the others"),
    ],
)
def test_runs_that_do_not_agree_are_not_averaged(other, words):
    odd = replace(SEEN, seed=5, **other).correlate()
    with pytest.raises(InputError, match=words):
        average([*runs(3), odd], names=["a", "b", "c", "new"])
    if "diffusion" in other:
        assert len(average([*runs(1), odd], check=False).numbers) == 240
    with pytest.raises(InputError, match="there is no run"):
        average([])


def test_results_draw_themselves():
    assert FOUND.plot().axes[0].get_ylabel() == "$g_2$(τ) − 1"
    fitted = fit(FOUND, "single", fixed={"baseline": 1.0})
    ax = fitted.plot()
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_ylabel()) == ("log", "log", "τ / s")
    square = MAPS.plot(number=1)
    assert square.get_aspect() == 1
    assert square.get_xlabel() == "t₁ / s"
    with pytest.raises(InputError, match="there is no two-time map 2"):
        MAPS.plot(number=2)
