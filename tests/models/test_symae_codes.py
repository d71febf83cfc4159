"""Allowed and forbidden dependences of the two codes."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from symae_keras.models import Codes, SymAE

pytestmark = pytest.mark.jax
POOLINGS = ("mean", "sum", "max", "attention")
ATOL = 1e-5
few = settings(max_examples=8)  # for each of the four poolings


@pytest.fixture(scope="module", params=POOLINGS)
def model(request, tiny) -> SymAE:
    return tiny(pooling=request.param)


@pytest.fixture(scope="module")
def dropping(tiny) -> Callable[[float], SymAE]:
    """Return a function from a rate of instance dropout to a model."""
    return functools.cache(lambda rate: tiny(instance_dropout=rate))


def same(codes: tuple, expected: tuple) -> None:
    for one, other in zip(codes, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=ATOL)


def _groups(seed: int, instances: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(3, instances, 12)).astype("float32")


@few
@given(seed=st.integers(0, 1000), order=st.permutations(range(4)))
def test_order_of_the_instances(model, seed, order) -> None:
    """The coherent code ignores the order, and nuisance codes follow it."""
    x = _groups(seed)
    codes, shuffled = model.encode(x), model.encode(x[:, order])
    same(shuffled, (codes.coherent, np.asarray(codes.nuisance)[:, order]))


@pytest.mark.large
@few
@given(
    seed=st.integers(0, 1000),
    padding=st.integers(0, 3),
    content=st.sampled_from([0.0, -1e3, 1e30, np.nan, np.inf]),
    order=st.randoms(use_true_random=False),
)
def test_padding_changes_nothing(model, seed, padding, content, order) -> None:
    """Codes are independent of the amount, the values and the position of padding."""
    x = _groups(seed)
    # Always seven places, so that graphs are compiled only once.
    padded = np.full((3, 7, 12), np.float32(content))
    places = sorted(order.sample(range(4 + padding), 4))
    padded[:, places] = x
    mask = np.zeros((3, 7), bool)
    mask[:, places] = True
    coherent, nuisance = model.encode(padded, mask)
    same((coherent, np.asarray(nuisance)[:, places]), model.encode(x))
    # A call with a dict is the same computation as `reconstruct`.
    both = model.reconstruct(padded, mask), model({"instances": padded, "mask": mask})
    same([np.asarray(each)[:, places] for each in both], [model.reconstruct(x)] * 2)


def test_groups_do_not_see_each_other(model, x) -> None:
    same(model.encode(x[2:3]), [code[2:3] for code in model.encode(x)])


@pytest.mark.parametrize("instances", [1, 2, 9])
def test_any_number_of_instances(model, instances) -> None:
    codes = model.encode(_groups(0, instances))
    assert isinstance(codes, Codes)
    assert codes.coherent.shape == (3, 3)
    assert codes.nuisance.shape == (3, instances, 2)
    assert model.decode(*codes).shape == (3, instances, 12)
    assert np.isfinite(np.asarray(model.decode(*codes))).all()


def test_the_mean_of_copies_is_that_of_one(tiny) -> None:
    """A group of copies of one instance has the codes of that instance."""
    model, one = tiny(), _groups(0, 1)
    codes = model.encode(np.repeat(one, 5, axis=1)), model.encode(one)
    np.testing.assert_allclose(*(each.coherent for each in codes), atol=ATOL)


def test_conditional_nuisance_sees_the_group(tiny, x) -> None:
    """The original's nuisance encoder does not use the rest of the group."""
    others = np.concatenate([x[:, :1], x[::-1, 1:]], axis=1)
    conditional, original = tiny(), tiny(conditional_nuisance=False)
    for model, depends in ((conditional, True), (original, False)):
        same = np.asarray(model.encode(x).nuisance[:, 0])
        change = np.abs(np.asarray(model.encode(others).nuisance[:, 0]) - same).max()
        assert (change > 1e-3) == depends
    # Everything else is the same in the two models.
    assert len(conditional.trainable_weights) == len(original.trainable_weights)


@pytest.mark.large
@few
@given(seed=st.integers(0, 1000))
def test_redatuming_to_itself_is_reconstruction(model, seed) -> None:
    x = _groups(seed)
    own = model.redatum(coherent_from=x, nuisance_from=x)
    np.testing.assert_array_equal(own, model.reconstruct(x))
    # Noise is off in all of them.
    np.testing.assert_array_equal(model(x), model.reconstruct(x))


def test_redatum_swaps_the_codes(model) -> None:
    """Groups have different sizes, with one mask each."""
    a, b = _groups(1, 5), _groups(2, 3)
    mask_a = np.array([[1, 1, 0, 1, 1], [0, 0, 0, 0, 1], [1] * 5], bool)
    mask_b = np.array([[1, 1, 1], [0, 1, 1], [1, 0, 0]], bool)
    virtual = model.redatum(a, b, mask_a, mask_b)
    coherent = model.encode(a, mask_a).coherent
    nuisance = model.encode(b, mask_b).nuisance
    assert virtual.shape == b.shape
    np.testing.assert_array_equal(virtual, model.decode(coherent, nuisance))


def test_codes_come_from_any_kind_of_array(tiny, x, mask) -> None:
    """Tensors, lists, float64 and 0-or-1 masks give the same results as arrays."""
    model = tiny()
    expected = model.encode(x, mask)
    for instances, present in (
        (ops.convert_to_tensor(x), ops.convert_to_tensor(mask)),
        (x.tolist(), mask.tolist()),
        (x.astype("float64"), mask.astype("int32")),
        (x, mask.astype("float32")),
    ):
        same(model.encode(instances, present), expected)


def test_an_empty_group_is_finite(model, x) -> None:
    codes = model.encode(x, np.zeros((6, 4), bool))
    assert np.isfinite(np.asarray(codes.coherent)).all()
    assert np.isfinite(np.asarray(model.decode(*codes))).all()


@given(
    seed=st.integers(0, 10_000),
    instances=st.integers(1, 6),
    rate=st.sampled_from([0.1, 0.5, 0.9, 0.999]),
    masked=st.booleans(),
)
def test_one_instance_is_always_left(dropping, seed, instances, rate, masked) -> None:
    model = dropping(rate)
    rng = np.random.default_rng(seed)
    x = ops.zeros((8, instances, 12))
    mask = rng.random((8, instances)) < 0.5 if masked else None
    keep = np.asarray(model._hide_instances(x, mask))
    present = np.ones((8, instances), bool) if mask is None else mask
    assert not (keep & ~present).any()
    np.testing.assert_array_equal(keep.any(axis=1), present.any(axis=1))


def test_rate_of_instance_dropout(dropping) -> None:
    model = dropping(0.5)
    keep = np.asarray(model._hide_instances(ops.zeros((4000, 3, 12)), None))
    # If all three are hidden (1 case of 8), one of the three stays.
    assert keep.mean() == pytest.approx(0.5 + 1 / 24, abs=0.015)
    # It is not always the same one.
    np.testing.assert_allclose(keep.mean(axis=0), keep.mean(), atol=0.02)


def test_instance_dropout_acts_on_the_pooling_in_training_alone(tiny, x) -> None:
    model = tiny(instance_dropout=0.9, noise_strength=0.0)
    np.testing.assert_array_equal(model(x), model(x, training=False))
    assert np.abs(np.asarray(model(x, training=True) - model(x))).max() > 1e-4
    # A single instance is never hidden, so nothing changes.
    one = x[:, :1]
    np.testing.assert_allclose(model(one, training=True), model(one), atol=1e-6)
