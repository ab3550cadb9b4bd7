"""Equations with any force, frequency, lag, turning and reaction are what they say, and saved."""

import math

import pytest
import torch

from debye.errors import InputError
from debye.speckle.dynamics.couplings import Harmonics, Kernel, PhaseSeries, Sites
from debye.speckle.dynamics.known import GrayScott, MexicanHat
from debye.speckle.dynamics.learnable import Constant, Smooth
from debye.speckle.dynamics.particles import LennardJones, Morse, Particles, Yukawa
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.splines import PairSpline, SplineFlow, SplineReaction
from debye.speckle.dynamics.systems import Drift, Kuramoto, ReactionDiffusion, RigidMotion
from debye.speckle.fitting.fitted import FittedSystem, load
from debye.speckle.scattering.models import RigidCloud
from debye.speckle.scattering.optics import Detector, GaussianProbe
from debye.speckle.serialize import build, describe

SMOOTH = {
    "flow": lambda: SplineFlow((-2.0, 0.0), (1.0, 1.0), 6),
    "reaction": lambda: SplineReaction(knots=5),
    "pair": lambda: PairSpline(2.0, 12),
    "pairs": lambda: PairSpline(2.0, 12, columns=3),
    "sites": lambda: Sites((4, 5)),
    "kernel": lambda: Kernel(5),
    "round kernel": lambda: Kernel(7, symmetric=True),
    "series": lambda: PhaseSeries(4),
    "harmonics": lambda: Harmonics(3),
}


