"""Many scans, a result file for each, whatever dies; and scans that are still being written."""

import json
import os
import signal
from dataclasses import replace

import fabio.tifimage
import h5py
import numpy as np
import pytest
import torch
from processes import Child
from stacks import DETECTOR, STEP, simulated, write_master, write_npy
from typer.testing import CliRunner
from verbs import refused

from debye.cli.command import app
from debye.core import executors
from debye.speckle import read_results
from debye.speckle.data.analysis import Analysis
from debye.speckle.data.correlate import analysed
from debye.speckle.data.follow import Follower, follow
from debye.speckle.data.scans import correlate_scans, scan_jobs

HOW = Analysis(q=2, frame_time=STEP, centre=(24.0, 24.0))
OPTIONS = ("--rings", 2, "--frame-time", STEP, "--centre", "24,24")


def debye(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def frames():
    return simulated()


class Deadly(os.PathLike):
    """A path that kills the process which reads it: once, or whenever it is read."""

    def __init__(self, path, flag=None):
        self.path, self.flag, self.home = str(path), flag, os.getpid()

    def __repr__(self):
        return self.path

    def __fspath__(self):
        once = self.flag is not None
        if os.getpid() != self.home and not (once and self.flag.exists()):
            if once:
                self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.path


def test_each_scan_has_a_file_and_what_is_done_is_not_done_again(frames, tmp_path):
    scans = [
        write_npy(tmp_path / f"{name}.npy", frames[k : k + 90]) for k, name in enumerate("abc")
    ]
    out, words = tmp_path / "results", ("correlate", *scans, *OPTIONS, "--workers", 2)
    done = debye(*words, "--output", out, "--json")
    assert done.exit_code == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert {r["source"] for r in records} == set(map(str, scans))
    for record in records:
        assert read_results(record["output"]).correlation.g2.tolist() == record["g2"]
    assert sorted(p.name for p in out.iterdir()) == [f"{n}_results.hdf" for n in "abc"]
    inodes = {p: p.stat().st_ino for p in out.iterdir()}
    (out / "b_results.hdf").unlink()
    again = debye(*words, "--output", out)
    assert again.exit_code == 0
    assert "2 of 3 scans were done before" in again.stderr
    assert len(again.stdout.splitlines()) == 1
    assert inodes[out / "a_results.hdf"] == (out / "a_results.hdf").stat().st_ino
    refused(debye(*words, "--phi", 2, "--output", out), "other frames or options", "--overwrite")
    more = debye(*words, "--phi", 2, "--output", out, "--overwrite")
    assert len(more.stdout.splitlines()) == 3


def test_a_scan_that_cannot_be_read_is_named_and_the_others_are_done(frames, tmp_path):
    good, bad = write_npy(tmp_path / "a.npy", frames[:80]), tmp_path / "b.npy"
    bad.write_bytes(b"no frames")
    done = debye("correlate", good, bad, *OPTIONS, "--workers", 1, "--output", tmp_path / "r")
    assert done.exit_code == 3
    assert "b.npy" in done.stderr
    assert "1 of 2 scans failed" in done.stderr
    assert [p.name for p in (tmp_path / "r").iterdir()] == ["a_results.hdf"]
    alone = debye("correlate", bad, *OPTIONS, "--workers", 1, "--output", tmp_path / "r")
    assert alone.exit_code == 2


def test_nothing_is_lost_when_a_worker_dies(frames, tmp_path):
    names = [write_npy(tmp_path / f"{n}.npy", frames[:80]) for n in "abcd"]
    scans = [*names[:1], Deadly(names[1], tmp_path / "died"), Deadly(names[2]), *names[3:]]
    (tmp_path / "r").mkdir()
    said = []
    jobs = scan_jobs(scans, tmp_path / "r", HOW)
    pool = executors.local(2, ["debye.speckle.data.scans"])
    reports = {str(r.job.frames_of): r for r in correlate_scans(jobs, pool, notify=said.append)}
    assert len(reports) == 4
    assert (tmp_path / "died").exists()
    failed = [name for name, report in reports.items() if report.error is not None]
    assert failed == [str(names[2])]
    assert "workers die of it" in str(reports[failed[0]].error)
    assert any("a worker died" in line for line in said)
    left = {p.name for p in (tmp_path / "r").iterdir()}
    assert left == {f"{n}_results.hdf" for n in "abd"}


def test_two_scans_of_one_name_are_refused(frames, tmp_path):
    scan = write_npy(tmp_path / "a.npy", frames[:40])
    refused(debye("correlate", scan, scan, "--output", tmp_path / "r"), "all would be called")


@pytest.mark.parametrize("name", ["parsl", "dask"])
def test_executors_of_clusters_do_the_same(name, frames, tmp_path):
    config = tmp_path / "e.toml"
    config.write_text("[[nothing]]\n")
    scan = write_npy(tmp_path / "a.npy", frames[:40])
    words = ("correlate", scan, "--output", tmp_path / "r", "--executor", name)
    assert debye(*words, "--executor-config", config).exit_code == 2
    assert not list((tmp_path / "r").glob("*.hdf"))


def open_to_grow(path, frames):
    """An HDF5 file that others may read while it grows."""
    file = h5py.File(path, "w", libver="latest")
    shape = (0, *frames.shape[1:])
    found = file.create_dataset(
        "/entry/data/data", shape, frames.dtype, maxshape=(None, *shape[1:]), chunks=(1, *shape[1:])
    )
    file[f"{DETECTOR}/frame_time"] = STEP
    file.swmr_mode = True
    return file, found


def append(found, frames):
    before = len(found)
    found.resize(before + len(frames), axis=0)
    found[before:] = frames
    found.flush()


def test_a_file_is_followed_while_it_is_written(frames, tmp_path):
    """The writer goes on when the reader says what it has; nobody waits for a clock."""
    path, out = tmp_path / "live.h5", tmp_path / "live_results.hdf"
    file, found = open_to_grow(path, frames)
    append(found, frames[:80])
    words = ("-m", "debye", "correlate", path, "--follow", "--count", len(frames), "--every", 0)
    options = ("--output", out, "--rings", 2, "--centre", "24,24", "--timeout", 500, "--json")
    with file, Child(*words, *options) as child:
        child.says("80 frames correlated")
        assert len(read_results(out).correlation.numbers) == 80  # written whole, to be looked at
        append(found, frames[80:130])
        child.says("130 frames correlated")
        append(found, frames[130:])
        code, printed, said = child.end()
    assert code == 0, said
    record = json.loads(printed)
    assert record["frames"] == len(frames)
    whole = debye("correlate", path, "--rings", 2, "--centre", "24,24", "--json")
    assert record["g2"] == pytest.approx(np.array(json.loads(whole.stdout)["g2"]), abs=1e-6)


def test_who_follows_may_end_it_and_has_what_is_there(frames, tmp_path):
    path, out = tmp_path / "live.h5", tmp_path / "live_results.hdf"
    file, found = open_to_grow(path, frames)
    append(found, frames[:80])
    words = ("-m", "debye", "correlate", path, "--follow", "--output", out, "--timeout", 500)
    with file, Child(*words, "--rings", 2, "--centre", "24,24") as child:
        child.says("80 frames correlated")
        child.send_signal(signal.SIGINT)
        code, printed, said = child.end()
    assert code == 0, said
    assert "stopping with the frames there are" in said
    assert len(read_results(out).correlation.numbers) == 80
    assert "contrast" in printed


def test_a_folder_is_followed_and_ends_with_what_is_there(frames, tmp_path):
    folder = tmp_path / "scan"
    folder.mkdir()

    def write(rows):
        for k in rows:
            fabio.tifimage.TifImage(data=frames[k]).write(str(folder / f"scan_{k:04d}.tif"))

    write(range(70))
    follower = Follower(str(folder), HOW)
    assert follower.look() == 70
    assert len(follower.so_far().numbers) == 70
    assert follower.look() == 0
    write(range(70, 90))
    (folder / "scan_0090.tif").write_bytes(b"II*\0")  # half written
    assert (follower.look(), follower.taken) == (21, 70)
    fabio.tifimage.TifImage(data=frames[90] * 0).write(str(folder / "scan_0090.tif"))
    assert follower.look() == 21
    found = follower.finish()
    assert found.numbers.tolist() == list(range(90))
    assert found.about["left_out"]["frames"] == {"dark": [90]}
    same = follow(str(folder), HOW, timeout=0.0)
    assert same.g2.equal(found.g2)


def test_a_series_is_followed_whose_files_come_one_by_one(frames, tmp_path):
    master = write_master(tmp_path / "m", frames)
    last = tmp_path / "m" / "run_data_000002.h5"
    later = last.rename(tmp_path / "later.h5")
    follower = Follower(str(master), replace(HOW, bad_frames=(100,)))
    assert (follower.look(), follower.taken) == (90, 90)
    later.rename(last)
    assert (follower.look(), follower.taken) == (90, 180)
    found = follower.finish()
    assert found.numbers.tolist() == [n for n in range(len(frames)) if n != 100]
    assert found.frame_time == STEP


def test_what_cannot_be_followed_is_refused(frames, tmp_path):
    done = debye("correlate", tmp_path / "no.h5", "--follow", "--timeout", 0)
    refused(done, "no such file")
    scan = write_npy(tmp_path / "a.npy", frames)
    refused(debye("correlate", scan, scan, "--follow"), "several scans at once")
    refused(debye("correlate", scan, "--follow", "--bin", 2), "while frames are written")
    refused(debye("correlate", scan, "--follow", "--output", tmp_path), "--follow")
    refused(debye("correlate", scan, "--follow", "--slices", 2), "how long it will be")
    refused(debye("correlate", scan, "--follow", "--run", 1), "--run would not be used")
    refused(debye("correlate", scan, "--count", 9), "--count would not be used")


def test_slices_of_what_is_followed_are_those_of_the_whole(frames, tmp_path):
    scan, how = write_npy(tmp_path / "a.npy", frames), replace(HOW, slices=3)
    found = follow(str(scan), how, count=len(frames))
    whole = analysed([str(scan)], how)
    assert [int(s.numbers[0]) for s in found.slices] == [0, 60, 120]
    for ours, theirs in zip(found.slices, whole.slices, strict=True):
        torch.testing.assert_close(ours.g2, theirs.g2)


def test_frames_that_do_not_come_are_told(frames, tmp_path):
    scan = write_npy(tmp_path / "a.npy", frames)
    found = follow(str(scan), HOW, count=len(frames) + 9, timeout=0.0)
    assert f"{len(frames) + 9} frames were awaited, and {len(frames)} came" in found.notes
