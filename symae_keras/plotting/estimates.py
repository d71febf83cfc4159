"""Estimates of the redatuming error and their parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from matplotlib.figure import Figure

from symae_keras.errors import InputError
from symae_keras.plotting.style import (
    EDGE,
    PAGE,
    PALETTE,
    TRUTH,
    finish,
    new_figure,
    open_frame,
)

#: Name, attribute, factor in the total, colour and hatching of each part.
_PARTS: Final = (
    ("reconstruction", "reconstruction", 1.0, PALETTE[5], ""),
    ("state in nuisance code", "state_in_nuisance", 2.0, PALETTE[1], "////"),
    ("nuisance in coherent code", "nuisance_in_state", 2.0, PALETTE[4], "...."),
)


def plot_estimates(
    estimates: Mapping[str, Any], truth: Mapping[str, float] | None = None
) -> Figure:
    """Plot estimated redatuming errors of methods as bars of their parts.

    Args:
        estimates: By method, the result of
            `symae_keras.evaluation.estimate_redatuming_error`.
        truth: True redatuming errors by method, as far as known. Defaults to `None`.

    Returns:
        A figure with one axes, in percent of the variance of the data.

    Raises:
        InputError: There is no method.

    Example:
    >>> from symae_keras.evaluation import EstimatedRedatumingError
    >>> error = EstimatedRedatumingError(0.01, 0.002, 0.02, (0.03, 0.08), 0.9)
    >>> figure = plot_estimates({"SymAE": error}, truth={"SymAE": 0.05})
    >>> figure.axes[0].get_xlabel()
    'error, % of the variance of the data'
    """
    if not estimates:
        raise InputError("estimates contains no method: give one estimate per method.")
    names = list(estimates)[::-1]
    figure = new_figure(0.62 * PAGE, 1.5 + 0.38 * len(names))
    ax = figure.add_subplot()
    open_frame(ax)
    left = [0.0] * len(names)
    for label, attribute, factor, colour, hatch in _PARTS:
        parts = [getattr(estimates[name], attribute) for name in names]
        # The estimate of a part is unbiased, so it can be slightly negative.
        widths = [max(100.0 * factor * each, 0.0) for each in parts]
        ax.barh(
            names,
            widths,
            left=left,
            height=0.55,
            color=colour,
            edgecolor=EDGE,
            linewidth=0.5,
            hatch=hatch,
            label=label,
        )
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for place, name in enumerate(names):
        low, high = (100.0 * each for each in estimates[name].interval)
        ax.plot([low, high], [place, place], color=TRUTH, linewidth=1.4, marker="|")
    level = next(iter(estimates.values())).level
    ax.plot([], [], color=TRUTH, marker="|", label=f"{100.0 * level:.0f} % interval")
    known = {name: value for name, value in (truth or {}).items() if name in estimates}
    if known:
        ax.plot(
            [100.0 * value for value in known.values()],
            [names.index(name) for name in known],
            "D",
            color=TRUTH,
            markerfacecolor="white",
            markersize=5,
            label="true error",
        )
    ax.set_xlim(left=0.0)
    ax.set_xlabel("error, % of the variance of the data")
    figure.legend(loc="outside upper left", ncols=2, frameon=False)
    return finish(figure)
