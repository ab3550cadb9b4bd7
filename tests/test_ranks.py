"""Several processes: who each is, that they learn what one would, and that none is left hanging."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress

import pytest
import torch
from processes import PATIENCE, Child
from safetensors.torch import load_file

from debye.core.device import pick_device
from debye.core.distributed import ALONE, LAUNCHERS, ProcessGroup, address, launched
from debye.errors import InputError

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
OPEN_MPI = {f"OMPI_COMM_WORLD_{k}": v for k, v in TORCHRUN.items() if "WORLD" not in k} | {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
HYDRA = {"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
PALS = {"PMI_RANK": "3", "PMI_SIZE": "4", "PMI_LOCAL_RANK": "1", "PMI_LOCAL_SIZE": "2"}
SRUN = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1"}
BATCH_SCRIPT = {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}


# Who a process is.


@pytest.mark.parametrize("words", [TORCHRUN, OPEN_MPI, HYDRA, PALS, SRUN])
def test_each_launcher_is_understood(words):
    assert launched(words) == ProcessGroup(3, 4, 1)


@pytest.mark.parametrize("outer", [OPEN_MPI, SRUN])
def test_torchrun_started_by_another_launcher_counts(outer):
    inner = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    assert launched({**outer, **inner}) == ProcessGroup(0, 2, 0)


@pytest.mark.parametrize("words", [{}, BATCH_SCRIPT])
def test_what_no_launcher_started_is_alone(words):
    assert launched(words) == ALONE


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"RANK": "1"}, "WORLD_SIZE is not set"),
        ({**TORCHRUN, "RANK": "one"}, "RANK is 'one'"),
        ({**TORCHRUN, "WORLD_SIZE": "-2"}, "WORLD_SIZE is '-2'"),
        ({**TORCHRUN, "RANK": "4"}, "counts them from 0"),
        ({**TORCHRUN, "LOCAL_RANK": "4"}, "number 4 on its machine"),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, "PMI_LOCAL_RANK or MPI_LOCALRANKID"),
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "0"}, "SLURM_PROCID is not set"),
    ],
)
def test_half_a_launcher_is_refused(words, why):
    with pytest.raises(InputError) as caught:
        launched(words)
    assert why in caught.value.why


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda x: x.name)
def test_a_launcher_signs_with_what_it_is_read_by(launcher):
    assert launcher.sign in (*launcher.rank, *launcher.size)


@pytest.mark.parametrize(
    ("words", "host"),
    [
        ({"MASTER_ADDR": "far", **PALS}, "far"),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, "127.0.0.1"),
        ({"SLURM_STEP_NODELIST": "nid[0012-0014,0020]"}, "nid0012"),
        ({"SLURM_STEP_NODELIST": "nid[7,9],login1", "SLURM_JOB_NODELIST": "other"}, "nid7"),
        ({"SLURM_JOB_NODELIST": "gpu[01-02]-ib"}, "gpu01-ib"),
        ({"SLURM_JOB_NODELIST": "node-a,node-b"}, "node-a"),
    ],
)
def test_where_processes_meet(words, host):
    assert address(words, ProcessGroup(0, 4))[0] == host


def test_pbs_names_the_first_host(tmp_path):
    (tmp_path / "nodes").write_text("x3001\nx3002\n")
    words = {"PBS_NODEFILE": str(tmp_path / "nodes"), **PALS}
    assert address(words, ProcessGroup(0, 4))[0] == "x3001"


def test_two_jobs_meet_at_two_ports():
    words = {"MASTER_ADDR": "here"}
    ports = {address({**words, "SLURM_JOB_ID": job}, ProcessGroup(0, 2))[1] for job in ("71", "72")}
    assert len(ports) == 2
    assert all(20_000 <= port < 30_000 for port in ports)
    assert address({**words, "MASTER_PORT": "4711"}, ProcessGroup(0, 2))[1] == 4711


def test_places_to_meet_that_are_refused():
    with pytest.raises(InputError, match="cannot find the first of the 4") as caught:
        address(PALS, ProcessGroup(0, 4))
    assert "set MASTER_ADDR" in caught.value.fix
    with pytest.raises(InputError, match="port '70000'"):
        address({"MASTER_ADDR": "here", "MASTER_PORT": "70000"}, ProcessGroup(0, 4))


@pytest.mark.parametrize("count", [0, 1, 5, 16, 17])
@pytest.mark.parametrize("size", [1, 2, 3, 16])
def test_parts_are_the_whole(count, size):
    parts = [range(count)[ProcessGroup(rank, size).part(count)] for rank in range(size)]
    assert [i for part in parts for i in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


# What device it takes.


def test_double_precision_is_not_sought_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (pick_device("auto"), pick_device("auto", precise=True)) == ("mps", "cpu")
    with pytest.raises(InputError, match="cannot compute on 'mps'") as caught:
        pick_device("mps", precise=True)
    assert caught.value.why == "this machine has cpu for double precision"


@pytest.mark.parametrize(
    ("count", "local", "name"), [(4, 0, "cuda:0"), (4, 3, "cuda:3"), (1, 3, "cuda:0")]
)
def test_each_process_takes_a_device_of_its_own(monkeypatch, count, local, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert pick_device("auto", local) == pick_device("cuda", local) == name
    assert pick_device("cpu", local) == "cpu"
    with pytest.raises(InputError, match="cannot compute on 'cuda:0'"):
        pick_device("cuda:0", local)


def test_more_processes_than_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="cannot compute on 'auto'") as caught:
        pick_device("auto", 2)
    assert "process 2 of this machine finds 2 of them" in caught.value.why


# What they do together.


def words_of(launcher, rank, size):
    names = launcher.rank[0], launcher.size[0], launcher.local[0]
    return dict(zip(names, map(str, (rank, size, rank)), strict=True))


def free_port():
    """Below those that the system hands out, so that no connection takes it before it is used."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as candidate, suppress(OSError):
            candidate.bind(("localhost", port))
            return str(port)
    pytest.fail("a hundred ports in turn are taken")


