"""Mean swap and grouped PCA compared with formulas and on linear data."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import decomposition

from symae_keras.classical import (
    MSC,
    SNV,
    ExtendedScatterCorrection,
    GroupedPCA,
    LinearMixedModel,
    MeanSwap,
    PhaseWeightedStack,
)
from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.errors import InputError
from symae_keras.evaluation import (
    estimate_redatuming_error,
    linear_mean_swap,
    redatuming_error,
    relative_error,
)
from symae_keras.models import Codes

pytestmark = pytest.mark.jax

# === MeanSwap ===


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


def test_errors_of_the_mean_swap() -> None:
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


# === GroupedPCA ===


def _linear(centred: bool = True) -> GroupedData:
    """Make sums of a 3-D state and a 2-D nuisance, with the ground truth."""
    rng = np.random.default_rng(0)
    between, within = rng.normal(size=(3, 12)), rng.normal(size=(2, 12))
    nuisance = rng.normal(size=(40, 5, 2))
    if centred:
        nuisance -= nuisance.mean(axis=1, keepdims=True)
    state = {"s": rng.normal(size=(40, 3)) @ between + 5.0}
    parameters = {"n": nuisance @ within}
    x = state["s"][:, None] + parameters["n"]
    return GroupedData(
        x, state=state, nuisance=parameters, render=lambda s, n: s["s"] + n["n"]
    )


def test_components_are_those_of_scikit_learn() -> None:
    x = np.random.default_rng(0).normal(size=(30, 4, 9))
    model = GroupedPCA(3, 2).fit(GroupedData(x))
    means = x.mean(axis=1)
    between = decomposition.PCA(3).fit(means)
    within = decomposition.PCA(2).fit((x - means[:, None]).reshape(-1, 9))
    np.testing.assert_allclose(model.mean_, means.mean(axis=0))
    np.testing.assert_allclose(model.coherent_components_, between.components_)
    np.testing.assert_allclose(model.nuisance_components_, within.components_)

    new = np.random.default_rng(1).normal(size=(6, 3, 9))
    coherent, nuisance = model.encode(new)
    new_means = new.mean(axis=1)
    np.testing.assert_allclose(coherent, between.transform(new_means))
    flat = within.transform((new - new_means[:, None]).reshape(-1, 9))
    np.testing.assert_allclose(nuisance, flat.reshape(6, 3, 2), atol=1e-12)
    expected = between.inverse_transform(coherent)[:, None] + (
        within.inverse_transform(flat).reshape(6, 3, 9)
    )
    np.testing.assert_allclose(model.decode(coherent, nuisance), expected, atol=1e-12)
    np.testing.assert_allclose(model.reconstruct(new), expected, atol=1e-12)


def test_linear_data_are_redatumed_exactly() -> None:
    groups = _linear()
    model = GroupedPCA(3, 2).fit(groups[:30])
    error = redatuming_error(model, groups[30:])
    assert float(error) < 1e-10
    assert error.reconstruction < 1e-10
    # The mean swap is exact, too: nuisances have the same mean in every group.
    assert error.mean_swap < 1e-12
    # A smaller code than the true size is not exact.
    assert redatuming_error(GroupedPCA(2, 2).fit(groups[:30]), groups[30:]) > 1e-2
    assert redatuming_error(GroupedPCA(3, 1).fit(groups[:30]), groups[30:]) > 1e-2


def test_mean_nuisances_need_room_in_the_coherent_code() -> None:
    groups = _linear(centred=False)
    assert redatuming_error(GroupedPCA(3, 2).fit(groups), groups).reconstruction > 1e-3
    error = redatuming_error(GroupedPCA(5, 2).fit(groups), groups)
    assert error.reconstruction < 1e-10
    # The mean nuisance is swapped with the state, as in the mean swap.
    assert float(error) == pytest.approx(error.mean_swap, rel=1e-4)


def test_entangled_exposures_approach_the_mean_swap() -> None:
    groups = simulate_exposures(n_states=40, n_instances=4, seed=0)
    small, large = (
        redatuming_error(GroupedPCA(size, size).fit(groups), groups) for size in (1, 39)
    )
    assert small > 1.5 * large
    assert float(large) == pytest.approx(large.mean_swap, rel=0.05)
    assert small.reconstruction > 10.0 * large.reconstruction


def test_absent_instances_do_not_matter(spoil) -> None:
    groups = _linear(centred=False)
    first, second = spoil(groups), spoil(groups, filling=1e6)
    model = GroupedPCA(4, 2).fit(first)
    for name in ("mean_", "coherent_components_", "nuisance_components_"):
        again = getattr(GroupedPCA(4, 2).fit(second), name)
        np.testing.assert_array_equal(getattr(model, name), again)
    codes = model.encode(first.x, first.mask)
    for ours, again in zip(codes, model.encode(second.x, second.mask), strict=True):
        np.testing.assert_array_equal(ours, again)
    assert np.isfinite(codes.nuisance).all()
    # The code of a masked group depends only on its present instances.
    short = int(np.flatnonzero(~first.present.all(axis=1))[0])
    kept = first.x[short][first.present[short]][None]
    alone = model.encode(kept)
    np.testing.assert_allclose(alone.coherent[0], codes.coherent[short])
    np.testing.assert_allclose(
        alone.nuisance[0], codes.nuisance[short][first.present[short]], atol=1e-12
    )
    virtual = model.redatum(
        first.x[:5], first.x[5:10], first.mask[:5], first.mask[5:10]
    )
    assert np.isfinite(virtual).all()


def test_groups_without_instances_are_left_out_of_the_fit() -> None:
    groups = _linear()
    mask = groups.present
    mask[7] = False
    ours = GroupedPCA(3, 2).fit(GroupedData(groups.x, mask))
    expected = GroupedPCA(3, 2).fit(groups[np.arange(len(groups)) != 7])
    np.testing.assert_allclose(ours.mean_, expected.mean_)
    axes, others = ours.coherent_components_, expected.coherent_components_
    np.testing.assert_allclose(axes, others, atol=1e-12)


def test_images_at_full_rank_give_the_mean_swap() -> None:
    x = np.random.default_rng(0).normal(size=(20, 4, 2, 3, 1))
    groups = GroupedData(x)
    model = GroupedPCA(6, 6).fit(groups)
    assert model.coherent_components_.shape == (6, 6)
    virtual = model.redatum(x[:5], x[5:10])
    assert virtual.shape == (5, 4, 2, 3, 1)
    expected = MeanSwap().fit(groups).redatum(x[:5], x[5:10])
    np.testing.assert_allclose(virtual, expected, atol=1e-10)
    assert relative_error(model.reconstruct(x), x) < 1e-20


def test_errors_of_components() -> None:
    for name, size in (
        ("coherent_dim", 0),
        ("nuisance_dim", 1.5),
        ("coherent_dim", None),
    ):
        with pytest.raises(InputError, match=f"{name} must be a positive integer"):
            GroupedPCA(**{name: size})
    x = np.random.default_rng(0).normal(size=(4, 3, 10))
    with pytest.raises(InputError, match="This GroupedPCA is not fitted"):
        GroupedPCA().encode(x)
    for sizes, groups, message in (
        ((4, 2), GroupedData(x), "coherent_dim is 4.*rank of at most 3"),
        ((3, 9), GroupedData(x), "nuisance_dim is 9.*rank of at most 8"),
        ((3, 1), GroupedData(x[..., :2]), "coherent_dim is 3.*rank of at most 2"),
        ((1, 1), GroupedData(x[:, :1]), "nuisance_dim is 1.*rank of at most 0"),
        ((1, 1), GroupedData(x, np.zeros((4, 3))), "coherent_dim is 1.*at most 0"),
    ):
        with pytest.raises(InputError, match=message):
            GroupedPCA(*sizes).fit(groups)
    x[1, 2, 3] = np.nan
    with pytest.raises(InputError, match="present instances contain NaN"):
        GroupedPCA(1, 1).fit(GroupedData(x))


# === All of them ===


@pytest.mark.parametrize(
    "model",
    [
        SNV(),
        MSC(),
        ExtendedScatterCorrection(n_components=1),
        PhaseWeightedStack(),
        LinearMixedModel(shrinkage=0.1, max_iter=10),
    ],
    ids=lambda model: type(model).__name__,
)
def test_evaluation_takes_all_models_with_codes(model, groups) -> None:
    train, held = groups[:50], groups[50:]
    error = redatuming_error(model.fit(train), held)
    estimate = estimate_redatuming_error(model, held)
    assert 0.0 < estimate < 5.0
    if isinstance(model, LinearMixedModel):
        assert error < 0.95 * error.mean_swap
        assert error.reconstruction < 1e-8
