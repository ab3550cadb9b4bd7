"""The parts of a screening: how structures are cut, read from tables, and worked on."""

import json
import os
import signal
import sys
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import replace
from functools import partial
from operator import attrgetter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase.db import connect

from debye.core import executors
from debye.core.checkpoint import read_card
from debye.crystals.screening import alone
from debye.crystals.screening import run as run_file
from debye.crystals.screening.alone import killers
from debye.crystals.screening.run import Screening, run_shards, screen
from debye.crystals.screening.store import begin, parts
from debye.crystals.screening.worker import Job, files_of, screen_shard, shards, source_of
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure_io.read import FailedInput, make, pieces, read_structures
from debye.crystals.structure_io.write import to_cif, to_poscar
from debye.errors import ComputationError, DebyeError, InputError

DOCS = Path(__file__).parents[2] / "docs"


def salt(metal="Na", side=5.6, name=""):
    half = side / 2
    cell = half * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return Crystal([metal, "Cl"], [[0, 0, 0], [half, half, half]], cell, name)


SALTS = [salt(metal, side) for side in (5.2, 5.6, 6.0) for metal in ("Li", "Na", "K", "Rb")]


def frames(crystals=SALTS):
    from debye.crystals.structure_io.write import to_xyz

    return "".join(map(to_xyz, crystals))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "salts.xyz"
    path.write_text(frames())
    return path


# Tables.


def written(path, column, entries, **others):
    """A table as Parquet or JSON lines, by the name of its file."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table({column: entries, **others}), path)
    else:
        rows = [
            dict(zip([column, *others], row, strict=True))
            for row in zip(entries, *others.values(), strict=True)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def plain(crystal):
    """pymatgen's dictionary less what is empty in it, which Parquet cannot say."""
    full = crystal.to_dict()
    sites = [{"species": site["species"], "abc": site["abc"]} for site in full["sites"]]
    return {"lattice": {"matrix": full["lattice"]["matrix"]}, "sites": sites}


FORMS = {
    "dict": ("structure", plain),
    "json": ("structure", lambda c: json.dumps(c.to_dict())),
    "cif": ("cif", to_cif),
    "cif-in-structure": ("structure", to_cif),
    "poscar": ("poscar", to_poscar),
    "atoms": (
        "atoms",
        lambda c: json.dumps(
            {"numbers": [11, 17], "positions": c.positions.tolist(), "cell": c.cell.tolist()}
        ),
    ),
}


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
@pytest.mark.parametrize("form", FORMS)
def test_tables_hold_structures(tmp_path, suffix, form):
    column, write = FORMS[form]
    crystals = [salt(side=5.6), salt(side=5.8)]
    path = written(tmp_path / f"t.{suffix}", column, [write(c) for c in crystals], mp_id=["a", "b"])
    found = list(read_structures(path))
    assert [c.name for c in found] == ["a", "b"]
    assert [c.source for c in found] == [f"{path}[0]", f"{path}[1]"]
    for crystal, original in zip(found, crystals, strict=True):
        assert crystal.formula == original.formula
        assert crystal.volume == pytest.approx(original.volume, rel=1e-9)


def test_a_bad_row_of_a_table_does_not_stop_the_next(tmp_path):
    entries = [to_cif(salt()), "no structure", "", None, to_poscar(salt())]
    found = list(read_structures(written(tmp_path / "t.parquet", "structure", entries)))
    assert [isinstance(item, FailedInput) for item in found] == [False, True, True, True, False]
    assert "neither JSON nor CIF nor POSCAR" in found[1].error.why


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"PAR1 and then nothing", "cannot be parsed"),
        (b"no table at all", "no Parquet table"),
        (None, "no column holds structures; it has energy"),
    ],
)
def test_bad_tables(tmp_path, content, why):
    path = tmp_path / "t.parquet"
    if content is None:
        pq.write_table(pa.table({"energy": [1.0]}), path)
    else:
        path.write_bytes(content)
    (found,) = read_structures(path)
    assert why in found.error.why


# Shards.


