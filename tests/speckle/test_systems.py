"""The laws of motion keep the symmetries of their equations, and shortcuts keep the gradient."""

import math

import pytest
import torch

from debye.errors import InputError
from debye.speckle.dynamics.couplings import Kernel
from debye.speckle.dynamics.known import (
    GrayScott,
    MexicanHat,
    PhaseCoupling,
    Spiral,
    SwarmForce,
    Turing,
)
from debye.speckle.dynamics.learnable import Flow, RadialNetwork, RadialSpline
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.systems import (
    Kuramoto,
    ReactionDiffusion,
    Swarm,
    Swarmalator,
    transfer_function,
)


def particles(runs=2, count=40, D=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    return 2 * torch.rand(runs, count, D, generator=generator, dtype=dtype) - 1


def swarm_by_hand(y, h, L=5.0):
    """The equation as it stands, over all ordered pairs."""
    D = y.shape[-1]
    d = y[..., None, :, :] - y[..., :, None, :]
    r = d.norm(dim=-1)
    r = r + torch.eye(len(r[0])) * 99
    x = h(r.flatten()).view_as(r)
    return (2 / L) ** D * ((x * (1 - x))[..., None] * d).sum(-2)


@pytest.mark.parametrize("D", [2, 3])
def test_swarm_is_its_equation(D):
    y = particles(D=D)
    torch.testing.assert_close(
        Swarm(SwarmForce(), D=D, table=0)(0.0, y), swarm_by_hand(y, SwarmForce())
    )


def test_swarm_table_is_the_law_to_a_thousandth():
    y = particles()
    exact, quick = Swarm(SwarmForce(), table=0)(0.0, y), Swarm(SwarmForce())(0.0, y)
    assert (quick - exact).norm() / exact.norm() < 1e-4


def test_swarm_moves_with_the_frame_and_keeps_its_centre():
    y, law = particles(), Swarm(SwarmForce())
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=y.dtype)
    torch.testing.assert_close(law(0.0, y + 7), law(0.0, y), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(law(0.0, y @ turn.T), law(0.0, y) @ turn.T)
    torch.testing.assert_close(law(0.0, y.flip(1)), law(0.0, y).flip(1))
    assert law(0.0, y).sum(1).abs().max() < 1e-12  # action is reaction


def test_batch_equals_loop():
    y = particles(runs=3)
    for law in (Swarm(SwarmForce()), Swarmalator(SwarmForce(), PhaseCoupling(0.5, 1.0), D=1)):
        torch.testing.assert_close(law(0.0, y), torch.stack([law(0.0, x) for x in y]))


def test_h_and_one_minus_h_are_one_law():
    class Other(SwarmForce):
        def forward(self, r):
            return torch.where(r < self.r_c, 1 - super().forward(r), 0)

    y = particles()
    torch.testing.assert_close(
        Swarm(SwarmForce(), table=0)(0.0, y), Swarm(Other(), table=0)(0.0, y)
    )


def test_force_vanishes_smoothly_at_the_cutoff_and_is_finite_everywhere():
    r = torch.linspace(1e-3, 2.0, 4001, dtype=torch.float64, requires_grad=True)
    h = SwarmForce()(r)
    (slope,) = torch.autograd.grad(h.sum(), r)
    assert h.isfinite().all()
    assert slope.isfinite().all()
    assert h[(r > 0.72)].abs().max() < 1e-15
    formula = 0.75 / 0.3 * 0.5 * (1 + math.tanh(1 / (0.3 - 0.75) - 1 / (0.3 - 1.5)))
    assert SwarmForce()(torch.tensor([0.3], dtype=torch.float64)).item() == pytest.approx(
        formula, rel=1e-12
    )


@pytest.mark.parametrize("term", [RadialSpline, RadialNetwork])
def test_gradient_through_the_table_against_finite_differences(term):
    """The shortcut's own gradient, float64, in a random direction of the coefficients.

    The step is small, because a piecewise linear table has kinks that a larger one would cross.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        y, law = particles(1), Swarm(term().double())
    way = [
        torch.randn(p.shape, generator=torch.Generator().manual_seed(1)).to(p)
        for p in law.parameters()
    ]
    target = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=y.dtype)

    def value():
        path = Solver("rk4", step=0.5).solve(law.vector_field(), y, [0.0, 1.0])
        return (path.states[-1] * target).sum()

    slopes = torch.autograd.grad(value(), list(law.parameters()))
    slope = sum(float((g * w).sum()) for g, w in zip(slopes, way, strict=True))
    ends = []
    with torch.no_grad():
        for e in (1e-7, -2e-7):
            for p, w in zip(law.parameters(), way, strict=True):
                p.add_(w, alpha=e)
            ends.append(float(value()))
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-7, rel=1e-4)


def test_kuramoto_is_its_equation():
    generator = torch.Generator().manual_seed(0)
    theta = 6.28 * torch.rand(2, 16, 16, generator=generator, dtype=torch.float64)
    term = Kernel(5)
    with torch.no_grad():
        term.weights.copy_(torch.randn(24, generator=generator))
    kernel, by_hand = term(), torch.zeros_like(theta)
    for a in range(5):
        for b in range(5):
            ahead = torch.roll(theta, (2 - a, 2 - b), (-2, -1))  # θ at r + (a − 2, b − 2)
            by_hand = by_hand + kernel[a, b] * torch.sin(ahead - theta)
    torch.testing.assert_close(Kuramoto(term, K=3.0, omega=0.2)(0.0, theta), 0.2 + 3 * by_hand)


def test_kuramoto_keeps_a_common_phase_and_translation():
    theta = torch.rand(20, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    law = Kuramoto(MexicanHat())
    torch.testing.assert_close(law(0.0, theta + 1.0), law(0.0, theta))
    torch.testing.assert_close(law(0.0, theta.roll(3, 0)), law(0.0, theta).roll(3, 0))
    torch.testing.assert_close(law(0.0, theta.rot90()), law(0.0, theta).rot90())


def test_kuramoto_in_three_dimensions():
    theta = torch.rand(12, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    law = Kuramoto(MexicanHat(5, axes=3), axes=3)
    torch.testing.assert_close(
        law(0.0, theta.rot90(dims=(0, 2))), law(0.0, theta).rot90(dims=(0, 2))
    )
    with pytest.raises(InputError, match="does not fit a lattice"):
        transfer_function(torch.ones(5, 5), (4, 4))


def test_published_numbers_of_the_kernel():
    kernel = 20 * MexicanHat()()
    assert kernel.sum().item() == pytest.approx(-1.206, abs=1e-3)
    assert kernel.max().item() == pytest.approx(0.783, abs=1e-3)
    assert kernel.min().item() == pytest.approx(-0.170, abs=1e-3)
    gain = transfer_function(kernel, (80, 80)).real
    assert gain.max().item() == pytest.approx(5.31, abs=0.01)
    assert gain[0].argmax().item() in (12, 68)


def test_swarmalator_without_coupling_is_the_swarm():
    y = particles()
    state = torch.cat([y, torch.zeros(2, 40, 1, dtype=y.dtype)], dim=-1)
    change = Swarmalator(SwarmForce(), PhaseCoupling())(0.0, state)
    torch.testing.assert_close(change[..., :2], Swarm(SwarmForce(), table=0)(0.0, y))
    assert change[..., 2].abs().max() == 0


def test_symmetric_kernel_is_round_and_flow_is_smooth():
    kernel = Kernel(7, symmetric=True)
    with torch.no_grad():
        kernel.weights.copy_(torch.arange(len(kernel.weights)))
    torch.testing.assert_close(kernel(), kernel().rot90())
    torch.testing.assert_close(kernel(), kernel().T)
    flow = Flow(3)
    with torch.no_grad():
        flow.coefficients.fill_(0.3)
    x = torch.rand(4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(flow, (x,))


def test_reaction_diffusion_conserves_what_only_spreads():
    nothing = lambda u, v: (torch.zeros_like(u), torch.zeros_like(v))  # noqa: E731
    y = torch.rand(2, 2, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for periodic in (True, False):
        law = ReactionDiffusion(nothing, diffusion=(1e-3, 2e-3), periodic=periodic)
        assert law(0.0, y).sum((-2, -1)).abs().max() < 1e-9


@pytest.mark.parametrize("reaction", [GrayScott(), Turing()])
def test_reactions_are_finite(reaction):
    rates = reaction(torch.full((3,), 0.5), torch.full((3,), 0.2))
    assert all(r.isfinite().all() for r in rates)


def test_spiral_law_follows_the_fermat_spiral():
    from debye.speckle.scattering.scan import fermat_spiral

    want = fermat_spiral(40, a=2.0, w=4.0)
    law = Spiral(a=2.0, w=4.0)
    path = Solver(rtol=1e-10, atol=1e-12).solve(
        lambda t, x: law(x), want[0], torch.arange(1.0, 41.0)
    )
    torch.testing.assert_close(path.states, want, rtol=1e-6, atol=1e-6)


def test_a_swarm_in_four_dimensions_is_refused():
    with pytest.raises(InputError, match="D is 2 or 3"):
        Swarm(SwarmForce(), D=4)
