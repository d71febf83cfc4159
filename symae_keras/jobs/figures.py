"""The figures of a run folder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from symae_keras.data.groups import GroupedData
from symae_keras.evaluation.batching import in_batches
from symae_keras.files import written_aside
from symae_keras.kinds import swaps_codes
from symae_keras.plotting import (
    plot_codes,
    plot_history,
    plot_model_reconstruction,
    plot_model_redatuming,
)
from symae_keras.presets import one_line

_log = logging.getLogger("symae_keras")


def write_figures(
    folder: Path, model: Any, groups: GroupedData, history: Path
) -> list[Path]:
    """Write learning curves, what the model makes of data, and a map of known states.

    Grouped models are shown by virtual instances, others by reconstructions.

    What cannot be drawn is left out, with a warning of the logger `"symae_keras"`: a
    trained model is not lost for a figure.

    Args:
        folder: Folder to write to; made if missing.
        model: A `SymAE`, or a model of single instances.
        groups: Groups that the model was not trained on.
        history: The history.csv of the training.

    Returns:
        The files written.
    """
    folder.mkdir(exist_ok=True)
    shown, show = "reconstruction", _reconstruction
    if swaps_codes(model):
        shown, show = "redatuming", _redatuming
    drawings: dict[str, Callable[[], Figure | None]] = {
        "history": lambda: plot_history(history),
        shown: lambda: show(model, groups),
        "codes": lambda: _codes(model, groups),
    }
    written = []
    for name, draw in drawings.items():
        path = folder / f"{name}.png"
        try:
            figure = draw()
            if figure is None:
                continue
            with written_aside(path) as aside:
                figure.savefig(aside, dpi=150)
        # Matplotlib raises errors of any class, from labels, fonts or the disk.
        except Exception as error:
            _log.warning("no figure %s: %s", name, one_line(error))
        else:
            written.append(path)
    return written


def _redatuming(model: Any, groups: GroupedData) -> Figure | None:
    if len(groups) < 2 or len(groups.instance_shape) > 3:
        return None
    return plot_model_redatuming(model, groups)


def _reconstruction(model: Any, groups: GroupedData) -> Figure | None:
    if len(groups.instance_shape) > 3:
        return None
    return plot_model_reconstruction(model, groups)


def _codes(model: Any, groups: GroupedData) -> Figure | None:
    """Codes of the state coloured by its first true parameter."""
    if not groups.state:
        return None
    scalars = [name for name, value in groups.state.items() if value.ndim == 1]
    name = scalars[0] if scalars else next(iter(groups.state))
    value = groups.state[name].reshape(len(groups), -1)[:, 0]
    label = name if scalars else f"{name}[0]"
    if swaps_codes(model):
        coherent, _ = in_batches(model.encode, groups.x, groups.model_mask)
        return plot_codes(coherent, value, label)
    codes = in_batches(model.encode, *groups.first_instances())
    if not isinstance(codes, np.ndarray) or codes.ndim != 2:
        return None  # maps, such as those of a U-Net, are no points
    return plot_codes(codes, value, label, code_name="code")