def every_format(folder):
    """A file of each format."""
    (folder / "a.xyz").write_text(frames(SALTS[:5]))
    written(folder / "b.jsonl", "structure", [c.to_dict() for c in SALTS[:3]])
    written(folder / "c.parquet", "cif", [to_cif(c) for c in SALTS[:4]])
    (folder / "d.cif").write_text(to_cif(SALTS[0]))
    (folder / "POSCAR").write_text(to_poscar(SALTS[1]))
    (folder / "e.json").write_text(json.dumps([c.to_dict() for c in SALTS[:2]]))
    with connect(folder / "f.db") as database:
        for crystal in SALTS[:3]:
            database.write(crystal.to_atoms())
    return folder


def sent(thing):
    """A thing as another process gets it."""
    from multiprocessing.reduction import ForkingPickler

    return ForkingPickler.loads(ForkingPickler.dumps(thing))


def test_pieces_make_what_reading_would_in_any_process(tmp_path):
    folder = every_format(tmp_path)
    direct = list(read_structures(folder))
    made = [
        c for path in files_of([str(folder)]) for piece in pieces(path) for c in make(sent(piece))
    ]
    assert len(made) == len(direct) == 5 + 3 + 4 + 1 + 1 + 2 + 3
    for one, other in zip(made, direct, strict=True):
        assert (one.source, one.formula) == (other.source, other.formula)
        assert np.array_equal(one.positions, other.positions)


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_shards_hold_every_piece_once_in_order(tmp_path, size):
    files = files_of([str(every_format(tmp_path))])
    cut = list(shards(files, size))
    assert [shard.number for shard in cut] == list(range(len(cut)))
    assert [source_of(p) for s in cut for p in s.pieces] == [
        source_of(p) for path in files for p in pieces(path)
    ]
    assert all(len(shard.pieces) <= size for shard in cut)
    assert [s.digest for s in cut] == [s.digest for s in shards(files, size)]


def test_a_digest_tells_inputs_apart(file):
    def digests():
        return [shard.digest for shard in shards([file], 5)]

    before = digests()
    assert len(set(before)) == 3
    os.utime(file, ns=(0, 1))
    assert not set(before) & set(digests())


def test_large_whole_files_count_by_their_bytes(tmp_path):
    (tmp_path / "many.json").write_text(json.dumps([c.to_dict() for c in SALTS * 40]))
    (tmp_path / "one.cif").write_text(to_cif(SALTS[0]))
    assert [len(s.pieces) for s in shards(files_of([str(tmp_path)]), 8)] == [1, 1]


def test_a_file_that_vanishes_is_a_row(tmp_path):
    (shard,) = shards([tmp_path / "gone.cif"], 5)
    ((found,),) = [list(make(piece)) for piece in shard.pieces]
    assert "no such file" in found.error.why


# The run_shards, with an executor that dies on order.


class Inline(Executor):
    """Does everything here and now; is broken by the structures of these names."""

    def __init__(self, deadly, calls):
        self.deadly, self.calls, self.broken = deadly, calls, False

    def submit(self, work, job, given):
        if self.broken:
            raise BrokenExecutor
        future = Future()
        found = given.pieces if hasattr(given, "pieces") else given
        self.calls.append([source_of(piece) for piece in found])
        dies = any(self.deadly(piece) for piece in found if not isinstance(piece, FailedInput))
        if dies and work is not killers:  # which has children to die for it
            self.broken = True
            future.set_exception(BrokenExecutor("a worker died"))
        else:
            try:
                future.set_result(work(job, given))
            except DebyeError as error:
                future.set_exception(error)
        return future


def inline(deadly=lambda piece: False, width=1):
    calls = []
    executor = executors.ExecutorPool(lambda stack: Inline(deadly, calls), width, (BrokenExecutor,))
    return executor, calls


@pytest.fixture
def job(tmp_path, model_file):
    folder = tmp_path / "out"
    folder.mkdir()
    begin(folder, {"temperatures": [300.0]})
    return Job(folder, model_file, read_card(model_file)["sha256"], (300.0,), "none", "cpu")


