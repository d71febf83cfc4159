"""A figure of what a model makes of the first groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from symae_keras.data.groups import GroupedData
from symae_keras.plotting.images import drawable
from symae_keras.plotting.redatuming import plot_redatuming


def plot_model_redatuming(model: Any, groups: GroupedData, examples: int = 3) -> Figure:
    """Show the states of the first groups under the nuisances of the next ones.

    Args:
        model: Anything with `redatum`, such as `SymAE`.
        groups: Two groups or more, simulated or measured.
        examples: How many states to show, as far as there are so many.

    Returns:
        A figure, see `plot_redatuming`.
    """
    # Here, because it loads Keras.
    from symae_keras.evaluation.batching import in_batches

    state = np.arange(min(examples, len(groups) - 1))
    group, mask = state + 1, groups.model_mask
    first = groups.present.argmax(axis=1)
    # Whole groups, of which one instance is drawn: a conditional nuisance encoder reads
    # an instance with the others of its group.
    virtual = in_batches(
        lambda xa, xb, ma, mb: model.redatum(
            coherent_from=xa, nuisance_from=xb, coherent_mask=ma, nuisance_mask=mb
        ),
        groups.x[state],
        groups.x[group],
        None if mask is None else mask[state],
        None if mask is None else mask[group],
    )[np.arange(len(state)), first[group]]
    truth = None
    if groups.render is not None:
        truth = drawable(groups.virtual(state, group, first[group]))
    x = groups.x
    if groups.masks == 2:
        x = np.where(groups.good_pixels, x, np.nan)  # gaps in the lines
    images = len(groups.instance_shape) == 3
    return plot_redatuming(
        drawable(x[state, first[state]]),
        drawable(x[group, first[group]]),
        drawable(virtual),
        truth,
        axis=None if images else groups.axis,
        axis_label=groups.axis_label,
        value_label="intensity" if images else "value",
    )
