"""From frames to a result file by `debye correlate`, and what it refuses."""

import json
import re
import shutil

import fabio.tifimage
import h5py
import numpy as np
import pytest
from stacks import (
    DETECTOR,
    EVERY,
    FRAMES,
    STEP,
    simulated,
    write_master,
    write_npy,
    write_pages,
    write_tiffs,
)
from typer.testing import CliRunner
from verbs import refused

from debye.cli.command import app
from debye.errors import InputError
from debye.speckle.data.read_results import read_results
from debye.speckle.data.stack import Stack
from debye.speckle.xpcs.geometry import Geometry
from debye.speckle.xpcs.qmap import make_qmap
from debye.speckle.xpcs.simulate import Simulated


def debye(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def frames():
    return simulated()


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


def circle(folder, frames):
    """A tiff whose second page leads back to the first, as a damaged one may."""
    path = write_pages(folder / "c.tif", frames[:2])
    held = bytearray(path.read_bytes())
    first = int.from_bytes(held[4:8], "little")
    link = first + 2 + 12 * int.from_bytes(held[first : first + 2], "little")
    second = int.from_bytes(held[link : link + 4], "little")
    link = second + 2 + 12 * int.from_bytes(held[second : second + 2], "little")
    held[link : link + 4] = held[4:8]
    path.write_bytes(held)
    return path


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
    (circle, ("c.tif", "in circles")),
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
    summed = debye(*words, "--overwrite", "--bin", 3, "--frames", "0:180:2", "--bad-frames", "8")
    record = json.loads(summed.stdout)
    assert (record["frames"], record["frame_time"]) == (29, pytest.approx(6 * STEP))
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


def test_masks_add_up(frames, tmp_path):
    name, out = write_npy(tmp_path / "s.npy", frames), tmp_path / "r.hdf"
    left, top = np.zeros((2, 49, 49), dtype=np.uint8)
    left[:, :9], top[:6] = 1, 1
    with h5py.File(tmp_path / "q.hdf", "w") as file:
        file["/qmap/mask"] = 1 - top
    np.save(tmp_path / "left.npy", left)
    words = ("correlate", name, "--output", out, "--rings", 2, "--overwrite")
    masks = ("--mask", tmp_path / "left.npy", "--mask", tmp_path / "q.hdf::/qmap/mask")
    assert debye(*words, *masks).exit_code == 0
    held = read_results(out).correlation.qmap.mask.numpy()
    assert not held[left + top > 0].any()
    assert held[left + top == 0].mean() > 0.99
    np.save(tmp_path / "small.npy", left[1:])
    done = debye(*words, *masks, "--mask", tmp_path / "small.npy")
    refused(done, "small.npy with the others", "(48, 49)")


def test_runs_are_averaged_and_images_are_frames(frames, tmp_path):
    folder = write_tiffs(tmp_path / "t", frames[:60])
    out = ("--output", tmp_path / "r.hdf", "--json", "--rings", 3, "--overwrite")
    found = json.loads(debye("correlate", *sorted(folder.iterdir()), *out).stdout)
    assert found["frames"] == 60
    runs = [write_npy(tmp_path / f"{k}.npy", x) for k, x in enumerate((frames, simulated()))]
    found = json.loads(debye("correlate", *runs, *out).stdout)
    assert found["frames"] == 2 * FRAMES
    refused(debye("correlate", *runs, *out, "--two-time"), "two-time maps of several runs")


def test_a_wrong_centre_is_told_and_the_right_one_proposed(tmp_path):
    name = write_npy(tmp_path / "s.npy", simulated(Geometry(27, 22), slope=2.0))
    out = ("--output", tmp_path / "r.hdf", "--rings", 2, "--overwrite")
    wrong = debye("correlate", name, *out, "--centre", "21,22")
    assert wrong.exit_code == 0
    x, y = re.search(r"--centre ([\d.]+),([\d.]+)", wrong.stderr).groups()
    assert (float(x), float(y)) == (pytest.approx(27, abs=0.5), pytest.approx(22, abs=0.5))
    assert "seems to be" not in debye("correlate", name, *out, "--centre", "27,22").stderr


def test_a_centre_beside_the_frame_is_taken_and_said(tmp_path):
    """The detector sees a part of the rings about a beam that passes it."""
    beside = Geometry(-12, 20)
    qmap = make_qmap(beside, EVERY, [14, 30, 50])
    seen = Simulated(qmap, frames=FRAMES, frame_time=STEP, diffusion=0.6, seed=3, slope=1.0)
    name = write_npy(tmp_path / "s.npy", np.concatenate(list(seen.blocks())))
    out = ("--output", tmp_path / "r.hdf", "--rings", "14,30,50", "--json")
    done = debye("correlate", name, *out, "--centre=-12,20", "--phi", 4)
    assert "the beam's centre -12,20 lies outside the frame of 49 × 49 pixels" in done.stderr
    assert "bins of too few pixels were left out: ring 0 from 90°, ring 0 from 180°" in done.stderr
    found = json.loads(done.stdout)
    assert found["q"] == [22, 22, 40, 40]
    assert np.abs(np.array(found["g2"])[:, -4:].mean(1) - 1).max() < 0.05


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--centre", "5"), "--centre"),
        (("--centre", "a,b"), "--centre"),
        (("--rings", "5,4"), "does not rise"),
        (("--rings", "0.001,0.002"), "those that count have"),
        (("--rings", "log:0"), "cannot make 0 rings"),
        (("--rings", "many"), "cannot make rings of 'many'"),
        (("--centre", "nan,3"), "--centre"),
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
