"""Line shapes: what the published smoothing makes of a single mode."""

import numpy as np
import pytest
import torch

from debye.crystals.data.labels import FREQUENCY, published_recipe
from debye.crystals.lattice.dos import line_shapes, smoother


def test_the_filter_is_that_of_the_labels():
    """The matrix against SciPy's Savitzky-Golay filter, first window included."""
    axis = np.arange(1101.0)
    raw = 2 + np.sin(axis / 37) + 0.3 * np.cos(axis / 11)  # positive, so that nothing is clipped
    ours = smoother(np.array(FREQUENCY)) @ raw[:1051]
    theirs = published_recipe(axis, raw).numpy()
    np.testing.assert_allclose(ours / ours.max(), theirs, rtol=1e-9)


@pytest.mark.parametrize("width", [0.0, 10.0, 40.0])
def test_a_line_counts_one_state_and_lies_where_it_is(width):
    """In the middle of the axis; the filter keeps moments up to the third."""
    omega = torch.arange(0.0, 1001.0, dtype=torch.float64)
    shape = line_shapes(tuple(omega.tolist()), (width,))[500, 0].double()
    assert shape.sum().item() == pytest.approx(1.0, abs=1e-4)
    assert (shape * omega).sum().item() == pytest.approx(500.0, rel=1e-4)
    spread = (shape * (omega - 500) ** 2).sum().item()
    assert spread == pytest.approx(width**2, abs=1.0)
