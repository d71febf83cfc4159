"""Correction of each instance with a few parameters, such as a gain."""

from __future__ import annotations

import math
from typing import Self

import numpy as np

from symae_keras._utils.arrays import Codes
from symae_keras.classical._base import CodedReference, check_finite
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError

_ROWS_AT_ONCE = 256


class ScatterCodes(CodedReference):
    """Base class of corrections whose parameters are the nuisance code.

    A subclass defines `_n_parameters`, and `_learn`, `_estimate` and `_show` for
    flattened instances.

    Attributes:
        reference_: Mean instance of the training groups, `(pixels,)`.
    """

    reference_: Array

    def fit(self, groups: GroupedData) -> Self:
        """Fit the correction to the training groups.

        Args:
            groups: Training groups.

        Returns:
            The object itself.

        Raises:
            InputError: A present instance is not finite, or the method does not support
                the shape or the number of the instances.
        """
        good = np.broadcast_to(groups.good_pixels, groups.x.shape)
        check_finite(np.where(good, groups.x, 0.0))
        if not good.any():
            raise InputError(
                f"{type(self).__name__} needs at least one present instance; all are "
                "masked."
            )
        self._check_shape(groups.instance_shape)
        total = groups.x.sum(axis=(0, 1), where=good, dtype="float64")
        self.reference_ = (total / np.maximum(good.sum(axis=(0, 1)), 1)).reshape(-1)
        self._learn(groups)
        self.instance_shape_ = groups.instance_shape
        return self

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse instances of a shape that the method does not support."""

    def _learn(self, groups: GroupedData) -> None:
        """Fit everything but `reference_`."""

    def _n_parameters(self) -> int:
        """Return the number of parameters per instance."""
        raise NotImplementedError

    def _estimate(self, x: Array, good: Array) -> tuple[Array, Array]:
        """Return the parameters `(rows, n)` and the corrected rows `(rows, pixels)`."""
        raise NotImplementedError

    def _show(self, corrected: Array, parameters: Array) -> Array:
        """Undo the correction: return rows with the given parameters."""
        raise NotImplementedError

    def correct(self, x: Array, mask: Array | None = None) -> Array:
        """Correct instances.

        Args:
            x: `(instances, *instance_shape)`.
            mask: Boolean, of the shape of `x`, True = good pixel. Defaults to `None`.

        Returns:
            float64 array of the shape of `x`; bad pixels are not meaningful.
        """
        x = np.asarray(x)
        mask = None if mask is None else np.asarray(mask)[:, None]
        groups = self._gather(x[:, None], mask)
        return np.asarray(self._corrected(groups)[1].reshape(x.shape))

    def _corrected(self, groups: GroupedData) -> tuple[Array, Array, Array]:
        """Return parameters, corrected instances and good pixels, flattened.

        The shapes are `(groups, instances, n)` and twice `(groups, instances, pixels)`.
        """
        shape = groups.x.shape[:2]
        good = np.broadcast_to(groups.good_pixels, groups.x.shape)
        x = np.where(good, groups.x, 0.0).astype("float64")
        rows = math.prod(shape), self.reference_.size
        x, good = x.reshape(rows), good.reshape(rows)
        parameters = np.zeros((rows[0], self._n_parameters()))
        corrected = np.empty(rows)
        for start in range(0, rows[0], _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            parameters[part], corrected[part] = self._estimate(x[part], good[part])
        parameters[~good.any(axis=1)] = 0.0
        return (
            parameters.reshape(*shape, -1),
            corrected.reshape(*shape, -1),
            good.reshape(*shape, -1),
        )

    def _code_sizes(self) -> tuple[int, int]:
        return self.reference_.size, self._n_parameters()

    def _encode(self, groups: GroupedData) -> Codes:
        parameters, corrected, good = self._corrected(groups)
        return Codes(mean_over_instances(corrected, good, self._fill()), parameters)

    def _fill(self) -> Array:
        """Return values for pixels that are bad in all instances of their group."""
        return self.reference_

    def _decode(self, coherent: Array, nuisance: Array) -> Array:
        n_groups, n_instances = nuisance.shape[:2]
        corrected = np.repeat(coherent, n_instances, axis=0)
        parameters = nuisance.reshape(n_groups * n_instances, -1)
        return self._show(corrected, parameters)


def mean_over_instances(x: Array, good: Array, fill: Array) -> Array:
    """Return means `(groups, pixels)` of good values; `fill` where there are none."""
    count = good.sum(axis=1)
    total = np.where(good, x, 0.0).sum(axis=1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), fill))