@contextmanager
def started(launcher, size, *command):
    """That many processes with the environment of a launcher."""
    meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": free_port()}
    own = {name for x in LAUNCHERS for names in x[2:] for name in names}
    rest = {k: v for k, v in os.environ.items() if k not in own} | {"OMP_NUM_THREADS": "1"}
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                Child(*command, env={**rest, **meeting, **words_of(launcher, rank, size)})
            )
            for rank in range(size)
        ]


def ends(launcher, size, *command):
    """(exit code, stdout, stderr) of each, all of which must end."""
    with started(launcher, size, *command) as processes:
        return [process.end() for process in processes]


TORCH, OPEN, MPI, SLURM = LAUNCHERS

LINE = """
import json, sys, torch
from torch import nn
from debye.core.training import Recipe, Training
from debye.core.distributed import process_group

X = torch.linspace(-1, 1, 30, dtype=torch.float64).reshape(6, 5, 1)
with process_group("cpu") as group:
    torch.manual_seed(group.rank)  # the weights of the first are everybody's
    model = nn.Sequential(nn.Linear(1, 8), nn.SiLU(), nn.Linear(8, 1)).double()
    calls = 0

    def loss(model, batch):
        global calls
        calls += 1
        error = (model(batch) - 2 * batch).square() / 5
        bad = float("nan") if calls == 8 and part.stop == 5 else 1.0
        return {"low": error.sum(), "high": bad * error.pow(2).sum()}

    training = Training(model, loss, Recipe(epochs=5, peak_rate=0.05), group)
    part = group.part(5)
    steps = list(training.run(lambda epoch: [x[part] for x in X], 6))
    state = {k: v.tolist() for k, v in [*model.state_dict().items(), *training.average.items()]}
    with open(f"{sys.argv[1]}-{group.rank}.json", "w") as stream:
        json.dump({"losses": [s.loss for s in steps], "norms": [s.gradient for s in steps],
                   "bad": [s.step for s in steps if s.rewound], "state": state}, stream)
"""


def test_parts_of_a_batch_teach_what_the_batch_does(tmp_path):
    """Unequal parts, clipped gradients, and a loss that is bad on one process only."""
    assert ends(MPI, 1, "-c", LINE, tmp_path / "one")[0] == (0, "", "")
    assert [end[0] for end in ends(MPI, 2, "-c", LINE, tmp_path / "two")] == [0, 0]
    one, first, second = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one-0", "two-0", "two-1")
    )
    assert first == second
    assert one["bad"] == first["bad"] == [8]
    for name in ("losses", "norms"):
        good = [i for i in range(30) if i != 7]
        a, b = (torch.tensor(x[name], dtype=torch.float64)[good] for x in (one, first))
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    for name, value in one["state"].items():
        found = torch.tensor(first["state"][name], dtype=torch.float64)
        torch.testing.assert_close(found, torch.tensor(value, dtype=torch.float64))


