"""The numbers and the figures of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from symae_keras._utils.batching import in_batches
from symae_keras._utils.files import written_aside
from symae_keras._utils.text import one_line
from symae_keras._utils.types import swaps_codes
from symae_keras.cli._sources import Groups
from symae_keras.data.groups import GroupedData
from symae_keras.evaluation import reconstruction_error, redatuming_error
from symae_keras.plotting import (
    plot_codes,
    plot_history,
    plot_model_reconstruction,
    plot_model_redatuming,
)
from symae_keras.training import Recipe

_log = logging.getLogger("symae_keras")


def measure(model: Any, groups: GroupedData, what: str) -> dict[str, Any]:
    """Errors of a model on groups, relative to their variance.

    Args:
        model: A `SymAE`, or a model of single instances.
        groups: Groups to judge by.
        what: What the groups are.

    Returns:
        Content of metrics.json: `redatuming_error` and `mean_swap_error` are there
        only for simulated groups, which know the truth, and models that swap codes.
    """
    metrics: dict[str, Any] = {
        "data": what,
        "groups": len(groups),
        "instances": int(groups.present.sum()),
        "swaps_codes": swaps_codes(model),
    }
    known = groups.render is not None and len(groups) > 1
    if known and metrics["swaps_codes"]:
        error = redatuming_error(model, groups)
        metrics["reconstruction_error"] = error.reconstruction
        metrics["redatuming_error"] = float(error)
        metrics["mean_swap_error"] = error.mean_swap
    else:
        metrics["reconstruction_error"] = reconstruction_error(model, groups)
    return metrics


def measure_run(
    model: Any, recipe: Recipe, train: Groups, held_out: GroupedData
) -> dict[str, Any]:
    """Errors on what was held out, and the scores of the recipe.

    Args:
        model: Trained.
        recipe: Of the model.
        train: Groups that it was trained on; of shards a sample is given to the recipe.
        held_out: The others.

    Returns:
        Content of metrics.json.
    """
    metrics = measure(model, held_out, "held-out part")
    if recipe.score is not None:
        known = train if isinstance(train, GroupedData) else train.sample()
        try:
            metrics |= recipe.score(model, known, held_out)
        except Exception as error:
            # The model is trained, and must not be lost for want of a score.
            _log.warning("no scores of the recipe: %s", one_line(error))
    return metrics


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
