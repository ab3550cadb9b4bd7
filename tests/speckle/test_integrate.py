"""Every method keeps its order, agrees with two other libraries, and stops within its budget."""

import math

import pytest
import scipy.integrate
import torch

from debye.errors import InputError
from debye.speckle.dynamics.solver import Outcome, SolveError, Solver, solve
from debye.speckle.dynamics.tableaux import METHODS, tableau


def values(t, y):
    """A forced, damped, nonlinear oscillator: depends on time, so the tableau's c is tested too."""
    return torch.stack([y[1] * (1 + 0.1 * t), -y[0] - 0.1 * y[1] ** 2 + 0.3 * math.cos(t)])


START = torch.tensor([1.0, 0.5], dtype=torch.float64)
TIMES = [0.0, 0.7, 1.0, 2.5]


@pytest.fixture(scope="module")
def reference():
    found = scipy.integrate.solve_ivp(
        lambda t, y: values(t, torch.as_tensor(y)).numpy(),
        (0, 2.5),
        START.numpy(),
        "DOP853",
        TIMES,
        rtol=1e-13,
        atol=1e-14,
    )
    return torch.as_tensor(found.y.T)


@pytest.mark.parametrize("method", METHODS)
def test_order_of_convergence(method, reference):
    error = [
        (Solver(method, step=h).solve(values, START, TIMES).states[-1] - reference[-1]).norm()
        for h in (0.1, 0.05)
    ]
    assert math.log2(error[0] / error[1]) == pytest.approx(tableau(method).order, abs=0.45)


@pytest.mark.parametrize("method", ["dopri5", "tsit5"])
def test_adaptive_agrees_with_scipy_at_every_time(method, reference):
    path = Solver(method, rtol=1e-9, atol=1e-11).solve(values, START, TIMES)
    torch.testing.assert_close(path.states, reference, rtol=1e-7, atol=1e-8)
    assert path.outcome is Outcome.DONE
    assert 0 < path.steps < 100


@pytest.mark.parametrize("method", ["dopri5", "tsit5"])
def test_dense_output_ends_where_the_step_does(method):
    table = tableau(method)
    assert table.weights_at(1.0) == pytest.approx(table.b, abs=1e-12)
    # Half way it is of fourth order: its error falls by 2⁵ per step halved.
    rhs = lambda t, y: -y  # noqa: E731
    errors = []
    for h in (0.4, 0.2):
        path = Solver(method, rtol=1e9, atol=1e9).solve(
            rhs, torch.ones(1).double(), [0.0, h / 2, h]
        )
        errors.append(abs(path.states[1].item() - math.exp(-h / 2)))
    assert math.log2(errors[0] / errors[1]) > 4.4


def test_agrees_with_torchdiffeq():
    torchdiffeq = pytest.importorskip("torchdiffeq")
    theirs = torchdiffeq.odeint(
        lambda t, y: values(float(t), y),
        START,
        torch.tensor(TIMES).double(),
        rtol=1e-10,
        atol=1e-12,
        method="dopri5",
    )
    ours = solve(values, START, TIMES, method="dopri5", rtol=1e-10, atol=1e-12)
    # Between steps both interpolate, each in its own way.
    torch.testing.assert_close(ours.states, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("save_memory", [False, True])
@pytest.mark.parametrize("options", [{"method": "rk4", "step": 0.1}, {"rtol": 1e-8, "atol": 1e-10}])
def test_gradients_against_finite_differences(options, save_memory):
    def end(rate, y0):
        rhs = lambda t, y: torch.stack([y[1], -rate * torch.sin(y[0])])  # noqa: E731
        return Solver(**options, save_memory=save_memory).solve(rhs, y0, [0.0, 0.4, 1.0]).states[1:]

    rate = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(end, (rate, START.clone().requires_grad_()), atol=1e-6)


def test_batch_equals_loop():
    starts = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()
    rhs = lambda t, y: torch.stack([y[..., 1], -(y[..., 0] ** 3)], -1)  # noqa: E731
    fixed = Solver("rk4", step=0.1)
    together = fixed.solve(rhs, starts, TIMES).states
    alone = torch.stack([fixed.solve(rhs, s, TIMES).states for s in starts], dim=1)
    torch.testing.assert_close(together, alone)


def test_uneven_times_are_the_same_path():
    path = solve(values, START, [0.0, 0.1, 0.15, 1.0], rtol=1e-10, atol=1e-12)
    plain = solve(values, START, [0.0, 1.0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(path.states[-1], plain.states[-1])


@pytest.mark.parametrize(
    ("options", "outcome", "advice"),
    [
        ({"max_steps": 3}, Outcome.STEPS, "raise max_steps"),
        ({"max_seconds": 1e-9}, Outcome.SECONDS, "raise max_seconds"),
    ],
)
def test_a_spent_budget_says_where_and_what_to_try(options, outcome, advice):
    with pytest.raises(SolveError, match=advice) as caught:
        Solver(rtol=1e-10, **options).solve(values, START, [0.0, 1e-6, 50.0])
    assert caught.value.trajectory.outcome is outcome
    assert len(caught.value.trajectory) >= 1
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("options", [{}, {"method": "rk4", "step": 0.1}])
def test_an_equation_that_blows_up_stops(options):
    with pytest.raises(SolveError, match="stopped at t = ") as caught:
        Solver(**options).solve(lambda t, y: y**2, torch.ones(1), [0.0, 0.5, 4.0])
    assert caught.value.trajectory.states.isfinite().all() or options
    assert caught.value.trajectory.states[1].item() == pytest.approx(2.0, rel=1e-3)


def test_nan_from_the_first_is_named():
    with pytest.raises(SolveError, match="stopped being finite"):
        Solver().solve(lambda t, y: y * math.nan, torch.ones(1), [0.0, 1.0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Solver("rk5"), "the methods are euler"),
        (lambda: Solver("rk4"), "rk4 needs a step"),
        (lambda: Solver(rtol=0.0), "rtol = 0.0"),
        (lambda: solve(values, START, [0.0, 2.0, 1.0]), "time 2 is 1, after 2"),
        (lambda: solve(values, START, []), "there are none"),
        (lambda: solve(values, START * math.nan, [0.0, 1.0]), "NaN"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_saving_memory_gives_the_same_gradient():
    def gradient(save_memory):
        rate = torch.tensor(0.7, requires_grad=True)
        rhs = lambda t, y: -rate * y  # noqa: E731
        path = Solver("rk4", step=0.1, save_memory=save_memory).solve(
            rhs, torch.ones(3), [0.0, 1.0]
        )
        path.states.sum().backward()
        return rate.grad

    assert gradient(False) == gradient(True)
