"""Atoms of a learned dictionary."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from symae_keras.data.groups import Array
from symae_keras.errors import InputError
from symae_keras.plotting.style import (
    PAGE,
    PALETTE,
    bare_frame,
    finish,
    new_figure,
    open_frame,
    to_array,
    to_axis,
)

_IMAGES_A_ROW: Final = 8
_SPECTRA_A_ROW: Final = 4


def plot_dictionary(
    atoms: Any,
    n_atoms: int = 32,
    axis: Any = None,
    axis_label: str = "pixel",
    value_label: str = "value",
) -> Figure:
    """Show the atoms of a dictionary in a grid, all on one scale.

    Images get a diverging map that is white at 0, spectra a line at 0. Each atom bears
    the index that it has in `atoms`.

    Args:
        atoms: Atoms, such as those of `SparseAutoencoder.atoms` or
            `LinearAutoencoder.components`: spectra `(n, pixels)` or images
            `(n, height, width)`, with or without a last axis of length 1.
        n_atoms: How many are shown at most, from the first on. Defaults to 32.
        axis: Physical value of each pixel of a spectrum, `(pixels,)`. `None` (default)
            counts pixels.
        axis_label: What the axis is, with its unit. Defaults to `"pixel"`.
        value_label: What the values are, with their unit. Defaults to `"value"`.

    Returns:
        A figure; one axes an atom, and for images the colour bar after them.

    Raises:
        InputError: `atoms` has another shape, or `axis` came with images.

    Example:
    >>> import numpy as np
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
        return finish(_plot_spectra(atoms, pixels, axis_label, value_label))
    if axis is not None:
        raise InputError(
            "axis belongs to spectra, arrays (n, pixels); received images of shape "
            f"{atoms.shape}."
        )
    if atoms.ndim == 4:
        if atoms.shape[-1] != 1:
            raise InputError(
                "Atoms that are images must have one channel; received "
                f"{atoms.shape[-1]}: select the channel to show."
            )
        atoms = atoms[..., 0]
    return finish(_plot_images(atoms, value_label))


def _plot_images(atoms: Array, value_label: str) -> Figure:
    # A lone image is not to be narrower than the numbers under its colour bar.
    columns = min(len(atoms), _IMAGES_A_ROW)
    rows = -(-len(atoms) // columns)
    cell = PAGE / max(columns, 4)
    height = rows * (cell * atoms.shape[1] / atoms.shape[2] + 0.2) + 0.6
    figure = new_figure(cell * max(columns, 2), height, "compressed")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    limit = float(np.nanmax(np.abs(atoms))) or 1.0
    for index, (ax, atom) in enumerate(zip(panels, atoms, strict=False)):
        bare_frame(ax)
        shown = ax.imshow(atom, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set_title(index, pad=2.0)
    for ax in panels[len(atoms) :]:
        ax.remove()
    bar = figure.colorbar(
        shown,
        ax=list(panels[: len(atoms)]),
        location="bottom",
        label=value_label,
        shrink=max(0.5, min(1.0, 2.0 / columns)),
        aspect=7 * min(columns, 4),
    )
    ends = f"\N{MINUS SIGN}{limit:.2g}", f"{limit:.2g}"
    bar.set_ticks([-limit, 0.0, limit], labels=[ends[0], "0", ends[1]])
    return figure


def _plot_spectra(
    atoms: Array, pixels: Array, axis_label: str, value_label: str
) -> Figure:
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
    # Neighbouring panels each label both of their ends otherwise.
    panels[0].locator_params(axis="x", nbins=2)
    panels[0].locator_params(axis="y", nbins=3)
    figure.supxlabel(axis_label)
    figure.supylabel(value_label)
    return figure
