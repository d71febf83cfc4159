"""The recipes of the documentation run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "uses.md"


@pytest.mark.skipif(not PAGE.exists(), reason="docs are not in the sdist")
def test_recipes_run_one_after_the_other() -> None:
    pytest.importorskip("constriction", reason="compression needs constriction")
    pytest.importorskip("sklearn", reason="probes need scikit-learn")
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.S | re.M)
    assert len(blocks) == 9
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
