"""What all classical references share: checks of what they are given."""

from __future__ import annotations

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError


class Reference:
    """Base of the references; `fit` gives it the shape of the instances."""

    instance_shape_: tuple[int, ...]

    def _check_fitted(self) -> None:
        if not hasattr(self, "instance_shape_"):
            name = type(self).__name__
            raise InputError(f"This {name} is not fitted: call `fit(groups)` first.")

    def _gather(self, x: Array, mask: Array | None) -> GroupedData:
        """Groups of instances of the shape that was fitted; masks are as for models."""
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
                f"Expected instances of the shape {self.instance_shape_} that was "
                "fitted, in arrays (groups, instances, *instance_shape); received an "
                f"array of shape {groups.x.shape}."
            )
        return groups


def check_finite(instances: Array) -> None:
    """Refuse to fit present instances that hold no number."""
    if not np.isfinite(instances).all():
        raise InputError(
            "Some present instances hold NaN or infinite values; mark them as absent "
            "in the mask of the groups, or repair them."
        )
