"""Corruptions by name, for the models that learn to undo them."""

from __future__ import annotations

from typing import Any, Final

import keras

from symae_keras.layers.block_corruption import BlockCorruption
from symae_keras.layers.gaussian_corruption import GaussianCorruption
from symae_keras.layers.masking_corruption import MaskingCorruption
from symae_keras.layers.salt_and_pepper import SaltAndPepper

CORRUPTIONS: Final = {
    "gaussian": GaussianCorruption,
    "masking": MaskingCorruption,
    "salt_and_pepper": SaltAndPepper,
    "block": BlockCorruption,
}


def make_corruption(
    corruption: str | keras.Layer,
    spatial_axes: int | None,
    seed: int | None,
    dtype: Any,
) -> keras.Layer:
    """A corruption that acts on data units.

    Args:
        corruption: A name, or a layer, which is returned as it is.
        spatial_axes: See `BlockCorruption`.
        seed: Integer seed of a corruption given by name, or `None`.
        dtype: Dtype policy of a corruption given by name.
    """
    if not isinstance(corruption, str):
        return corruption
    options: dict[str, Any] = {"seed": seed, "dtype": dtype}
    if corruption == "block":
        options["spatial_axes"] = spatial_axes
    layer = CORRUPTIONS[corruption](**options)
    layer.autocast = False  # half precision may not hold data units
    return layer
