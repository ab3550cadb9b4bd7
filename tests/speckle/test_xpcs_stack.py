"""Frames give the same correlation whatever file they lie in, and what a file states is used."""

import json
import shutil

import fabio.edfimage
import fabio.tifimage
import h5py
import hdf5plugin
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner
from verbs import refused

import debye as package
from debye.cli.command import app
from debye.errors import InputError
from debye.speckle.data.images import DAMAGE
from debye.speckle.data.sources import mask_of
from debye.speckle.xpcs.correlator import Correlator
from debye.speckle.xpcs.geometry import Geometry, wavelength_of
from debye.speckle.xpcs.qmap import rings_of
from debye.speckle.xpcs.read_results import read_results
from debye.speckle.xpcs.simulate import Simulated
from debye.speckle.xpcs.stack import Stack

SIDE, FRAMES, STEP = 49, 180, 2e-3
MIDDLE = Geometry(SIDE // 2, SIDE // 2)
EVERY = torch.ones(SIDE, SIDE) > 0
DETECTOR = "/entry/instrument/detector"


def simulated(geometry=MIDDLE, **options):
    qmap = rings_of(geometry, EVERY, [3, 9, 15, 21])
    seen = Simulated(qmap, frames=FRAMES, frame_time=STEP, diffusion=2.0, seed=3, **options)
    return np.concatenate(list(seen.blocks()))


@pytest.fixture(scope="module")
def frames():
    return simulated()


def write_master(folder, frames, parts=(1, 2), **stated):
    """A master of EIGER, and the bitshuffle files it links to."""
    folder.mkdir(exist_ok=True)
    with h5py.File(folder / "run_master.h5", "w") as master:
        for number, part in zip(parts, np.array_split(frames, len(parts)), strict=True):
            name = f"run_data_{number:06d}.h5"
            with h5py.File(folder / name, "w") as file:
                file.create_dataset(
                    "/entry/data/data",
                    data=part,
                    chunks=(1, *part.shape[1:]),
                    **hdf5plugin.Bitshuffle(),
                )
            link = h5py.ExternalLink(name, "/entry/data/data")
            master[f"/entry/data/data_{number:06d}"] = link
        for name, value in ({f"{DETECTOR}/frame_time": STEP} | stated).items():
            master[name] = value
    return folder / "run_master.h5"


def write_tiffs(folder, frames):
    folder.mkdir()
    for k, frame in enumerate(frames):
        fabio.tifimage.TifImage(data=frame).write(str(folder / f"scan_{k}.tif"))
    return folder


def write_edfs(folder, frames):
    folder.mkdir()
    for k, frame in enumerate(frames):
        fabio.edfimage.EdfImage(data=frame).write(str(folder / f"scan_{k:04d}.edf"))
    return folder


def write_pages(path, frames):
    first, *others = map(Image.fromarray, frames)
    first.save(path, save_all=True, append_images=others)
    return path


def write_npy(path, frames):
    np.save(path, frames)
    return path


def write_dataset(path, frames):
    with h5py.File(path, "w") as file:
        file["/some/where"] = frames
        file["/else/where"] = frames[:, :5]
    return f"{path}::/some/where"


WRITERS = {
    "master": lambda folder, frames: write_master(folder / "eiger", frames),
    "tiffs": lambda folder, frames: write_tiffs(folder / "tiffs", frames),
    "edfs": lambda folder, frames: write_edfs(folder / "edfs", frames),
    "pages": lambda folder, frames: write_pages(folder / "pages.tif", frames),
    "npy": lambda folder, frames: write_npy(folder / "frames.npy", frames),
    "dataset": lambda folder, frames: write_dataset(folder / "any.h5", frames),
    "array": lambda _, frames: frames,
    "tensor": lambda _, frames: torch.from_numpy(frames.astype(np.int32)),
}


def correlated(stack, geometry=MIDDLE, rings=3, size=None):
    counting = stack.examined()
    correlator = Correlator(rings_of(geometry, counting.mask, rings), stack.frame_time or 1.0)
    for block, numbers in stack.blocks(size, counting=counting):
        correlator.update(block, stack.places(numbers))
    return correlator.finish()


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_same_g2(kind, frames, tmp_path):
    want = correlated(Stack.open(frames))
    stack = Stack.open(WRITERS[kind](tmp_path, frames))
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
    away = found.g2[:, ours] - whole.correlation.g2[:, theirs]
    error = torch.hypot(found.error[:, ours], whole.correlation.error[:, theirs].double())
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
    from debye.speckle.xpcs import stack as module

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
    np.save(tmp_path / "line.npy", bad[0])
    with pytest.raises(InputError, match="cannot use the mask"):
        mask_of(str(tmp_path / "line.npy"))


def another_shape(folder, frames):
    write_tiffs(folder / "t", frames[:6])
    fabio.tifimage.TifImage(data=frames[0, :9]).write(str(folder / "t" / "scan_4.tif"))
    return folder / "t"


def another_type(folder, frames):
    write_tiffs(folder / "t", frames[:6])
    fabio.tifimage.TifImage(data=frames[0].astype(np.uint32)).write(str(folder / "t/scan_4.tif"))
    return folder / "t"


def a_gap(folder, frames):
    write_tiffs(folder / "t", frames[:12])
    (folder / "t" / "scan_9.tif").unlink()
    return folder / "t"


def two_series(folder, frames):
    write_tiffs(folder / "t", frames[:4])
    shutil.copy(folder / "t" / "scan_1.tif", folder / "t" / "dark_1.tif")
    return folder / "t"


def cut_short(folder, frames):
    write_tiffs(folder / "t", frames[:6])
    path = folder / "t" / "scan_3.tif"
    path.write_bytes(path.read_bytes()[:100])
    return folder / "t"


def no_image(folder, frames):
    write_tiffs(folder / "t", frames[:6])
    (folder / "t" / "scan_3.tif").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(3000))
    return folder / "t"


