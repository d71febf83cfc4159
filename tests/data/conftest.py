"""Fixtures and helpers for the tests of data."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from symae_keras.data import GroupedData


@pytest.fixture(scope="session")
def ragged() -> Callable[..., GroupedData]:
    """Make groups of 1 to 4 instances with all fields."""

    def make(groups: int = 9, seed: int = 0, **more: Any) -> GroupedData:
        rng = np.random.default_rng(seed)
        shape = groups, 4, 3
        mask = np.arange(4) < rng.integers(1, 5, (groups, 1))
        mask[0] = True
        rows = mask[..., None]
        arguments = {
            "x": np.where(rows, rng.normal(size=shape), 0).astype("float32"),
            "mask": mask,
            "pixel_mask": rows & (rng.random(shape) < 0.8),
            # About 10 % are 0.
            "weights": rows * rng.uniform(-0.3, 3, shape).clip(0).astype("float32"),
            "ids": np.array([f"star {k // 2}" for k in range(groups)]),
            "group_metadata": {
                "kind": np.arange(groups) % 2,
                "colour": rng.normal(size=(groups, 2)),
            },
            "instance_metadata": {
                "air": np.where(mask, rng.normal(size=shape[:2]), 0),
                "site": np.where(mask, rng.choice(["north", "south"], shape[:2]), ""),
            },
            "axis": np.linspace(400, 500, 3),
            "axis_label": "wavelength (nm)",
        }
        return GroupedData(**arguments | more)

    return make


@pytest.fixture(scope="session")
def write_idx() -> Callable[..., None]:
    """Write images and labels as idx files, like those of MNIST."""

    def write(folder, prefix, images, labels, mark="-", end="") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        pack = gzip.compress if end else bytes
        for kind, array in (("images", images), ("labels", labels)):
            header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            name = f"{prefix}-{kind}{mark}idx{array.ndim}-ubyte{end}"
            (folder / name).write_bytes(pack(header + array.tobytes()))

    return write
