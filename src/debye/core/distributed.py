"""One process among many: who it is, whom it meets, and what they add up together.

Launchers tell each process its rank in the environment, each in its own words; torch's process
group does the talking (gloo on cpu, nccl on cuda, xccl on xpu). Alone, everything here is free.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, distributed, nn

from debye.core.device import pick_device
from debye.errors import ComputationError, DebyeError, InputError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others, to appear or to answer."""
FAREWELL = timedelta(seconds=10)
"""How long the first process, once failed, gives the others to learn of it."""


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those it was launched with.

    Attributes:
        rank: Which one it is, from 0; the first alone prints and writes files.
        size: How many there are.
        local: Which one it is on its machine, from 0.
        device: Where it computes.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this process is the one that prints and writes files."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This process's part of so many things; the parts differ by one at most.

        Example:
            >>> [range(5)[ProcessGroup(rank, 2).part(5)] for rank in (0, 1)]
            [range(0, 2), range(2, 5)]
        """
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def spread(self, module: nn.Module) -> nn.Module:
        """The module, with the gradients of all processes averaged as they are computed."""
        if self.size == 1:
            return module
        return nn.parallel.DistributedDataParallel(module)

    def total(self, values: Tensor) -> Tensor:
        """Σ over the processes, detached; the same bits on each."""
        values = values.detach().clone()
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether it is true on one process or more."""
        return bool(self.total(torch.tensor(int(flag)))) if self.size > 1 else flag

    def check_alike(self, facts: Mapping[str, str]) -> None:
        """Refuse to work together on different things.

        Args:
            facts: By name, what must be the same on all processes.

        Raises:
            InputError: One is not; raised by every process.
        """
        if self.size == 1:
            return
        digests = [sha256(f"{k}{v}".encode()).digest()[:7] for k, v in facts.items()]
        mine = torch.tensor([int.from_bytes(d, "big") for d in digests])
        low, high = mine.clone(), mine.clone()
        distributed.all_reduce(low, distributed.ReduceOp.MIN)
        distributed.all_reduce(high, distributed.ReduceOp.MAX)
        if not torch.equal(low, high):
            differ = [k for k, same in zip(facts, (low == high).tolist(), strict=True) if not same]
            raise InputError(
                f"the {self.size} processes do not work on the same thing",
                why=f"they differ in {', '.join(differ)}",
                fix="start all with the same command, on files that every machine sees alike",
            )


ALONE = ProcessGroup()


class Launcher(NamedTuple):
    """The words in which a launcher tells a process who it is; the first that is set counts."""

    name: str
    sign: str
    """Set if it launched this process."""
    rank: tuple[str, ...]
    size: tuple[str, ...]
    local: tuple[str, ...]
    local_size: tuple[str, ...]


LAUNCHERS = (
    Launcher(
        "torchrun", "RANK", ("RANK",), ("WORLD_SIZE",), ("LOCAL_RANK",), ("LOCAL_WORLD_SIZE",)
    ),
    Launcher(
        "mpiexec of Open MPI",
        "OMPI_COMM_WORLD_RANK",
        ("OMPI_COMM_WORLD_RANK",),
        ("OMPI_COMM_WORLD_SIZE",),
        ("OMPI_COMM_WORLD_LOCAL_RANK",),
        ("OMPI_COMM_WORLD_LOCAL_SIZE",),
    ),
    Launcher(
        "mpiexec",  # of MPICH, Intel MPI, Cray PALS
        "PMI_RANK",
        ("PMI_RANK",),
        ("PMI_SIZE",),
        ("PMI_LOCAL_RANK", "MPI_LOCALRANKID", "PALS_LOCAL_RANKID", "SLURM_LOCALID"),
        ("PMI_LOCAL_SIZE", "MPI_LOCALNRANKS", "PALS_LOCAL_SIZE"),
    ),
    # A batch script has SLURM_PROCID and SLURM_NTASKS too, without any other process beside it.
    Launcher(
        "srun",
        "SLURM_STEP_NUM_TASKS",
        ("SLURM_PROCID",),
        ("SLURM_STEP_NUM_TASKS",),
        ("SLURM_LOCALID",),
        (),
    ),
)
"""In the order of who is asked first: srun may have started mpiexec, and either torchrun."""


