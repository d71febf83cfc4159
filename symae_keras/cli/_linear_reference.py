"""The linear method that a trained model has to beat."""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any, Final

import symae_keras as sk
from symae_keras.errors import InputError

if TYPE_CHECKING:
    from symae_keras.data import GroupedData

#: Maximum numbers of pixels, of groups and of patterns of bad pixels for the linear
#: mixed model.
_MOST_PIXELS: Final = 512
_MOST_GROUPS: Final = 256
_MOST_PATTERNS: Final = 32

#: Models by training groups: the metrics and the report of a run use the same one.
_fitted: weakref.WeakKeyDictionary[GroupedData, Any] = weakref.WeakKeyDictionary()


def linear_mixed_model(train: GroupedData) -> Any | None:
    """Fit a linear mixed model, unless this takes long or the groups do not permit it.

    Its time grows with the cube of the number of pixels, for each pattern of bad ones.
    """
    if math.prod(train.instance_shape) > _MOST_PIXELS:
        return None
    if train not in _fitted:
        _fitted[train] = _fit(train)
    return _fitted[train]


def _fit(train: GroupedData) -> Any | None:
    if train.masks > 1 and _patterns(train) > _MOST_PATTERNS:
        return None
    try:
        return sk.classical.LinearMixedModel().fit(train[:_MOST_GROUPS])
    except InputError:  # for example, fewer than two groups have several instances
        return None


def _patterns(groups: GroupedData) -> int:
    """Return the number of different masks of pixels."""
    import numpy as np

    good = np.broadcast_to(groups.good_pixels, groups.x.shape)[groups.present]
    return len(np.unique(np.packbits(good.reshape(len(good), -1), axis=1), axis=0))
