"""Frames give the same correlation whatever file they lie in, and what a file states is used."""

import fabio.edfimage
import h5py
import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin
from stacks import (
    DETECTOR,
    FRAMES,
    MIDDLE,
    SIDE,
    STEP,
    simulated,
    write_dataset,
    write_edfs,
    write_master,
    write_npy,
    write_npz,
    write_packed,
    write_pages,
    write_runs,
    write_scan,
    write_tiffs,
)

import debye as package
from debye.errors import InputError
from debye.speckle.data.sources import mask_of, runs_of
from debye.speckle.data.stack import Stack
from debye.speckle.xpcs.correlator import Correlator
from debye.speckle.xpcs.geometry import Geometry, wavelength_of
from debye.speckle.xpcs.qmap import make_qmap


@pytest.fixture(scope="module")
def frames():
    return simulated()


WRITERS = {
    "master": lambda folder, frames: write_master(folder / "eiger", frames),
    "tiffs": lambda folder, frames: write_tiffs(folder / "tiffs", frames),
    "edfs": lambda folder, frames: write_edfs(folder / "edfs", frames),
    "packed": lambda folder, frames: write_packed(folder / "packed", frames),
    "scan": lambda folder, frames: write_scan(folder / "scan", frames),
    "pages": lambda folder, frames: write_pages(folder / "pages.tif", frames),
    "npy": lambda folder, frames: write_npy(folder / "frames.npy", frames),
    "npy of one run": lambda folder, frames: write_npy(folder / "run.npy", frames[None]),
    "npz": lambda folder, frames: write_npz(folder / "frames.npz", frames, mask=frames[0] > 9),
    "npz of many": lambda folder, frames: (
        f"{write_npz(folder / 'two.npz', frames, dark=frames[:9])}::frames"
    ),
    "entry": lambda folder, frames: (
        f"{write_runs(folder / 'r.h5', frames[:9], frames)[0]}::/2.1/measurement/eiger"
    ),
    "run": lambda folder, frames: (
        f"{write_runs(folder / 'r.h5', frames[::-1], frames)[1]}::/entry/data/data[1]"
    ),
    "dataset": lambda folder, frames: write_dataset(folder / "any.h5", frames),
    "array": lambda _, frames: frames,
    "tensor": lambda _, frames: torch.from_numpy(frames.astype(np.int32)),
}


def correlated(stack, geometry=MIDDLE, rings=3, size=None):
    counting = stack.examined()
    correlator = Correlator(make_qmap(geometry, counting.mask, rings), stack.frame_time or 1.0)
    for block, numbers in stack.blocks(size, counting=counting):
        correlator.update(block, stack.places(numbers))
    return correlator.finish()


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_same_g2(kind, frames, tmp_path):
    want = correlated(Stack.open(frames))
    stack = Stack.open(WRITERS[kind](tmp_path, frames))
    assert stack.notes == []
    assert (len(stack), stack.shape) == (FRAMES, (SIDE, SIDE))
    assert stack.frame_time == (STEP if kind == "master" else None)
    found = correlated(stack, size=37)
    assert torch.equal(found.saxs_2d, want.saxs_2d)
    torch.testing.assert_close(found.g2, want.g2, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.error, want.error, rtol=1e-3, atol=1e-5)


def test_g2_is_that_of_whole_frames(frames):
    whole = package.correlate(frames, rings=3)
    found = correlated(Stack.open(frames))
    common = [d for d in found.delay.tolist() if d in whole.delay.tolist()]
    assert len(common) > 6
    ours, theirs = ([x.tolist().index(d) for d in common] for x in (found.delay, whole.delay))
    away = found.g2[:, ours] - whole.g2[:, theirs]
    error = torch.hypot(found.error[:, ours], whole.error[:, theirs])
    assert float((away / error).abs().max()) < 1
    assert float((found.g2[:, 0] - 1).min()) > 0.05


def test_geometry_of_the_file_is_used(tmp_path):
    off = Geometry(30, 20)
    stated = {
        f"{DETECTOR}/beam_center_x": 30.0,
        f"{DETECTOR}/beam_center_y": 20.0,
        f"{DETECTOR}/detector_distance": 4.0,
        f"{DETECTOR}/x_pixel_size": 75e-6,
        f"{DETECTOR}/y_pixel_size": 75e-6,
        "/entry/instrument/beam/incident_wavelength": 1.24,
    }
    stack = Stack.open(write_master(tmp_path / "m", simulated(off, slope=2.0), **stated))
    geometry = stack.geometry
    assert (geometry.x, geometry.y, geometry.distance) == (30, 20, 4.0)
    assert (geometry.pixel, geometry.unit) == ((75e-6, 75e-6), "1/Å")
    assert geometry.wavelength == pytest.approx(1.24)
    late = correlated(stack, geometry).g2[1:, -8:].mean(1)
    assert float((late - 1).abs().max()) < 0.03


