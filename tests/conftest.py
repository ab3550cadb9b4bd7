"""What many tests share: a small labelled data set and a small untrained model."""

import sys
from contextlib import ExitStack

import hypothesis
import pytest
import torch
from processes import Child
from salts import PAIRS, binary, labelled_row, write_rows

from debye.core import checkpoint
from debye.crystals.data.labels import FREQUENCY
from debye.crystals.model.network import PhononNet
from debye.crystals.predict.model_files import model_card

DEPTH = sys.getrecursionlimit()

# A slow machine is no failure: nothing here is judged by the time it takes.
hypothesis.settings.register_profile("debye", deadline=None)
hypothesis.settings.load_profile("debye")

torch.set_num_threads(1)  # the tensors of tests are so small that threads wait for each other


@pytest.fixture(autouse=True)
def usual_depth():
    """symfc, which phonopy imports, raises the limit so far that deep JSON overflows the stack."""
    sys.setrecursionlimit(DEPTH)


@pytest.fixture(scope="session")
def labelled(tmp_path_factory):
    """A CSV of twelve rock salts."""
    return write_rows(tmp_path_factory.mktemp("data") / "salts.csv", map(labelled_row, PAIRS))


@pytest.fixture(scope="session")
def split_file(labelled):
    """A split of them: eight to train on, four to validate on."""
    rows = [f"{name},{'valid' if i % 3 == 2 else 'train'}" for i, name in enumerate(PAIRS)]
    path = labelled.with_name("split.csv")
    path.write_text("\n".join(["mp_id,split", *rows]) + "\n")
    return path


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    """A small model as it is made, with its card."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PhononNet(list(FREQUENCY), channels=4, layers=1, l_max=1, hidden=8).eval()
    elements = sorted({s for pair in PAIRS for s in binary(pair)})
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    checkpoint.save_model(path, model, model_card(model, elements=elements))
    return path


@pytest.fixture
def debye():
    """The command, run in this process: ``debye("dos", path)`` gives exit_code, stdout, stderr."""
    from typer.testing import CliRunner

    from debye.cli.command import app

    deterministic = torch.are_deterministic_algorithms_enabled()
    yield lambda *words: CliRunner().invoke(app, [str(word) for word in words])
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture
def child():
    """``child("-m", "debye", …)`` starts a `Child`, which does not outlive the test."""
    with ExitStack() as stack:
        yield lambda *words, **options: stack.enter_context(Child(*words, **options))
