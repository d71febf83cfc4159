"""The numbers in metrics.json."""

from __future__ import annotations

import logging
from typing import Any

from symae_keras.data import GroupedData
from symae_keras.evaluation import reconstruction_error, redatuming_error
from symae_keras.jobs.sources import Groups
from symae_keras.kinds import swaps_codes
from symae_keras.presets import one_line
from symae_keras.training import Recipe

_log = logging.getLogger("symae_keras")


def measure(model: Any, groups: GroupedData, what: str) -> dict[str, Any]:
    """Errors of a model on groups, relative to their variance.

    Args:
        model: A `SymAE`, or a model of single instances.
        groups: Groups to judge by.
        what: What the groups are.

    Returns:
        Content of metrics.json: `redatuming_error` and `mean_swap_error` are there
        only for simulated groups, which know the truth, and models that swap codes.
    """
    metrics: dict[str, Any] = {
        "data": what,
        "groups": len(groups),
        "instances": int(groups.present.sum()),
        "swaps_codes": swaps_codes(model),
    }
    known = groups.render is not None and len(groups) > 1
    if known and metrics["swaps_codes"]:
        error = redatuming_error(model, groups)
        metrics["reconstruction_error"] = error.reconstruction
        metrics["redatuming_error"] = float(error)
        metrics["mean_swap_error"] = error.mean_swap
    else:
        metrics["reconstruction_error"] = reconstruction_error(model, groups)
    return metrics


def measure_run(
    model: Any, recipe: Recipe, train: Groups, held_out: GroupedData
) -> dict[str, Any]:
    """Errors on what was held out, and the scores of the recipe.

    Args:
        model: Trained.
        recipe: Of the model.
        train: Groups that it was trained on; of shards a sample is given to the recipe.
        held_out: The others.

    Returns:
        Content of metrics.json.
    """
    metrics = measure(model, held_out, "held-out part")
    if recipe.score is not None:
        known = train if isinstance(train, GroupedData) else train.sample()
        try:
            metrics |= recipe.score(model, known, held_out)
        except Exception as error:
            # The model is trained, and must not be lost for want of a score.
            _log.warning("no scores of the recipe: %s", one_line(error))
    return metrics
