"""The public names of the package."""

from __future__ import annotations

import symae_keras
from symae_keras import classical


def test_public_names() -> None:
    assert "classical" in symae_keras.__all__
    for name in classical.__all__:
        assert getattr(classical, name).__doc__, name
