"""Files of frames as people have them: where data lie, what is missing, when frames were taken."""

import json
import os
import signal
import subprocess
import sys

import h5py
import hdf5plugin
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from debye.cli.command import app
from debye.errors import InputError
from debye.speckle import correlate, load_frames, read_stack
from debye.speckle.data import children, guarded
from debye.speckle.data.hdf5 import array, open_hdf5
from debye.speckle.data.stack import Stack

DETECTOR = "entry/instrument/detector"
COUNT, SIDE = 20, 24
CLEAN = np.random.default_rng(0).poisson(
    20 * np.random.default_rng(1).exponential(size=(COUNT, SIDE, SIDE))
)
CLEAN = CLEAN.astype(np.uint16)
EVEN = np.arange(COUNT) * 0.1


def write(path, data=CLEAN, times=EVEN, units="", name=f"{DETECTOR}/data"):
    with h5py.File(path, "w") as file:
        file[name] = data
        if times is not None:
            file[f"{DETECTOR}/time"] = times
            file[f"{DETECTOR}/time"].attrs["units"] = units
    return path


def xpcs(path, *words):
    return CliRunner().invoke(app, ["xpcs", str(path), *words])


# Times


@pytest.mark.parametrize(
    ("times", "units", "interval", "unit"),
    [
        (EVEN, "s", 0.1, "s"),
        (EVEN.astype("f4"), "seconds", 0.1, "s"),
        (np.arange(COUNT) * 100, "ms", 0.1, "s"),
        (EVEN * 1e6, "us", 0.1, "s"),
        (EVEN * 1e9, "ns", 0.1, "s"),
        (1.76e9 + EVEN, "s", 0.1, "s"),
        (1_760_000_000 * 10**9 + np.arange(COUNT) * 10**8, "ns", 0.1, "s"),
        (np.uint64(1_760_000_000 * 10**6) + np.arange(COUNT, dtype="u8") * 10**5, "us", 0.1, "s"),
        (np.arange(COUNT) * 2.0, "time of the equation", 2.0, ""),
        (1_760_000_000 * 10**9 + 1 + np.arange(COUNT), "", 1.0, "frames"),
    ],
)
def test_times_are_exact_in_every_type_and_unit(times, units, interval, unit, tmp_path):
    path = write(tmp_path / "f.h5", times=times, units=units)
    stack = Stack.open(path)
    assert stack.interval == pytest.approx(interval, rel=1e-7)
    assert (stack.time_unit, stack.notes) == (unit, [])
    found = correlate(path, rings=1)
    assert found.frame_time == pytest.approx(interval, rel=1e-7)
    assert found.time_unit == unit


@pytest.mark.parametrize(
    ("times", "interval"),
    [
        (EVEN, 0.1),
        (np.arange(COUNT, dtype="i4") * 5, 5.0),
        (1_760_000_000 * 10**9 + 1 + np.arange(COUNT) * 3, 3.0),
    ],
)
def test_without_a_unit_seconds_are_assumed_and_told(times, interval, tmp_path):
    stack = Stack.open(write(tmp_path / "f.h5", times=times))
    assert stack.frame_time == pytest.approx(interval, rel=1e-7)
    assert stack.notes == ["the times have no unit, and were taken to be in s"]


def test_jitter_far_below_a_step_is_tolerated(tmp_path):
    jitter = 1e-3 * np.sin(np.arange(COUNT) * 7.0)
    stack = Stack.open(write(tmp_path / "f.h5", times=EVEN + jitter, units="s"))
    assert stack.interval == pytest.approx(0.1, rel=1e-3)
    assert stack.examined().quality.lines() == []


def test_a_gap_is_told_and_pairs_across_it_are_left_out(tmp_path):
    times = EVEN + 0.3 * (np.arange(COUNT) >= 12)
    stack = Stack.open(write(tmp_path / "f.h5", times=times, units="s"))
    assert stack.interval == pytest.approx(0.1)
    notes = stack.examined().quality.notes
    assert notes == ("3 frames are missing after t = 1.1: the times leave a gap",)
    assert stack.places(np.arange(COUNT)).tolist() == [*range(12), *range(15, 23)]


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (EVEN**1.2, "the times are uneven"),
        (EVEN + 0.05 * (np.arange(COUNT) > 9), "the times are uneven"),
        (np.where(np.arange(COUNT) == 9, 0.3, EVEN), "time 9 is 0.3, after 0.8"),
        (np.where(np.arange(COUNT) == 9, np.nan, EVEN), "some are not finite"),
        (EVEN[:-1], "20 frames a run but 19 times"),
    ],
)
def test_times_that_say_nothing_are_refused(times, words, tmp_path):
    path = write(tmp_path / "f.h5", times=times)
    with pytest.raises(InputError, match=words):
        correlate(path)
    if len(times) < COUNT:
        stack = Stack.open(path, frame_time=0.2)
        assert stack.interval == 0.2
        assert "20 frames but 19 times" in stack.notes[0]


