"""Simulated shot gathers and heartbeats: speed, engines, linear methods, figures.

    python benchmarks/signals.py --out signals.json --figures docs/images

prints the processor time of both engines of `simulate_gathers`, their difference
relative to the variance of the waves, and the redatuming errors of unchanged donors and
of the mean swap. It also draws the figures of docs/signals.md. It takes about two
minutes of processor time; `--quick` tests everything in a few seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from common import print_table, write_json
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symae_keras.classical import MeanSwap
from symae_keras.data import GroupedData, simulate_beats, simulate_gathers
from symae_keras.evaluation import relative_error
from symae_keras.plotting.style import PAGE, PALETTE, finish, new_figure, open_frame

Array = np.ndarray[Any, Any]
SAMPLING: Final = 0.01


def timed(run: Callable[[], GroupedData]) -> tuple[GroupedData, float]:
    """Return the result of a function, and its processor time in seconds."""
    start = time.process_time()
    return run(), time.process_time() - start


def engines(quick: bool) -> list[dict[str, Any]]:
    """Measure the time per medium of 16 shots, and the difference of the engines."""
    n_media = 1 if quick else 4
    rows = []
    for contrast in (0.0, 0.03, 0.16):
        found = {}
        seconds = {}
        for engine in ("rays", "waves"):
            arguments: dict[str, Any] = {
                "n_states": n_media,
                "contrast": contrast,
                "noise": 0.0,
            }
            if quick:
                arguments["n_receivers"] = 2
            found[engine], seconds[engine] = timed(
                lambda e=engine, a=arguments: simulate_gathers(**a, engine=e)  # type: ignore[misc]
            )
        waves, rays = found["waves"].x, found["rays"].x
        still = simulate_gathers(**(arguments | {"contrast": 0.0})).x
        rows.append(
            {
                "contrast": contrast,
                "rays against waves": float(np.mean((rays - waves) ** 2) / waves.var()),
                "no anomalies": float(np.mean((still - waves) ** 2) / waves.var()),
                "rays, s per medium": seconds["rays"] / n_media,
                "waves, s per medium": seconds["waves"] / n_media,
            }
        )
    return rows


def linear_methods(quick: bool) -> list[dict[str, Any]]:
    """Return redatuming errors on new media, by the range of source angles."""
    rows = []
    n_media = 20 if quick else 400
    for aperture in (360.0, 60.0):
        train = simulate_gathers(n_media, seed=0, aperture=aperture)
        test = simulate_gathers(n_media // 4, seed=1, aperture=aperture)
        group = np.arange(len(test))
        donor = np.roll(group, 1)
        shots = np.arange(test.n_instances)
        truth = test.virtual(group[:, None], donor[:, None], shots)
        row: dict[str, Any] = {"aperture": aperture}
        row["unchanged"] = float(relative_error(truth, test.x[donor]))
        found = MeanSwap().fit(train).redatum(test.x, test.x[donor])
        row["mean swap"] = float(relative_error(truth, found))
        rows.append(row)
    return rows


def _wiggles(ax: Axes, gather: Array, distance: Array, colour: str, label: str) -> None:
    """Draw traces over time, with time downwards and positive values filled."""
    seconds = SAMPLING * np.arange(gather.shape[1])
    scale = 0.9 * np.diff(distance).mean() / np.abs(gather).max()
    for number, (place, trace) in enumerate(zip(distance, gather, strict=True)):
        line = place + scale * trace
        ax.plot(line, seconds, color=colour, lw=0.6, label=None if number else label)
        ax.fill_betweenx(
            seconds, place, line, where=trace > 0, color=colour, alpha=0.3, lw=0
        )
    ax.set_ylim(seconds[-1], 0.0)


def gathers_figure() -> Figure:
    """Draw a medium, one shot through two media, the difference, and both engines."""
    groups = simulate_gathers(2, 4, seed=7, noise=0.0)
    waves = simulate_gathers(2, 4, seed=7, noise=0.0, engine="waves")
    figure = new_figure(PAGE, 5.2)
    axes = figure.subplots(2, 3)
    axis = np.linspace(-1.05, 1.05, 211)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1)
    extent = (-1.05, 1.05, -1.05, 1.05)
    ring = np.radians(np.asarray(groups.axis))
    angle, radius = (groups.nuisance[name][0, 1] for name in ("angle", "radius"))
    for medium, ax in enumerate(axes[0, :2]):
        state = {name: values[medium] for name, values in groups.state.items()}
        distance = np.linalg.norm(grid[:, :, None] - state["position"], axis=-1)
        bells = state["strength"] * np.exp(-0.5 * (distance / state["width"]) ** 2)
        velocity = state["velocity"] / (1.0 + bells.sum(-1))
        shown = ax.imshow(
            velocity, origin="lower", extent=extent, cmap="RdBu", vmin=1.7, vmax=2.3
        )
        ax.plot(0.6 * np.cos(ring), 0.6 * np.sin(ring), "k.", ms=3)
        ax.plot(radius * np.cos(angle), radius * np.sin(angle), "k*", ms=8)
        ax.set(title=f"medium {'AB'[medium]}", xlabel="x (km)")
    axes[0, 0].set_ylabel("y (km)")
    figure.colorbar(shown, ax=axes[0, :2], label="velocity (km/s)", shrink=0.8)
    along = 0.6 * ring
    of_a, of_b = (groups.virtual(medium, 0, 1) for medium in (0, 1))
    limit = 0.5 * np.abs(of_a).max()
    panels = {"shot through A": of_a, "same shot through B": of_b, "B - A": of_b - of_a}
    for (title, gather), ax in zip(panels.items(), axes[1], strict=True):
        density = ax.imshow(
            gather.T,
            aspect="auto",
            extent=(along[0], along[-1], SAMPLING * gather.shape[1], 0.0),
            cmap="gray",
            vmin=-limit,
            vmax=limit,
        )
        ax.set(title=title, xlabel="distance on the ring (km)")
    axes[1, 0].set_ylabel("time (s)")
    figure.colorbar(density, ax=axes[1], label="amplitude", shrink=0.8)
    some = slice(6, 12)
    ax = axes[0, 2]
    _wiggles(ax, waves.virtual(0, 0, 1)[some], along[some], "black", "waves")
    _wiggles(ax, of_a[some], along[some], PALETTE[1], "rays")
    ax.set(title="two engines", xlabel="distance on the ring (km)", ylabel="time (s)")
    ax.legend(fontsize=7, loc="lower left")
    open_frame(ax)
    return finish(figure)


def beats_figure() -> Figure:
    """Draw beats of two patients, virtual instances, and ectopic beats."""
    beats = simulate_beats(4, 12, seed=3, ectopic=0.15)
    odd = beats.instance_metadata["ectopic"]
    figure = new_figure(PAGE, 2.6)
    axes = figure.subplots(1, 3, sharey=True)
    for patient, ax in enumerate(axes[:2]):
        for beat in np.flatnonzero(~odd[patient])[:6]:
            ax.plot(beats.axis, beats.x[patient, beat], lw=0.7)
        ax.set_title(f"patient {'AB'[patient]}, 6 beats")
    plain, ectopic = np.argwhere(~odd[:1])[0, 1], np.argwhere(odd)[0]
    ax = axes[2]
    for patient in (0, 1):
        swapped = beats.virtual(patient, 0, plain)
        ax.plot(beats.axis, swapped, label=f"{'AB'[patient]}, same nuisance", lw=1.0)
    ax.plot(beats.axis, beats.virtual(0, *ectopic), "k--", lw=1.0, label="A, ectopic")
    ax.set(title="virtual instances", ylim=(-1.4, 3.8))
    ax.legend(fontsize=7, loc="upper right")
    for ax in axes:
        open_frame(ax)
    return finish(figure, "time (s)", "voltage (mV)")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    parser.add_argument("--figures", type=Path, help="folder for the figures")
    parser.add_argument("--quick", action="store_true", help="use only a few media")
    arguments = parser.parse_args()
    results = {
        "engines": engines(arguments.quick),
        "linear methods": linear_methods(arguments.quick),
    }
    for rows in results.values():
        print_table(rows, tuple(rows[0]))
    if arguments.out is not None:
        write_json(arguments.out, results)
    if arguments.figures is not None:
        arguments.figures.mkdir(parents=True, exist_ok=True)
        gathers_figure().savefig(arguments.figures / "gathers.png")
        beats_figure().savefig(arguments.figures / "beats.png")


if __name__ == "__main__":
    main()
