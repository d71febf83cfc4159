"""The figures of a run folder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation.batching import in_batches, to_numpy
from symae_keras.plotting import plot_codes, plot_history, plot_redatuming

_log = logging.getLogger("symae_keras")

_EXAMPLES = 3


def write_figures(
    folder: Path, model: Any, groups: GroupedData, history: Path
) -> list[Path]:
    """Write learning curves, a redatuming figure and, for known states, a code map.

    What cannot be drawn is left out, with a warning of the logger `"symae_keras"`: a
    trained model is not lost for a figure.

    Args:
        folder: Folder to write to; made if missing.
        model: A `SymAE`.
        groups: Groups that the model was not trained on.
        history: The history.csv of the training.

    Returns:
        The files written.
    """
    folder.mkdir(exist_ok=True)
    drawings: dict[str, Callable[[], Figure | None]] = {
        "history": lambda: plot_history(history),
        "redatuming": lambda: _redatuming(model, groups),
        "codes": lambda: _codes(model, groups),
    }
    written = []
    for name, draw in drawings.items():
        try:
            figure = draw()
        except InputError as error:
            _log.warning("no figure %s: %s", name, error)
            continue
        if figure is not None:
            written.append(folder / f"{name}.png")
            figure.savefig(written[-1], dpi=150)
    return written


def _redatuming(model: Any, groups: GroupedData) -> Figure | None:
    """The states of the first groups under the nuisances of the next ones."""
    shape = groups.instance_shape
    if len(groups) < 2 or len(shape) > 3:
        return None
    state = np.arange(min(_EXAMPLES, len(groups) - 1))
    group = state + 1
    first = groups.present.argmax(axis=1)
    mask = groups.model_mask
    # Whole groups, of which one instance is drawn: a conditional nuisance encoder reads
    # an instance with the others of its group.
    virtual = to_numpy(
        model.redatum(
            coherent_from=groups.x[state],
            nuisance_from=groups.x[group],
            coherent_mask=None if mask is None else mask[state],
            nuisance_mask=None if mask is None else mask[group],
        )
    )[np.arange(len(state)), first[group]]
    truth = None
    if groups.render is not None:
        truth = groups.virtual(state, group, first[group])
    seen_at, under_at = (state, first[state]), (group, first[group])
    x = groups.x
    if groups.masks == 2:
        x = np.where(groups.good_pixels, x, np.nan)  # gaps in the lines
    arrays = [x[seen_at], x[under_at], virtual, truth]
    seen, under, made, exact = (None if a is None else _drawable(a) for a in arrays)
    images = len(shape) == 3
    label = "intensity" if images else "value of channel 0"
    return plot_redatuming(
        seen,
        under,
        made,
        exact,
        axis=None if images else groups.axis,
        axis_label=groups.axis_label,
        value_label="value" if len(shape) == 1 else label,
    )


def _drawable(instances: Array) -> Array:
    """Spectra without channels, images with one or three of them."""
    if instances.ndim == 3:
        return instances[..., 0]
    if instances.ndim == 4 and instances.shape[-1] not in (1, 3):
        return instances[..., :1]
    return instances


def _codes(model: Any, groups: GroupedData) -> Figure | None:
    """Coherent codes coloured by the first true parameter of the state."""
    if not groups.state:
        return None
    scalars = [name for name, value in groups.state.items() if value.ndim == 1]
    name = scalars[0] if scalars else next(iter(groups.state))
    value = groups.state[name].reshape(len(groups), -1)[:, 0]
    coherent, _ = in_batches(model.encode, groups.x, groups.model_mask)
    return plot_codes(coherent, value, name if scalars else f"{name}[0]")
