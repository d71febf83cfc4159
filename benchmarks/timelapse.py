"""Time-lapse monitoring: a small change of a star behind larger nuisances.

Each star has eight exposures at each of two epochs, every time with different weather,
blaze and velocity. In half of the stars one abundance has changed by 0.03. The change
is detected and measured from the difference of the epochs, in three ways: of single
exposures, of the means of the exposures, and of virtual instances of both epochs under
the nuisances of one reference group. The model (SymAE, variational, 4000 steps) was
trained on other stars, without pairs of epochs.

There are two estimators of the change, fitted in the same way for all three differences
on other stars. The first is the projection on a template: the exact difference of a
unit change, averaged over stars, after the best quadratic is subtracted. The second is
ridge regression from 30, 100 or 1000 pairs of epochs with known changes (means over up
to ten draws of pairs).

    python benchmarks/timelapse.py --seeds 3 --out results.json --figure timelapse.png
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import keras
import numpy as np
from common import print_table, write_json
from matplotlib.figure import Figure
from sklearn.linear_model import RidgeCV
from sklearn.metrics import roc_auc_score

from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.data.groups import Array
from symae_keras.evaluation import virtual_under
from symae_keras.models import SymAE
from symae_keras.plotting.style import (
    NUISANCE,
    PAGE,
    PALETTE,
    TRUTH,
    VIRTUAL,
    finish,
    new_figure,
    open_frame,
)
from symae_keras.training import Training, normalization, train

SPECIES = 0
CHANGE = 0.03
N_EXPOSURES = 8
#: Numbers of labelled pairs for the ridge regressions.
PAIRS = (30, 100, 1000)
NOISE = 0.01
METHODS: Final = ("single exposures", "group means", "virtual instances")
COLOURS = (PALETTE[4], NUISANCE, VIRTUAL)


@dataclasses.dataclass(frozen=True)
class Epochs:
    """Stars at two epochs, and the changes of their abundance."""

    first: GroupedData
    second: GroupedData
    change: Array


def simulate_epochs(change: Array, seed: int) -> Epochs:
    """Simulate stars at two epochs with different exposures.

    Args:
        change: Change of one abundance of each star, `(n_stars,)`.
        seed: Seed of stars, nuisances and noise.
    """
    first, other = (
        simulate_exposures(len(change), N_EXPOSURES, 2 * seed + k) for k in range(2)
    )
    abundance = first.state["abundance"].copy()
    abundance[:, SPECIES] += change
    # The other groups provide the nuisances.
    second = dataclasses.replace(other, state={**first.state, "abundance": abundance})
    group, instance = np.indices(second.x.shape[:2])
    noise = NOISE * np.random.default_rng(seed).normal(size=second.x.shape)
    x = (second.virtual(group, group, instance) + noise).astype("float32")
    return Epochs(first, dataclasses.replace(second, x=x), change)


def changes(n_stars: int, seed: int) -> Array:
    """Draw changes: zero in half of the stars, positive or negative in the others."""
    rng = np.random.default_rng(seed)
    return CHANGE * rng.choice([-1.0, 0.0, 0.0, 1.0], n_stars)


def exact_differences(epochs: Epochs, lender: GroupedData) -> Array:
    """Compute the exact change, under the same nuisances at both epochs.

    Args:
        epochs: The stars.
        lender: The groups that provide nuisances, one per star or one for all.

    Returns:
        `(n_stars, n_exposures, n_pixels)`.
    """
    n_stars, n_instances = len(epochs.change), lender.n_instances
    nuisance = {
        name: np.broadcast_to(values, (n_stars, n_instances)).reshape(-1)
        for name, values in lender.nuisance.items()
    }
    shown = []
    for part in (epochs.first, epochs.second):
        assert part.render is not None  # simulated, so it has one
        state = {k: np.repeat(v, n_instances, axis=0) for k, v in part.state.items()}
        shown.append(part.render(state, nuisance).reshape(n_stars, n_instances, -1))
    return np.asarray(shown[1] - shown[0])


class Known(NamedTuple):
    """Differences of stars with known changes."""

    difference: Array
    exact: Array
    change: Array


def differences(
    model: Any, epochs: Epochs, reference: GroupedData
) -> dict[str, tuple[Array, Array]]:
    """Return the differences of the epochs by method, and the exact differences.

    The appearance of a change depends on the nuisances: exact differences use those of
    the first epoch, or of the reference.
    """
    first, second = epochs.first, epochs.second
    own = exact_differences(epochs, first)
    virtual = [virtual_under(model, each, reference) for each in (first, second)]
    return {
        METHODS[0]: (second.x[:, 0] - first.x[:, 0], own[:, 0]),
        METHODS[1]: (second.x.mean(axis=1) - first.x.mean(axis=1), own.mean(axis=1)),
        METHODS[2]: (
            virtual[1] - virtual[0],
            exact_differences(epochs, reference).mean(axis=1),
        ),
    }


def without_baseline(spectra: Array) -> Array:
    """Subtract the best quadratic, which models a drift of the continuum."""
    x = np.linspace(-1.0, 1.0, spectra.shape[-1])
    quadratic = np.linalg.qr(np.vander(x, 3))[0]
    return np.asarray(spectra - (spectra @ quadratic) @ quadratic.T)


def by_template(known: Known, new: Array, baseline: bool = False) -> Array:
    """Project on the exact difference of a unit change, averaged over stars.

    Args:
        known: Stars that define the template.
        new: Differences to measure.
        baseline: Whether to leave in the baseline.
    """
    unit = known.change @ known.exact / (known.change @ known.change)
    if not baseline:
        unit, new = without_baseline(unit), without_baseline(new)
    return np.asarray(new @ unit / (unit @ unit))


def by_ridge(known: Known, new: Array, pairs: int) -> Array:
    """Fit ridge regressions to few labelled pairs, for up to ten draws of pairs."""
    strengths = np.logspace(-6.0, 3.0, 28)
    draws = [
        slice(start, start + pairs)
        for start in range(0, len(known.change) - pairs + 1, pairs)
    ]
    return np.stack(
        [
            RidgeCV(alphas=strengths)
            .fit(known.difference[draw], known.change[draw])
            .predict(new)
            for draw in draws[:10]
        ]
    )


def fit(seed: int, scale: float) -> SymAE:
    """Train the model; `scale` shortens the training for a quick test."""
    keras.utils.set_random_seed(seed)
    groups = simulate_exposures(2000, 16, 100 + seed)
    model = SymAE(
        groups.instance_shape,
        nuisance_noise="variational",
        normalization=normalization(groups),
        seed=seed,
    )
    train(model, groups, Training(epochs=max(1, round(32 * scale))), seed)
    return model


@dataclasses.dataclass(frozen=True)
class Stars:
    """Pairs of epochs for fitting and evaluation, and the reference nuisances."""

    known: Epochs
    new: Epochs
    reference: GroupedData


def simulate_stars(n_known: int, n_new: int) -> Stars:
    """Return the data for all models; no model was trained on them."""
    rng = np.random.default_rng(0)
    known = rng.uniform(-2.0 * CHANGE, 2.0 * CHANGE, n_known)
    return Stars(
        simulate_epochs(known, seed=5001),
        simulate_epochs(changes(n_new, seed=1), seed=5002),
        simulate_exposures(1, 16, seed=20000),
    )


def scores(found: Array, change: Array) -> tuple[float, float]:
    """Return RMS error and area under the ROC curve for changed and unchanged stars.

    Args:
        found: Measured changes `(n_stars,)`, or `(draws, n_stars)` to average over
            draws.
        change: The true changes.
    """
    each = np.atleast_2d(found)
    areas = [roc_auc_score(change != 0.0, np.abs(row)) for row in each]
    return (
        float(np.mean([np.sqrt(np.mean((row - change) ** 2)) for row in each])),
        float(np.mean(areas)),
    )


def relative(difference: Array, exact: Array) -> float:
    """Return the root mean square error divided by that of the exact difference."""
    return float(np.sqrt(np.mean((difference - exact) ** 2) / np.mean(exact**2)))


@dataclasses.dataclass(frozen=True)
class Judged:
    """Scores by method, and the data for the figure."""

    rows: dict[str, dict[str, float]]
    new: dict[str, tuple[Array, Array]]
    measured: dict[str, Array]


def judge(model: Any, stars: Stars) -> Judged:
    """Compare the three kinds of differences."""
    known = differences(model, stars.known, stars.reference)
    new = differences(model, stars.new, stars.reference)
    change = stars.new.change
    some = change != 0.0
    judged = Judged({}, new, {})
    for method in METHODS:
        difference, exact = new[method]
        labelled = Known(*known[method], stars.known.change)
        flat = without_baseline(difference), without_baseline(exact)
        row = {
            "spectrum": relative(difference[some], exact[some]),
            "baseline-free": relative(flat[0][some], flat[1][some]),
        }
        judged.measured[method] = by_template(labelled, difference)
        found = {
            "template": judged.measured[method],
            "template, baseline left": by_template(labelled, difference, True),
        }
        for pairs in PAIRS:
            found[f"ridge {pairs}"] = by_ridge(labelled, difference, pairs)
        for name, each in found.items():
            row[f"RMS {name}"], row[f"AUC {name}"] = scores(each, change)
        judged.rows[method] = row
    return judged


def draw(judged: Judged, stars: Stars) -> Figure:
    """Draw the differences of one changed star, and all measured changes, by method."""
    change = stars.new.change
    star = int(np.flatnonzero(change > 0.0)[0])
    axis = np.asarray(stars.new.first.axis)
    figure = new_figure(PAGE, 5.8)
    axes = figure.subplots(3, 2, width_ratios=(1.5, 1.0), sharex="col")
    bins = np.linspace(-0.15, 0.15, 31)
    for (left, right), method, colour in zip(axes, METHODS, COLOURS, strict=True):
        difference, exact = (
            without_baseline(each[star]) for each in judged.new[method]
        )
        left.plot(axis, difference, color=colour, lw=1.0, label="measured")
        left.plot(axis, exact, color=TRUTH, lw=0.9, ls="--", label="exact")
        left.set_title(f"difference of {method}", loc="left")
        left.set_ylabel("flux")
        for value in (0.0, CHANGE):
            found = judged.measured[method][change == value]
            right.hist(
                found,
                bins,
                weights=np.full(len(found), 100.0 / len(found)),
                histtype="step" if value else "stepfilled",
                color=colour if value else "0.8",
                lw=1.5,
                label=f"changed by {value:g}" if value else "unchanged",
            )
        right.axvline(CHANGE, ymax=0.7, color=TRUTH, lw=0.9, ls="--")
        outside = np.mean(np.abs(judged.measured[method]) > bins[-1])
        right.set_title(f"{100 * outside:.0f} % beyond ±{bins[-1]:g}", loc="left")
        right.set_ylabel("stars (%)")
        for ax in (left, right):
            open_frame(ax)
            # Space for the legend.
            low, high = ax.get_ylim()
            ax.set_ylim(low, high + 0.35 * (high - low))
            ax.legend(frameon=False, loc="upper left", ncols=2 if ax is left else 1)
    axes[2, 0].set_xticks(np.linspace(-1.0, 1.0, 5))
    axes[2, 0].set_xlabel(stars.new.first.axis_label)
    axes[2, 1].set_xlabel("measured change of the abundance")
    return finish(figure)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="trainings (default 3)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    parser.add_argument("--figure", type=Path, help="draw the first seed as PNG")
    options = parser.parse_args()

    stars = simulate_stars(n_known=1000, n_new=600)
    runs: list[Judged] = []
    for seed in range(options.seeds):
        start = time.perf_counter()
        model = fit(seed, 0.1 if options.quick else 1.0)
        minutes = (time.perf_counter() - start) / 60
        runs.append(judge(model, stars))
        print(f"seed {seed}, trained in {minutes:.1f} minutes", flush=True)
        print_table(
            [{"difference of": m, **r} for m, r in runs[-1].rows.items()],
            ["difference of", *runs[-1].rows[METHODS[0]]],
        )
        if options.figure and seed == 0:
            draw(runs[0], stars).savefig(options.figure, dpi=150)
        if options.out:
            write_json(options.out, [run.rows for run in runs])

    guess = float(np.sqrt(np.mean(stars.new.change**2)))
    print(f"RMS error of predicting no change: {guess:.4f}")
    for measure in runs[0].rows[METHODS[0]]:
        over = {m: [run.rows[m][measure] for run in runs] for m in METHODS}
        medians = {m: float(np.median(values)) for m, values in over.items()}
        print(
            measure,
            *(
                f"{m} {medians[m]:.4f} [{min(v):.4f}, {max(v):.4f}]"
                for m, v in over.items()
            ),
            f"means / virtual {medians[METHODS[1]] / medians[METHODS[2]]:.2f}",
            sep="; ",
        )


if __name__ == "__main__":
    main()
