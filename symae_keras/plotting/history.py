"""Learning curves."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symae_keras.data.groups import Array
from symae_keras.errors import InputError
from symae_keras.plotting.style import (
    PAGE,
    PALETTE,
    finish,
    new_figure,
    open_frame,
    to_array,
)


def plot_history(history: Any) -> Figure:
    """Plot the learning curves of a training run.

    Training and validation loss are in the first panel, on a logarithmic axis where
    they are positive. Anything else that was logged, such as the noise strength, has a
    panel of its own below, with its validation values where there are some.

    Args:
        history: What `fit` returned, its `history` dict of lists, or the path of a
            `history.csv` written by `keras.callbacks.CSVLogger`.

    Returns:
        A figure; one axes a quantity, the loss first.

    Raises:
        InputError: There is no loss, or the curves do not cover the same epochs.

    Example:
    >>> losses = {"loss": [1.0, 0.4, 0.2], "val_loss": [1.1, 0.6, 0.5]}
    >>> figure = plot_history({**losses, "noise_strength": [0.5, 0.3, 0.2]})
    >>> [ax.get_ylabel() for ax in figure.axes]
    ['loss', 'noise_strength']
    """
    epochs, curves = _read(history)
    if "loss" not in curves:
        raise InputError(
            f"A history must hold 'loss'; received {sorted(curves) or 'nothing'}."
        )
    for name, values in curves.items():
        if values.shape != epochs.shape:
            raise InputError(
                f"A history must hold one value of each curve an epoch, here "
                f"{len(epochs)}; received {len(values)} of {name!r}: where validation "
                "skips epochs, give the history.csv, which tells at which ones."
            )
    names = [name for name in curves if not _is_validation(name, curves)]
    names.sort(key=lambda name: name != "loss")
    heights = [2.8] + [1.2] * (len(names) - 1)
    figure = new_figure(0.75 * PAGE, sum(heights) + 0.4)
    axes = figure.subplots(
        len(names), sharex=True, squeeze=False, height_ratios=heights
    )[:, 0]
    for ax, name in zip(axes, names, strict=True):
        _plot_curve(ax, name, epochs, curves)
    shared = next((ax for ax in axes if len(ax.lines) > 1), None)
    if shared is not None:
        shared.legend(frameon=False)
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    figure.align_ylabels()
    return finish(figure)


def _is_validation(name: str, curves: Mapping[str, Array]) -> bool:
    return name.startswith("val_") and name[len("val_") :] in curves


def _plot_curve(
    ax: Axes, name: str, epochs: Array, curves: Mapping[str, Array]
) -> None:
    open_frame(ax)
    ax.set_ylabel(name)
    drawn = []
    for label, key, colour in (
        ("training", name, PALETTE[0]),
        ("validation", f"val_{name}", PALETTE[1]),
    ):
        if key not in curves:
            continue
        known = np.isfinite(curves[key])
        drawn.append(curves[key][known])
        # A lone epoch has no line to show.
        marker = "o" if known.sum() < 10 else None
        ax.plot(
            epochs[known], drawn[-1], color=colour, label=label, marker=marker, ms=3.5
        )
    if name == "loss" and all((values > 0.0).all() for values in drawn):
        ax.set_yscale("log")


def _read(history: Any) -> tuple[Array, dict[str, Array]]:
    """Epochs, counted from 1, and the curves over them."""
    if isinstance(history, (str, os.PathLike)):
        curves = _read_csv(Path(history))
        epochs = curves.pop("epoch", None)
    else:
        logs = getattr(history, "history", history)
        if not isinstance(logs, Mapping):
            raise InputError(
                "history must be what `fit` returned, a dict of lists or the path of a "
                f"history.csv; received {type(history).__name__}."
            )
        curves = {
            str(name): np.asarray(to_array(str(name), values, (1,)), "float64")
            for name, values in logs.items()
        }
        epochs = getattr(history, "epoch", None)
    if epochs is None:
        epochs = np.arange(len(next(iter(curves.values()), ())))
    return np.asarray(epochs, "float64") + 1.0, curves


def _read_csv(path: Path) -> dict[str, Array]:
    """Columns of numbers; what is not a number was not logged at that epoch."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f"Cannot read the history {path}: {error.strerror}.") from None
    if not rows:
        raise InputError(f"The history {path} holds no epochs.")
    return {name: np.array([_number(row[name]) for row in rows]) for name in rows[0]}


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
