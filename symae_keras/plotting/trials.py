"""Trials of a search for settings: the estimate against the reconstruction error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from symae_keras.errors import InputError
from symae_keras.plotting.style import (
    EDGE,
    PAGE,
    TRUTH,
    check_shape,
    finish,
    log_ticks,
    new_figure,
    open_frame,
    series_style,
    to_array,
)

#: Smaller values are drawn at this one: a logarithmic axis has no zero.
_FLOOR: Final = 1e-5


def plot_trials(
    reconstruction: Any,
    estimate: Any,
    kinds: Sequence[str],
    complete: Any,
    chosen: int | None = None,
    default: int | None = None,
) -> Figure:
    """Scatter the estimated redatuming error of trials against their reconstruction.

    Both axes are logarithmic. If points do not lie on a rising line, the settings with
    the best reconstruction are not those with the best virtual instances.

    Args:
        reconstruction: Reconstruction errors over the variance, `(trials,)`.
        estimate: Estimated redatuming errors over the variance, `(trials,)`.
        kinds: Kind of each trial, such as its noise, shown by colour and marker.
        complete: Whether each trial was complete, `(trials,)` bool. Markers of trials
            that were stopped early are not filled.
        chosen: Number of the trial with the chosen settings. Defaults to `None`.
        default: Number of the trial with the default settings. Defaults to `None`.

    Returns:
        A figure with one axes.

    Raises:
        InputError: The arguments differ in length, or errors are not finite.

    Example:
    >>> figure = plot_trials(
    ...     [0.01, 0.02], [0.1, 0.05], ["gaussian"] * 2, [True, True], chosen=1
    ... )
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['chosen']
    """
    x = to_array("reconstruction", reconstruction, (1,))
    y = to_array("estimate", estimate, (1,))
    check_shape("estimate", y, x.shape, "the reconstruction errors")
    full = to_array("complete", complete, (1,)).astype(bool)
    check_shape("complete", full, x.shape, "the reconstruction errors")
    if len(kinds) != len(x):
        raise InputError(
            f"kinds must have {len(x)} entries, one per trial; received {len(kinds)}."
        )
    if not np.isfinite([x, y]).all():
        raise InputError("Errors of trials must be finite; received NaN or infinity.")
    x, y = (np.maximum(each, _FLOOR) for each in (x, y))
    figure = new_figure(PAGE, 4.0)
    ax = figure.add_subplot()
    open_frame(ax)
    ax.margins(0.12)
    ax.set(xscale="log", yscale="log")
    log_ticks(ax.xaxis)
    log_ticks(ax.yaxis)
    ax.set(
        xlabel="reconstruction error / variance",
        ylabel="redatuming error, estimated / variance",
    )
    handles = []
    for n, kind in enumerate(dict.fromkeys(kinds)):
        colour, marker = series_style(n)
        of_kind = np.array([each == kind for each in kinds])
        for chosen_ones, face in ((of_kind & full, colour), (of_kind & ~full, "none")):
            ax.scatter(
                x[chosen_ones],
                y[chosen_ones],
                facecolors=face,
                edgecolors=EDGE if face != "none" else colour,
                marker=marker,
                s=34,
                linewidths=0.4 if face != "none" else 1.2,
                zorder=3,
            )
        handles.append(
            Line2D([], [], color=colour, marker=marker, linestyle="", label=kind)
        )
    handles.append(
        Line2D(
            [],
            [],
            color="0.4",
            marker="o",
            markerfacecolor="none",
            linestyle="",
            label="stopped early",
        )
    )
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    for number, name in _named(chosen, default):
        ax.scatter(
            x[number],
            y[number],
            s=150,
            facecolors="none",
            edgecolors=TRUTH,
            linewidths=1.0,
            zorder=4,
        )
        ax.annotate(
            name,
            (x[number], y[number]),
            xytext=(0, -10 if "chosen" in name else 10),
            textcoords="offset points",
            ha="center",
            va="top" if "chosen" in name else "bottom",
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
            zorder=5,
        )
    return finish(figure)


def _named(chosen: int | None, default: int | None) -> list[tuple[int, str]]:
    """Return the numbers of labelled trials, and their labels."""
    if chosen is not None and chosen == default:
        return [(chosen, "chosen: default")]
    names = {"default": default, "chosen": chosen}
    return [(number, name) for name, number in names.items() if number is not None]