def no_part(folder, frames):
    return write_master(folder / "m", frames, parts=(1, 3))


def no_linked_file(folder, frames):
    name = write_master(folder / "m", frames)
    (folder / "m" / "run_data_000002.h5").unlink()
    return name


def other_parts(folder, frames):
    name = write_master(folder / "m", frames)
    with h5py.File(folder / "m" / "run_data_000002.h5", "w") as file:
        file["/entry/data/data"] = frames[:5, :20]
    return name


def cut_npy(folder, frames):
    path = write_npy(folder / "s.npy", frames)
    path.write_bytes(path.read_bytes()[:5000])
    return path


def objects(folder, _):
    np.save(folder / "s.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    return folder / "s.npy"


def empty(folder, _):
    (folder / "t").mkdir()
    return folder / "t"


REFUSED = [
    (another_shape, ("scan_4.tif", "(9, 49)")),
    (another_type, ("scan_4.tif", "uint32")),
    (a_gap, ("scan_9.tif is missing",)),
    (two_series, ("dark_#.tif, scan_#.tif",)),
    (cut_short, ("scan_3.tif", "copy")),
    (no_image, ("scan_3.tif", "no image")),
    (no_part, ("data_000002 is missing",)),
    (no_linked_file, ("run_data_000002.h5",)),
    (other_parts, ("data_000002", "(20, 49)")),
    (cut_npy, ("s.npy",)),
    (objects, ("s.npy",)),
    (empty, ("no images",)),
    (lambda folder, _: folder / "no.tif", ("no.tif", "no such file")),
    (lambda folder, _: folder / "no.npy", ("no.npy", "no such file")),
]


@pytest.mark.parametrize(("write", "parts"), REFUSED, ids=lambda x: getattr(x, "__name__", ""))
def test_what_cannot_be_read_is_refused_by_name(write, parts, frames, tmp_path):
    done = debye("correlate", write(tmp_path, frames), "--output", tmp_path / "r.hdf")
    refused(done, *parts)
    assert not (tmp_path / "r.hdf").exists()


def test_damaged_images_are_read_or_refused(frames, tmp_path):
    """Bytes changed in the header: no other error, whatever fabio makes of them."""
    fabio.tifimage.TifImage(data=frames[0]).write(str(tmp_path / "a.tif"))
    good, random = (tmp_path / "a.tif").read_bytes(), np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        bad = bytearray(good)
        for at in random.integers(4, 200, 3):
            bad[at] = random.integers(256)
        (tmp_path / "a.tif").write_bytes(bad)
        try:
            list(Stack.open([tmp_path / "a.tif"] * 2).blocks())
            seen.add("read")
        except InputError:
            seen.add("refused")
    assert seen == {"read", "refused"}
    assert Exception not in DAMAGE


def debye(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_from_a_master_to_a_result_file(tmp_path):
    stated = {
        f"{DETECTOR}/beam_center_x": 24.0,
        f"{DETECTOR}/beam_center_y": 24.0,
        f"{DETECTOR}/distance": 4.0,
        f"{DETECTOR}/x_pixel_size": 75e-6,
        f"{DETECTOR}/y_pixel_size": 75e-6,
        f"{DETECTOR}/detectorSpecific/photon_energy": 8000.0,
    }
    name, out = write_master(tmp_path / "m", simulated(), **stated), tmp_path / "r_results.hdf"
    words = ("correlate", name, "--output", out, "--rings", 3, "--two-time", "--json")
    done = debye(*words, "--plot", tmp_path / "g2.png", "--bad-frames", "3,17")
    assert done.exit_code == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["q_unit"], record["frames"], record["frame_time"]) == ("1/Å", FRAMES - 2, STEP)
    assert record["centre"] == [24, 24]
    assert record["energy"] == pytest.approx(8.0)
    held = read_results(out)
    assert held.correlation.g2.tolist() == record["g2"]
    assert held.two_time.maps.shape == (3, FRAMES, FRAMES)
    assert (tmp_path / "g2.png").stat().st_size > 5000
    refused(debye(*words), "it exists", "--overwrite")
    again = debye(*words, "--overwrite", "--distance", 8, "--frames", "0:90")
    assert json.loads(again.stdout)["frames"] == 90
    assert json.loads(again.stdout)["distance"] == 8


def test_without_geometry_q_is_in_pixels_and_said_so(frames, tmp_path):
    name = write_npy(tmp_path / "s.npy", frames)
    done = debye("correlate", name, "--output", tmp_path / "r.hdf", "--rings", 3)
    assert done.exit_code == 0
    for part in ("q is in pixels", "no beam centre is known", "no frame time is known"):
        assert part in done.stderr
    assert "q / pixels" in done.stdout
    told = ("--centre", "24,24", "--energy", 8, "--distance", 4, "--pixel", 75e-6)
    words = ("correlate", name, "--output", tmp_path / "s.hdf", "--rings", 3, "--frame-time", STEP)
    done = debye(*words, *told)
    assert done.exit_code == 0
    assert "warning" not in done.stderr
    assert "q / 1/Å" in done.stdout


def test_runs_are_averaged_and_images_are_frames(frames, tmp_path):
    folder = write_tiffs(tmp_path / "t", frames[:60])
    out = ("--output", tmp_path / "r.hdf", "--json", "--rings", 3, "--overwrite")
    found = json.loads(debye("correlate", *sorted(folder.iterdir()), *out).stdout)
    assert found["frames"] == 60
    runs = [write_npy(tmp_path / f"{k}.npy", x) for k, x in enumerate((frames, simulated()))]
    found = json.loads(debye("correlate", *runs, *out).stdout)
    assert found["frames"] == 2 * FRAMES
    refused(debye("correlate", *runs, *out, "--two-time"), "two-time maps of several runs")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--centre", "5"), "--centre"),
        (("--centre", "a,b"), "--centre"),
        (("--centre", "900,3"), "lies outside the frame"),
        (("--frames", "7"), "--frames"),
        (("--frames", "0:9:0"), "step is 0"),
        (("--frames", "5:6"), "at least two"),
        (("--bad-frames", "999"), "no frame 999"),
        (("--bad-frames", "x"), "--bad-frames"),
        (("--frame-time", "-1"), "frame time"),
        (("--energy", "0"), "energy"),
        (("--plot", "g2.doc"), "--plot"),
    ],
)
def test_options_of_no_use_are_refused(words, part, frames, tmp_path):
    name = write_npy(tmp_path / "s.npy", frames[:40])
    refused(debye("correlate", name, "--output", tmp_path / "r.hdf", *words), part)