def random(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shaken(module, seed=1):
    """A module whose parameters are drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return module


@pytest.mark.parametrize("make", SMOOTH.values(), ids=SMOOTH)
def test_every_prior_is_a_covariance_of_its_coefficients(make):
    term = make()
    assert isinstance(term, Smooth)
    size = sum(p.numel() for p in term.parameters())
    short, long = term.lengths
    for length in (short, long):
        covariance = term.prior(1.0, length)
        assert covariance.shape == (size, size)
        torch.testing.assert_close(covariance, covariance.T)
        assert torch.linalg.eigvalsh(covariance).min() > -1e-8
    torch.testing.assert_close(term.prior(3.0, long), 9 * term.prior(1.0, long))


@pytest.mark.parametrize("make", SMOOTH.values(), ids=SMOOTH)
def test_every_term_says_what_it_is_and_is_built_again(make):
    term = make()
    assert "\n" not in term.formula()
    assert describe(build(describe(term))) == describe(term)


def test_a_spline_flow_is_any_smooth_function():
    """Least squares of its coefficients to a known flow; the error falls as the fourth power."""
    x = 2 * random((4000, 2)) - 1
    wanted = torch.stack([torch.sin(3 * x[:, 1]), torch.exp(x[:, 0]) * x[:, 1]], -1)
    errors = []
    for knots in (8, 13):  # 5 and 10 intervals
        flow = SplineFlow(knots=knots)
        basis = torch.func.jacfwd(
            lambda c, flow=flow: torch.func.functional_call(flow, {"coefficients": c}, (x,))[:, 0]
        )(flow.coefficients.detach())[..., 0].flatten(1)
        found = torch.linalg.lstsq(basis, wanted).solution
        errors.append(float((basis @ found - wanted).norm() / wanted.norm()))
    assert errors[1] < 1e-3
    assert errors[0] / errors[1] > 10


def test_a_spline_flow_follows_straight_lines_and_stops_at_its_box():
    flow = SplineFlow((0.0, 0.0), (2.0, 1.0), 7)
    with torch.no_grad():
        flow.coefficients.copy_(flow.grid().view(7, 7, 2))  # its coefficients at their own places
    x = random((50, 2)) * torch.tensor([2.0, 1.0])
    torch.testing.assert_close(flow(x), x)
    torch.testing.assert_close(flow(torch.tensor([[9.0, 0.5]])), torch.tensor([[2.0, 0.5]]))


def particles_by_hand(y, force, kinds=None):
    d = y[:, None] - y[None]
    r = d.norm(dim=-1) + 99 * torch.eye(len(y))
    f = force(r.flatten())
    if kinds is not None:
        a, b = torch.minimum(kinds[:, None], kinds), torch.maximum(kinds[:, None], kinds)
        f = f.gather(1, (b * (b + 1) // 2 + a).flatten()[:, None])[:, 0]
    return ((f.view_as(r) / r)[..., None] * d).sum(1)


@pytest.mark.parametrize("force", [Yukawa(), Morse(), shaken(PairSpline(1.5, 9))])
@pytest.mark.parametrize("D", [2, 3])
def test_particles_are_their_equation(force, D):
    y = 2 * random((12, D)) - 1
    near = lambda r: torch.where(r < force.cutoff, force(r), 0)  # noqa: E731
    torch.testing.assert_close(Particles(force, table=0)(0.0, y), particles_by_hand(y, near))
    both = torch.stack([y, 2 * y])
    system = Particles(force)
    torch.testing.assert_close(system(0.0, both)[1], system(0.0, 2 * y))
    assert system(0.0, y).sum(0).abs().max() < 1e-12  # action is reaction


def test_forces_are_minus_the_slope_of_their_potentials():
    r = torch.linspace(0.2, 1.0, 30, dtype=torch.float64, requires_grad=True)
    e = torch.exp(-6.0 * (r - 0.4))
    morse, jones = 0.05 * (e.square() - 2 * e), 0.2 * ((0.3 / r) ** 12 - (0.3 / r) ** 6)
    for potential, force in ((morse, Morse()), (jones, LennardJones())):
        (slope,) = torch.autograd.grad(potential.sum(), r, retain_graph=True)
        torch.testing.assert_close(force(r), -slope)


def test_two_species_feel_the_force_of_their_kind():
    force, kinds = shaken(PairSpline(3.0, 9, columns=3)), torch.tensor([0] * 4 + [1] * 5)
    y = random((9, 2))
    system = Particles(force, species=(4, 5), table=0)
    torch.testing.assert_close(system(0.0, y), particles_by_hand(y, force, kinds))
    with pytest.raises(InputError, match="the state holds 3"):
        system(0.0, y[:3])


def test_walls_push_inwards_and_a_field_moves_everything():
    system = Particles(
        Yukawa(A=0.0), field=lambda r: 0 * r + torch.tensor([0.0, 0.1]), wall=Yukawa(), L=2.0
    )
    y = torch.tensor([[0.9, 0.0], [-0.9, 0.0]], dtype=torch.float64)
    change = system(0.0, y)
    assert change[0, 0] < 0 < change[1, 0]
    torch.testing.assert_close(change[:, 1], torch.full((2,), 0.1).double())


def test_oscillators_have_frequencies_a_lag_and_harmonics():
    theta = 6.28 * random((2, 10, 10))
    harmonics, omega = shaken(Harmonics(3)), shaken(Sites((10, 10)), 2)
    system = Kuramoto(shaken(Kernel(3), 3), K=2.0, omega=omega, harmonics=harmonics)
    kernel, by_hand = system.coupling(), omega().expand_as(theta)
    for a in range(3):
        for b in range(3):
            apart = torch.roll(theta, (1 - a, 1 - b), (-2, -1)) - theta
            for m, (s, c) in enumerate(harmonics(), 1):
                pull = s * torch.sin(m * apart) + c * torch.cos(m * apart)
                by_hand = by_hand + 2 * kernel[a, b] * pull
    torch.testing.assert_close(system(0.0, theta), by_hand)
    turning = Kuramoto(MexicanHat(5), omega=Constant(start=0.3))
    torch.testing.assert_close(turning(0.0, theta), Kuramoto(MexicanHat(5), omega=0.3)(0.0, theta))


def test_a_body_turns_while_it_drifts_and_its_speckle_turns_with_it():
    system = RigidMotion(torch.zeros_like, Constant(start=math.pi / 2))
    path = Solver().solve(system.vector_field(), torch.zeros(1, 3).double(), [0.0, 1.0])
    detector = Detector(16, 0.5, 2.0)
    seen = RigidCloud(detector, GaussianProbe(0.25, 2.0), R=0.07)
    frames = seen(path.states.transpose(0, 1).detach(), 0.6 * random((1, 20, 2)) - 0.3)[0]
    inner = slice(1, None)  # the first row has no partner at −q
    torch.testing.assert_close(frames[1][inner, inner], frames[0][inner, inner].rot90(-1))


def test_reactions_of_any_form_are_those_they_are_fitted_to():
    term = SplineReaction(knots=9)
    u, v = random((30, 30)), random((30, 30), 1)
    basis = torch.func.jacfwd(
        lambda c: torch.func.functional_call(term, {"coefficients": c}, (u, v))[0].flatten()
    )(term.coefficients.detach())[..., 0].flatten(1)
    wanted = torch.stack([x.flatten() for x in GrayScott()(u, v)], -1)
    with torch.no_grad():
        term.coefficients.copy_(torch.linalg.lstsq(basis, wanted).solution.view(9, 9, 2))
    state = torch.stack([u, v])
    a, b = (ReactionDiffusion(t, diffusion=(1e-5, 5e-6)) for t in (term, GrayScott()))
    torch.testing.assert_close(a(0.0, state), b(0.0, state), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SplineFlow((0.0,), (0.0,)), "wider than nothing"),
        (lambda: SplineFlow(knots=3), "4 knots"),
        (lambda: PairSpline(cutoff=0.0), "above 0"),
    ],
)
def test_no_spline_fits_where_there_is_no_room(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_systems_name_all_their_terms():
    system = Particles(PairSpline(), field=SplineFlow())
    assert list(system.terms) == ["force", "field"]
    assert list(Drift(SplineFlow()).terms) == ["velocity"]
    assert list(Kuramoto(Kernel(3), omega=Constant()).terms) == ["coupling", "omega"]


OWN = """
import torch

from debye.speckle import Learnable


def still(x):
    return 0 * x


class Pull(Learnable):
    def __init__(self, power=1.0):
        super().__init__()
        self.power = power
        self.k = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x):
        return -self.k * x * x.abs() ** (self.power - 1)

    def formula(self):
        return f"v(x) = −{self.k.item():.3g} x"
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of somebody's own."""
    import importlib
    import sys

    (tmp_path / "my_laws.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("my_laws")
    sys.modules.pop("my_laws", None)


def test_a_term_of_your_own_is_saved_by_its_import_path_and_read_with_consent(own, tmp_path):
    seen = RigidCloud(Detector(16, 0.5, 2.0), GaussianProbe(0.25, 2.0), R=0.07)
    term = own.Pull(power=2.0)
    with torch.no_grad():
        term.k.fill_(0.7)
    fitted = FittedSystem(Drift(term), seen, Solver())
    path = tmp_path / "own.safetensors"
    fitted.save(path)
    with pytest.raises(InputError, match=r"needs my_laws:Pull.*\n.*run its code.*\n.*--imports"):
        load(path)
    back = load(path, imports=True)
    assert back.system.term.power == 2.0
    assert back.system.term.k.item() == 0.7
    FittedSystem(Drift(own.still), seen, Solver()).save(path)
    assert load(path, imports=True).system.term is own.still
    del own.Pull
    with pytest.raises(InputError, match="cannot import my_laws:Pull"):
        build({"class": "my_laws:Pull"}, imports=True)


def test_what_nobody_can_import_is_not_saved():
    class Here(torch.nn.Module):
        pass

    for thing in (Drift(Here()), Drift(lambda x: x)):
        with pytest.raises(InputError, match=r"nobody else can import it"):
            describe(thing)