def rows(job):
    return [row for part in parts(job.folder).values() for row in pq.read_table(part).to_pylist()]


def test_no_more_is_read_than_is_worked_on(file, job):
    read = []

    def watched():
        for shard in shards([file], 1):
            read.append(shard.number)
            yield shard

    executor, _ = inline(width=2)
    reports = run_shards(watched(), job, executor)
    first = next(reports).number
    assert len(read) <= run_file.AHEAD * 2
    assert sorted([first, *(report.number for report in reports)]) == list(range(12))


def with_killers(shard, deadly, number=signal.SIGSEGV):
    """A shard, of whose pieces some kill the process that makes them."""
    kill = partial(signal.raise_signal, number)
    made = [p._replace(make=kill) if p.source in deadly else p for p in shard.pieces]
    return replace(shard, pieces=tuple(made))


@pytest.mark.parametrize(
    ("deadly", "number"),
    [((3,), signal.SIGSEGV), ((0, 11), signal.SIGKILL), ((4, 5, 6), signal.SIGFPE)],
)
def test_what_kills_workers_is_found_and_the_rest_kept(file, job, deadly, number):
    names = {f"{file}[{i}]" for i in deadly}
    executor, _ = inline(lambda piece: piece.source in names)
    told = []
    given = [with_killers(shard, names, number) for shard in shards([file], 6)]
    reports = list(run_shards(given, job, executor, notify=told.append))
    assert sum(report.structures for report in reports) == 12
    assert {row["id"] for row in rows(job) if row["error"]} == names
    assert all("a worker died" in row["error"] for row in rows(job) if row["error"])
    assert all(number.name in row["error"] for row in rows(job) if row["error"])
    assert any("given up" in message for message in told)


def test_a_process_that_dies_at_once_is_no_structures_fault(file, job, monkeypatch):
    monkeypatch.setattr(alone, "_walk", alone.multiprocessing.process.os._exit)  # takes no pieces
    with pytest.raises(ComputationError, match="exit code 1"):
        killers(job, next(shards([file], 6)).pieces)


def test_an_innocent_shard_is_done_again(file, job):
    deaths = iter([True] + [False] * 100)
    executor, _ = inline(lambda piece: next(deaths, False))
    assert sum(r.structures for r in run_shards(shards([file], 6), job, executor)) == 12
    assert not any(row["error"] for row in rows(job))


def test_workers_that_die_of_anything_end_the_run(file, job):
    executor, _ = inline(lambda piece: True)
    with pytest.raises(ComputationError, match="whichever"):
        list(run_shards(shards([file], 12), job, executor))


def test_parts_that_are_there_are_not_done_again(file, job):
    executor, calls = inline()
    in_order = attrgetter("number")  # parts end in any order
    first = sorted(run_shards(shards([file], 5), job, executor), key=in_order)
    list(parts(job.folder).values())[1].unlink()
    calls.clear()
    assert sorted(run_shards(shards([file], 5), job, executor), key=in_order) == first
    assert calls == [[f"{file}[{i}]" for i in range(5, 10)]]


def test_parts_without_inputs_are_refused(file, job):
    executor, _ = inline()
    list(run_shards(shards([file], 5), job, executor))
    with pytest.raises(InputError, match="no longer there"):
        list(run_shards([], job, executor))


def test_another_model_at_a_worker_is_refused(file, job):
    from debye.crystals.screening.worker import _predictor

    executor, _ = inline()
    _predictor.cache_clear()
    with pytest.raises(InputError, match="another one there"):
        list(run_shards(shards([file], 5), replace(job, checksum="0"), executor))


def test_running_out_of_memory_is_a_row(file, job, monkeypatch):
    from debye.crystals.predict.predictor import Predictor

    predict = Predictor._predict

    def short(self, crystals, graphs):
        if any(c.source == f"{file}[2]" for c in crystals):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return predict(self, crystals, graphs)

    monkeypatch.setattr(Predictor, "_predict", short)
    report = screen_shard(job, next(shards([file], 5)))
    assert (report.structures, report.failed) == (5, 1)
    assert "can't allocate memory" in rows(job)[2]["error"]


