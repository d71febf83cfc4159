"""Errors of reconstructions and virtual instances."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from symae_keras._utils.arrays import in_batches, swaps_codes, to_numpy
from symae_keras._utils.validation import invalid, positive
from symae_keras.classical import MeanSwap
from symae_keras.data.groups import Array, GroupedData, Parameters
from symae_keras.data.simulators.exposures import (
    BLAZE_SLOPE,
    ENTANGLED_SLOPE,
    simulate_exposures,
)
from symae_keras.errors import InputError

#: Functions of instances `(..., *instance_shape)` that preserve the shape.
Gauge = Sequence[Callable[[Array], Array]]


class RedatumingError(float):
    """A redatuming error with two reference values for its interpretation.

    It is a float, the error of the virtual instances. All three values are mean squared
    errors divided by the variance of the truth: 0 is exact, 1 is no better than the
    mean over the data.

    Attributes:
        mean_swap: Error of the linear swap of group means, a baseline without training.
        reconstruction: Error of the reconstruction. A low value does not show that the
            codes are disentangled.
    """

    mean_swap: float
    reconstruction: float

    def __new__(
        cls, redatuming: float, mean_swap: float, reconstruction: float
    ) -> RedatumingError:
        """Create the float with its two reference values."""
        self = super().__new__(cls, redatuming)
        self.mean_swap = mean_swap
        self.reconstruction = reconstruction
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, copying and pickling a float keep its value only.
        return type(self), (float(self), self.mean_swap, self.reconstruction)

    def __repr__(self) -> str:
        return (
            f"RedatumingError({float(self):.4f}, mean_swap={self.mean_swap:.4f}, "
            f"reconstruction={self.reconstruction:.4f})"
        )


def relative_error(prediction: Any, truth: Any, good: Array | None = None) -> float:
    """Compute the mean squared error over the variance of the truth.

    The variance is taken over all instances pixel by pixel and averaged over pixels, so
    that a prediction of the mean instance has the error 1.

    Args:
        prediction: Array `(..., *instance_shape)`.
        truth: Array of the same shape; at least its first axis runs over instances.
        good: Pixels to include, bools that broadcast to `truth`; `None` includes all.

    Returns:
        The ratio, at least 0.

    Example:
    >>> truth = np.array([[0.0, 1.0], [2.0, 3.0]])
    >>> relative_error(truth.mean(axis=0, keepdims=True) + 0 * truth, truth)
    1.0
    """
    truth = np.asarray(truth, "float64")
    difference = np.asarray(prediction, "float64") - truth
    if good is None:
        spread = truth - truth.mean(axis=0)
    else:
        good = np.broadcast_to(good, truth.shape)
        total = np.where(good, truth, 0.0).sum(axis=0)
        mean = total / np.maximum(good.sum(axis=0), 1)
        spread, difference = (truth - mean)[good], difference[good]
    variance = np.mean(spread**2)
    if not variance > 0.0:
        raise InputError("The truth is constant, so no relative error can be given.")
    return float(np.mean(difference**2) / variance)


def linear_mean_swap(groups: GroupedData, source: Array) -> Array:
    """Swap group means, `x_j[t] - mean(X_j) + mean(X_i)`, as the simplest baseline.

    Args:
        groups: Groups to take instances from.
        source: For each group `j`, the group `i` that gives the new mean; `(groups,)`.

    Returns:
        Array of the shape of `groups.x`; absent instances are not meaningful.
    """
    model = MeanSwap().fit(groups)
    coherent, nuisance = model.encode(groups.x, groups.model_mask)
    return model.decode(coherent[source], nuisance)


def fixed_pairing(n_groups: int) -> Array:
    """Return the partner of each group for a swap: the next group, cyclically.

    Groups are drawn independently, so this is a random pairing. It is the same for
    every model.
    """
    if n_groups < 2:
        raise InputError(f"Redatuming needs at least two groups; received {n_groups}.")
    return (np.arange(n_groups) + 1) % n_groups


def reconstruct_groups(model: Any) -> Callable[[Array, Array | None], Any]:
    """Return `model.reconstruct` as a function of groups, for any kind of model."""
    if swaps_codes(model):
        return lambda x, mask: model.reconstruct(x, mask)

    def reconstruct(x: Array, mask: Array | None) -> Any:
        rows = x.reshape(-1, *x.shape[2:])
        # Each absent instance is a group of one, so it does not affect others.
        if mask is not None:
            mask = mask.reshape(rows.shape) if mask.ndim == x.ndim else None
        return to_numpy(model.reconstruct(rows, mask)).reshape(x.shape)

    return reconstruct


def reconstruction_error(model: Any, groups: GroupedData) -> float:
    """Compute the error of the reconstruction of groups, simulated or measured.

    Args:
        model: A model with `reconstruct`. It takes groups if the model also has
            `redatum`, as `SymAE` has; else it takes single instances, as `Autoencoder`
            does.
        groups: Groups to reconstruct; absent instances and bad pixels are ignored.

    Returns:
        Mean squared error over the variance of the instances.
    """
    present = groups.present
    good = groups.good_pixels[present] if groups.masks == 2 else None
    reconstruct = reconstruct_groups(model)
    reconstruction = in_batches(reconstruct, groups.x, groups.model_mask)
    return relative_error(reconstruction[present], groups.x[present], good)


def redatuming_error(
    model: Any, groups: GroupedData, gauge: Gauge = ()
) -> RedatumingError:
    """Compute the error of virtual instances, compared with the ground truth.

    Every instance of every group is redatumed to the state of the next group.

    The origin of a state can be arbitrary: the data do not define the orientation of a
    shape that is observed at all angles, or the velocity of a spectrum that is observed
    at all velocities. With `gauge`, a shift or rotation that is common to all virtual
    instances of a pair of groups does not count as error; one that differs between
    instances does.

    Args:
        model: A model with `redatum` and `reconstruct`, such as `SymAE`.
        groups: Simulated groups, which have true `virtual` instances.
        gauge: Transformations of instances that leave the state equivalent, such as
            `shifts(3)` or `rotations(12)`. The best one for each pair is used, also for
            the linear mean swap. Defaults to none.

    Returns:
        A float with the attributes `mean_swap` and `reconstruction`.

    Raises:
        InputError: The groups were measured, or there are fewer than two.
    """
    source = fixed_pairing(groups.n_groups)
    present, mask = groups.present, groups.model_mask
    own, instance = np.indices(present.shape)
    truth = groups.virtual(source[:, None], own, instance)[present]
    virtual = in_batches(
        lambda xa, xb, ma, mb: model.redatum(
            coherent_from=xa, nuisance_from=xb, coherent_mask=ma, nuisance_mask=mb
        ),
        groups.x[source],
        groups.x,
        None if mask is None else mask[source],
        mask,
    )
    swapped = linear_mean_swap(groups, source)
    pair = np.nonzero(present)[0]
    return RedatumingError(
        relative_error(_best_gauge(virtual[present], truth, pair, gauge), truth),
        relative_error(_best_gauge(swapped[present], truth, pair, gauge), truth),
        reconstruction_error(model, groups),
    )


def _best_gauge(x: Array, truth: Array, pair: Array, gauge: Gauge) -> Array:
    """Return the instances, transformed by the best gauge of each pair."""
    best, least = x, _errors_of_pairs(x, truth, pair)
    for function in gauge:
        other = function(x)
        errors = _errors_of_pairs(other, truth, pair)
        better = np.take(errors < least, pair).reshape(-1, *(1,) * (x.ndim - 1))
        best, least = np.where(better, other, best), np.minimum(errors, least)
    return best


def _errors_of_pairs(x: Array, truth: Array, pair: Array) -> Array:
    squares = np.mean((x - truth).reshape(len(x), -1).astype("float64") ** 2, axis=1)
    return np.bincount(pair, squares)


def shifts(max_pixels: int, axes: Sequence[int] = (-1,)) -> Gauge:
    """Return all shifts by whole pixels along some axes, including no shift.

    Pixels that are shifted out on one side are lost; the edge value is repeated on the
    other side.

    Args:
        max_pixels: The largest shift, in both directions.
        axes: Axes of pixels, counted from the end. Defaults to the last one, that of
            `(..., pixels)`; images `(..., height, width, channels)` have (-3, -2).

    Returns:
        `(2 max_pixels + 1) ** len(axes)` functions, for `redatuming_error`.

    Example:
    >>> left, same, right = shifts(1)
    >>> right(np.array([1.0, 2.0, 4.0])).tolist()
    [1.0, 1.0, 2.0]
    """
    steps = range(-positive("max_pixels", max_pixels), max_pixels + 1)
    every = np.stack(np.meshgrid(*[steps] * len(axes), indexing="ij"), axis=-1)
    return [
        partial(_shift, pixels=tuple(each), axes=tuple(axes))
        for each in every.reshape(-1, len(axes)).tolist()
    ]


def _shift(x: Array, pixels: Sequence[int], axes: Sequence[int]) -> Array:
    for n, axis in zip(pixels, axes, strict=True):
        size = x.shape[axis]
        x = np.take(x, np.clip(np.arange(size) - n, 0, size - 1), axis=axis)
    return x


def rotations(n_angles: int, axes: tuple[int, int] = (-3, -2)) -> Gauge:
    """Return rotations of images by multiples of a full turn divided by `n_angles`.

    Quarter turns of square images are exact. Other rotations are interpolated linearly,
    and corners are filled with the nearest pixel.

    Args:
        n_angles: Number of rotations, including no rotation.
        axes: Axes of height and width, counted from the end. Defaults to those of
            `(..., height, width, channels)`.

    Returns:
        The functions, for `redatuming_error`.

    Example:
    >>> same, quarter, half, _ = rotations(4, axes=(-2, -1))
    >>> half(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[4.0, 3.0], [2.0, 1.0]]
    """
    if len(axes) != 2 or axes[0] == axes[1]:
        raise invalid("axes", "two different axes", axes)
    turns = np.arange(positive("n_angles", n_angles)) / n_angles
    return [partial(_rotate, turn=float(each), axes=axes) for each in turns]


def _rotate(x: Array, turn: float, axes: tuple[int, int]) -> Array:
    quarters = 4.0 * turn
    if quarters.is_integer() and x.shape[axes[0]] == x.shape[axes[1]]:
        return np.rot90(x, int(quarters), axes)
    # SciPy is a dependency of scikit-learn.
    from scipy.ndimage import rotate

    return np.asarray(
        rotate(x, 360.0 * turn, axes[::-1], reshape=False, order=1, mode="nearest")
    )


@dataclasses.dataclass(frozen=True)
class ErrorOverInstances:
    """Redatuming error as a function of the number of instances per group.

    Attributes:
        n_instances: Numbers of instances per group.
        errors: Redatuming error for each number.
        slope: Slope of the logarithm of the error over the logarithm of the number, by
            least squares: -1 for a law of 1 / T, 0 if more instances do not help, NaN
            if an error is 0.
    """

    n_instances: tuple[int, ...]
    errors: tuple[float, ...]
    slope: float


def error_over_instances(
    model: Any, groups: GroupedData, n_instances: Sequence[int] | None = None
) -> ErrorOverInstances:
    """Compute the redatuming error of groups cut to their first instances.

    Both the state and the nuisance come from the cut groups. A single instance does not
    fully determine the state, but the uncertainty averages out over many. The error of
    an optimal estimator falls as 1 / T, down to a floor due to the network and pixel
    noise.

    Args:
        model: A model with `redatum` and `reconstruct`, such as `SymAE`.
        groups: Simulated groups, which have true `virtual` instances.
        n_instances: At least two increasing numbers of instances. `None` (default) uses
            powers of 2 up to the size of the smallest group.

    Returns:
        An `ErrorOverInstances`.

    Raises:
        InputError: A number exceeds the size of the smallest group.

    Example:
    >>> from symae_keras.classical import MeanSwap
    >>> from symae_keras.data import simulate_exposures
    >>> groups = simulate_exposures(n_states=100, n_instances=8, seed=0)
    >>> found = error_over_instances(MeanSwap().fit(groups), groups)
    >>> found.n_instances, found.errors[0] > found.errors[-1], found.slope < 0.0
    ((1, 2, 4, 8), True, True)
    """
    present = groups.present
    smallest = int(present.sum(axis=1).min())
    if n_instances is None:
        n_instances = [2**k for k in range(smallest.bit_length())]
    counts = [int(each) for each in n_instances]
    increasing = all(a < b for a, b in zip(counts[:-1], counts[1:], strict=True))
    if len(counts) < 2 or counts[0] < 1 or not increasing or counts[-1] > smallest:
        raise InputError(
            "n_instances must be at least two increasing numbers, no larger than the "
            f"smallest group, which has {smallest}; received {counts}."
        )
    place = np.cumsum(present, axis=1)
    errors = []
    for count in counts:
        first = present & (place <= count)
        width = int(np.flatnonzero(first.any(axis=0))[-1]) + 1
        cut = groups.take_instances(slice(width))
        if groups.mask is not None:
            cut = dataclasses.replace(cut, mask=first[:, :width])
        errors.append(float(redatuming_error(model, cut)))
    slope = math.nan
    if min(errors) > 0.0:
        slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    return ErrorOverInstances(tuple(counts), tuple(errors), float(slope))


def exposures_limit(
    n_instances: int = 16, n_states: int = 1000, seed: int = 0
) -> float:
    """Compute the redatuming error of the optimal estimator on entangled exposures.

    The estimator is given every parameter of the benchmark except one: the split of a
    group's mean slope into the star's own slope, `0.4 T`, and the mean slope of its
    exposures, `mean(s)`. To first order, the data do not determine this split, so the
    estimator uses the posterior mean, which is optimal. The error falls as 1 /
    `n_instances`.

    A well-trained model can have a lower error, because of an effect of second order:
    the star moves with the velocity `v` of an exposure, its continuum is `exp(0.4 T (x
    - v))`, and so its brightness depends on `T v`.

    Args:
        n_instances: Number of exposures per star.
        n_states: Number of stars in the Monte Carlo average.
        seed: Seed of the simulated stars.

    Returns:
        Mean squared error over the variance of the truth, without pixel noise.

    Example:
    >>> bool(0.015 < exposures_limit(n_instances=16, n_states=100) < 0.03)
    True
    """
    groups = simulate_exposures(n_states, n_instances, seed)
    assert groups.render is not None  # simulated groups have it
    temperature, slope = groups.state["temperature"], groups.nuisance["slope"]
    mean_slope = ENTANGLED_SLOPE * temperature + slope.mean(axis=1)
    # Posterior mean of T given `0.4 T + mean(s)`; T ~ U(-1, 1), s ~ N(0, 0.15).
    grid = np.linspace(-1.0, 1.0, 2001)
    width = BLAZE_SLOPE / np.sqrt(n_instances)
    weight = np.exp(
        -0.5 * ((mean_slope[:, None] - ENTANGLED_SLOPE * grid) / width) ** 2
    )
    guess = weight @ grid / weight.sum(axis=1)
    guessed_slope = slope + ENTANGLED_SLOPE * (temperature - guess)[:, None]

    source = fixed_pairing(n_states)
    state: Parameters = {**groups.state, "temperature": guess}
    nuisance: Parameters = {**groups.nuisance, "slope": guessed_slope}
    guessed = groups.render(
        {k: np.repeat(v[source], n_instances, axis=0) for k, v in state.items()},
        {k: v.reshape(-1) for k, v in nuisance.items()},
    )
    own, instance = np.indices(slope.shape)
    truth = groups.virtual(source[:, None], own, instance)
    return relative_error(guessed, truth.reshape(guessed.shape))