@pytest.mark.parametrize(
    ("name", "unit", "step", "words"),
    [
        ("frame_time", "s", 0.25, None),
        ("count_time", "ms", 0.25, "0.25 s apart, its count_time"),
        ("other", "", 1.0, None),
    ],
)
def test_without_times_the_period_is_taken_and_told(name, unit, step, words, tmp_path):
    path = write(tmp_path / "f.h5", times=None)
    with h5py.File(path, "r+") as file:
        file[f"{DETECTOR}/{name}"] = 250.0 if unit == "ms" else 0.25
        file[f"{DETECTOR}/{name}"].attrs["units"] = unit
    stack = Stack.open(path)
    assert (stack.interval, stack.time_unit) == (step, "s" if unit else "frames")
    assert stack.notes == [] if words is None else words in stack.notes[0]


# Where the frames are


def nexus(path):
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "scan"
        file["scan/eiger/images"] = CLEAN
        file["scan/eiger/total"] = CLEAN.sum((1, 2))
        file["scan"].attrs["default"] = "eiger"
        file["scan/eiger"].attrs["signal"] = "images"
        file["other/images"] = CLEAN


def series(path):
    for k in (1, 2):
        with h5py.File(path.with_name(f"x_{k}.h5"), "w") as part:
            part["entry/data/data"] = CLEAN[10 * k - 10 : 10 * k]
    with h5py.File(path, "w") as file:
        for k in (1, 2):
            file[f"entry/data/data_{k:06d}"] = h5py.ExternalLink(f"x_{k}.h5", "/entry/data/data")