# screen(): whatever holds structures, into a folder.


@pytest.fixture
def here(monkeypatch, model_file, tmp_path):
    """`screen` that works in this process, with what it submitted."""
    executor, calls = inline()
    monkeypatch.setattr(run_file, "_pool", lambda *asked: executor)

    def run(given, output="out", **asked):
        calls.clear()
        fixed = {"model": model_file, "device": "cpu", "shard_size": 5}
        return screen(given, tmp_path / output, **{**fixed, **asked})

    return run, calls


def test_structures_in_hand_are_screened(here, tmp_path):
    """Crystals, foreign objects and failures, each a row of its own name."""
    run, _ = here
    given = [SALTS[0], SALTS[0], SALTS[1].to_atoms(), 3.5, replace(SALTS[2], source="set.xyz[2]")]
    found = run(iter(given), temperatures=[100, 300])
    assert (found.structures, found.failed, found.finished) == (5, 1, True)
    table = found.to_pandas()
    assert table["id"].is_unique
    assert table["id"].iloc[-1] == "set.xyz[2]"
    assert table["error"].notna().tolist() == [False, False, False, True, False]
    assert "float" in table["error"].iloc[3]
    best = found.top("entropy-per-atom", 2, temperature=300)
    column = "entropy_J_per_K_per_mol_atoms_at_300_K"
    assert [row[column] for row in best] == sorted(table[column].dropna())[:-3:-1]
    assert Screening.open(found.folder) == found
    assert repr(found) == f"Screening({tmp_path / 'out'}, 5 structures, 1 failed, finished)"


def test_the_same_call_goes_on_and_another_is_refused(here, tmp_path):
    run, calls = here
    reports = []
    stopped = run(SALTS, stopping=lambda: len(reports) > 0, progress=reports.append)
    assert (stopped.finished, stopped.structures) == (False, 5 * len(reports))
    done = list((tmp_path / "out/parts").iterdir())
    found = run(SALTS)
    assert (found.finished, found.structures) == (True, 12)
    assert len(calls) == 3 - len(done)
    with pytest.raises(InputError, match="of other structures"):
        run(SALTS[::-1])
    with pytest.raises(InputError, match="another screening"):
        run(SALTS, temperatures=77)


def test_files_and_what_is_in_them_give_the_same_rows(here, file):
    run, _ = here
    from_file, from_list = run(file), run(list(read_structures(file)), "other")
    assert (
        from_file.to_pandas().drop(columns="dos").equals(from_list.to_pandas().drop(columns="dos"))
    )
    some = from_file.to_pandas(["id", "mean_frequency_cm-1"])
    assert list(some.columns) == ["id", "mean_frequency_cm-1"]
    with pytest.raises(InputError, match="no column 'colour'"):
        from_file.to_pandas(["colour"])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"executor": "slurm"}, "no executor 'slurm'"),
        ({"executor_config": "x.toml"}, "would not be used"),
        ({"workers": 0}, "0 workers"),
        ({"shard_size": 0}, "shards of 0"),
        ({"partial": "atom"}, "by 'atom'"),
        ({"level": 1.5}, "no interval of level"),
        ({"temperatures": [-1]}, "temperatures"),
        ({"device": "abacus"}, "abacus"),
        ({"model": "Fast"}, "no model 'Fast'"),
    ],
)
def test_screen_refuses(asked, words, model_file, tmp_path):
    with pytest.raises(InputError, match=words):
        screen(SALTS, tmp_path / "out", **{"model": model_file, "device": "cpu", **asked})
    assert not list(tmp_path.glob("out/parts/*"))


def test_nothing_to_open(tmp_path):
    with pytest.raises(InputError, match="holds no screening"):
        Screening.open(tmp_path)


# The executors, each for real: they give the same rows.


def local_executor(tmp_path):
    return executors.local(2)


def parsl_executor(tmp_path):
    pytest.importorskip("parsl", reason="python -m pip install 'debye[parsl]'")
    return executors.parsl({}, 2, tmp_path / "parsl")


