"""The recipe of the time-lapse page runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "timelapse.md"


@pytest.mark.large
@pytest.mark.skipif(not PAGE.exists(), reason="docs are not in the sdist")
def test_recipe_measures_a_number_a_star() -> None:
    blocks = re.findall(
        r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.S | re.M
    )
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    measured = np.asarray(names["measured"])
    assert measured.shape == (20,)
    # After so few steps it is rough, but nothing has changed.
    assert np.abs(measured).mean() < 0.3
