"""Reconstructions, what is wrong with them, and at which frequencies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from symae_keras.errors import InputError
from symae_keras.plotting.images import Display, bare_frame
from symae_keras.plotting.style import (
    PAGE,
    check_shape,
    finish,
    new_figure,
    to_array,
)


def plot_residuals(
    truth: Any,
    reconstructions: Mapping[str, Any],
    notes: Mapping[str, str] | None = None,
    value_label: str = "intensity",
) -> Figure:
    """Plot what methods make of one image, their residuals and the spectra of these.

    The first row shows the truth and the reconstructions of the first image, the second
    row their residuals. The third row is the power of the residuals of all images, over
    frequencies from minus to plus half a cycle a pixel, 0 in the middle: a pattern that
    repeats every two pixels is a bright point in the middle of an edge or in a corner.

    Args:
        truth: Grey images `(n, height, width)`, or `(n, height, width, 1)`.
        reconstructions: Images by method, each of the shape of `truth`.
        notes: What to write below the name of a method, such as its error. Defaults to
            `None`.
        value_label: What the values are, with their unit. Defaults to `"intensity"`.

    Returns:
        A figure; the axes row by row, without the two below the truth, then three
        colour bars.

    Raises:
        InputError: The images do not fit each other, or are not grey.

    Example:
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=(5, 8, 8))
    >>> made = {"one": 0.9 * truth, "another": truth + rng.normal(size=(8, 8))}
    >>> len(plot_residuals(truth, made).axes)  # 3 + 2 + 2, and colour bars
    10
    """
    images = to_array("truth", truth, (3, 4))
    if images.ndim == 4 and images.shape[-1] != 1:
        raise InputError(
            f"truth must hold grey images; received {images.shape[-1]} channels."
        )
    if not reconstructions:
        raise InputError("reconstructions holds no method: give one array a method.")
    made = {}
    for name, each in reconstructions.items():
        argument = f"reconstructions[{name!r}]"
        made[name] = to_array(argument, each, (images.ndim,))
        check_shape(argument, made[name], images.shape, "the truth")
    display = Display([images, *made.values()], channel_axis=images.ndim == 4)
    residuals = {name: display.difference(y, images) for name, y in made.items()}
    spectra = {name: _power(each) for name, each in residuals.items()}
    largest = max(float(np.abs(each[0]).max()) for each in residuals.values()) or 1.0

    columns = 1 + len(made)
    side = (PAGE - 0.8) / columns
    height = 3 * side * images.shape[1] / images.shape[2]
    figure = new_figure(PAGE, height + 0.6, "compressed")
    grid = figure.add_gridspec(3, columns)
    rows = [
        [figure.add_subplot(grid[i, j]) for j in range(int(i > 0), columns)]
        for i in range(3)
    ]
    rows[0][0].set_title("truth")
    shown = [display.show(rows[0][0], images[0])]
    for ax, (name, each) in zip(rows[0][1:], made.items(), strict=True):
        display.show(ax, each[0])
        note = (notes or {}).get(name)
        ax.set_title(name if note is None else f"{name}\n{note}")
    for ax, each in zip(rows[1], residuals.values(), strict=True):
        bare_frame(ax)
        drawn = ax.imshow(each[0], cmap="RdBu_r", vmin=-largest, vmax=largest)
    shown.append(drawn)
    norm = LogNorm(*_limits(list(spectra.values())))
    for ax, each in zip(rows[2], spectra.values(), strict=True):
        bare_frame(ax)
        drawn = ax.imshow(each, cmap="viridis", norm=norm)
    shown.append(drawn)
    labels = (value_label, "residual", "power")
    for row, image, label in zip(rows, shown, labels, strict=True):
        figure.colorbar(image, ax=row, label=label, aspect=10)
    return finish(figure)


def _power(residuals: Any) -> Any:
    """Mean power at each frequency, 0 in the middle."""
    spectra = np.abs(np.fft.fft2(residuals, axes=(1, 2))) ** 2
    return np.fft.fftshift(spectra.mean(axis=0) / residuals[0].size)


def _limits(spectra: list[Any]) -> tuple[float, float]:
    """Limits of a logarithmic scale that shows all but the least powers."""
    values = np.concatenate([each.ravel() for each in spectra])
    positive = values[values > 0.0]
    if not len(positive):
        return 0.1, 1.0
    high = float(positive.max())
    return max(float(np.percentile(positive, 1)), 1e-6 * high), high
