"""The law of 1 / T beside errors that follow it or not."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from symae_keras.errors import InputError
from symae_keras.plotting import plot_one_over_t


def test_slopes_and_law() -> None:
    # Given out of order, with several seeds.
    n_instances = np.array([16, 4, 64])
    errors = {
        "SymAE": n_instances[:, None] ** -0.75 * [3.0, 1.0, 2.0],
        "floor": np.full(3, 0.1),
    }
    figure = plot_one_over_t(n_instances, errors, 0.5 / n_instances, {"floor": "flat"})
    FigureCanvasAgg(figure).draw()
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "SymAE, slope -0.75",
        "flat, slope 0.00",
        "limit, slope -1.00",
        "1 / T",
    ]
    law = ax.lines[-1]
    np.testing.assert_array_equal(law.get_xdata(), [4, 16, 64])
    first = 2.0 * 4.0**-0.75  # the median of the first method
    np.testing.assert_allclose(law.get_ydata(), [first, first / 4, first / 16])


@pytest.mark.parametrize("n_instances", [[4], [4, 4]])
def test_one_number_of_instances_has_no_slope(n_instances) -> None:
    with pytest.raises(InputError, match="two or more different numbers"):
        plot_one_over_t(n_instances, {"a": np.ones(len(n_instances))})


def test_bad_errors_are_refused_as_elsewhere() -> None:
    with pytest.raises(InputError, match=r"errors\['a'\] must be positive"):
        plot_one_over_t([1, 2], {"a": [1.0, 0.0]})
