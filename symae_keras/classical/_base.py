"""Base classes of the classical references, and checks of their input."""

from __future__ import annotations

import numpy as np

from symae_keras._utils.arrays import Codes
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError


class Reference:
    """Base class of the references; `fit` stores the shape of the instances."""

    instance_shape_: tuple[int, ...]

    def _check_fitted(self) -> None:
        if not hasattr(self, "instance_shape_"):
            name = type(self).__name__
            raise InputError(f"This {name} is not fitted: call `fit(groups)` first.")

    def _gather(self, x: Array, mask: Array | None) -> GroupedData:
        """Convert instances and their mask to groups, and check the shape."""
        self._check_fitted()
        x = np.asarray(x)
        mask = None if mask is None else np.asarray(mask)
        if mask is not None and mask.shape == x.shape:
            present = np.asarray(mask.any(axis=tuple(range(2, x.ndim))))
            groups = GroupedData(x, mask=present, pixel_mask=mask)
        else:
            groups = GroupedData(x, mask)
        if groups.instance_shape != self.instance_shape_:
            raise InputError(
                f"Expected instances of the shape {self.instance_shape_} as in `fit`, "
                "in arrays (groups, instances, *instance_shape); received an array of "
                f"shape {groups.x.shape}."
            )
        return groups


class CodedReference(Reference):
    """Base class of references that encode groups and decode codes, like models.

    A subclass defines `fit`, `_code_sizes`, `_encode` and `_decode`.
    """

    def _code_sizes(self) -> tuple[int, int]:
        """Return the sizes of the coherent and the nuisance code."""
        raise NotImplementedError

    def _encode(self, groups: GroupedData) -> Codes:
        """Encode groups of the fitted shape."""
        raise NotImplementedError

    def _decode(self, coherent: Array, nuisance: Array) -> Array:
        """Decode codes to flattened instances."""
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
            0. A group without present instances has the code of the mean instance.
        """
        return self._encode(self._gather(x, mask))

    def decode(self, coherent: Array, nuisance: Array) -> Array:
        """Decode one coherent code per group with the nuisance code of each instance.

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
        """Encode and decode groups.

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
        """Compute virtual instances: states of some groups under nuisances of others.

        Args:
            coherent_from: `(batch, instances_a, *instance_shape)`, the groups with the
                states.
            nuisance_from: `(batch, instances_b, *instance_shape)`, the groups with the
                nuisances, in the same order.
            coherent_mask: Boolean `(batch, instances_a)`. Defaults to `None`.
            nuisance_mask: Boolean `(batch, instances_b)`. Defaults to `None`.

        Returns:
            Array `(batch, instances_b, *instance_shape)`; values for absent nuisances
            are not meaningful.
        """
        if len(coherent_from) != len(nuisance_from):
            raise InputError(
                "coherent_from and nuisance_from must have the same number of groups, "
                "because virtual instances are computed group by group; received "
                f"{len(coherent_from)} and {len(nuisance_from)}."
            )
        coherent = self.encode(coherent_from, coherent_mask).coherent
        nuisance = self.encode(nuisance_from, nuisance_mask).nuisance
        return self.decode(coherent, nuisance)


def check_finite(instances: Array) -> None:
    """Refuse to fit present instances with non-finite values."""
    if not np.isfinite(instances).all():
        raise InputError(
            "Some present instances contain NaN or infinite values; mark them as "
            "absent in the mask of the groups, or correct them."
        )
