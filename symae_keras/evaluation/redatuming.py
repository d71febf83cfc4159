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

#: Functions of instances `(..., *instance_shape)`, which keep the shape.
Gauge = Sequence[Callable[[Array], Array]]


class RedatumingError(float):
    """A redatuming error, with the two numbers it must be read beside.

    It is a float, the error of the virtual instances. All three are mean squared
    errors divided by the variance of the truth: 0 is exact, 1 is no better than the
    mean over the data.

    Attributes:
        mean_swap: Error of the linear swap of group means, which learns nothing.
        reconstruction: Error of the reconstruction. A low one says nothing about
            whether the codes are disentangled.
    """

    mean_swap: float
    reconstruction: float

    def __new__(
        cls, redatuming: float, mean_swap: float, reconstruction: float
    ) -> RedatumingError:
        """Attach the two companions to the number."""
        self = super().__new__(cls, redatuming)
        self.mean_swap = mean_swap
        self.reconstruction = reconstruction
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # A float's own way to be copied and pickled knows of one number only.
        return type(self), (float(self), self.mean_swap, self.reconstruction)

    def __repr__(self) -> str:
        return (
            f"RedatumingError({float(self):.4f}, mean_swap={self.mean_swap:.4f}, "
            f"reconstruction={self.reconstruction:.4f})"
        )


def relative_error(prediction: Any, truth: Any, good: Array | None = None) -> float:
    """Mean squared error over the variance of the truth.

    The variance is taken over all instances pixel by pixel, then averaged over pixels,
    so that predicting the mean instance has the error 1.

    Args:
        prediction: Array `(..., *instance_shape)`.
        truth: Array of the same shape; its first axis at least runs over instances.
        good: Pixels to judge by, bools that broadcast to `truth`; `None` takes all.

    Returns:
        The ratio, not negative.

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
    """Swap group means: `x_j[t] - mean(X_j) + mean(X_i)`, the baseline of baselines.

    Args:
        groups: Groups to take instances from.
        source: For each group `j`, the group `i` whose mean is put in; `(groups,)`.

    Returns:
        Array of the shape of `groups.x`; absent instances are not meaningful.
    """
    model = MeanSwap().fit(groups)
    coherent, nuisance = model.encode(groups.x, groups.model_mask)
    return model.decode(coherent[source], nuisance)


def fixed_pairing(n_groups: int) -> Array:
    """For each group, the group whose state it is shown in: the next one, cyclically.

    Groups are drawn independently, so the next one is as random as any, and the same
    pairs are judged for every model.
    """
    if n_groups < 2:
        raise InputError(
            f"Redatuming needs at least two groups to swap; received {n_groups}."
        )
    return (np.arange(n_groups) + 1) % n_groups


def reconstruct_groups(model: Any) -> Callable[[Array, Array | None], Any]:
    """`model.reconstruct`, of groups or single instances, as a function of groups."""
    if swaps_codes(model):
        return lambda x, mask: model.reconstruct(x, mask)

    def reconstruct(x: Array, mask: Array | None) -> Any:
        rows = x.reshape(-1, *x.shape[2:])
        # An instance that is absent is reconstructed by itself, and harms no other.
        if mask is not None:
            mask = mask.reshape(rows.shape) if mask.ndim == x.ndim else None
        return to_numpy(model.reconstruct(rows, mask)).reshape(x.shape)

    return reconstruct


def reconstruction_error(model: Any, groups: GroupedData) -> float:
    """Error of the reconstruction of groups, simulated or measured.

    Args:
        model: Anything with `reconstruct`: of groups where it has `redatum` too, as
            `SymAE` has, else of single instances, such as `Autoencoder`.
        groups: Groups to reconstruct; absent instances and bad pixels do not count.

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
    """Error of virtual instances against the exact truth, over a fixed pairing.

    Every instance of every group is shown in the state of the next group.

    Where the origin of a state is arbitrary, a model may be right about everything but
    that: nothing in the data says which way up a shape is that is seen at all angles,
    or where a spectrum stands that is seen at all velocities. One shift or rotation of
    all virtual instances of a pair of groups then counts as no error; one that differs
    from instance to instance does.

    Args:
        model: Anything with `redatum` and `reconstruct`, such as `SymAE`.
        groups: Simulated groups, which know their `virtual` instances.
        gauge: Transformations of instances that the origin of a state is arbitrary up
            to, such as `shifts(3)` or `rotations(12)`; the best for each pair is taken,
            of the linear mean swap too. Defaults to none.

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
    """Instances after the transformation that is best for all of their pair."""
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
    """All shifts by whole pixels along some axes, the identity among them.

    What is shifted out on one side is lost, and the edge is repeated on the other.

    Args:
        max_pixels: The largest shift, either way.
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
    """Rotations of images by multiples of a full turn over a number.

    Quarter turns of square images are exact; others are interpolated linearly, and
    corners take the value of the nearest pixel.

    Args:
        n_angles: How many, the identity among them.
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
    # Comes with scikit-learn.
    from scipy.ndimage import rotate

    return np.asarray(
        rotate(x, 360.0 * turn, axes[::-1], reshape=False, order=1, mode="nearest")
    )


@dataclasses.dataclass(frozen=True)
class ErrorOverInstances:
    """Redatuming errors of groups of few and of many instances.

    Attributes:
        n_instances: Instances a group.
        errors: Redatuming error with so many.
        slope: Of the logarithm of the error over that of the number, by least squares:
            -1 for a law of 1 / T, 0 where more instances do not help, NaN where an
            error is 0.
    """

    n_instances: tuple[int, ...]
    errors: tuple[float, ...]
    slope: float


def error_over_instances(
    model: Any, groups: GroupedData, n_instances: Sequence[int] | None = None
) -> ErrorOverInstances:
    """Redatuming error of groups cut to their first instances.

    Both the state and the nuisance come from groups that are cut. What one instance
    leaves open of the state is averaged out by many: the error of an optimal estimator
    falls as 1 / T, down to a floor that the network and pixel noise set.

    Args:
        model: Anything with `redatum` and `reconstruct`, such as `SymAE`.
        groups: Simulated groups, which know their `virtual` instances.
        n_instances: Numbers of instances to cut groups to, two or more of them,
            increasing. `None` (default) takes powers of 2 up to the smallest group.

    Returns:
        An `ErrorOverInstances`.

    Raises:
        InputError: A group has fewer instances than that.

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
            "n_instances must be two or more increasing numbers, no larger than the "
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
    """Redatuming error of an estimator that knows all that exposures can tell.

    It knows every parameter of the benchmark but one: how the mean slope of a group
    splits into the star's own, `0.4 T`, and the mean of the exposures', `mean(s)`. To
    first order no data tell; it takes the posterior mean, the optimal split. The error
    falls as 1 / `n_instances`.

    Args:
        n_instances: Exposures of each star.
        n_states: Stars in the Monte Carlo average.
        seed: Seed of the simulated stars.

    Returns:
        Mean squared error over the variance of the truth, without pixel noise.

    Example:
    >>> bool(0.015 < exposures_limit(n_instances=16, n_states=100) < 0.03)
    True
    """
    groups = simulate_exposures(n_states, n_instances, seed)
    assert groups.render is not None  # simulated, so it has one
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
