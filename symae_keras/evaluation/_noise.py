"""White noise of instances in the reconstruction error."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from symae_keras._utils.arrays import in_batches
from symae_keras.data.groups import Array, GroupedData

#: Maximum number of instances and of pixels of the covariance.
_MOST: Final = 1024
#: Minimum number of eigenvalues that are noise only.
_LEAST_VALUES: Final = 16
_STEPS: Final = 50


def noise_in_reconstruction(
    model: Any, groups: GroupedData, decoded: Array, rng: np.random.Generator
) -> float:
    """Return the mean squared error that is white noise of the instances.

    If noise has the variance `v`, and the model reproduces a share `d` of it, the error
    of a reconstruction is by `v (1 - 2 d)` larger than with respect to the noise-free
    instance (Stein, 1981, doi:10.1214/aos/1176345632). This is negative if the model
    reproduces most of the noise. The share is measured with random noise that is added
    to the instances (Ramani et al., 2008, doi:10.1109/TIP.2008.2001404).

    Args:
        model: The model.
        groups: Groups with at least one instance.
        decoded: Their reconstructions, in the shape of `groups.x`.
        rng: Random generator.
    """
    good = np.broadcast_to(groups.good_pixels, groups.x.shape)
    size = math.prod(groups.instance_shape)
    # Pixels that are usually good, and instances in which all of them are.
    flat = good.reshape(-1, size)
    often = flat.sum(axis=0) > 0.5 * groups.present.sum()
    rows = flat[:, often].all(axis=1)
    variance = white_noise_variance(groups.x.reshape(-1, size)[rows][:, often], rng)
    if not variance > 0.0:
        return 0.0
    added = np.sqrt(variance) * rng.standard_normal(groups.x.shape)
    added = np.where(good, added, 0.0).astype(groups.x.dtype)
    codes = in_batches(model.encode, groups.x + added, groups.model_mask)
    change = in_batches(model.decode, *codes) - decoded
    share = np.sum(added * change) / np.sum(added**2)
    return float(variance * (1.0 - 2.0 * share))


def white_noise_variance(x: Array, rng: np.random.Generator) -> float:
    """Return the variance of the white noise of rows, 0 if there is none.

    The eigenvalues of the covariance of white noise have the distribution of Marchenko
    and Pastur (1967). Values above its upper end are signal. The variance makes the
    lower half of the others fit. If noise differs between pixels or is correlated, the
    result is the variance of its smallest part.

    Args:
        x: Instances, `(instances, pixels)`.
        rng: Random generator to draw some of many instances and pixels.
    """
    if min(x.shape) <= _LEAST_VALUES:
        return 0.0
    for axis, size in enumerate(x.shape):
        if size > _MOST:
            kept = np.sort(rng.choice(size, _MOST, replace=False))
            x = np.take(x, kept, axis)
    x = x.astype("float64")
    x -= x.mean(axis=0)
    values = np.linalg.eigvalsh(x @ x.T if len(x) < x.shape[1] else x.T @ x)
    floor = 1e-14 * values[-1]
    variance, signals = 0.0, 0
    for _ in range(_STEPS):
        # Signals, and the mean, take one degree of freedom each.
        short, long = sorted((len(x) - 1 - signals, x.shape[1] - signals))
        if short < _LEAST_VALUES:
            return 0.0
        start = len(values) - min(len(x) - 1, x.shape[1])
        noise = values[start : start + short]
        lower = slice(short // 10, short // 2)
        expected = long * _marchenko_pastur(short / long, short)
        variance = float(np.median(noise[lower] / expected[lower]))
        edge = variance * (np.sqrt(short) + np.sqrt(long)) ** 2
        found = int((values > edge).sum())
        if found <= signals:
            break
        signals = found
    return variance if variance * max(x.shape) > floor else 0.0


def _marchenko_pastur(ratio: float, size: int) -> Array:
    """Return `size` quantiles of the eigenvalues of a covariance of unit noise.

    Args:
        ratio: Number of variables divided by that of observations, up to 1.
        size: Number of quantiles.
    """
    ends = (1.0 - np.sqrt(ratio)) ** 2, (1.0 + np.sqrt(ratio)) ** 2
    at = np.linspace(*ends, 2002)[1:-1]
    density = np.sqrt((ends[1] - at) * (at - ends[0])) / at
    share = np.cumsum(density) / density.sum()
    return np.asarray(np.interp((np.arange(size) + 0.5) / size, share, at))
