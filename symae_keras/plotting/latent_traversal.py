"""What each number of a code does to the instance that is decoded from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from symae_keras.errors import InputError
from symae_keras.plotting.style import (
    PAGE,
    finish,
    new_figure,
    open_frame,
    to_array,
    to_axis,
)


def plot_latent_traversal(
    model: Any,
    codes: Any,
    latents: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    sigmas: float = 3.0,
    n_steps: int = 7,
    axis: Any = None,
    axis_label: str = "pixel",
    value_label: str = "value",
) -> Figure:
    """Sweep numbers of the code one at a time and draw the spectra decoded from them.

    All other numbers stay at their median over `codes`. A row of the figure is a
    number, a line the spectrum at one place of the sweep, told by its colour.

    Args:
        model: Anything with `decode` from codes `(n, code_dim)` to spectra
            `(n, pixels)`, such as `StellarAutoencoder`.
        codes: Codes of data, `(rows, code_dim)`, which tell the median and the standard
            deviation of every number.
        latents: Which numbers to sweep, at most a dozen for a legible figure, such as
            `informative_latents` finds. `None` (default) takes all.
        names: A title for each row. `None` (default) stands for "latent 3" and so on.
        sigmas: Ends of the sweep in standard deviations. Defaults to 3.
        n_steps: Spectra in a row, from `-sigmas` to `sigmas`. Defaults to 7.
        axis: Physical value of each pixel, `(pixels,)`.
        axis_label: What the axis is, with its unit.
        value_label: What the spectra show, with its unit.

    Returns:
        A figure; one axes a number, the colour bar last.

    Raises:
        InputError: An argument has the wrong shape, a number does not exist, or the
            model does not decode to spectra.

    Example:
    >>> import numpy as np
    >>> from symae_keras.models import Autoencoder
    >>> x = np.random.default_rng(0).normal(size=(32, 64)).astype("float32")
    >>> model = Autoencoder((64,), code_dim=3)
    >>> figure = plot_latent_traversal(model, model.encode(x), latents=[0, 2])
    >>> [ax.get_title("left") for ax in figure.axes[:2]]
    ['latent 0', 'latent 2']
    """
    codes = to_array("codes", codes, (2,))
    code_dim = codes.shape[1]
    latents = list(range(code_dim) if latents is None else latents)
    if not latents or not set(latents) <= set(range(code_dim)):
        raise InputError(
            f"latents must be some of the {code_dim} numbers of the code, counted from "
            f"0; received {latents}."
        )
    names = [f"latent {n}" for n in latents] if names is None else list(names)
    if len(names) != len(latents):
        raise InputError(
            f"names must title each of the {len(latents)} latents; received "
            f"{len(names)}."
        )
    if n_steps < 2:
        raise InputError(f"n_steps must be at least 2; received {n_steps}.")
    steps = np.linspace(-sigmas, sigmas, n_steps)
    centre, spread = np.median(codes, axis=0), codes.std(axis=0)
    swept = np.tile(centre, (len(latents), n_steps, 1))
    for row, latent in enumerate(latents):
        swept[row, :, latent] += steps * spread[latent]
    flat = swept.reshape(-1, code_dim).astype("float32")
    spectra = to_array("decoded", model.decode(flat), (2,))
    axis = to_axis(axis, spectra.shape[1])

    figure = new_figure(PAGE, 1.15 * len(latents) + 0.9)
    panels = figure.subplots(len(latents), sharex=True, sharey=True, squeeze=False)
    panels = panels[:, 0]
    colours = ScalarMappable(Normalize(-sigmas, sigmas), "viridis")
    rows = spectra.reshape(len(latents), n_steps, -1)
    for ax, name, lines in zip(panels, names, rows, strict=True):
        open_frame(ax)
        ax.set_title(name, loc="left")
        for step, line in zip(steps, lines, strict=True):
            ax.plot(axis, line, color=colours.to_rgba(step), linewidth=0.8)
        ax.margins(x=0.01)
    figure.supxlabel(axis_label)
    figure.supylabel(value_label)
    figure.colorbar(colours, ax=list(panels), label="standard deviations")
    return finish(figure)
