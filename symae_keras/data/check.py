"""Checks of data before training."""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import Final, TypeVar

import numpy as np

from symae_keras._utils.text import counted
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.ragged import RaggedGroups, RaggedRows
from symae_keras.errors import InputError

_log = logging.getLogger("symae_keras")

#: Range of standard deviations of data; errors may be 100 times smaller.
_SMALLEST: Final = 1e-18
_LARGEST: Final = 1e18
#: Bytes that are checked at once where not all are needed together.
_PART_BYTES: Final = 64 << 20
#: Numbers that are checked for rounding; more would not change the result.
_NUMBERS: Final = 20_000_000
#: Rounding errors relative to the standard deviation that are logged, and those that
#: are refused.
_NOTED: Final = 1e-3
_REFUSED: Final = 1e-2

_Groups = TypeVar("_Groups", GroupedData, RaggedRows, GroupedData | RaggedRows)


def check(groups: _Groups, min_instances: int = 1, source: str = "the data") -> _Groups:
    """Refuse data that cannot be used for training, and prepare all others for it.

    Args:
        groups: The data. Masked values can be anything, including NaN.
        min_instances: Minimum number of present instances per group.
        source: Name of the data in error messages, such as a file name.

    Returns:
        The same groups in float32; masked values are 0. Instances without a good pixel
        are marked as absent.

    Raises:
        InputError: There are no groups, a group has too few present instances, a
            present value is NaN, infinite or outside the range of float32, float32
            would round off the differences between values, or all present values are
            equal.

    Example:
    >>> groups = check(GroupedData(np.random.default_rng(0).normal(size=(3, 5, 64))))
    >>> groups.x.dtype
    dtype('float32')
    >>> check(groups, min_instances=8, source="my.npz")
    Traceback (most recent call last):
    ...
    symae_keras.errors.InputError: my.npz: 3 of 3 groups have fewer than 8 present \
instances; the first is group 0 with 5; measure them again, or remove these groups.
    """
    groups = clean(groups, source)
    refuse_small(groups, min_instances, source)
    low, high = np.inf, -np.inf
    for _, part in groups.parts(_PART_BYTES):
        good = part.good_pixels
        low = min(low, part.x.min(where=good, initial=np.inf))
        high = max(high, part.x.max(where=good, initial=-np.inf))
    if low == high:
        raise InputError(
            f"{source}: all present values are {low:g}, so there is nothing to learn."
        )
    return groups


def refuse_small(
    groups: GroupedData | RaggedGroups, min_instances: int, source: str
) -> None:
    """Refuse groups with fewer than `min_instances` present instances."""
    counts = groups.counts
    few = np.flatnonzero(counts < min_instances)
    if len(few):
        have = "has" if len(few) == 1 else "have"
        raise InputError(
            f"{source}: {len(few)} of {counted(len(groups), 'group')} {have} fewer "
            f"than {min_instances} present instances; the first is "
            f"{groups.called(int(few[0]))} with {counts[few[0]]}; measure them again, "
            "or remove these groups."
        )


def refuse_range(deviation: float, what: str) -> None:
    """Refuse data whose small errors have squares outside the range of float32."""
    if not _SMALLEST < deviation < _LARGEST:
        raise InputError(
            f"{what} vary by about {deviation:.0e}, outside the range of float32; "
            "rescale them to about 1."
        )


def clean(groups: _Groups, source: str = "the data", first: int = 0) -> _Groups:
    """Refuse values that a model cannot process; `check` has more requirements.

    Args:
        groups: The data.
        source: Name of the data in error messages.
        first: Number of the first group in the source.
    """
    if isinstance(groups, RaggedRows):
        parts = groups.parts(_PART_BYTES)
        return RaggedRows.joined(
            [clean(part, source, first + start) for start, part in parts]
        )
    if groups.x.size == 0:
        raise InputError(f"{source}: x is empty, shape {groups.x.shape}.")
    if groups.masks == 2:
        pixels = tuple(range(2, groups.x.ndim))
        there = np.asarray(groups.good_pixels.any(axis=pixels))
        if blank := int(groups.present.sum() - there.sum()):
            _log.warning(
                "%s: %d instances have no good pixel; they count as absent.",
                source,
                blank,
            )
            groups = dataclasses.replace(groups, mask=there)
    x, good = groups.x, groups.good_pixels
    _refuse_non_finite(groups, x, source, first, "NaN or infinite; correct or mask")
    if x.dtype != np.float32:
        # Overflow is reported below, with its position.
        with np.errstate(over="ignore"):
            x = x.astype("float32")
        _refuse_non_finite(groups, x, source, first, "too large for float32; rescale")
        refuse_rounding(groups, source)
    if not good.all():
        x = np.where(good, x, np.float32(0))
    return dataclasses.replace(groups, x=x)


