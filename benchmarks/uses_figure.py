"""Figure of the applications."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symae_keras.data.groups import Array
from symae_keras.plotting.style import (
    COHERENT,
    NUISANCE,
    PAGE,
    PALETTE,
    TRUTH,
    Display,
    finish,
    new_figure,
    open_frame,
    series_style,
)

N_IMAGES = 6


def draw(drawn: dict[str, dict[str, Any]]) -> Figure:
    """Draw curves above and images below.

    Args:
        drawn: The data of the applications, by name.
    """
    figure = new_figure(PAGE, 8.4)
    halves: Any = figure.subfigures(2, 1)
    curves, images = halves
    axes = curves.subplot_mosaic([["a", "a"], ["b", "c"]])
    _spectrum(axes["a"], drawn["denoising"])
    _rates(axes["b"], drawn["compression"])
    _roc(axes["c"], drawn["anomalies"])
    for strip, (name, title) in zip(
        np.ravel(images.subfigures(2, 2)),
        (
            ("image-denoising", "denoising"),
            ("inpainting", "inpainting"),
            ("colourisation", "colourisation"),
            ("generation", "generation"),
        ),
        strict=True,
    ):
        _strip(strip, title, drawn[name]["rows"])
    return finish(figure)


def _spectrum(ax: Axes, drawn: dict[str, Any]) -> None:
    axis = drawn["axis"]
    part = (axis > -0.5) & (axis < 0.5)
    for name, label, colour, width in (
        ("noisy", "noisy", "0.75", 0.8),
        ("classical", "Wiener filter", NUISANCE, 1.0),
        ("clean", "truth", TRUTH, 1.6),
        ("denoised", "denoising autoencoder", COHERENT, 1.0),
    ):
        ax.plot(axis[part], drawn[name][part], color=colour, lw=width, label=label)
    ax.set_xlabel("normalised wavelength x")
    ax.set_ylabel("flux")
    ax.legend(ncols=4, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    open_frame(ax)


def _rates(ax: Axes, drawn: dict[str, Any]) -> None:
    for i, (name, curve) in enumerate(drawn["curves"].items()):
        colour, marker = series_style(i)
        ax.plot(
            curve.bits, curve.errors, color=colour, marker=marker, ms=3.5, label=name
        )
    ax.set_yscale("log")
    ax.set_xlim(0.0, 200.0)
    ax.set_xlabel("bits per spectrum")
    ax.set_ylabel("error / variance")
    ax.legend(frameon=False)
    open_frame(ax)


def _roc(ax: Axes, drawn: dict[str, Any]) -> None:
    for i, (name, (false, true)) in enumerate(drawn["roc"].items()):
        ax.plot(false, true, color=PALETTE[i], ls=("-", "--", "-.")[i], label=name)
    ax.plot([0, 1], [0, 1], color="0.75", lw=0.8, zorder=0)
    ax.set_xlabel("normal spectra flagged")
    ax.set_ylabel("anomalies found")
    ax.legend(frameon=False, loc="lower right")
    open_frame(ax)


def _strip(strip: Any, title: str, rows: dict[str, Array]) -> None:
    axes = strip.subplots(len(rows), N_IMAGES, squeeze=False)
    display = Display([np.asarray(each[:N_IMAGES]) for each in rows.values()], True)
    strip.suptitle(title)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for ax, image in zip(line, images[:N_IMAGES], strict=True):
            display.show(ax, image)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
