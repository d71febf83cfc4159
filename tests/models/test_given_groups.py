"""Groups passed to models directly, and objects that are not arrays of instances."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from symae_keras.data import GroupedData, Shards, ShardWriter, batches, instance_batches
from symae_keras.layers import DenseEncoder
from symae_keras.losses import RelativeMeanSquaredError
from symae_keras.models import (
    VAE,
    VQVAE,
    Autoencoder,
    LatentMeanSwap,
    SegNet,
    StellarAutoencoder,
    UNet,
)

numpy = keras.ops.convert_to_numpy


def equal(found, expected, rtol=0.0) -> None:
    pairs = zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(numpy(one), numpy(other), rtol=rtol, atol=rtol)


@pytest.fixture
def groups(x, mask) -> GroupedData:
    """Make groups with values under the masks that would change every result."""
    good = np.arange(12) > 1
    there = mask[..., None] & good
    return GroupedData(np.where(there, x, np.nan), mask=mask, pixel_mask=good)


@pytest.fixture
def shards(groups, tmp_path) -> Shards:
    with ShardWriter(tmp_path / "shards") as writer:
        writer.add(groups)
    return Shards(tmp_path / "shards")


def with_masks(groups: GroupedData, masks: int) -> GroupedData:
    """Return the same groups with fewer kinds of masks."""
    fields = ("pixel_mask", "mask")[: 2 - masks]
    x = groups.x if masks == 2 else np.nan_to_num(groups.x)
    return dataclasses.replace(groups, x=x, **dict.fromkeys(fields))


# === Methods of this package ===


@pytest.mark.jax
@pytest.mark.parametrize("masks", [0, 2])
def test_groups_with_their_masks(masks, tiny, groups) -> None:
    groups = with_masks(groups, masks)
    assert groups.masks == masks
    model, x, mask = tiny(), groups.x, groups.model_mask
    equal(model.encode(groups), model.encode(x, mask))
    equal(model.reconstruct(groups), model.reconstruct(x, mask))
    expected = model.redatum(x, x[::-1], mask, None if mask is None else mask[::-1])
    equal(model.redatum(groups, groups[::-1]), expected)
    swap = LatentMeanSwap(VAE((12,), 2))
    equal(swap.encode(groups).coherent, swap.encode(x, mask).coherent)


@pytest.mark.jax
def test_masked_arrays(tiny, groups) -> None:
    """Values under a NumPy mask are ignored."""
    model, mask = tiny(), groups.model_mask
    masked = np.ma.array(np.where(mask, groups.x, 1e6), mask=~mask)
    expected = model.reconstruct(groups)
    equal(model.reconstruct(masked), expected)
    # A mask of instances together with one of pixels.
    only_pixels = np.ma.array(
        masked.data, mask=np.broadcast_to(~groups.pixel_mask, mask.shape)
    )
    # Compiled by now, which rounds otherwise.
    equal(model.reconstruct(only_pixels, groups.mask), expected, 1e-6)
    whole = np.ma.array(np.nan_to_num(groups.x))
    equal(model.encode(whole), model.encode(whole.data))
    single = VAE((12,), 2)
    equal(single.encode(masked[:, 0]), single.encode(groups.x[:, 0], mask[:, 0]))


@pytest.mark.jax
@pytest.mark.compiles
def test_one_group_against_many(tiny, groups) -> None:
    model, one = tiny(nuisance_noise="variational"), groups[[2]]
    repeated = groups[[2] * len(groups)]
    equal(model.redatum(one, groups), model.redatum(repeated, groups), 1e-5)
    equal(model.redatum(groups, one), model.redatum(groups, repeated), 1e-5)
    with pytest.raises(ValueError, match="same number of groups, or one.*: 2 and 6"):
        model.redatum(groups[:2], groups)


@pytest.mark.jax
@pytest.mark.parametrize(
    ("model", "masks"),
    [
        (lambda: VAE((12,), 2, seed=0), 2),
        *(
            pytest.param(model, masks, marks=pytest.mark.compiles)
            for model, masks in (
                (lambda: VAE((12,), 2, seed=0), 0),
                (lambda: StellarAutoencoder((12,), 2, seed=0), 1),
                (lambda: UNet((12,), "inpainting", filters=(2, 2), seed=0), 2),
            )
        ),
    ],
)
def test_single_instances(model, masks, groups) -> None:
    """Models of single instances use the present ones."""
    model, groups = model(), with_masks(groups, masks)
    x, good = groups.x[groups.present], None
    if masks == 2:
        good = np.broadcast_to(groups.good_pixels, groups.x.shape)[groups.present]
    equal(model.encode(groups), model.encode(x, good))
    equal(model.reconstruct(groups), model.reconstruct(x, good))
    made = model.predict(groups, verbose=0)
    equal(made, model.reconstruct(x, good), 1e-5)
    assert np.isfinite(made).all()


def test_symbols(groups) -> None:
    model = VQVAE((12,), 2, 2)
    codes = model.quantizer.vectors(model.indices(groups))
    equal(codes, model.encode(groups))


# === Methods of Keras ===


@pytest.mark.jax
@pytest.mark.parametrize(
    ("grouped", "masks"),
    [
        (True, 2),
        pytest.param(True, 1, marks=pytest.mark.compiles),
        pytest.param(False, 2, marks=pytest.mark.compiles),
    ],
)
def test_training(grouped, masks, tiny, groups) -> None:
    """The result equals that of batches of all instances, in the same order."""
    groups = with_masks(groups, masks)
    if masks == 2:
        weights = np.linspace(0.0, 2.0, 12, dtype="float32")
        groups = dataclasses.replace(groups, weights=weights)
    make = batches if grouped else instance_batches
    theirs = {"validation_data": groups[:3], "batch_size": 4}
    ours = {"validation_data": make(groups[:3], 4, None, 0, False), "shuffle": False}
    found = []
    for data, options in ((groups, theirs), (make(groups, 4, None, 0), ours)):
        encoder = DenseEncoder(8, units=(16,))
        model = tiny() if grouped else Autoencoder((12,), 2, encoder, seed=0)
        rng = np.random.default_rng(0)
        for each in model.trainable_variables:
            each.assign(rng.normal(0.0, 0.3, each.shape))
        loss = RelativeMeanSquaredError(1.0)
        # Eager steps are the faster ones, except on JAX.
        eager = keras.backend.backend() != "jax"
        model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=eager)
        history = model.fit(data, epochs=2, verbose=0, **options).history
        found.append([*history["loss"], *history["val_loss"]])
    assert np.isfinite(found).all() and min(found[0]) > 0.0
    np.testing.assert_allclose(*found, rtol=1e-5)
    whole = model.evaluate(make(groups, 32, None, 0, False), verbose=0)
    np.testing.assert_allclose(model.evaluate(groups, verbose=0), whole, rtol=1e-6)


@pytest.mark.jax
def test_predictions_are_in_order(tiny, groups, shards) -> None:
    model = tiny()
    expected = numpy(model.reconstruct(groups))
    equal(model.predict(groups, batch_size=4, verbose=0), expected, 1e-5)
    # In shards, absent instances come last.
    there = shards.load().present
    made = model.predict(shards, verbose=0)[there]
    equal(made, expected[groups.present], 1e-5)


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_targets_are_the_groups(method, tiny, groups) -> None:
    model = tiny()
    model.compile("sgd", "mse")
    for more in ({"y": groups.x}, {"sample_weight": np.ones(6)}):
        with pytest.raises(ValueError, match="GroupedData already has targets"):
            getattr(model, method)(groups, **more)
    net = SegNet((12,), 3, (2, 2))
    net.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match=f"`{method}`.*needs labels.*GroupedData does"):
        getattr(net, method)(groups)
    assert net.predict(groups, verbose=0).shape == (groups.present.sum(), 12, 3)


# === What is refused ===


def test_masks_calls_and_codes(tiny, groups) -> None:
    model = tiny()
    for each in (model, VAE((12,), 2)):
        with pytest.raises(ValueError, match=r"already has masks.*`groups.x`"):
            each.encode(groups, groups.mask)
    with pytest.raises(ValueError, match="GroupedData is a set of groups.*field `x`"):
        model(groups)
    with pytest.raises(ValueError, match="GroupedData is a set of groups"):
        model.decode(groups, groups)


def test_shards_are_loaded_first(tiny, shards) -> None:
    model, single = tiny(), VAE((12,), 2)
    for use in (model.encode, lambda s: model.redatum(s, s), single.reconstruct):
        with pytest.raises(ValueError, match=r"Received: a Shards.*data\.batches"):
            use(shards)
    assert model.encode(shards.load()).coherent.shape == (6, model.coherent_dim)


@pytest.mark.parametrize("what", ["text", None, {"a": 1}, "dataset"])
def test_what_is_no_array(what, tiny, x) -> None:
    given = batches(GroupedData(x), 2, 2, 0) if what == "dataset" else what
    with pytest.raises(ValueError, match="takes arrays or tensors. Received: an obj"):
        tiny().encode(given)
