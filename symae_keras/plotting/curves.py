"""Curves: training, sweeps, errors over instances."""

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
    check_shape,
    finish,
    log_ticks,
    new_figure,
    open_frame,
    series_style,
    to_array,
)


def _plot_curves(
    x_name: str,
    x: Any,
    errors: Mapping[str, Any],
    x_label: str,
    y_label: str,
    limit: Any = None,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Draw the median of each method over seeds as a line, their range as a band.

    Error messages call `x` by the name `x_name`; see `plot_error_over_instances`.
    """
    count = _positive(x_name, to_array(x_name, x, (1,)))
    if not errors:
        raise InputError("errors holds no method: give one array a method.")
    order = np.argsort(count)
    figure = new_figure(0.75 * PAGE, 3.6)
    ax = figure.add_subplot()
    open_frame(ax)
    ax.set(xscale="log", yscale="log")
    for n, (name, values) in enumerate(errors.items()):
        argument = f"errors[{name!r}]"
        array = _positive(argument, to_array(argument, values, (1, 2)))
        array = array.reshape(len(array), -1)
        check_shape(argument, array, (len(count), array.shape[1]), x_name)
        array = array[order]
        colour, marker = series_style(n)
        ax.plot(
            count[order],
            np.median(array, axis=1),
            color=colour,
            marker=marker,
            markersize=5,
            label=(labels or {}).get(name, name),
        )
        if array.shape[1] > 1:
            ax.fill_between(
                count[order],
                array.min(axis=1),
                array.max(axis=1),
                color=colour,
                alpha=0.2,
                linewidth=0,
            )
    if limit is not None:
        least = _positive("limit", to_array("limit", limit, (1,)))
        check_shape("limit", least, count.shape, x_name)
        ax.plot(count[order], least[order], color="black", ls="--", label="limit")
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    ax.set_xticks(_apart(count[order]))
    ax.set_xticks([], minor=True)
    ax.xaxis.set_major_formatter("{x:g}")
    log_ticks(ax.yaxis)
    ax.legend(frameon=False)
    return finish(figure)


def _apart(values: Array) -> list[float]:
    """Those of the ascending values whose ticks do not touch on a logarithmic axis."""
    chosen = [float(values[0])]
    for value in values[1:]:
        if np.log(value / chosen[-1]) > 0.06 * np.log(values[-1] / values[0]):
            chosen.append(float(value))
    return chosen


def _positive(name: str, array: Array) -> Array:
    if not (np.isfinite(array) & (array > 0)).all():
        raise InputError(
            f"{name} must be positive, since the axes are logarithmic; received values "
            f"from {np.min(array)} to {np.max(array)}."
        )
    return array


def plot_bottleneck_sweep(
    code_dims: Any, errors: Mapping[str, Any], labels: Mapping[str, str] | None = None
) -> Figure:
    """Plot errors of held-out instances against the size of the bottleneck.

    Where the curve of a network bends is the number of things that vary in the data, as
    far as the network tells them; that of principal components bends later where they
    vary nonlinearly. Both axes are logarithmic. A line is the median over seeds, its
    band their range.

    Args:
        code_dims: Sizes of the code, `(n,)`.
        errors: Errors by method, each `(n, n_seeds)` or `(n,)`.
        labels: What to call a method in the legend. `None` (default) stands for its
            key in `errors`.

    Returns:
        A figure with one axes.

    Raises:
        InputError: The arrays do not fit `code_dims`, or are not positive.

    Example:
    >>> figure = plot_bottleneck_sweep(
    ...     [2, 8, 32], {"autoencoder": [0.3, 0.01, 0.01], "PCA": [0.4, 0.1, 0.02]}
    ... )
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['autoencoder', 'PCA']
    """
    return _plot_curves(
        "code_dims",
        code_dims,
        errors,
        x_label="numbers in the code",
        y_label="reconstruction error (MSE / variance of the data)",
        labels=labels,
    )


def plot_error_over_instances(
    n_instances: Any,
    errors: Mapping[str, Any],
    limit: Any = None,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Plot redatuming errors against the number of instances a group.

    Both axes are logarithmic. A line is the median over seeds, its band their range.

    Args:
        n_instances: Numbers of instances, `(n,)`.
        errors: Errors by method, each `(n, n_seeds)` or `(n,)`.
        limit: The least possible error, `(n,)`, such as `exposures_limit` at each
            number. Defaults to `None`.
        labels: What to call a method in the legend. `None` (default) stands for its
            key in `errors`.

    Returns:
        A figure with one axes.

    Raises:
        InputError: The arrays do not fit `n_instances`, or are not positive.

    Example:
    >>> import numpy as np
    >>> n_instances = np.array([4, 16, 64])
    >>> figure = plot_error_over_instances(
    ...     n_instances,
    ...     {"SymAE": 0.5 / n_instances[:, None] * [1.0, 1.1, 1.3]},
    ...     limit=0.4 / n_instances,
    ... )
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['SymAE', 'limit']
    """
    return _plot_curves(
        "n_instances",
        n_instances,
        errors,
        x_label="instances in a group",
        y_label="redatuming error (MSE / variance of truth)",
        limit=limit,
        labels=labels,
    )


def plot_one_over_t(
    n_instances: Any,
    errors: Mapping[str, Any],
    limit: Any = None,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Plot redatuming errors against the number of instances T, and the law of 1 / T.

    What a group leaves open of its state is averaged out by more instances, so that the
    error of an optimal estimator falls as 1 / T. A line that bends off the law has
    reached what more instances cannot help: pixel noise, and what the network gets
    wrong. The legend states the slope of each line in logarithms, by least squares; -1
    is the law, which is drawn through the first median of the first method.

    Args:
        n_instances: Numbers of instances, `(n,)`, two or more different ones.
        errors: Errors by method, each `(n, n_seeds)` or `(n,)`, such as
            `error_over_instances` finds for each seed.
        limit: The least possible error, `(n,)`, such as `exposures_limit` at each
            number. Defaults to `None`.
        labels: What to call a method in the legend. `None` (default) stands for its
            key in `errors`.

    Returns:
        A figure with one axes.

    Raises:
        InputError: The arrays do not fit `n_instances`, or are not positive, or there
            are no two numbers of instances.

    Example:
    >>> n_instances = np.array([4, 16, 64])
    >>> figure = plot_one_over_t(n_instances, {"SymAE": 0.02 + 0.3 / n_instances})
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['SymAE, slope -0.49', '1 / T']
    """
    count = to_array("n_instances", n_instances, (1,))
    if len(np.unique(count)) < 2:
        raise InputError(
            "n_instances must hold two or more different numbers, since a slope is "
            f"drawn; received {count.tolist()}."
        )
    figure = plot_error_over_instances(count, errors, limit, labels)
    (ax,) = figure.axes
    # Whatever came out of order or over several seeds is a line of medians by now.
    for line in ax.lines:
        x, y = (np.asarray(each, "float64") for each in line.get_data())
        slope = np.polyfit(np.log(x), np.log(y), 1)[0]
        line.set_label(f"{line.get_label()}, slope {slope:.2f}")
    x, y = (np.asarray(each, "float64") for each in ax.lines[0].get_data())
    ax.plot(x, y[0] * x[0] / x, color="0.5", ls=":", label="1 / T")
    ax.legend(frameon=False)
    return finish(figure)


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