def refuse_rounding(groups: object, source: str = "the data") -> None:
    """Refuse values whose differences are below the resolution of float32.

    Args:
        groups: The data, of which evenly spaced groups are checked.
        source: Name of the data in error messages.

    Raises:
        InputError: The rounding errors are more than 1 % of the standard deviation
            around the mean of each pixel. Errors above 0.1 % are logged.
    """
    if isinstance(groups, RaggedRows) and groups.dtype != np.float32:
        groups = groups.sample()
    if not isinstance(groups, GroupedData) or groups.x.dtype.itemsize <= 4:
        return
    part = groups[:: max(1, groups.x.size // _NUMBERS)]
    mean, deviation, error = _rounding(part)
    size = np.abs(mean).max(initial=0.0)
    # Variations below the rounding error of float64 count as constant.
    if deviation <= 8 * np.finfo("float64").eps * size or error <= _NOTED * deviation:
        return
    # Round so that the remaining offset is about one standard deviation.
    offset = round(float(mean.mean()), -math.floor(math.log10(deviation)))
    remedy = f"subtract {offset:.17g} from x"
    if np.abs(mean - offset).max() > 1e3 * deviation:
        remedy = "subtract the mean of each pixel from x"
    sentence = (
        f"{source}: values that differ by about {deviation:.2g} around {offset:.17g} "
        f"are rounded by about {error:.2g} in float32; {remedy} in float64 first, and "
        "add it to the output of the model."
    )
    if error > _REFUSED * deviation:
        raise InputError(sentence)
    _log.warning("%s", sentence)


def _rounding(groups: GroupedData) -> tuple[Array, float, float]:
    """Return pixel means, the standard deviation, and the RMS error in float32."""
    shape = groups.instance_shape
    counts, sums, squares = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    errors, centre = 0.0, None
    for _, part in groups.parts(_PART_BYTES):
        x: Array = part.x.reshape(-1, *shape)
        good = np.broadcast_to(part.good_pixels, part.x.shape).reshape(x.shape)
        with np.errstate(over="ignore"):
            rounded = x.astype("float32")
        good = good & np.isfinite(rounded)
        n = good.sum(axis=0)
        if centre is None:
            # Subtract the mean first, so that the squares are precise.
            centre = np.where(good, x, 0.0).sum(axis=0) / np.maximum(n, 1)
        x = np.where(good, x - centre, 0.0)
        rounded = np.where(good, rounded - centre, 0.0)
        counts += n
        sums += x.sum(axis=0)
        squares += (x**2).sum(axis=0)
        errors += float(((rounded - x) ** 2).sum())
    seen = counts > 0
    if centre is None or not seen.any():
        return np.zeros(0), 0.0, 0.0
    counts, sums, squares = counts[seen], sums[seen], squares[seen]
    variance = float(np.maximum(squares / counts - (sums / counts) ** 2, 0.0).mean())
    mean = centre[seen] + sums / counts
    return mean, math.sqrt(variance), math.sqrt(errors / counts.sum())


def _refuse_non_finite(
    groups: GroupedData, x: Array, source: str, first: int, problem: str
) -> None:
    bad = groups.good_pixels & ~np.isfinite(x)
    if bad.any():
        group, instance, *place = np.argwhere(bad)[0].tolist()
        count = int(bad.sum())
        pixel = place[0] if len(place) == 1 else tuple(place)
        found = f"{count} values are" if count > 1 else "1 value is"
        raise InputError(
            f"{source}: {found} {problem} them; the first is at "
            f"{groups.called(group, first)}, instance {instance}, pixel {pixel}."
        )
