"""Groups given to models whole, and what is no array of instances."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from symae_keras.data import GroupedData, Shards, ShardWriter, batches
from symae_keras.models import (
    VAE,
    LatentMeanSwap,
    StellarAutoencoder,
    UNet,
)


@pytest.fixture
def groups(x, mask) -> GroupedData:
    return GroupedData(x, mask=mask, pixel_mask=np.arange(12) > 1)


@pytest.mark.parametrize("masks", [0, 1, 2])
def test_groups_with_their_masks(masks, tiny, groups) -> None:
    fields = ("pixel_mask", "mask")[: 2 - masks]
    groups = dataclasses.replace(groups, **dict.fromkeys(fields))
    assert groups.masks == masks
    model, x, mask = tiny(), groups.x, groups.model_mask
    for code, expected in zip(model.encode(groups), model.encode(x, mask), strict=True):
        np.testing.assert_array_equal(code, expected)
    expected = np.asarray(model.reconstruct(x, mask))
    np.testing.assert_array_equal(model.reconstruct(groups), expected)
    expected = np.asarray(model.redatum(x, x[::-1], mask, None))
    np.testing.assert_array_equal(model.redatum(groups, x[::-1]), expected)
    swap = LatentMeanSwap(VAE((12,), 2))
    expected = np.asarray(swap.encode(x, mask).coherent)
    np.testing.assert_array_equal(swap.encode(groups).coherent, expected)


def test_two_masks(tiny, groups) -> None:
    with pytest.raises(ValueError, match=r"masks of its own.*`groups.x`"):
        tiny().encode(groups, groups.mask)


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_training_takes_arrays(method, tiny, groups) -> None:
    model = tiny()
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match=f"`{method}`.*GroupedData.*training.train"):
        getattr(model, method)(groups)


def test_calls_and_codes(tiny, groups) -> None:
    model = tiny()
    with pytest.raises(ValueError, match="GroupedData is a set of groups.*field `x`"):
        model(groups)
    with pytest.raises(ValueError, match="GroupedData is a set of groups"):
        model.decode(groups, groups)
    with pytest.raises(ValueError, match="GroupedData is a set of groups"):
        np.asarray(groups)


def test_shards_are_loaded_first(tiny, groups, tmp_path) -> None:
    with ShardWriter(tmp_path / "shards") as writer:
        writer.add(groups)
    shards, model = Shards(tmp_path / "shards"), tiny()
    for use in (model.encode, model.reconstruct, lambda s: model.redatum(s, s)):
        with pytest.raises(ValueError, match=r"Received: a Shards.*`groups.load\(\)`"):
            use(shards)
    loaded = shards.load()
    assert model.encode(loaded).coherent.shape == (6, model.coherent_dim)


@pytest.mark.parametrize(
    "model",
    [
        VAE((12,), 2),
        StellarAutoencoder((12,), 2),
        UNet((12,), filters=(2, 2)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_single_instances(model, groups) -> None:
    for use in (model.encode, model.reconstruct):
        with pytest.raises(ValueError, match=r"single instances.*first_instances\(\)"):
            use(groups)
    x, mask = groups.first_instances()
    assert model.reconstruct(x, mask).shape == (6, 12)


@pytest.mark.parametrize("what", ["text", None, {"a": 1}, "dataset"])
def test_what_is_no_array(what, tiny, x) -> None:
    given = batches(GroupedData(x), 2, 2, 0) if what == "dataset" else what
    with pytest.raises(ValueError, match="takes arrays or tensors. Received: an obj"):
        tiny().encode(given)


def test_lists_are_arrays(tiny, x) -> None:
    model = tiny()
    expected = np.asarray(model.encode(x).coherent)
    np.testing.assert_allclose(model.encode(x.tolist()).coherent, expected, rtol=1e-6)