def parsl_threads(tmp_path):
    pytest.importorskip("parsl", reason="python -m pip install 'debye[parsl]'")
    table = {"executors": [{"class": "ThreadPoolExecutor", "max_threads": 2}]}
    executor = executors.parsl(table, None, tmp_path / "parsl")
    assert executor.width == 2
    return executor


def dask_executor(tmp_path):
    pytest.importorskip("distributed", reason="python -m pip install 'debye[dask]'")
    return executors.dask({}, 2)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize(
    "make_executor", [local_executor, parsl_executor, parsl_threads, dask_executor]
)
def test_executors_give_the_same_rows(file, job, tmp_path, make_executor):
    for report in run_shards(shards([file], 3), job, make_executor(tmp_path)):
        assert (report.structures, report.failed) == (3, 0)
    found = rows(job)
    for part in parts(job.folder).values():
        part.unlink()
    executor, _ = inline()
    list(run_shards(shards([file], 3), job, executor))
    assert found == rows(job)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("make_executor", [local_executor, parsl_executor, dask_executor])
def test_executors_survive_what_kills_their_workers(file, job, tmp_path, make_executor):
    names = {f"{file}[1]"}
    given = [with_killers(shard, names) for shard in shards([file], 6)]
    reports = run_shards(given, job, make_executor(tmp_path))
    assert sorted((r.structures, r.failed) for r in reports) == [(6, 0), (6, 1)]
    assert {row["id"] for row in rows(job)} == {f"{file}[{i}]" for i in range(12)}
    assert [row["error"][-7:] for row in rows(job) if row["error"]] == ["SIGSEGV"]


# Configs.


# Asking for the machine's addresses, Parsl leaves the sockets of those without one open.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("path", sorted(DOCS.glob("executors/parsl-*.toml")), ids=lambda p: p.stem)
def test_documented_parsl_configs_are_understood(path, tmp_path):
    pytest.importorskip("parsl", reason="python -m pip install 'debye[parsl]'")
    from debye.core.files import read_toml

    executor = executors.parsl(read_toml(path), None, tmp_path)
    assert executor.width > 4


@pytest.mark.parametrize("path", sorted(DOCS.glob("executors/dask-*.toml")), ids=lambda p: p.stem)
def test_documented_dask_configs_are_understood(path, monkeypatch):
    """The script of a job is what is written of it; nothing is submitted."""
    pytest.importorskip("dask_jobqueue", reason="python -m pip install 'debye[dask]'")
    from debye.core.files import read_toml

    config = read_toml(path)
    with executors.build(
        executors._cluster(config, None), executors._jobqueue(config), "cluster"
    ) as cluster:
        script = cluster.job_script()
    assert "PROJECT" in script
    assert "OMP_NUM_THREADS=1" in script


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"executors": [{"class": "os.system"}]}, "no class 'os.system'"),
        ({"executors": [{"label": "x"}]}, "names no class|has no attribute"),
        ({"executors": [{"class": "ThreadPoolExecutor", "threads": 1}]}, "threads"),
        ({"retry": 1}, "retry"),
    ],
)
def test_bad_parsl_configs(config, why, tmp_path):
    pytest.importorskip("parsl", reason="python -m pip install 'debye[parsl]'")
    with pytest.raises(InputError, match=why):
        executors.parsl(config, 1, tmp_path)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"adress": "tcp://x"}, "'adress' is none of"),
        ({"cluster": {"class": "eval"}}, "dask-jobqueue|no class 'eval'"),
    ],
)
def test_bad_dask_configs(config, why):
    pytest.importorskip("distributed", reason="python -m pip install 'debye[dask]'")
    with pytest.raises(InputError, match=why), executors.dask(config, 1):
        pass


@pytest.mark.parametrize(("kind", "call"), [("parsl", (None, Path())), ("distributed", (None,))])
def test_a_missing_extra_is_told(kind, call, monkeypatch):
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(InputError, match="not installed"):
        (executors.parsl if kind == "parsl" else executors.dask)({}, *call)
