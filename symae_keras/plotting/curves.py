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
    """Draw each method as a line (median over seeds) and a band (range over seeds).

    `x_name` is the name of `x` in error messages; see `plot_error_over_instances`.
    """
    count = _positive(x_name, to_array(x_name, x, (1,)))
    if not errors:
        raise InputError("errors contains no method: give one array per method.")
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
    """Return the values whose tick labels do not overlap on a logarithmic axis."""
    chosen = [float(values[0])]
    for value in values[1:]:
        if np.log(value / chosen[-1]) > 0.06 * np.log(values[-1] / values[0]):
            chosen.append(float(value))
    return chosen


def _positive(name: str, array: Array) -> Array:
    if not (np.isfinite(array) & (array > 0)).all():
        raise InputError(
            f"{name} must be positive, because the axes are logarithmic; received "
            "values "
            f"from {np.min(array)} to {np.max(array)}."
        )
    return array


def plot_bottleneck_sweep(
    code_dims: Any, errors: Mapping[str, Any], labels: Mapping[str, str] | None = None
) -> Figure:
    """Plot errors of held-out instances against the size of the bottleneck.

    The curve of a network bends at the number of factors of variation that the network
    can represent. The curve of principal components bends later if factors act
    nonlinearly. Both axes are logarithmic. A line is the median over seeds, and its
    band is the range over seeds.

    Args:
        code_dims: Sizes of the code, `(n,)`.
        errors: Errors by method, each `(n, n_seeds)` or `(n,)`.
        labels: Names of methods in the legend. Defaults to `None`: the keys of
            `errors`.

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
    """Plot redatuming errors against the number of instances per group.

    Both axes are logarithmic. A line is the median over seeds, and its band is the
    range over seeds.

    Args:
        n_instances: Numbers of instances, `(n,)`.
        errors: Errors by method, each `(n, n_seeds)` or `(n,)`.
        limit: The lowest possible error, `(n,)`, such as `exposures_limit` for each
            number. Defaults to `None`.
        labels: Names of methods in the legend. Defaults to `None`: the keys of
            `errors`.

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
        x_label="instances per group",
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

    The uncertainty of the state averages out over instances, so that the error of an
    optimal estimator falls as 1 / T. A line that leaves this law has reached a floor
    that more instances do not reduce: pixel noise and errors of the network. The legend
    contains the slope of each line in logarithms, by least squares. The law has the
    slope -1; it is drawn through the first median of the first method.

    Args:
        n_instances: Numbers of instances, `(n,)`, at least two different ones.
        errors: Errors by method, each `(n, n_seeds)` or `(n,)`, such as those from
            `error_over_instances` for each seed.
        limit: The lowest possible error, `(n,)`, such as `exposures_limit` for each
            number. Defaults to `None`.
        labels: Names of methods in the legend. Defaults to `None`: the keys of
            `errors`.

    Returns:
        A figure with one axes.

    Raises:
        InputError: The arrays do not fit `n_instances`, or are not positive, or there
            are fewer than two numbers of instances.

    Example:
    >>> n_instances = np.array([4, 16, 64])
    >>> figure = plot_one_over_t(n_instances, {"SymAE": 0.02 + 0.3 / n_instances})
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['SymAE, slope -0.49', '1 / T']
    """
    count = to_array("n_instances", n_instances, (1,))
    if len(np.unique(count)) < 2:
        raise InputError(
            "n_instances must contain at least two different numbers for a slope; "
            f"received {count.tolist()}."
        )
    figure = plot_error_over_instances(count, errors, limit, labels)
    (ax,) = figure.axes
    # Lines contain medians over seeds, sorted by `n_instances`.
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

    The first panel shows training and validation loss, on a logarithmic axis if they
    are positive. Every other logged quantity, such as the noise strength, has its own
    panel below, with its validation values if there are any.

    Args:
        history: The result of `fit`, its `history` dict of lists, or the path of a
            `history.csv` written by `keras.callbacks.CSVLogger`.

    Returns:
        A figure with one axes per quantity, the loss first.

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
            f"A history must contain 'loss'; received {sorted(curves) or 'nothing'}."
        )
    for name, values in curves.items():
        if values.shape != epochs.shape:
            raise InputError(
                f"A history must have one value per epoch for each curve, here "
                f"{len(epochs)}; received {len(values)} of {name!r}: if validation "
                "skips epochs, give the history.csv, which contains the epochs."
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
        # A single epoch has no line.
        marker = "o" if known.sum() < 10 else None
        ax.plot(
            epochs[known], drawn[-1], color=colour, label=label, marker=marker, ms=3.5
        )
    if name == "loss" and all((values > 0.0).all() for values in drawn):
        ax.set_yscale("log")


def _read(history: Any) -> tuple[Array, dict[str, Array]]:
    """Return epochs, counted from 1, and the curves over them."""
    if isinstance(history, (str, os.PathLike)):
        curves = _read_csv(Path(history))
        epochs = curves.pop("epoch", None)
    else:
        logs = getattr(history, "history", history)
        if not isinstance(logs, Mapping):
            raise InputError(
                "history must be the result of `fit`, a dict of lists or the path of a "
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
    """Return columns of numbers; other entries were not logged in that epoch."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f"Cannot read the history {path}: {error.strerror}.") from None
    if not rows:
        raise InputError(f"The history {path} contains no epochs.")
    return {name: np.array([_number(row[name]) for row in rows]) for name in rows[0]}


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