@pytest.fixture(scope="module")
def words(tmp_path_factory, labelled, split_file):
    """What `debye train` is told: steps of three crystals, the noise off."""
    path = tmp_path_factory.mktemp("config") / "c.toml"
    path.write_text(
        "batch_size = 3\n[recipe]\nepochs = 2\n"
        "[network]\nchannels = 4\nlayers = 1\nl_max = 1\nhidden = 8\ndropout = 0.0\n"
    )
    return ["train", labelled, "--split", split_file, "--config", path, "--device", "cpu"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, words):
    folder = tmp_path_factory.mktemp("alone") / "run"
    code, *_ = ends(SLURM, 1, "-m", "debye", *words, "--output", folder)[0]
    assert code == 0
    return folder


def assert_same_run(folder, other):
    for name in ("last.safetensors", "best.safetensors"):
        a, b = load_file(folder / name), load_file(other / name)
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert {path.name for path in folder.iterdir()} == {path.name for path in other.iterdir()}


def test_torchrun_reaches_the_weights_of_one_process(tmp_path, words, alone):
    run = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "debye", *map(str, words), "--output", tmp_path / "run"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("best epoch") == 1
    assert run.stderr.count("epoch 1/2") == 1
    assert_same_run(tmp_path / "run", alone)


ENDLESS = ["--epochs", "1000000"]


def test_resumed_by_another_number_of_processes(tmp_path, words):
    """Stopped by a signal that one of two got, gone on with by one."""
    command = "-m", "debye", *words, *ENDLESS, "--output", tmp_path / "run"
    with started(OPEN, 2, *command) as (first, second):
        first.says("epoch 1/")
        second.send_signal(signal.SIGTERM)
        code, _, told = first.end()
        assert code == 130, told
        assert "run the same command again to go on" in told
        assert second.end() == (130, "", "")
    before = load_file(tmp_path / "run" / "last.safetensors")
    with started(SLURM, 1, *command, "--resume") as (again,):
        again.says("/1000000  train")  # at the end of an epoch, so that steps were taken
        again.send_signal(signal.SIGINT)
        assert again.end()[0] == 130
    after = load_file(tmp_path / "run" / "last.safetensors")
    assert any(not torch.equal(before[k], after[k]) for k in before)


def test_a_killed_process_ends_the_others(tmp_path, words):
    command = "-m", "debye", *words, *ENDLESS, "--output", tmp_path / "run"
    with started(SLURM, 2, *command) as (first, second):
        first.says("epoch 1/")
        second.kill()
        code, _, told = first.end()
    assert code == 1
    assert "process 0 of 2 lost the others" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (["--output", "taken", "--epochs", "3"], "already holds a run"),
        (["--config", "small.toml"], "cannot divide 1 crystals a step among 2 processes"),
    ],
)
def test_what_is_refused_is_told_once(tmp_path, words, alone, change, part):
    (tmp_path / "small.toml").write_text("batch_size = 1")
    names = {"taken": alone, "small.toml": tmp_path / "small.toml"}
    change = [names.get(word, word) for word in change]
    found = ends(TORCH, 2, "-m", "debye", *words, "--output", tmp_path / "run", *change)
    told = "".join(end[2] for end in found)
    assert told.count(part) == 1  # another may add that it lost the one that told it
    assert 2 in {end[0] for end in found}
    assert all(end[0] for end in found)


def test_processes_that_see_other_data(tmp_path, monkeypatch, words, labelled):
    """The working folder of the second holds another file of the same name."""
    text = labelled.read_text()
    for rank, content in enumerate((text, text.replace("2.3", "2.4"))):
        (tmp_path / str(rank)).mkdir()
        (tmp_path / str(rank) / "d.csv").write_text(content)
    code = "import os; os.chdir(os.environ['RANK']); from debye.cli import main; main()"
    monkeypatch.chdir(tmp_path)
    other = ["train", "d.csv", *words[2:], "--output", tmp_path / "run"]
    found = ends(TORCH, 2, "-c", code, *other)
    assert [end[0] for end in found] == [2, 2], found
    assert not (tmp_path / "run" / "last.safetensors").exists()
    told = "".join(end[2] for end in found)
    assert told.count("error: ") == 1
    assert "differ in the training rows, the validation rows" in told
