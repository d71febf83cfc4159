"""Redatuming of gathers by delays: what the best delays would reach, and linear ones.

A virtual gather is the donor's, with each trace delayed by the difference of delays
between two media. Delays are found by `ShiftEstimator`. The bound takes the difference
from the true virtual gather, which no method knows: it says what is lost although the
delays are right. The mean swap of delays takes it from the means of both groups.

    python benchmarks/gathers.py --out gathers.json

prints redatuming errors on new media, at the full aperture and a sixth of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from common import print_table, write_json
from keras import ops

from symae_keras.classical import MeanSwap
from symae_keras.data import simulate_gathers
from symae_keras.evaluation import relative_error
from symae_keras.layers import FourierShift, ShiftEstimator

Array = np.ndarray[Any, Any]


def delays(x: Array) -> Array:
    """Delays `(groups, instances, traces)` of gathers, in samples."""
    estimator = ShiftEstimator()
    return np.stack([ops.convert_to_numpy(estimator(group)) for group in x])


def delayed(x: Array, by: Array) -> Array:
    """Gathers with each trace delayed by so many samples."""
    shift = FourierShift()
    rows = zip(x, by.astype("float32"), strict=True)
    return np.stack([ops.convert_to_numpy(shift(*row)) for row in rows])


def log_gains(x: Array) -> Array:
    """Logarithms of the root mean squares of traces."""
    found: Array = 0.5 * np.log(np.mean(np.square(x), axis=-1))
    return found


def errors(n_media: int, aperture: float) -> dict[str, Any]:
    """Redatuming errors at one aperture; means are learned on twice as many media."""
    train = simulate_gathers(2 * n_media, 8, seed=0, aperture=aperture)
    test = simulate_gathers(n_media, 8, seed=1, aperture=aperture)
    group = np.arange(n_media)
    donor = np.roll(group, 1)
    truth = test.virtual(group[:, None], donor[:, None], np.arange(8))
    x = test.x[donor]
    own, right = delays(test.x), delays(truth)
    centre = own.mean(axis=1, keepdims=True)
    swap = np.repeat(centre - centre[donor], 8, axis=1)
    moved = delayed(x, right - own[donor])
    gain = np.exp(log_gains(truth) - log_gains(x))[..., None]
    found = {
        "unchanged": x,
        "mean swap": MeanSwap().fit(train).redatum(test.x, x),
        "mean swap of delays": delayed(x, swap),
        "bound: true delays": moved,
        "bound: true delays and gains": gain * moved,
    }
    row: dict[str, Any] = {"media": n_media, "aperture": aperture}
    return row | {
        name: float(relative_error(truth, virtual)) for name, virtual in found.items()
    }


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--media", type=int, default=16)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = [errors(arguments.media, aperture) for aperture in (360.0, 60.0)]
    print_table(rows, tuple(rows[0]))
    if arguments.out is not None:
        write_json(arguments.out, rows)


if __name__ == "__main__":
    main()
