"""The laws of a training: what it minimises, what it refuses, and that it resumes exactly."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from debye.core.training import OPTIMIZERS, Recipe, Training, one_cycle
from debye.errors import ComputationError, InputError

X = torch.linspace(-1, 1, 24).reshape(6, 4, 1)
RECIPE = Recipe(epochs=5, peak_rate=0.05, seed=3)
MUON = replace(RECIPE, optimizer="muon")
BOTH = pytest.mark.parametrize("recipe", [RECIPE, MUON], ids=OPTIMIZERS)


def batches(epoch):
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(epoch))
    return [X[i] for i in order]


def square_loss(model, batch):
    return {"mse": (model(batch) - 2 * batch).square().mean()}


def start(recipe=RECIPE, loss=square_loss):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 8), nn.SiLU(), nn.Dropout(0.3), nn.Linear(8, 1))
    return Training(model, loss, recipe)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_one_cycle_is_the_published_curve():
    rates = [one_cycle(t / 1000, 1.0) for t in range(1001)]
    assert rates[0] == pytest.approx(1 / 25)
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) == 300
    assert rates[-1] == pytest.approx(0.0)
    assert one_cycle(0.0, 2.0, warmup=0.0) == 2.0
    assert one_cycle(0.65, 1.0) == pytest.approx(0.5)


@BOTH
def test_steps_count_epochs(recipe):
    steps = list(start(recipe).run(batches, 6))
    assert [s.step for s in steps] == list(range(1, 31))
    assert [s.epoch for s in steps if s.ends_epoch] == [0, 1, 2, 3, 4]
    assert sum(s.loss for s in steps[-6:]) < sum(s.loss for s in steps[:6])
    assert steps[0].loss == pytest.approx(sum(steps[0].terms.values()))


def test_average_is_the_exponential_one():
    training = start()
    expected = {k: v.clone() for k, v in training.average.items()}
    for step in training.run(batches, 6):
        decay = min(0.995, (1 + step.step) / (10 + step.step))
        for k, v in training.model.state_dict().items():
            expected[k] = decay * expected[k] + (1 - decay) * v
    for k, v in expected.items():
        torch.testing.assert_close(training.average[k], v)


@BOTH
@pytest.mark.parametrize("stop", [1, 6, 14, 29])
def test_resumed_anywhere_ends_with_the_same_bits(stop, recipe):
    whole = start(recipe)
    list(whole.run(batches, 6))
    first = start(recipe)
    for step in first.run(batches, 6):
        if step.step == stop:
            break
    numbers, tensors = first.state()
    second = start(recipe)
    torch.manual_seed(99)  # what the program drew elsewhere is no part of it
    second.restore(numbers, {k: v.clone() for k, v in tensors.items()})
    list(second.run(batches, 6))
    assert same(whole.model.state_dict(), second.model.state_dict())
    assert same(whole.average, second.average)


def test_every_weight_is_stepped_by_one_optimizer_alone():
    training = start(MUON)
    groups = [group for each in training.optimizers.values() for group in each.param_groups]
    stepped = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(stepped) == sorted(id(weight) for weight in training.model.parameters())


def test_muon_steps_a_matrix_along_its_orthogonal_factor():
    """Jordan et al. (2024): U Vᵀ of the gradient U S Vᵀ; here 0.2 √6 long, as AdamW's would be."""
    torch.manual_seed(0)
    model = nn.Linear(6, 4, bias=False).double()
    pull = torch.randn(4, 6, dtype=torch.float64)
    rate = 0.04 * 0.1  # where one_cycle begins
    recipe = Recipe(epochs=1, peak_rate=0.1, weight_decay=0.0, optimizer="muon")
    training = Training(model, lambda m, _: {"pull": (m.weight * pull).sum()}, recipe)
    before = model.weight.detach().clone()
    next(iter(training.run(lambda _: [0], 1)))
    U, _, Vh = torch.linalg.svd(pull, full_matrices=False)
    step = (before - model.weight.detach()) / (rate * 0.2 * math.sqrt(6))
    # Newton and Schulz take singular values to about one: published as 0.7 to 1.2.
    along = torch.linalg.svdvals(step)
    assert along.min() > 0.6
    assert along.max() < 1.3
    turned = (U.mT @ step @ Vh.mT).diagonal()
    torch.testing.assert_close(turned, along.mean().expand(4), atol=0.4, rtol=0)


