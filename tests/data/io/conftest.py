"""Fixtures and helpers for the tests of all readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from symae_keras.data import load
from symae_keras.errors import InputError


@pytest.fixture
def refusal() -> Callable[..., str]:
    """Return the error message of `load` for a file or folder."""

    def refuse(path: Path, group: str | None = None) -> str:
        with pytest.raises(InputError) as error:
            load(path, group)
        sentence = str(error.value)
        assert sentence.startswith(f"{path}") and "\n" not in sentence
        assert sentence.count(str(path)) == 1 and sentence.endswith(".")
        return sentence.removeprefix(f"{path}").removeprefix(": ")

    return refuse


@pytest.fixture(scope="session")
def wide():
    """A wide table: three measurements of two stars with two missing values."""
    return """\
snr,group,400,instance,401.5,402,site
10,sun,1,a,2,3,north
20,moon,4,a,,6,south
30,sun,7,b,8,nan,north
"""
