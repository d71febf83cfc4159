"""The segmentation network with a variational branch: what the branch does."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symae_keras import layers
from symae_keras.models import SegResNetVAE

SMALL = {"filters": (4, 6), "code_dim": 3}


@pytest.mark.large
@settings(max_examples=8)
@given(st.data())
def test_any_size_and_depth(data) -> None:
    rank = data.draw(st.integers(1, 3), "rank")
    shape = tuple(data.draw(st.integers(1, 9)) for _ in range(rank))
    shape += (data.draw(st.integers(1, 2), "channels"),)
    filters = (2, 3, 4)[: data.draw(st.integers(1, 3), "depth")]
    x = np.ones((2, *shape), "float32")
    model = SegResNetVAE(shape, 3, filters=filters, code_dim=2)
    assert model(x, training=True).shape == (2, *shape[:-1], 3)
    assert model.reconstruct_instances(x).shape == x.shape


@pytest.mark.jax
def test_it_is_the_same_network_without_the_branch(rng) -> None:
    x = rng.normal(size=(2, 9, 7, 1)).astype("float32")
    models = []
    for branch in (True, False):
        keras.utils.set_random_seed(0)
        models.append(SegResNetVAE((9, 7, 1), 3, vae_branch=branch, **SMALL))
    with_branch, plain = models
    np.testing.assert_array_equal(with_branch(x), plain(x))
    in_branch = [v for v in with_branch.variables if "vae_branch" in v.path]
    seeds_and_weight = len(with_branch.non_trainable_variables)
    assert len(plain.variables) == (
        len(with_branch.variables) - len(in_branch) - seeds_and_weight
    )
    assert not plain.losses and len(with_branch.losses) == 2
    with pytest.raises(ValueError, match="no branch.*vae_branch=True"):
        plain.reconstruct_instances(x)


@pytest.mark.jax
def test_losses_of_the_branch(rng) -> None:
    """The mean squared error in normalised units, and nats over all numbers."""
    x = rng.normal(5.0, 2.0, size=(3, 9, 7, 2)).astype("float32")
    scaling = layers.Standardization(5.0, 2.0)
    weights = {"reconstruction_weight": 0.3, "kl_weight": 0.7}
    model = SegResNetVAE((9, 7, 2), 3, normalization=scaling, **weights, **SMALL)
    model(x)
    kl, squared_error = map(np.asarray, model.losses)
    difference = (np.asarray(model.reconstruct_instances(x)) - x) / 2.0
    assert squared_error == pytest.approx(0.3 * np.mean(difference**2), rel=1e-4)
    mean, log_variance = map(np.asarray, model._posterior(model.encode(x)[-1]))
    nats = 0.5 * (mean**2 + np.exp(log_variance) - 1.0 - log_variance)
    assert kl == pytest.approx(0.7 * nats.sum(axis=-1).mean() / 126, rel=1e-4)


def test_only_the_smallest_maps_reach_the_branch(rng) -> None:
    x = rng.normal(size=(2, 8, 8, 1)).astype("float32")
    model = SegResNetVAE((8, 8, 1), 3, **SMALL)
    code = model.encode(x)
    mean, _ = model._posterior(code[-1])
    again = model._as_instances(model._regenerated(mean))
    np.testing.assert_allclose(again, model.reconstruct_instances(x), rtol=1e-6)
    # The other decoder also needs the maps of every depth.
    other = np.asarray(model.decode([0.0 * code[0], *code[1:]]))
    assert np.abs(other - np.asarray(model(x))).max() > 1e-3
