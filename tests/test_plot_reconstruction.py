"""Reconstructions in a figure: what is drawn, for spectra, images and gaps."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.data import GroupedData
from symae_keras.errors import InputError
from symae_keras.plotting import plot_model_reconstruction, plot_reconstruction


class Halves:
    """Gives half of what it gets."""

    def reconstruct(self, x, mask=None):
        return 0.5 * (x if mask is None else np.where(mask, x, 0.0))


def test_spectra_and_their_residuals(rng) -> None:
    x = rng.normal(size=(3, 16))
    x[0, 5] = np.nan
    figure = plot_reconstruction(x, 0.5 * x, np.linspace(4.0, 5.0, 16), "um", "flux")
    assert len(figure.axes) == 6
    for column, (top, below) in enumerate(np.reshape(figure.axes, (2, 3)).T):
        drawn = [line.get_ydata() for line in top.lines]
        np.testing.assert_array_equal(drawn, [x[column], 0.5 * x[column]])
        np.testing.assert_allclose(below.lines[-1].get_ydata(), 0.5 * x[column])
        rms = np.sqrt(np.nanmean((0.5 * x[column]) ** 2))
        assert f"{rms:.2g}" in below.get_title(loc="left")
    assert figure.get_supxlabel() == "um" and figure.get_supylabel() == "flux"


@pytest.mark.parametrize("shape", [(2, 8, 6), (5, 8, 6, 1), (1, 8, 6, 3)])
def test_images(shape, rng) -> None:
    x = rng.uniform(size=shape)
    figure = plot_reconstruction(x, 0.5 * x)
    bars = 1 if shape[3:] == (3,) else 2  # colours need none but their residual's
    assert len(figure.axes) == 3 * shape[0] + bars
    residual = figure.axes[2 * shape[0]].images[0].get_array()
    expected = 0.5 * x[0] if x.ndim == 3 else 0.5 * x[0].mean(axis=-1)
    np.testing.assert_allclose(residual, expected)
    figure.canvas.draw()


def test_of_a_model(rng) -> None:
    """The first present instance of each group, with gaps where pixels are bad."""
    x = rng.normal(size=(5, 3, 16)).astype("float32")
    mask = np.ones((5, 3), bool)
    mask[0, 0] = False
    good = np.ones((16,), bool)
    good[4] = False
    groups = GroupedData(x, mask, pixel_mask=good)
    figure = plot_model_reconstruction(Halves(), groups)
    drawn = figure.axes[0].lines[0].get_ydata()
    np.testing.assert_array_equal(drawn, np.where(good, x[0, 1], np.nan))
    assert figure.axes[0].lines[1].get_ydata()[4] == 0.0


def test_arrays_must_fit(rng) -> None:
    with pytest.raises(InputError, match="reconstructions must have the shape"):
        plot_reconstruction(np.ones((2, 8)), np.ones((2, 9)))