def launched(environment: Mapping[str, str]) -> ProcessGroup:
    """Who this process is, in the words of torchrun, mpiexec or srun; alone if none started it.

    Raises:
        InputError: The launcher's variables are incomplete, or contradict each other.

    Example:
        >>> launched({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
        ProcessGroup(rank=3, size=4, local=1, device='cpu')
    """
    launcher = next((x for x in LAUNCHERS if x.sign in environment), None)
    if launcher is None:
        return ALONE
    rank, size, local = (
        _number(environment, names, launcher.name)
        for names in (launcher.rank, launcher.size, launcher.local)
    )
    if not local <= rank < size:
        raise InputError(
            f"cannot be process {rank} of {size}",
            why=f"{launcher.name} counts them from 0, and this is number {local} on its machine",
            fix=f"correct {launcher.rank[0]} and {launcher.size[0]}, or unset {launcher.sign}",
        )
    return ProcessGroup(rank, size, local)


def _number(environment: Mapping[str, str], names: tuple[str, ...], launcher: str) -> int:
    name = next((name for name in names if name in environment), None)
    if name is None or not environment[name].isdecimal():
        found = f"{name} is {environment[name]!r}" if name else f"{' or '.join(names)} is not set"
        raise InputError(
            "cannot tell which of the launched processes this is",
            why=f"it looks started by {launcher}, but {found}",
            fix="start it with torchrun, mpiexec or srun, or set RANK, WORLD_SIZE and LOCAL_RANK",
        )
    return int(environment[name])


JOB = ("SLURM_JOB_ID", "SLURM_STEP_ID", "PBS_JOBID", "PALS_APID", "PMIX_NAMESPACE")
"""What names a launch, alike on all its processes and unlike any other's."""


def address(environment: Mapping[str, str], group: ProcessGroup) -> tuple[str, int]:
    """Host and port where the first process waits for the others.

    They are MASTER_ADDR and MASTER_PORT where set; else this machine if all are on it, else the
    first host of the Slurm or PBS job, and a port that follows from the job's name.

    Raises:
        InputError: The host cannot be found, or the port is none.

    Example:
        >>> address({"SLURM_STEP_NODELIST": "nid[007-010,12],login1"}, ProcessGroup(0, 4))
        ('nid007', 29500)
    """
    host = environment.get("MASTER_ADDR") or _first_host(environment, group)
    job = "".join(environment.get(name, "") for name in JOB)
    default = 20_000 + int(sha256(job.encode()).hexdigest(), 16) % 10_000 if job else 29_500
    port = environment.get("MASTER_PORT") or str(default)
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(
            f"cannot meet at port {port!r}",
            why="MASTER_PORT must be a number from 1 to 65535",
            fix="set it, alike for all processes",
        )
    return host, int(port)


def _first_host(environment: Mapping[str, str], group: ProcessGroup) -> str:
    here = {name for launcher in LAUNCHERS for name in launcher.local_size} & environment.keys()
    if any(environment[name] == str(group.size) for name in here):
        return "127.0.0.1"
    for name in ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"):
        # host, host[07-10,12]tail,… → the first
        if found := re.match(r"([^,\[]+)(?:\[(\w+)[^\]]*\])?([^,]*)", environment.get(name, "")):
            return "".join(part or "" for part in found.groups())
    if (nodes := Path(environment.get("PBS_NODEFILE", ""))).is_file():
        return nodes.read_text().split()[0]
    raise InputError(
        f"cannot find the first of the {group.size} processes",
        why="MASTER_ADDR is not set, and neither Slurm nor PBS names the hosts of the job",
        fix="set MASTER_ADDR to the host of rank 0 for all processes, and MASTER_PORT if 29500"
        " is taken",
    )


