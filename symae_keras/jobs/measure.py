"""The numbers in metrics.json."""

from __future__ import annotations

from typing import Any

from symae_keras.data import GroupedData
from symae_keras.evaluation import reconstruction_error, redatuming_error


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
        "swaps_codes": hasattr(model, "redatum"),
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