@pytest.mark.parametrize(
    ("path", "value", "unit", "keV"),
    [
        (f"{DETECTOR}/detectorSpecific/photon_energy", 8000.0, "", 8.0),
        ("/entry/instrument/incident_beam/incident_energy", 8.0, "keV", 8.0),
        ("/entry/instrument/monochromator/energy", 8000.0, "eV", 8.0),
        ("/entry/instrument/beam/incident_wavelength", 0.15498, "nm", 8.0),
        ("/entry/instrument/beam/incident_wavelength", 1.5498, "angstrom", 8.0),
        ("/entry/instrument/beam/incident_wavelength", 0.0, "angstrom", None),
        ("/entry/instrument/beam/incident_wavelength", 5e9, "angstrom", None),
    ],
)
def test_energy_is_found_in_its_unit(path, value, unit, keV, frames, tmp_path):
    name = write_master(tmp_path / "m", frames)
    with h5py.File(name, "r+") as file:
        file[path] = value
        file[path].attrs["units"] = unit
    stated = Stack.open(name).stated
    want = None if keV is None else pytest.approx(wavelength_of(keV), rel=1e-3)
    assert stated.wavelength == want
    assert any("wavelength is not used" in note for note in stated.notes) == (value > 1e9)


def test_a_centre_that_is_zero_is_not_stated(frames, tmp_path):
    zero = {f"{DETECTOR}/beam_center_{axis}": 0.0 for axis in "xy"}
    assert Stack.open(write_master(tmp_path / "m", frames, **zero)).geometry is None