@contextmanager
def process_group(device: str = "auto") -> Iterator[ProcessGroup]:
    """This process among those it was launched with, as long as the work inside takes.

    All but the first are silent. Of those that fail the first tells, the others leave with the
    same kind of exit code; one that loses the others fails, and does not wait for ever.

    Args:
        device: As `pick_device` takes it.

    Raises:
        InputError: They cannot come together, or there is no such device.
        ComputationError: The others were lost.
        SystemExit: This process failed, after another one had told why.
    """
    group = launched(os.environ)
    if group.size == 1:
        yield replace(group, device=pick_device(device))
        return
    store = _meet(group)
    with _reported_once(group, store):
        own = pick_device(device, group.local)
        kind = own.partition(":")[0]
        if kind == "mps":
            raise InputError(
                "cannot train on mps with several processes",
                why="torch has no collective operations there",
                fix="train with one process, or add --device cpu",
            )
        if kind != "cpu":
            getattr(torch, kind).set_device(own)
        accelerator = {"cuda": ",cuda:nccl", "xpu": ",xpu:xccl"}.get(kind, "")
        distributed.init_process_group(
            f"cpu:gloo{accelerator}",
            store=store,
            rank=group.rank,
            world_size=group.size,
            timeout=PATIENCE,
        )
        try:
            with _silent(unless=group.first):
                yield replace(group, device=own)
            distributed.barrier()  # the first process holds the store that the others still need
        finally:
            distributed.destroy_process_group()


def _meet(group: ProcessGroup) -> Store:
    """A store that all processes see; they agree there on how many and who they are."""
    from torch.distributed.rendezvous import rendezvous

    host, port = address(os.environ, group)
    try:
        url = f"tcp://{host}:{port}"
        store, _, _ = next(
            rendezvous(url, rank=group.rank, world_size=group.size, timeout=PATIENCE)
        )
        size = int(store.compare_set("size", "", str(group.size)))
        namesakes = store.add(f"rank {group.rank}", 1) - 1
    except (RuntimeError, OSError) as error:
        raise ComputationError(
            f"process {group.rank} of {group.size} found no other at {host}:{port}",
            why=_first_line(error),
            fix="set MASTER_ADDR to the host of rank 0 and MASTER_PORT to a free port, alike for"
            " all processes",
        ) from error
    if size != group.size or namesakes:
        why = "another has the same rank" if namesakes else f"another says they are {size}"
        raise InputError(
            f"cannot work as process {group.rank} of {group.size}",
            why=why,
            fix="start all processes with one launcher, and nothing else at this MASTER_PORT",
        )
    return store


@contextmanager
def _reported_once(group: ProcessGroup, store: Store) -> Iterator[None]:
    """Let the first process that fails say so, and the others leave in silence."""
    try:
        yield
    except (DebyeError, RuntimeError) as error:
        reported = error if isinstance(error, DebyeError) else _lost(group, error)
        if _already_reported(group, store):
            raise SystemExit(reported.exit_code) from error
        if reported is error:
            raise
        raise reported from error


def _already_reported(group: ProcessGroup, store: Store) -> bool:
    """Whether another process failed before; the first, who may hold the store, lets all ask."""
    with suppress(RuntimeError):  # the store went with the first process
        reported = store.add("errors", 1) > 1
        store.set(f"left {group.rank}", "")
        if group.first:
            with suppress(RuntimeError):  # one was killed, or is still at work
                store.wait([f"left {rank}" for rank in range(1, group.size)], FAREWELL)
        return reported
    return False


def _lost(group: ProcessGroup, error: RuntimeError) -> ComputationError:
    """What an error of the process group means; any other is raised as it is."""
    about_group = isinstance(error, distributed.DistError)
    if not (about_group or re.search("gloo|nccl|xccl|connection|store", str(error), re.IGNORECASE)):
        raise error
    return ComputationError(
        f"process {group.rank} of {group.size} lost the others",
        why=_first_line(error),
        fix="see what ended the first of them; what was saved before stays good",
    )


def _first_line(error: BaseException) -> str:
    """What an error of torch says, without the line of its source."""
    lines = str(error).splitlines() or [type(error).__name__]
    return re.sub(r"^\[[^\]]*:\d+\] ", "", lines[0])


@contextmanager
def _silent(*, unless: bool) -> Iterator[None]:
    """Print nothing, or all as usual."""
    with ExitStack() as stack:
        if not unless:
            nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield
