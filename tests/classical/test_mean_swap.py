"""The mean swap against its formula and against `linear_mean_swap`."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.classical import MeanSwap
from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.errors import InputError
from symae_keras.evaluation import linear_mean_swap
from symae_keras.models import Codes

pytestmark = pytest.mark.jax


@pytest.fixture(scope="module", params=["complete", "masked"])
def groups(request, spoil) -> GroupedData:
    groups = simulate_exposures(n_states=70, n_instances=5, seed=0)
    return groups if request.param == "complete" else spoil(groups)


def test_codes_by_hand() -> None:
    x = np.array([[[1.0], [3.0], [np.nan]], [[10.0], [20.0], [60.0]]])
    mask = np.array([[True, True, False], [True, False, True]])
    model = MeanSwap().fit(GroupedData(x, mask))
    codes = model.encode(x, mask)
    assert isinstance(codes, Codes)
    np.testing.assert_allclose(codes.coherent, [[2.0], [35.0]])
    np.testing.assert_allclose(
        codes.nuisance, [[[-1.0], [1.0], [0.0]], [[-25.0], [0.0], [25.0]]]
    )
    virtual = model.redatum(x[:1], x[1:], mask[:1], mask[1:])
    np.testing.assert_allclose(virtual[0, [0, 2]], [[-23.0], [27.0]])


def test_shapes_of_images() -> None:
    x = np.random.default_rng(0).integers(0, 255, size=(4, 3, 5, 6, 2), dtype="uint8")
    model = MeanSwap().fit(GroupedData(x))
    assert model.instance_shape_ == (5, 6, 2)
    coherent, nuisance = model.encode(x)
    assert coherent.shape == (4, 60)
    assert nuisance.shape == (4, 3, 60)
    np.testing.assert_allclose(model.reconstruct(x), x, atol=1e-12)


def test_groups_of_different_sizes() -> None:
    rng = np.random.default_rng(0)
    state, nuisance = rng.normal(size=(4, 2, 6)), rng.normal(size=(4, 7, 6))
    virtual = MeanSwap().fit(GroupedData(state)).redatum(state, nuisance)
    expected = nuisance + (state.mean(axis=1) - nuisance.mean(axis=1))[:, None]
    np.testing.assert_allclose(virtual, expected)


def test_reconstruction_is_exact(groups) -> None:
    again = MeanSwap().fit(groups).reconstruct(groups.x, groups.mask)
    present = groups.present
    np.testing.assert_allclose(again[present], groups.x[present], atol=1e-12)
    assert np.isfinite(again).all()


def test_the_linear_mean_swap_by_its_formula(groups) -> None:
    source = np.roll(np.arange(len(groups)), 3)
    swapped = linear_mean_swap(groups, source)
    x = np.where(groups.present[..., None], groups.x, np.nan)
    mean = np.nanmean(x, axis=1, dtype="float64")
    expected = groups.x - mean[:, None] + mean[source][:, None]
    np.testing.assert_allclose(swapped[groups.present], expected[groups.present])


def test_errors() -> None:
    x = np.zeros((3, 2, 4))
    with pytest.raises(InputError, match=r"This MeanSwap is not fitted: call `fit"):
        MeanSwap().encode(x)
    with pytest.raises(InputError, match="is not fitted"):
        MeanSwap().decode(x[:, 0], x)
    model = MeanSwap().fit(GroupedData(x))
    with pytest.raises(InputError, match=r"shape \(4,\) .*received .*\(3, 2, 5\)"):
        model.encode(np.zeros((3, 2, 5)))
    with pytest.raises(InputError, match=r"mask must have the shape.*\(3, 2\)"):
        model.encode(x, np.ones((3, 3)))
    with pytest.raises(InputError, match="same number of groups.*3 and 2"):
        model.redatum(x, x[:2])
    flat = x[:, 0]
    for coherent, nuisance in (
        *((flat[:, :3], x), (flat[:2], x), (x, x)),
        *((flat, x[..., :3]), (flat, flat)),
    ):
        with pytest.raises(InputError, match=r"\(groups, 4\).*received"):
            model.decode(coherent, nuisance)
