"""Conversion of flat rows or labelled images to groups."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from symae_keras.data._arrays import plain, real_numbers, row_names
from symae_keras.data._rows import sort_rows
from symae_keras.data.check import refuse_rounding
from symae_keras.data.groups import Array, GroupedData, Parameters
from symae_keras.data.ragged import RaggedRows
from symae_keras.errors import InputError


def group_by(x: Any, ids: Any) -> GroupedData:
    """Group rows with the same id.

    Groups of unequal size are padded with zeros after their last instance, and a mask
    marks the present instances.

    Args:
        x: Instances, shape `(rows, *instance_shape)`, real numbers in an array, table
            or tensor. Values that a masked array or a table marks as missing are False
            in `pixel_mask`.
        ids: The group of each row, shape `(rows,)`, numbers or text.

    Returns:
        `GroupedData` whose `ids` are the distinct ids in sorted order, whose instances
        keep the order of the rows, and whose `mask` is `None` if all groups have the
        same size.

    Raises:
        InputError: There are no rows, `x` has fewer than two axes, or `ids` does not
            name the group of every row.
        UnevenGroups: Padding would take much more memory than the rows. The attribute
            `groups` of the error holds the groups without padding.

    Example:
    >>> groups = group_by(np.ones((5, 64)), ["b", "a", "b", "b", "a"])
    >>> groups.ids, groups.x.shape
    (array(['a', 'b'], dtype='<U1'), (2, 3, 64))
    >>> groups.mask
    array([[ True,  True, False],
           [ True,  True,  True]])
    """
    x, missing = real_numbers("x", x)
    pixel_mask = None if missing is None else ~missing
    return gather_rows(x, ids, pixel_mask=pixel_mask).load()


def gather_rows(
    x: Array,
    ids: Any,
    *,
    pixel_mask: Array | None = None,
    weights: Array | None = None,
    metadata: Parameters | None = None,
    axis: Array | None = None,
    axis_label: str = GroupedData.axis_label,
) -> RaggedRows:
    """Group rows, with their masks, weights and metadata, without padding.

    Args:
        x: Instances, shape `(rows, *instance_shape)`.
        ids: The group of each row.
        pixel_mask: True = good, of the shape of `x`.
        weights: Weight of each pixel, with the shape of `x`.
        metadata: Metadata of each row, arrays `(rows, ...)`. Values that are the same
            in all rows of each group become metadata of groups, except the names of
            instances.
        axis: Physical value of each pixel.
        axis_label: Name and unit of the axis.

    Raises:
        InputError: There are no rows, or `ids` does not name the group of every row.
    """
    if x.ndim < 2:
        raise InputError(
            "x must have the axes (rows, *instance_shape), at least two; received "
            f"shape {x.shape}."
        )
    rows = sort_rows(_names("ids", ids, "row", len(x)), metadata or {})

    def sorted_rows(values: Array | None) -> Array | None:
        return None if values is None else np.asarray(values)[rows.order]

    return RaggedRows(
        x[rows.order],
        rows.counts,
        rows.ids,
        pixel_mask=sorted_rows(pixel_mask),
        weights=sorted_rows(weights),
        metadata=rows.metadata,
        group_metadata=rows.group_metadata,
        axis=axis,
        axis_label=axis_label,
    )


def bag_by_label(
    images: Any,
    labels: Any,
    bag_size: int = 20,
    n_bags: int | None = None,
    seed: int = 0,
) -> GroupedData:
    """Draw bags of images that share a label; the label is the state.

    Every label gets the same number of bags, or one more if `n_bags` does not divide
    evenly. The bags are in random order. No image is in a bag twice. No image is in two
    bags, unless `n_bags` requires more bags than the images of a label fill. In that
    case, the images of the label are shuffled and used again, as often as needed.

    A split of the result never has an image on both sides. If every image is used at
    most once, `ids` is `None` and `split` divides the bags, so that each label is on
    both sides. If images are used again, `ids` are the labels and `split` holds out
    whole labels. To hold out images instead, split the images before bagging.

    Args:
        images: Shape `(rows, height, width)` or `(rows, height, width, channels)`.
            `uint8` is scaled to [0, 1]; other types keep their values.
        labels: The label of each image, shape `(rows,)`.
        bag_size: Images per bag, at least 1.
        n_bags: Number of bags. With `None`, every label gets as many bags as the rarest
            label fills without using an image twice.
        seed: Seed of the draw.

    Returns:
        `GroupedData` with `x (bags, bag_size, height, width, channels)` float32 and
        `state={"label": (bags,)}`.

    Raises:
        InputError: The shapes of the arrays do not match, a label has fewer than
            `bag_size` images, or a number is below 1.

    Example:
    >>> images = np.zeros((60, 28, 28), "uint8")
    >>> bags = bag_by_label(images, np.arange(60) % 3, bag_size=5)
    >>> bags.x.shape, np.bincount(bags.state["label"])
    ((12, 5, 28, 28, 1), array([4, 4, 4]))
    """
    images, missing = plain("images", images)
    if images.ndim not in (3, 4):
        raise InputError(
            "images must have the axes (rows, height, width[, channels]); received "
            f"shape {images.shape}."
        )
    labels = _names("labels", labels, "image", len(images))
    if bag_size < 1 or (n_bags is not None and n_bags < 1):
        raise InputError(
            f"bag_size and n_bags must be at least 1; received {bag_size} and {n_bags}."
        )
    names, which = np.unique(labels, return_inverse=True)
    counts = np.bincount(which)
    if counts.min() < bag_size:
        raise InputError(
            f"Label {names[counts.argmin()]} has {counts.min()} images, too few for a "
            f"bag of {bag_size}; choose a smaller bag_size or leave the label out."
        )
    fills = counts // bag_size
    if n_bags is None:
        n_bags = int(fills.min()) * len(names)
    quota = np.full(len(names), n_bags // len(names))
    quota[: n_bags % len(names)] += 1

    rng = np.random.default_rng(seed)
    bags = [
        _deal(rng, np.flatnonzero(which == k), bag_size, int(fills[k]), int(quota[k]))
        for k in range(len(names))
    ]
    order = rng.permutation(n_bags)
    if images.ndim == 3:
        images = images[..., None]
        missing = None if missing is None else missing[..., None]
    rows = np.concatenate(bags)[order]
    x = images[rows]
    if x.dtype == np.uint8:
        x = x.astype("float32") / np.float32(255)
    label = np.repeat(names, quota)[order]
    drawn_again = bool((quota > fills).any())
    groups = GroupedData(
        x,
        state={"label": label},
        ids=label if drawn_again else None,
        pixel_mask=None if missing is None else ~missing[rows],
    )
    refuse_rounding(groups, "images")
    return dataclasses.replace(groups, x=groups.x.astype("float32", copy=False))


def _names(argument: str, names: Any, row: str, rows: int) -> Array:
    """Return ids or labels, and check that they name every row."""
    if rows == 0:
        raise InputError(f"There must be at least one {row}; received none.")
    return row_names(argument, names, row, rows)


def _deal(
    rng: np.random.Generator, rows: Array, bag_size: int, fills: int, quota: int
) -> Array:
    """Deal shuffled rows into `quota` bags, and shuffle again after `fills` bags."""
    rounds = max(-(-quota // fills), 1)
    hands = [rng.permutation(rows)[: fills * bag_size] for _ in range(rounds)]
    return np.concatenate(hands).reshape(-1, bag_size)[:quota]
