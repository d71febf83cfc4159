"""What kind of model one has."""

from __future__ import annotations

from typing import Any


def swaps_codes(model: Any) -> bool:
    """Whether a model takes groups and swaps their codes; else single instances."""
    return hasattr(model, "redatum")
