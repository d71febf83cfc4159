"""A figure of what a model of single instances makes of the first groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from symae_keras.data.groups import GroupedData
from symae_keras.plotting.images import drawable
from symae_keras.plotting.reconstruction import plot_reconstruction


def plot_model_reconstruction(
    model: Any, groups: GroupedData, examples: int = 3
) -> Figure:
    """Show one instance of each of the first groups and its reconstruction.

    Args:
        model: Anything with `reconstruct(x, mask)`, such as `Autoencoder`.
        groups: Simulated or measured.
        examples: How many groups to show, as far as there are so many.

    Returns:
        A figure, see `plot_reconstruction`.
    """
    # Here, because it loads Keras.
    from symae_keras.evaluation.batching import in_batches

    x, mask = groups[:examples].first_instances()
    reconstruction = in_batches(model.reconstruct, x, mask)
    if mask is not None:
        x = np.where(mask, x, np.nan)  # gaps in the lines
    images = len(groups.instance_shape) == 3
    return plot_reconstruction(
        drawable(x),
        drawable(reconstruction),
        axis=None if images else groups.axis,
        axis_label=groups.axis_label,
        value_label="intensity" if images else "value",
    )