def test_frames_are_chosen_by_range_and_number(frames):
    stack = Stack.open(frames, frames=slice(10, 170, 3), bad_frames=[13, 14], frame_time=0.5)
    blocks = list(stack.blocks(16))
    numbers = np.concatenate([n for _, n in blocks])
    assert numbers.tolist() == [n for n in range(10, 170, 3) if n != 13]
    assert len(numbers) == len(stack)
    assert np.array_equal(np.concatenate([b for b, _ in blocks]), frames[numbers])
    assert max(len(b) for b, _ in blocks) <= 16
    assert stack.frame_time == 1.5
    assert stack.places(numbers).tolist() == [(n - 10) // 3 for n in numbers]


def test_a_file_of_several_runs_says_so(frames, tmp_path):
    entries, axis = write_runs(tmp_path / "r.h5", frames, frames[:90])[0], tmp_path / "r.nxs"
    assert runs_of(str(entries)) == [f"{entries}::/{k}.1/measurement/eiger" for k in (1, 2)]
    write_runs(tmp_path / "r.h5", frames, frames, frames)
    assert runs_of(str(axis)) == [f"{axis}::/entry/data/data[{k}]" for k in range(3)]
    for spec, words in (
        (f"{axis}::/entry/data/data", r"it holds 3 runs.*\n.*name one, from 0"),
        (f"{axis}::/entry/data/data[3]", "it holds 3 runs"),
        (entries, r"name the dataset: .*r\.h5::/1\.1/measurement/eiger"),
    ):
        with pytest.raises(InputError, match=words):
            Stack.open(spec)
    for alone in (tmp_path / "no.h5", tmp_path, write_npy(tmp_path / "a.npy", frames)):
        assert runs_of(str(alone)) == [str(alone)]
    master = write_master(tmp_path / "m", frames)
    assert runs_of(str(master)) == [str(master)]
    with h5py.File(tmp_path / "cxi.h5", "w") as file:
        for k in (1, 2):
            file[f"/entry_{k}/data_{k}/data"] = frames
    assert "holds 2 runs; the first, /entry_1" in Stack.open(tmp_path / "cxi.h5").notes[0]
    assert len(runs_of(str(tmp_path / "cxi.h5"))) == 2


def test_images_behind_the_only_page_are_told(frames, tmp_path):
    said = TiffImagePlugin.ImageFileDirectory_v2()
    said[270] = "ImageJ=1.53t\nimages=180\nslices=180\n"
    Image.fromarray(frames[0]).save(tmp_path / "j.tif", tiffinfo=said)
    with pytest.raises(InputError, match="180 images, and it has 1 pages"):
        Stack.open(tmp_path / "j.tif")


def test_archives_are_read_in_order_and_never_unpickled(frames, tmp_path):
    fortran = write_npz(tmp_path / "f.npz", np.asfortranarray(frames))
    big = write_npz(tmp_path / "b.npz", frames.astype(">u4"))
    for name in (fortran, big):
        stack = Stack.open(name, frames=slice(3, None, 7))
        (block, _), *_ = stack.blocks()
        assert np.array_equal(block, frames[3::7])
        with stack.source.open() as rows_of:
            assert np.array_equal(rows_of(range(50, 60)), frames[50:60])
            assert np.array_equal(rows_of(range(2, 4)), frames[2:4])  # backwards
    np.savez(tmp_path / "o.npz", frames=np.array([{}, []], dtype=object), allow_pickle=True)
    two = write_npz(tmp_path / "two.npz", frames, other=frames)
    short = tmp_path / "short.npz"
    short.write_bytes(big.read_bytes()[:-9000])
    wrong = bytearray(big.read_bytes())
    wrong[9000:9020] = bytes(20)
    (tmp_path / "wrong.npz").write_bytes(wrong)
    for spec, words in (
        (tmp_path / "no.npz", "no such file"),
        (f"{tmp_path / 'o.npz'}::frames", "unpickled"),
        (two, r"frames \(180, 49, 49\).*\n.*two\.npz::NAME"),
        (f"{two}::dark", "holds no 'dark'"),
        (short, "cannot read"),
        (tmp_path / "wrong.npz", "cannot read"),
    ):
        with pytest.raises(InputError, match=words):
            list(Stack.open(spec).blocks())


@pytest.mark.parametrize("size", [None, 16, 37])
def test_summed_frames_correlate_as_sums_do(size, frames):
    """A bad frame, and a gap in the stride, take the whole sum with them, and nothing closes up."""
    stack = Stack.open(frames, frames=slice(2, 176), bad_frames=[50, 51, 120], bins=4, frame_time=1)
    assert (stack.frame_time, len(stack)) == (4, 41)
    sums = frames[2:174].reshape(43, 4, SIDE, SIDE).sum(1)
    blocks = list(stack.blocks(size))
    places = np.concatenate([stack.places(numbers) for _, numbers in blocks])
    assert places.tolist() == [k for k in range(43) if k not in (12, 29)]
    assert [n for _, numbers in blocks for n in numbers] == [2 + 4 * k for k in places]
    assert np.array_equal(np.concatenate([block for block, _ in blocks]), sums[places])
    want = Correlator(make_qmap(MIDDLE, stack.mask, 3), 4.0, bad_frames=[12, 29])
    want.update(sums)
    torch.testing.assert_close(correlated(stack, size=size).g2, want.finish().g2)


def test_sums_leave_out_what_judging_does(frames, tmp_path):
    spoilt, kept = frames.copy(), np.delete(np.arange(FRAMES), [20, 21, 77])
    spoilt[100] = 0
    stated = {f"{DETECTOR}/timestamp": kept * STEP}
    name = write_master(tmp_path / "m", spoilt[kept], **stated)
    with h5py.File(name, "r+") as file:
        file[f"{DETECTOR}/timestamp"].attrs["units"] = "s"
    stack = Stack.open(name, bins=3)
    assert stack.frame_time == pytest.approx(3 * STEP)
    counting = stack.examined()
    assert counting.quality.notes[-1] == "4 of 60 sums lack a frame, and were left out"
    numbers = np.concatenate([n for _, n in stack.blocks(counting=counting)])
    assert stack.places(numbers).tolist() == [k for k in range(60) if k not in (6, 7, 25, 33)]


@pytest.mark.parametrize("kind", ["u1", "u2", "i4", "f2", "f4", "?"])
def test_sums_do_not_overflow(kind):
    frames = np.full((8, 3, 3), 200 if kind != "?" else 1).astype(kind)
    ((sums, _),) = Stack.open(frames, bins=4).blocks()
    assert (sums == 4 * float(frames[0, 0, 0])).all()


@pytest.mark.parametrize(("bins", "words"), [(0, "cannot sum 0"), (99, "1 sums of good frames")])
def test_sums_of_no_use_are_refused(bins, words, frames):
    with pytest.raises(InputError, match=words):
        Stack.open(frames, bins=bins)


def test_frames_missing_in_the_times_leave_a_gap(frames, tmp_path):
    kept = np.delete(np.arange(FRAMES), [20, 21, 77])
    name = write_master(tmp_path / "m", frames[kept], **{f"{DETECTOR}/timestamp": kept * STEP})
    with h5py.File(name, "r+") as file:
        file[f"{DETECTOR}/timestamp"].attrs["units"] = "s"
    stack = Stack.open(name)
    assert stack.frame_time == pytest.approx(STEP)
    assert stack.places(np.arange(len(kept))).tolist() == kept.tolist()
    with pytest.raises(InputError, match="its time axis says"):
        Stack.open(name, frame_time=3 * STEP)
    with h5py.File(name, "r+") as file:
        file[f"{DETECTOR}/frame_time"][...] = 1.5 * STEP
    with pytest.raises(InputError, match=r"its time axis says 0\.002 s"):
        Stack.open(name)
    assert Stack.open(name, frame_time=STEP).frame_time == STEP


def clocked(folder, frames, times, **stated):
    return write_master(folder / "m", frames, **{f"{DETECTOR}/timestamp": times}, **stated)


@pytest.mark.parametrize(
    ("times", "stated", "given", "frame_time", "note"),
    [
        (np.arange(9) * 2e-3, STEP, None, 2e-3, "taken to be in s"),
        (np.arange(9) * 2.0, STEP, None, 2e-3, "taken to be in ms"),
        (np.arange(9) * 2000 + 7, None, STEP, 2e-3, "taken to be in us"),
        (np.arange(9) * 0.25, None, None, 0.25, "taken to be in s"),
        (np.arange(9) * 17.3, None, STEP, 2e-3, "of them only the gaps are used"),
        (np.arange(9), STEP, None, 2e-3, None),
        (np.arange(9), None, None, None, None),
    ],
)
def test_times_without_a_unit_are_seconds_where_nothing_speaks_against_it(
    times, stated, given, frame_time, note, frames, tmp_path
):
    name = clocked(tmp_path, frames[:9], times)
    if stated is None:
        with h5py.File(name, "r+") as file:
            del file[f"{DETECTOR}/frame_time"]
    stack = Stack.open(name, frame_time=given)
    assert stack.frame_time == (None if frame_time is None else pytest.approx(frame_time))
    assert len(stack.notes) == (note is not None)
    assert note is None or note in stack.notes[0]
    every_third = Stack.open(name, frames=slice(0, None, 3), frame_time=given)
    assert every_third.interval == pytest.approx(3 * stack.interval)


def test_times_that_contradict_the_frame_time_are_refused(frames, tmp_path):
    with pytest.raises(InputError, match=r"its time axis says 0\.005 s"):
        Stack.open(clocked(tmp_path, frames[:9], np.arange(9) * 5e-3))


def test_an_exposure_is_no_longer_than_the_frame_time(frames, tmp_path):
    name = write_master(tmp_path / "m", frames, **{f"{DETECTOR}/count_time": 1.5 * STEP})
    with pytest.raises(InputError, match=r"0\.002 s apart\n.*exposed for 0\.003 s"):
        Stack.open(name)
    stack = Stack.open(name, frame_time=2 * STEP)
    assert stack.frame_time == 2 * STEP
    assert "exposed" in Stack.open(name, frame_time=STEP).notes[0]
    with h5py.File(name, "r+") as file:
        file[f"{DETECTOR}/count_time"][...] = STEP
    assert Stack.open(name).notes == []


def test_what_does_not_count_is_left_out_as_everywhere(frames, tmp_path):
    spoilt = frames.copy()
    spoilt[:, 7, 40] = 9000 + np.arange(FRAMES) % 7
    spoilt[100], spoilt[60] = 0, spoilt[59]
    spoilt[:, 20] = 65535
    stack = Stack.open(write_npy(tmp_path / "s.npy", spoilt))
    found = stack.examined()
    assert found.quality.frames == {"dark": [100], "repeated": [60]}
    assert found.quality.pixels == {"saturated": SIDE, "hot": 1}
    assert not found.mask[20].any()
    assert not found.mask[7, 40]
    assert int((~found.mask).sum()) == SIDE + 1
    total = sum(block.sum(0, dtype=np.int64) for block, _ in stack.blocks(counting=found))
    kept = np.delete(spoilt, [60, 100], axis=0).sum(0, dtype=np.int64)
    assert np.array_equal(total, np.where(found.mask.numpy(), kept, 0))


def test_long_runs_are_judged_as_short_ones(frames, monkeypatch):
    from debye.speckle.data import stack as module

    spoilt = frames.copy()
    spoilt[:, 5, 5] = 0
    spoilt[90] = spoilt[89]  # a block ends between them
    whole = Stack.open(spoilt).examined()
    monkeypatch.setattr(module, "BLOCK", 45 * SIDE**2)
    parts = Stack.open(spoilt)
    assert [len(n) for _, n in parts.blocks()] == [45] * 4
    found = parts.examined()
    assert found.quality == whole.quality
    assert found.quality.frames == {"repeated": [90]}
    assert torch.equal(found.mask, whole.mask)


@pytest.mark.parametrize("kind", [np.uint16, np.float32, np.int32])
def test_a_frame_is_found_again_however_far_back(kind, frames, monkeypatch):
    from debye.speckle.data import stack as module

    spoilt = 9 * frames.astype(kind)
    spoilt[:, 5, 5] = 0
    spoilt[60:, 11, 12] = 7777 + np.arange(120) % 9  # hot, but not in the first block
    spoilt[100, 30, 31] = -1 if kind != np.uint16 else 65535
    spoilt[150], spoilt[171], spoilt[90], spoilt[120, :24] = spoilt[9], spoilt[140], 0, 0
    whole = Stack.open(spoilt).examined()
    monkeypatch.setattr(module, "BLOCK", 45 * SIDE**2)
    found = Stack.open(spoilt).examined()
    assert found.quality.frames == {"dark": [90], "partly dark": [120], "repeated": [150, 171]}
    assert found.quality.frames == whole.quality.frames
    assert torch.equal(found.mask, whole.mask)
    assert found.quality.pixels["hot"] == 1
    assert not found.mask[5, 5]
    assert not found.mask[30, 31]


def test_frames_that_are_equal_by_chance_are_no_repeats(monkeypatch):
    from debye.speckle.data import stack as module

    rare = np.random.default_rng(0).poisson(4e-4, (800, 40, 40)).astype(np.uint8)
    assert len({frame.tobytes() for frame in rare}) < 780
    monkeypatch.setattr(module, "BLOCK", 100 * 40**2)
    assert Stack.open(rare).examined().quality.frames == {}


def test_a_mask_over_most_of_what_is_lit_is_told():
    """A mask the wrong way round, of a detector most of which sees nothing."""
    shots = np.zeros((40, 40, 40))
    shots[:, 14:24, 14:24] = np.random.default_rng(0).poisson(3.0, (40, 10, 10))
    mask = torch.ones(40, 40) > 0
    mask[12:23, 12:24] = False
    notes = Stack.open(shots.astype(np.uint16), mask=mask).examined().quality.notes
    assert notes == ("the mask hides 90 of the 100 pixels that see light",)
    mask[12:23] = True
    mask[:14] = False
    assert Stack.open(shots.astype(np.uint16), mask=mask).examined().quality.notes == ()


@pytest.mark.parametrize("scale", [1e-30, 1e30, 1e300])
def test_intensities_that_cannot_be_squared_are_refused(scale, frames):
    with pytest.raises(InputError, match="squares are beyond float32"):
        Stack.open(frames * scale).examined()
    filled = frames * 1e-9
    filled[:, 3, 4] = 9.97e36  # what netCDF writes where nothing is
    found = Stack.open(filled).examined()
    assert (found.quality.pixels, bool(found.mask[3, 4])) == ({"stuck": 1}, False)


def test_more_delays_than_frames_are_refused(frames):
    assert len(package.correlate(frames[:20], 2, delays=19).delay) == 19
    with pytest.raises(InputError, match="cannot correlate at 20 delays"):
        package.correlate(frames[:20], 2, delays=20)


def test_masks_by_their_customs(tmp_path):
    bad = np.zeros((4, 5), dtype=np.uint8)
    bad[1, 2] = 1
    np.save(tmp_path / "whole.npy", bad)
    np.save(tmp_path / "truth.npy", bad == 0)
    fabio.edfimage.EdfImage(data=bad).write(str(tmp_path / "mask.edf"))
    with h5py.File(tmp_path / "mask.h5", "w") as file:
        file["/m"] = bad
    for name in ("whole.npy", "truth.npy", "mask.edf", "mask.h5::/m"):
        assert torch.equal(mask_of(str(tmp_path / name)), torch.from_numpy(bad == 0))
    for path in ("/qmap/mask", "/xpcs/qmap/mask", "/xpcs/mask"):
        with h5py.File(tmp_path / "x.hdf", "w") as file:
            file[path] = 1 - bad
            file["/other/mask"] = bad
        for spec in ("x.hdf", f"x.hdf::{path}", "x.hdf::other/mask"):
            assert torch.equal(mask_of(str(tmp_path / spec)), torch.from_numpy(bad == 0))
    np.save(tmp_path / "line.npy", bad[0])
    with pytest.raises(InputError, match="cannot use the mask"):
        mask_of(str(tmp_path / "line.npy"))
