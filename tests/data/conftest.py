"""What the tests of data share."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def write_idx() -> Callable[..., None]:
    """Write images and labels as idx files, as MNIST has them."""

    def write(
        folder: Path,
        prefix: str,
        images: np.ndarray,
        labels: np.ndarray,
        mark: str = "-",
        end: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        pack = gzip.compress if end else bytes
        for kind, array in (("images", images), ("labels", labels)):
            header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            name = f"{prefix}-{kind}{mark}idx{array.ndim}-ubyte{end}"
            (folder / name).write_bytes(pack(header + array.tobytes()))

    return write
