"""SegNet: any size and depth, and what its decoder is told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symae_keras.models import SegNet


@pytest.mark.large
@settings(max_examples=10)
@given(st.data())
def test_any_size_and_depth(data) -> None:
    rank = data.draw(st.integers(1, 2), "rank")
    shape = tuple(data.draw(st.integers(1, 11)) for _ in range(rank))
    shape += (data.draw(st.integers(1, 2), "channels"),)
    filters = (2, 3, 2, 4)[: data.draw(st.integers(1, 4), "depth")]
    x = np.ones((2, *shape), "float32")
    model = SegNet(shape, 3, filters=filters)
    assert model(x).shape == (2, *shape[:-1], 3)
    assert model.segment(x).shape == x.shape[:-1]
    assert model.code_shapes[0] == (*model.sizes[-1], filters[-1])


@pytest.mark.jax
def test_the_decoder_is_told_positions_and_nothing_else(rng) -> None:
    """In pooling windows of 2 x 2, as flat indices of the maps above."""
    x = rng.normal(size=(2, 8, 6, 1)).astype("float32")
    model = SegNet((8, 6, 1), 3, filters=(4, 6, 8))
    smallest, *positions = map(np.asarray, model.encode(x))
    assert smallest.shape == (2, 2, 2, 8)
    assert [each.shape for each in positions] == [(2, 2, 2, 6), (2, 4, 3, 4)]
    for each, (height, width) in zip(positions, model.sizes[1::-1], strict=True):
        assert each.dtype == "int32"
        rows, columns = np.unravel_index(each, (height, width))
        windows = np.indices(each.shape)
        np.testing.assert_array_equal(rows // 2, windows[1])
        np.testing.assert_array_equal(columns // 2, windows[2])
    # Other positions, another output.
    moved = [np.zeros_like(each) for each in positions]
    other = np.asarray(model.decode([smallest, *moved]))
    assert np.abs(other - np.asarray(model(x))).max() > 1e-3


def test_volumes_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"`SegNet` takes.*1 to 2 axes.*\(8, 8, 8, 1\)"
    ):
        SegNet((8, 8, 8, 1), 3)
