"""Codes read from group means and from the deviations from them."""

from __future__ import annotations

import numpy as np

from symae_keras.classical.base import Reference
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError
from symae_keras.models.grouped_autoencoder import Codes


class MeanCodes(Reference):
    """Base of the references that split a group in its mean and the deviations.

    A subclass has `fit`, and three functions of flattened instances: `_code_sizes`,
    `_code` and `_decode`.
    """

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
            mask: Boolean `(batch, instances)`, True = present. Defaults to `None`.

        Returns:
            `Codes(coherent, nuisance)`, float64 arrays `(batch, coherent_dim)` and
            `(batch, instances, nuisance_dim)`. Absent instances have the nuisance code
            0; a group of absent instances alone is taken for blank.
        """
        return self._code(*means_and_deviations(self._gather(x, mask)))

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


def means_and_deviations(groups: GroupedData) -> tuple[Array, Array]:
    """Means over present instances, and what each instance has besides.

    Args:
        groups: Groups; absent instances may hold anything.

    Returns:
        float64 arrays `(groups, pixels)` and `(groups, instances, pixels)`; deviations
        of absent instances are 0.
    """
    present = groups.present_pixels
    total = np.where(present, groups.x, 0.0).sum(axis=1, dtype="float64", keepdims=True)
    mean = total / np.maximum(present.sum(axis=1, keepdims=True), 1)
    deviations = np.where(present, groups.x - mean, 0.0)
    pixels = int(np.prod(groups.instance_shape))
    return (
        mean.reshape(len(groups), pixels),
        deviations.reshape(*groups.x.shape[:2], pixels),
    )
