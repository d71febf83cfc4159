"""Presets: trained models that come with the package, or from elsewhere.

A preset is a folder in the form that Keras saves models in (config.json, metadata.json,
model.weights.h5), with checksums of these, SHA256SUMS, a card, README.md, and, for data
with an axis, axis.json. Those of the package also have recipe.py, which makes them, and
metrics.json, their scores.
"""

from __future__ import annotations

import builtins
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symae_keras.zoo._presets import (
        axis,
        card,
        help,
        list,
        load,
        push,
        save_preset,
    )

__all__ = ["axis", "card", "help", "list", "load", "push", "save_preset"]


def __getattr__(name: str) -> Any:
    # The names of presets are part of `symae --help`, which must not import Keras.
    if name in __all__:
        return getattr(importlib.import_module("symae_keras.zoo._presets"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> builtins.list[str]:
    return sorted(__all__)
