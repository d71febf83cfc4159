"""Swap of means, the linear reference."""

from __future__ import annotations

import math
from typing import Self

import numpy as np

from symae_keras._utils.arrays import Codes
from symae_keras.classical._base import Reference, check_finite
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError


class MeanCodes(Reference):
    """Base of the references that split a group in its mean and the deviations.

    A subclass has `fit`, which calls `_fit_means`, and three functions of flattened
    instances: `_code_sizes`, `_code` and `_decode`.

    Attributes:
        fill_: Mean instance of the training groups, `(pixels,)`. It stands for pixels
            that are bad in all instances of a group.
    """

    fill_: Array

    def _fit_means(self, groups: GroupedData) -> tuple[Array, Array]:
        """Means and deviations of training groups; takes note of their shape."""
        good = np.broadcast_to(groups.good_pixels, groups.x.shape)
        check_finite(np.where(good, groups.x, 0.0))
        total = groups.x.sum(axis=(0, 1), where=good, dtype="float64")
        fill = total / np.maximum(good.sum(axis=(0, 1)), 1)
        self.fill_ = fill.reshape(-1)
        self.instance_shape_ = groups.instance_shape
        return self._means_and_deviations(groups)

    def _means_and_deviations(self, groups: GroupedData) -> tuple[Array, Array]:
        """Means over present instances, and what each instance has besides.

        Arrays `(groups, pixels)` and `(groups, instances, pixels)`; deviations are 0
        where masked.
        """
        rows = (*groups.x.shape[:2], -1)
        x = groups.x.reshape(rows)
        good = groups.good_pixels.reshape(rows)
        total = np.where(good, x, 0.0).sum(axis=1, dtype="float64")
        count = good.sum(axis=1)
        mean = np.where(count > 0, total / np.maximum(count, 1), self.fill_)
        return mean, np.where(good, x - mean[:, None], 0.0)

    def _code_sizes(self) -> tuple[int, int]:
        """Sizes of the coherent and of the nuisance code."""
        raise NotImplementedError

    def _code(self, means: Array, deviations: Array) -> Codes:
        """Codes of `(groups, pixels)` and `(groups, instances, pixels)`."""
        raise NotImplementedError

    def _decode(self, coherent: Array, nuisance: Array) -> Array:
        """Flattened instances of codes."""
        raise NotImplementedError

    def encode(self, x: Array, mask: Array | None = None) -> Codes:
        """Encode groups.

        Args:
            x: `(batch, instances, *instance_shape)`; any number of instances.
            mask: Boolean `(batch, instances)`, True = present, or of the shape of `x`,
                True = good pixel. Defaults to `None`.

        Returns:
            `Codes(coherent, nuisance)`, float64 arrays `(batch, coherent_dim)` and
            `(batch, instances, nuisance_dim)`. Absent instances have the nuisance code
            0; a group of absent instances alone is taken for the mean instance.
        """
        groups = self._gather(x, mask)
        return self._code(*self._means_and_deviations(groups))

    def decode(self, coherent: Array, nuisance: Array) -> Array:
        """Decode one coherent code a group with the nuisance code of each instance.

        Args:
            coherent: `(batch, coherent_dim)`.
            nuisance: `(batch, instances, nuisance_dim)`.

        Returns:
            Instances in data units, `(batch, instances, *instance_shape)`.
        """
        self._check_fitted()
        coherent, nuisance = np.asarray(coherent), np.asarray(nuisance)
        p, q = self._code_sizes()
        groups = coherent.shape[:1]
        if (
            coherent.shape != (*groups, p)
            or nuisance.ndim != 3
            or nuisance.shape != (*groups, nuisance.shape[1], q)
        ):
            raise InputError(
                f"Codes must have the shapes (groups, {p}) and (groups, instances, "
                f"{q}); received {coherent.shape} and {nuisance.shape}."
            )
        flat = self._decode(coherent, nuisance)
        return flat.reshape(*nuisance.shape[:2], *self.instance_shape_)

    def reconstruct(self, x: Array, mask: Array | None = None) -> Array:
        """Encode and decode.

        Args:
            x: `(batch, instances, *instance_shape)`.
            mask: Boolean `(batch, instances)`. Defaults to `None`.

        Returns:
            Array of the shape of `x`; absent instances are not meaningful.
        """
        return self.decode(*self.encode(x, mask))

    def redatum(
        self,
        coherent_from: Array,
        nuisance_from: Array,
        coherent_mask: Array | None = None,
        nuisance_mask: Array | None = None,
    ) -> Array:
        """Virtual instances: the states of some groups under the nuisances of others.

        Args:
            coherent_from: `(batch, instances_a, *instance_shape)`, the states to show.
            nuisance_from: `(batch, instances_b, *instance_shape)`, the nuisances to
                show them under, group by group.
            coherent_mask: Boolean `(batch, instances_a)`. Defaults to `None`.
            nuisance_mask: Boolean `(batch, instances_b)`. Defaults to `None`.

        Returns:
            Array `(batch, instances_b, *instance_shape)`; where the nuisance is absent
            it is not meaningful.
        """
        if len(coherent_from) != len(nuisance_from):
            raise InputError(
                "coherent_from and nuisance_from must hold the same number of groups, "
                "because virtual instances are made group by group; received "
                f"{len(coherent_from)} and {len(nuisance_from)}."
            )
        coherent = self.encode(coherent_from, coherent_mask).coherent
        nuisance = self.encode(nuisance_from, nuisance_mask).nuisance
        return self.decode(coherent, nuisance)


class MeanSwap(MeanCodes):
    """Group means for coherent codes, deviations from them for nuisance codes.

        C = mean_t x[t]        N[t] = x[t] - C        D(C, N[t]) = C + N[t]

    Nothing is learnt: the codes have the size of an instance, and redatuming swaps
    group means, `x_j[t] - mean(X_j) + mean(X_i)`. It is exact where state and nuisance
    add up and the nuisances of every group have the same mean. A model that does not
    beat it has learnt nothing about nuisances.

    Attributes:
        instance_shape_: Shape of one instance.

    Example:
    >>> import numpy as np
    >>> x = np.array([[[1.0], [3.0]], [[10.0], [20.0]]])
    >>> model = MeanSwap().fit(GroupedData(x))
    >>> model.redatum(coherent_from=x[:1], nuisance_from=x[1:]).tolist()
    [[[-3.0], [7.0]]]
    """

    def fit(self, groups: GroupedData) -> Self:
        """Take note of the shape of the instances, and of their mean.

        Args:
            groups: Any groups. The mean stands for pixels that no instance of a group
                shows.

        Returns:
            The object itself.
        """
        self._fit_means(groups)
        return self

    def _code_sizes(self) -> tuple[int, int]:
        pixels = math.prod(self.instance_shape_)
        return pixels, pixels

    def _code(self, means: Array, deviations: Array) -> Codes:
        return Codes(means, deviations)

    def _decode(self, coherent: Array, nuisance: Array) -> Array:
        return coherent[:, None] + nuisance
