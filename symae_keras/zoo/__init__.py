"""Presets: trained models of the package, or from other sources.

A preset is a folder in Keras's format for saved models (config.json, metadata.json,
model.weights.h5), with their checksums, SHA256SUMS, a card, README.md, and, for data
with an axis, axis.json. Presets of the package also have their recipe, recipe.py, and
their scores, metrics.json.
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
    # `symae --help` includes the names of presets, and must not import Keras.
    if name in __all__:
        return getattr(importlib.import_module("symae_keras.zoo._presets"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> builtins.list[str]:
    return sorted(__all__)