LAYOUTS = {
    "exchange": lambda p: write(p, times=None, name="exchange/data"),
    "nxdata": lambda p: write(p, times=None, name="entry/data/data"),
    "cxi": lambda p: write(p, times=None, name="entry_1/data_1/data"),
    "somewhere": lambda p: write(p, times=None, name="measurement/lambda/images"),
    "a module axis": lambda p: write(p, CLEAN[:, None]),
    "default and signal": nexus,
    "master": series,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_frames_are_found_by_name_and_by_custom(layout, tmp_path):
    LAYOUTS[layout](tmp_path / "f.h5")
    assert torch.equal(load_frames(tmp_path / "f.h5").data[0], torch.from_numpy(CLEAN).float())


@pytest.mark.parametrize("step", [0.5, 1.0])
def test_times_beside_a_link_to_the_frames_are_theirs(step, tmp_path):
    """NXdata shows the detector's frames by a link, and has their time axis."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file[f"{DETECTOR}/data"] = CLEAN
        file[f"{DETECTOR}/frame_time"] = 0.5
        shown = file.create_group("/entry/plot")
        shown.attrs["signal"] = "counts"
        shown["counts"] = h5py.SoftLink(f"/{DETECTOR}/data")
        shown["time"] = np.arange(len(CLEAN)) * step
        shown["time"].attrs["units"] = "s"
    if step == 0.5:
        assert Stack.open(path).stated.times.tolist() == [0.5 * k for k in range(len(CLEAN))]
        return
    with pytest.raises(InputError, match="its time axis says 1 s"):
        Stack.open(path)


def test_of_several_datasets_one_is_to_be_named(tmp_path):
    path = write(tmp_path / "f.h5", times=None, name="a/b")
    with h5py.File(path, "r+") as file:
        file["c/d"], file["c/flat"] = CLEAN[:5], CLEAN[0]
    with pytest.raises(InputError, match=r"frames could be /a/b \(20.*/c/d \(5, 24.*\n.*::/a/b"):
        load_frames(path)
    assert len(load_frames(f"{path}::/c/d").times) == 5
    assert len(load_frames(f"{path}::a/b").times) == COUNT
    done = xpcs(f"{path}::/c/d", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["delay"] == [1, 2, 3, 4]


# What is missing


def virtual(folder, sizes, declared=5):
    """A virtual dataset over parts of so many frames each; None for a part that is not there."""
    layout = h5py.VirtualLayout((len(sizes) * declared, SIDE, SIDE), dtype="u2")
    for k, size in enumerate(sizes):
        name = f"part{k}.h5"
        layout[declared * k : declared * (k + 1)] = h5py.VirtualSource(
            name, "data", shape=(declared, SIDE, SIDE)
        )
        if size is not None:
            with h5py.File(folder / name, "w") as part:
                part["data"] = CLEAN[:size]
    with h5py.File(folder / "v.h5", "w") as file:
        file.create_virtual_dataset(f"{DETECTOR}/data", layout)
    return folder / "v.h5"


def test_a_virtual_dataset_is_read_where_all_its_sources_are_there(tmp_path):
    path = virtual(tmp_path, [5, 5])
    assert read_stack(f"{path}::/{DETECTOR}/data").shape == (10, SIDE, SIDE)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ([5, None, 5], "its source part1.h5 is missing"),
        ([5, 3], r"its source part1.h5 holds .* is taken of it: the rest would be read as zeros"),
    ],
)
@pytest.mark.parametrize("read", [load_frames, lambda p: read_stack(f"{p}::/{DETECTOR}/data")])
def test_sources_that_are_missing_or_cut_short_are_named(sizes, words, read, tmp_path):
    with pytest.raises(InputError, match=words):
        read(virtual(tmp_path, sizes))


def test_what_no_source_fills_is_not_read_as_zeros(tmp_path):
    layout = h5py.VirtualLayout((10, SIDE, SIDE), dtype="u2")
    layout[:5] = h5py.VirtualSource("part.h5", "data", shape=(5, SIDE, SIDE))
    with h5py.File(tmp_path / "part.h5", "w") as part:
        part["data"] = CLEAN[:5]
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_virtual_dataset(f"{DETECTOR}/data", layout)
    with pytest.raises(InputError, match=r"2880 of its 5760 numbers have no source"):
        load_frames(tmp_path / "v.h5")


def test_a_source_without_its_dataset_or_damaged_is_named(tmp_path):
    path = virtual(tmp_path, [5, 5])
    with h5py.File(tmp_path / "part1.h5", "w") as part:
        part["other"] = 1
    with pytest.raises(InputError, match=r"part1.h5 holds no data"):
        load_frames(path)
    (tmp_path / "part1.h5").write_bytes(b"no file of anything")
    with pytest.raises(InputError, match=r"its source part1.h5 cannot be read"):
        load_frames(path)


@pytest.mark.parametrize("verb", ["load", "xpcs"])
def test_a_missing_file_of_a_series_is_named(verb, tmp_path):
    series(tmp_path / "f.h5")
    (tmp_path / "x_2.h5").unlink()
    if verb == "xpcs":
        done = xpcs(tmp_path / "f.h5")
        assert done.exit_code == 2
        assert "its source x_2.h5 is missing" in done.stderr
    else:
        with pytest.raises(InputError, match=r"its source x_2.h5 is missing"):
            load_frames(tmp_path / "f.h5")


def test_a_file_left_open_for_writing_names_its_cure(tmp_path):
    code = (
        "import h5py, os, sys\n"
        "f = h5py.File(sys.argv[1], 'w', libver='latest')\n"
        "f['data'] = [1, 2]\n"
        "f.flush()\n"
        "os._exit(0)"
    )
    path = tmp_path / "f.h5"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)
    with pytest.raises(InputError, match="h5clear -s"):
        load_frames(path)


def test_complex_numbers_are_no_frames(tmp_path):
    path = write(tmp_path / "f.h5", CLEAN * (1 + 1j))
    for read in (load_frames, lambda p: read_stack(f"{p}::/{DETECTOR}/data")):
        with pytest.raises(InputError, match="complex, and a detector counts"):
            read(path)


# Codecs that trust what they decode

CODECS = {
    "bitshuffle": hdf5plugin.Bitshuffle(),
    "lz4": hdf5plugin.LZ4(),
    "blosc": hdf5plugin.Blosc(),
    "zstd": hdf5plugin.Zstd(),
}


def packed(path, codec):
    with h5py.File(path, "w") as file:
        file.create_dataset(f"{DETECTOR}/data", data=CLEAN, chunks=(1, SIDE, SIDE), **CODECS[codec])
    return path


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("fork", [True, False])
def test_codecs_decode_in_another_process(codec, fork, tmp_path, monkeypatch):
    monkeypatch.setattr(guarded, "FORK", fork and guarded.FORK)
    with open_hdf5(packed(tmp_path / "f.h5", codec)) as file:
        found = file[f"{DETECTOR}/data"]
        assert guarded.is_decoded(found)
        assert np.array_equal(array(file, f"{DETECTOR}/data"), CLEAN)
        assert np.array_equal(guarded.read(found, slice(3, 15, 4)), CLEAN[3:15:4])


@pytest.mark.parametrize("codec", CODECS)
def test_damaged_chunks_are_refused_and_the_process_lives(codec, tmp_path):
    """Bytes of the chunks are changed at random; whatever becomes of the codec, this goes on."""
    path, dice = packed(tmp_path / "f.h5", codec), np.random.default_rng(3)
    whole = path.read_bytes()
    with h5py.File(path) as file:
        chunk = file[f"{DETECTOR}/data"].id.get_chunk_info(4)
    refused = 0
    for k in range(12):
        damaged = bytearray(whole)
        for at in dice.integers(0, 12 if k % 2 else chunk.size, 3):
            damaged[chunk.byte_offset + at] = dice.integers(256)
        path.write_bytes(damaged)
        try:
            load_frames(path)
        except InputError as error:
            refused += str(path) in str(error)
    assert refused > 0


@pytest.mark.parametrize("fork", [True, False])
def test_a_codec_that_dies_is_named_by_its_signal(fork, tmp_path, monkeypatch):
    path = packed(tmp_path / "f.h5", "lz4")
    if fork and guarded.FORK:
        monkeypatch.setattr(h5py.Dataset, "read_direct", lambda *a: os.abort())
    else:
        monkeypatch.setattr(guarded, "FORK", False)
        monkeypatch.setattr(guarded, "check", lambda path: None)
        dead = subprocess.CompletedProcess([], -signal.SIGABRT, b"", b"")
        monkeypatch.setattr(guarded, "_interpreter", lambda *a, patience: dead)
    with pytest.raises(InputError, match=r"f.h5\n.*SIGABRT"):
        load_frames(path)


def test_a_codec_that_does_not_end_is_ended(tmp_path, monkeypatch):
    path = packed(tmp_path / "f.h5", "lz4")
    monkeypatch.setattr(h5py.Dataset, "read_direct", lambda *a: signal.pause())
    if not guarded.FORK:
        pytest.skip("nothing is forked here")
    with open_hdf5(path) as file:
        monkeypatch.setattr(guarded, "PATIENCE", 0.1)
        with pytest.raises(InputError, match="no end in sight"):
            array(file, f"{DETECTOR}/data")


def test_a_file_that_ends_whoever_reads_it_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "f.h5")
    if not guarded.FORK:
        pytest.skip("nothing is forked here")
    monkeypatch.setattr(guarded, "walk", lambda path: os.abort())
    with pytest.raises(InputError, match=r"reading it ended a process with SIGABRT"):
        load_frames(path)
    monkeypatch.undo()
    monkeypatch.setattr(guarded, "FORK", False)
    assert len(load_frames(path).times) == COUNT


def spin():
    while True:
        pass


@pytest.mark.parametrize(
    ("work", "code"), [(lambda: bytearray(2**28), 1), (spin, -signal.SIGKILL), (int, 0)]
)
def test_a_child_has_bounds_of_memory_and_of_time(work, code):
    if not guarded.FORK:
        pytest.skip("nothing is forked here")
    child = children.start(work, children.Limits(seconds=1, room=2**26))
    assert children.wait(child, 60)[0] == code
    children.end(child)


def test_a_file_that_claims_all_memory_is_refused(tmp_path, monkeypatch):
    def look(thing):
        raise OSError("Can't synchronously read data (memory allocation failed for chunk)")

    monkeypatch.setattr(guarded, "_data", look)
    if not guarded.FORK:
        pytest.skip("nothing is forked here")
    with pytest.raises(InputError, match=r"f.h5\n.*more memory than there can be to read /"):
        correlate(write(tmp_path / "f.h5"))
