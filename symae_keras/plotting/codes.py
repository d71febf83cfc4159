"""Codes, sweeps of their components, and dictionary atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from symae_keras.data.groups import Array
from symae_keras.errors import InputError
from symae_keras.plotting.style import (
    EDGE,
    PAGE,
    PALETTE,
    check_shape,
    finish,
    new_figure,
    open_frame,
    refuse_axis,
    series_style,
    show_signed,
    signed_bar,
    to_array,
    to_axis,
)

_MAX_CLASSES: Final = 24
_IMAGES_A_ROW: Final = 8
_SPECTRA_A_ROW: Final = 4


def plot_codes(
    codes: Any, colour: Any, colour_label: str, code_name: str = "coherent code"
) -> Figure:
    """Scatter codes in the plane, coloured by a true parameter.

    Codes with more than two components are projected on their first two principal
    components; the axis labels include the share of variance that each one explains.
    Codes with two components are drawn as they are, and codes with one component
    against the parameter.

    Args:
        codes: Codes `(n, dim)`, such as `model.encode(x).coherent`.
        colour: The parameter, `(n,)`: numbers (floating point) are shown with a colour
            bar, labels (integers, booleans, text) with a legend.
        colour_label: Name of the parameter, with its unit.
        code_name: Name of the code. Defaults to `"coherent code"`.

    Returns:
        A figure; the axes of the points come first.

    Raises:
        InputError: The arrays do not fit each other, or there are too many labels.

    Example:
    >>> rng = np.random.default_rng(0)
    >>> codes = rng.normal(size=(100, 8))
    >>> figure = plot_codes(codes, codes[:, 0], "temperature (K)")
    >>> figure.axes[0].get_xlabel()[:27]
    'coherent code, principal co'
    """
    codes = to_array("codes", codes, (2,))
    colour = to_array("colour", colour, (1,))
    check_shape("colour", colour, (len(codes),), "codes")
    figure = new_figure(0.75 * PAGE, 4.0)
    ax = figure.add_subplot()
    open_frame(ax)
    labels = colour.dtype.kind != "f"
    if codes.shape[1] == 1:
        heights = colour
        if labels:
            names, heights = np.unique(colour, return_inverse=True)
            ax.set_yticks(np.arange(len(names)), labels=[str(name) for name in names])
        ax.scatter(codes, heights, color=PALETTE[0], s=14, alpha=0.6, linewidths=0)
        ax.set(xlabel=code_name, ylabel=colour_label)
        return finish(figure)
    points, (across, up) = _plane(codes)
    ax.set(xlabel=f"{code_name}, {across}", ylabel=f"{code_name}, {up}")
    if labels:
        _scatter_labels(ax, points, colour, colour_label)
    else:
        shown = ax.scatter(
            points[:, 0], points[:, 1], c=colour, cmap="viridis", s=14, linewidths=0
        )
        figure.colorbar(shown, ax=ax, label=colour_label)
    return finish(figure)


def _plane(codes: Array) -> tuple[Array, list[str]]:
    """Return points in the plane and the names of its two directions."""
    if codes.shape[1] == 2:
        return codes, ["component 1", "component 2"]
    centred = np.asarray(codes, "float64")
    centred = centred - centred.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    total = np.sum(scale**2)
    if len(scale) < 2 or not total > 0.0:
        raise InputError(
            "Principal components need at least two different codes; received "
            f"codes of shape {codes.shape}."
        )
    shares = 100.0 * scale[:2] ** 2 / total
    names = [
        f"principal component {n} ({share:.0f} %)"
        for n, share in enumerate(shares, start=1)
    ]
    return left[:, :2] * scale[:2], names


def _scatter_labels(ax: Axes, points: Array, labels: Array, title: str) -> None:
    classes = np.unique(labels)
    if len(classes) > _MAX_CLASSES:
        raise InputError(
            f"colour has {len(classes)} different labels, but a legend can distinguish "
            f"at most {_MAX_CLASSES}: give numbers as floats."
        )
    for n, name in enumerate(classes):
        colour, marker = series_style(n)
        ax.scatter(
            points[labels == name, 0],
            points[labels == name, 1],
            s=18,
            color=colour,
            marker=marker,
            edgecolors=EDGE,
            linewidths=0.3,
            label=str(name),
        )
    ax.legend(
        title=title,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        ncols=1 + (len(classes) > 12),
        handlelength=1.0,
        columnspacing=1.0,
        frameon=False,
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
    """Sweep components of the code one at a time and draw the decoded spectra.

    All other components stay at their median over `codes`. Each row of the figure is
    one component, and each line is the spectrum at one step of the sweep, marked by
    colour.

    Args:
        model: A model with `decode` from codes `(n, code_dim)` to spectra `(n,
            pixels)`, such as `StellarAutoencoder`.
        codes: Codes of data, `(rows, code_dim)`, which define the median and the
            standard deviation of every component.
        latents: Indices of the components to sweep, at most a dozen for a legible
            figure, such as the result of `informative_latents`. `None` (default) sweeps
            all.
        names: A title for each row. Defaults to `None`: "latent 3" and so on.
        sigmas: Range of the sweep in standard deviations. Defaults to 3.
        n_steps: Number of spectra per row, from `-sigmas` to `sigmas`. Defaults to 7.
        axis: Physical value of each pixel, `(pixels,)`.
        axis_label: Name of the axis, with its unit.
        value_label: Name of the values, with their unit.

    Returns:
        A figure with one axes per component; the colour bar is last.

    Raises:
        InputError: An argument has the wrong shape, a component does not exist, or the
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
            f"latents must be indices from 0 to {code_dim - 1}, the components of the "
            f"code; received {latents}."
        )
    names = [f"latent {n}" for n in latents] if names is None else list(names)
    if len(names) != len(latents):
        raise InputError(
            f"names must have a title for each of the {len(latents)} latents; received "
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
    figure.colorbar(colours, ax=list(panels), label="standard deviations")
    return finish(figure, axis_label, value_label)


def plot_dictionary(
    atoms: Any,
    n_atoms: int = 32,
    axis: Any = None,
    axis_label: str = "pixel",
    value_label: str = "value",
) -> Figure:
    """Show the atoms of a dictionary in a grid, all on one scale.

    Images use a diverging colour map that is white at 0; spectra have a line at 0. The
    title of each atom is its index in `atoms`.

    Args:
        atoms: Atoms, such as those of `SparseAutoencoder.atoms` or
            `LinearAutoencoder.components`: spectra `(n, pixels)` or images
            `(n, height, width)`, with or without a last axis of length 1.
        n_atoms: Maximum number of atoms, from the first on. Defaults to 32.
        axis: Physical value of each pixel of a spectrum, `(pixels,)`. Defaults to
            `None`: pixel indices.
        axis_label: Name of the axis, with its unit. Defaults to `"pixel"`.
        value_label: Name of the values, with their unit. Defaults to `"value"`.

    Returns:
        A figure with one axes per atom and, for images, the colour bar last.

    Raises:
        InputError: `atoms` has another shape, or `axis` was given for images.

    Example:
    >>> atoms = np.random.default_rng(0).normal(size=(5, 8, 8))
    >>> figure = plot_dictionary(atoms)
    >>> len(figure.axes)
    6
    """
    atoms = to_array("atoms", atoms, (2, 3, 4))
    if n_atoms < 1:
        raise InputError(f"n_atoms must be at least 1; received {n_atoms}.")
    atoms = atoms[:n_atoms]
    if atoms.ndim == 2:
        pixels = to_axis(axis, atoms.shape[1])
        return finish(_plot_atoms(atoms, pixels), axis_label, value_label)
    refuse_axis(axis, atoms)
    if atoms.ndim == 4:
        if atoms.shape[-1] != 1:
            raise InputError(
                "Atoms that are images must have one channel; received "
                f"{atoms.shape[-1]}: select the channel to show."
            )
        atoms = atoms[..., 0]
    return finish(_plot_images_of_atoms(atoms, value_label))


def _plot_images_of_atoms(atoms: Array, value_label: str) -> Figure:
    # A single image must not be narrower than the labels of its colour bar.
    columns = min(len(atoms), _IMAGES_A_ROW)
    rows = -(-len(atoms) // columns)
    cell = PAGE / max(columns, 4)
    height = rows * (cell * atoms.shape[1] / atoms.shape[2] + 0.2) + 0.6
    figure = new_figure(cell * max(columns, 2), height, "compressed")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in panels[len(atoms) :]:
        ax.remove()
    panels = panels[: len(atoms)]
    shown = show_signed(panels, atoms)
    for index, ax in enumerate(panels):
        ax.set_title(index, pad=2.0)
    signed_bar(
        figure,
        shown,
        panels,
        label=value_label,
        shrink=max(0.5, min(1.0, 2.0 / columns)),
        aspect=7 * min(columns, 4),
    )
    return figure


def _plot_atoms(atoms: Array, pixels: Array) -> Figure:
    columns = min(len(atoms), _SPECTRA_A_ROW)
    rows = -(-len(atoms) // columns)
    figure = new_figure(PAGE * max(columns, 2) / _SPECTRA_A_ROW, 0.95 * rows + 0.6)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = panels.ravel()
    for index, (ax, atom) in enumerate(zip(panels, atoms, strict=False)):
        ax.axhline(0.0, color="0.6", linewidth=0.8)
        ax.plot(pixels, atom, color=PALETTE[0], linewidth=0.9)
        ax.set_title(index, pad=2.0)
        ax.margins(x=0.0)
        open_frame(ax)
        ax.tick_params(
            labelleft=index % columns == 0, labelbottom=index + columns >= len(atoms)
        )
    for ax in panels[len(atoms) :]:
        ax.remove()
    # Otherwise, the end labels of neighbouring panels overlap.
    panels[0].locator_params(axis="x", nbins=2)
    panels[0].locator_params(axis="y", nbins=3)
    return figure