def test_refuses_an_unknown_optimizer():
    with pytest.raises(InputError, match="optimizer is 'sgd'") as caught:
        Recipe(optimizer="sgd")
    assert caught.value.fix == "choose adamw or muon"


def test_training_leaves_the_global_generator_alone():
    training = start()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(training.run(batches, 6))
    assert torch.equal(torch.rand(3), expected)


def nan_at(*calls):
    count = iter(range(10_000))

    def loss(model, batch):
        scale = math.nan if next(count) in calls else 1.0
        return {"mse": scale * square_loss(model, batch)["mse"]}

    return loss


def test_bad_step_goes_back_to_the_average_at_half_rate():
    training = start(loss=nan_at(7))
    for step in training.run(batches, 6):
        if step.rewound:
            assert step.step == 8
            assert same(training.model.state_dict(), training.average)
        assert all(p.isfinite().all() for p in training.model.parameters())
    assert (training.rewinds, training.rate_scale) == (1, 0.5)
    assert step.step == 30


def test_a_spike_is_a_bad_step_too():
    def loss(model, batch):
        scale = 1e6 if torch.equal(batch, X[2]) else 1.0
        return {"mse": scale * square_loss(model, batch)["mse"]}

    steps = start(Recipe(epochs=5), loss).run(lambda epoch: list(X), 6)
    assert [s.step for s in steps if s.rewound] == [3, 9, 15, 21, 27]


def test_resumes_exactly_after_a_bad_step():
    whole = start(loss=nan_at(7))
    list(whole.run(batches, 6))
    first = start(loss=nan_at(7))
    for step in first.run(batches, 6):
        if step.step == 10:
            break
    second = start()
    second.restore(*first.state())
    list(second.run(batches, 6))
    assert same(whole.model.state_dict(), second.model.state_dict())


def test_gives_up_in_the_end():
    training = start(Recipe(epochs=5, rewinds=3), loss=nan_at(*range(100)))
    with pytest.raises(ComputationError, match="loss is nan") as caught:
        list(training.run(batches, 6))
    assert caught.value.exit_code == 1
    assert "bad 4 times" in caught.value.why
    assert all(p.isfinite().all() for p in training.model.parameters())


def test_short_epoch_is_refused_instead_of_looping():
    with pytest.raises(InputError, match="ended after 4 batches"):
        list(start().run(lambda epoch: list(X)[:4], 6))


def test_long_epoch_is_cut():
    assert len(list(start().run(batches, 4))) == 20


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0), ("epochs", 2.5), ("epochs", True), ("peak_rate", -1.0), ("peak_rate", "big"),
        ("peak_rate", math.nan), ("warmup", 1.5), ("average", 1.0), ("seed", -1), ("clip", 0.0),
        ("spike", math.inf),
    ],
)  # fmt: skip
def test_recipe_refuses(field, value):
    with pytest.raises(InputError, match=rf"\[recipe\] {field} is"):
        Recipe(**{field: value})


def test_restore_refuses_another_recipe_model_or_file():
    state = start().state()
    with pytest.raises(InputError, match="has changed in seed"):
        start(Recipe(epochs=5, peak_rate=0.05, seed=4)).restore(*state)
    with pytest.raises(InputError, match="the model has changed"):
        Training(nn.Linear(1, 1), square_loss, RECIPE).restore(*state)
    with pytest.raises(InputError, match="holds no training"):
        start().restore({"class": "PhononNet"}, {})
