"""Errors: they travel whole, are what Python's own are, and are not taken for those."""

import ast
import operator
from multiprocessing.reduction import ForkingPickler

import h5py
import pytest
import torch
from raises import FUNCTIONS, PARENTS, RAISED, Body, classes, raises_again

import debye
from debye.core import checkpoint, executors
from debye.core.radial import RadialMLP
from debye.errors import ComputationError, DebyeError, InputError
from debye.speckle.data.hdf5 import open_hdf5
from debye.speckle.dynamics.solver import SolveError, Solver


def of_solver():
    with pytest.raises(SolveError) as caught:
        Solver("rk4", step=0.1, max_steps=3).solve(operator.mul, torch.ones(2), [0.0, 1.0])
    return caught.value


MAKERS = {
    DebyeError: lambda: DebyeError("what", why="why", fix="fix"),
    InputError: lambda: InputError("what", why="why", fix="fix"),
    ComputationError: lambda: ComputationError("what", why="why", fix="fix"),
    SolveError: of_solver,
}


def kinds(of):
    return {of}.union(*map(kinds, of.__subclasses__()))


def test_every_kind_is_tried_here():
    assert kinds(DebyeError) == set(MAKERS)


def throw(error):
    raise error


def assert_same(found, error):
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert (found.what, found.why, found.fix) == (error.what, error.why, error.fix)
    assert (found.args, found.exit_code) == (error.args, error.exit_code)


@pytest.mark.parametrize("make", MAKERS.values(), ids=lambda make: make().__class__.__name__)
def test_an_error_travels_whole(make):
    error = make()
    assert_same(ForkingPickler.loads(ForkingPickler.dumps(error)), error)


def test_errors_come_back_from_workers():
    with executors.local(1) as pool:
        for error in (make() for make in MAKERS.values()):
            with pytest.raises(DebyeError) as caught:
                pool.submit(throw, error).result()
            assert_same(caught.value, error)
            if isinstance(error, SolveError):
                assert torch.equal(caught.value.trajectory.states, error.trajectory.states)
                assert caught.value.trajectory.outcome is error.trajectory.outcome


def test_they_are_errors_of_python_too():
    with pytest.raises(ValueError, match="not numbers"):
        debye.Spectrum(["a"], [1.0])
    with pytest.raises(RuntimeError, match="stopped at t"):
        Solver("rk4", step=0.1, max_steps=3).solve(operator.mul, torch.ones(2), [0.0, 1.0])


# An InputError is a ValueError, and what turns one into another message must let it through.


def test_a_model_that_refuses_its_arguments_says_so_itself(tmp_path):
    class Picky(RadialMLP):
        def __init__(self, cutoff, outputs):
            raise InputError("cutoff is 5.0", why="picky", fix="another")

    model = RadialMLP(5.0, 1)
    card = {"class": "Picky", "arguments": {"cutoff": 5.0, "outputs": 1}}
    checkpoint.save(tmp_path / "m", card, model.state_dict())
    with pytest.raises(InputError, match="cutoff is 5"):
        checkpoint.load_model(tmp_path / "m", Picky)


@pytest.mark.parametrize("kind", [InputError, ComputationError])
def test_what_is_refused_while_a_file_is_read_is_said_itself(tmp_path, kind):
    h5py.File(tmp_path / "a.h5", "w").close()
    with pytest.raises(kind, match="my own"), open_hdf5(tmp_path / "a.h5"):
        raise kind("my own", why="why", fix="fix")


class Guarded(Body):
    """What leaves a body, constructors included."""

    def target(self, called):
        target = super().target(called)
        made = [(target[0], f"{target[1]}.{how}") for how in SPECIAL] if target else []
        return next((key for key in made if key in FUNCTIONS), target)


SPECIAL = ("__init__", "__post_init__")
PYTHONS_OWN = {"ValueError", "RuntimeError", "Exception", "BaseException"}


def swallowed(module, name, node):
    """The kinds that debye raises within a `try`, and a handler meant for others takes."""
    inside = Guarded(module, name, node.body).found
    left = set().union(*(RAISED.get(what, {what}) - caught for what, caught in inside))
    for handler in node.handlers:
        taken = left & set().union(*(PARENTS.get(kind, ()) for kind in classes(handler)))
        if taken and classes(handler) & PYTHONS_OWN and not raises_again(handler):
            return taken
        left -= taken
    return set()


@pytest.mark.parametrize("module", sorted({module for module, _ in FUNCTIONS}))
def test_no_error_of_debye_is_taken_for_one_of_python(module):
    tries = {
        f"{name}, line {node.lineno}": swallowed(module, name, node)
        for (where, name), function in FUNCTIONS.items()
        for node in ast.walk(function)
        if where == module and isinstance(node, ast.Try)
    }
    assert {name: kinds for name, kinds in tries.items() if kinds} == {}


def test_a_swallowed_error_would_be_found():
    code = "try:\n    pick_device('x')\nexcept {} as error:\n    {}"
    for handler, end, found in (
        ("ValueError", "pass", {"InputError"}),
        ("(TypeError, ValueError)", "pass", {"InputError"}),
        ("Exception", "pass", {"InputError"}),
        ("ValueError", "raise", set()),
        ("DebyeError", "pass", set()),
        ("RuntimeError", "pass", set()),
    ):
        (node,) = ast.parse(code.format(handler, end)).body
        assert swallowed("debye.core.distributed", "process_group", node) == found
