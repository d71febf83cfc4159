"""The linear mixed model compared with Gaussian conditionals and closed forms."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import linalg, stats

from symae_keras.classical import LinearMixedModel, MeanSwap
from symae_keras.classical import linear_mixed_model as module
from symae_keras.data import GroupedData
from symae_keras.errors import InputError

PIXELS = 4


def _covariances(seed: int = 0, pixels: int = PIXELS) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(2, pixels, pixels))
    between, within = roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(pixels)
    return between, within


def _simulate(
    n_groups: int = 60, n_instances: int = 5, seed: int = 0, pixels: int = PIXELS
) -> GroupedData:
    between, within = _covariances(0, pixels)
    rng = np.random.default_rng(seed)
    state = rng.multivariate_normal(np.arange(pixels), between, size=n_groups)
    zero, shape = np.zeros(pixels), (n_groups, n_instances)
    nuisance = rng.multivariate_normal(zero, within, size=shape)
    return GroupedData(
        state[:, None] + nuisance,
        state={"s": state},
        nuisance={"n": nuisance},
        render=lambda s, n: s["s"] + n["n"],
    )


def _ragged(groups: GroupedData, seed: int = 1) -> GroupedData:
    mask = np.random.default_rng(seed).random(groups.x.shape[:2]) < 0.7
    mask[:, 0] = mask[:3] = True
    return dataclasses.replace(
        groups, x=np.where(mask[..., None], groups.x, 1e6), mask=mask
    )


def _holes(groups: GroupedData, seed: int = 2) -> GroupedData:
    """Make groups with bad pixels and absent instances."""
    good = np.random.default_rng(seed).random(groups.x.shape) < 0.85
    good[:5] = True
    return dataclasses.replace(_ragged(groups), pixel_mask=good)


def _as_given(groups: GroupedData) -> GroupedData:
    return groups


EVERY_MASK = pytest.mark.parametrize("masked", [_as_given, _ragged, _holes])


def _fitted(seed: int = 0) -> LinearMixedModel:
    """Make a model with the true parameters."""
    model = LinearMixedModel(shrinkage=0.0, max_iter=1).fit(_simulate())
    model.between_, model.within_ = _covariances(seed)
    model.mean_ = np.arange(PIXELS, dtype=float)
    return model


def _stacked(model, x, good):
    """Compute the joint Gaussian of the good values of one group.

    Returns deviations, their covariance, covariances with the state, and with the
    nuisance of each instance.
    """
    t = len(x)
    ones = np.ones((t, t))
    joint = np.kron(ones, model.between_) + np.kron(np.eye(t), model.within_)
    kept = good.reshape(-1)
    values = (x - model.mean_).reshape(-1)[kept]
    with_state = np.tile(model.between_, t)[:, kept]
    with_nuisance = np.kron(np.eye(t), model.within_)[:, kept]
    return values, joint[np.ix_(kept, kept)], with_state, with_nuisance


# === Posterior ===


@EVERY_MASK
def test_codes_are_conditional_means_of_the_stacked_vector(masked) -> None:
    groups, model = masked(_simulate(8, 4)), _fitted()
    good = np.broadcast_to(groups.good_pixels, groups.x.shape)
    means, covariances = model.posterior(groups.x, groups.model_mask)
    codes = model.encode(groups.x, groups.model_mask)
    total = 0.0
    for i, x in enumerate(groups.x):
        values, joint, with_state, with_nuisance = _stacked(model, x, good[i])
        solved = np.linalg.solve(joint, values)
        state = model.mean_ + with_state @ solved
        np.testing.assert_allclose(means[i], state, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(codes.coherent[i], state, rtol=1e-8, atol=1e-10)
        covariance = model.between_ - with_state @ np.linalg.solve(joint, with_state.T)
        np.testing.assert_allclose(covariances[i], covariance, rtol=1e-7, atol=1e-9)
        nuisance = (with_nuisance @ solved).reshape(x.shape)
        np.testing.assert_allclose(codes.nuisance[i], nuisance, rtol=1e-7, atol=1e-9)
        law = stats.multivariate_normal(np.zeros(len(values)), joint)
        total += law.logpdf(values)
    assert model.log_likelihood(groups) == pytest.approx(total, rel=1e-10)


def test_closed_form_of_whole_instances() -> None:
    model, groups = _fitted(), _simulate(8, 4)
    apart = groups.x.mean(axis=1) - model.mean_
    gain = model.between_ @ np.linalg.inv(model.between_ + model.within_ / 4)
    codes = model.encode(groups.x)
    np.testing.assert_allclose(codes.coherent, model.mean_ + apart @ gain.T)
    np.testing.assert_allclose(model.reconstruct(groups.x), groups.x)


def test_limits_of_the_posterior() -> None:
    """Without instances, the code is the prior mean; with many, their mean."""
    model = _fitted()
    x = _simulate(2, 3).x
    means, covariances = model.posterior(x, np.zeros((2, 3)))
    np.testing.assert_allclose(means, [model.mean_] * 2)
    np.testing.assert_allclose(covariances[1], model.between_)
    many = _simulate(3, 20_000)
    expected = MeanSwap().fit(many).encode(many.x).coherent
    np.testing.assert_allclose(model.encode(many.x).coherent, expected, atol=1e-2)


@pytest.mark.parametrize("n_groups", [8, 60])
def test_no_variance_of_states_starts_at_zero(n_groups) -> None:
    """In units of nuisances, it is that of means minus the share of the nuisances."""
    groups = _simulate(n_groups, 5, pixels=12)
    law, _ = module._Moments.of(module._Data.of(groups)).start(0.0)
    of_means = np.cov(groups.x.mean(axis=1).T, bias=True)
    values, vectors = linalg.eigh(of_means, law.within)
    expected = np.maximum(values - 1 / 5, 0.1 / 5)
    assert (values < 0.3).any() and (values > 0.3).any()
    started = vectors.T @ law.between @ vectors
    np.testing.assert_allclose(started, np.diag(expected), atol=1e-9)


def test_order_of_instances_and_groups() -> None:
    model, x = _fitted(), _simulate(6, 4).x
    codes = model.encode(x)
    order = [2, 0, 3, 1]
    shuffled = model.encode(x[::-1][:, order])
    np.testing.assert_allclose(shuffled.coherent, codes.coherent[::-1])
    np.testing.assert_allclose(shuffled.nuisance, codes.nuisance[::-1][:, order])


# === Fit ===


def test_balanced_groups_have_the_closed_form_of_maximum_likelihood() -> None:
    groups = _simulate(200, 5)
    means = groups.x.mean(axis=1)
    deviations = (groups.x - means[:, None]).reshape(-1, PIXELS)
    within = deviations.T @ deviations / (200 * 4)
    between = np.cov(means.T, bias=True) - within / 5
    assert np.linalg.eigvalsh(between).min() > 0.0
    model = LinearMixedModel(shrinkage=0.0).fit(groups)
    np.testing.assert_allclose(model.mean_, means.mean(axis=0))
    np.testing.assert_allclose(model.within_, within, rtol=1e-6)
    np.testing.assert_allclose(model.between_, between, rtol=1e-6)

    # The EM also converges to it from another start, and no step lowers the likelihood.
    data = module._Data.of(groups)
    mean = means.mean(axis=0)
    law = module._Law(mean, np.eye(PIXELS), 5.0 * np.eye(PIXELS))
    objectives = []
    for _ in range(300):
        expected = module._expect(data, law, moments=True)
        objectives.append(expected.log_likelihood)
        law = expected.maximum(data, 0.0, (1.0, 1.0))
    assert objectives[1] > objectives[0] + 1.0
    assert np.diff(objectives).min() > -1e-7
    np.testing.assert_allclose(law.within, within, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(law.between, between, rtol=1e-6, atol=1e-8)


@pytest.mark.large
@pytest.mark.parametrize("shrinkage", [0.0, 0.05])
@EVERY_MASK
def test_every_step_adds_to_the_objective(masked, shrinkage) -> None:
    groups = masked(_simulate())
    model = LinearMixedModel(shrinkage, max_iter=30, tol=0.0).fit(groups)
    steps = np.diff(model.objective_)
    assert steps.min() > -1e-7 * abs(model.objective_[0])
    # After enough steps, no parameters nearby are more likely.
    if shrinkage == 0.0:
        longer = LinearMixedModel(0.0, max_iter=60, tol=0.0).fit(groups)
        best = longer.log_likelihood(groups)
        assert best == pytest.approx(longer.objective_[-1], rel=1e-5)
        rng = np.random.default_rng(0)
        for name in ("mean_", "between_", "within_"):
            kept = getattr(longer, name)
            for _ in range(4):
                step = rng.normal(size=kept.shape)
                step = 3e-2 * (step if step.ndim == 1 else step + step.T)
                setattr(longer, name, kept + step)
                assert longer.log_likelihood(groups) < best
            setattr(longer, name, kept)


@pytest.mark.large
@EVERY_MASK
def test_known_parameters_are_recovered(masked) -> None:
    groups = masked(_simulate(1000, 5))
    model = LinearMixedModel(shrinkage=0.0, max_iter=10).fit(groups)
    between, within = _covariances()
    scale = np.trace(between) / PIXELS
    np.testing.assert_allclose(model.between_, between, atol=0.2 * scale)
    np.testing.assert_allclose(model.within_, within, atol=0.1 * scale)
    np.testing.assert_allclose(model.mean_, np.arange(PIXELS), atol=0.2 * scale)


def test_ragged_groups_are_as_if_cut() -> None:
    """Absent instances have no effect; an instance without good pixels is absent."""
    groups = _ragged(_simulate())
    model = LinearMixedModel(0.01).fit(groups)
    again = LinearMixedModel(0.01).fit(
        dataclasses.replace(groups, x=np.where(groups.x > 1e5, -1e9, groups.x))
    )
    np.testing.assert_array_equal(model.between_, again.between_)
    pixels = np.broadcast_to(groups.present[..., None], groups.x.shape)
    by_pixels = LinearMixedModel(0.01).fit(GroupedData(groups.x, pixel_mask=pixels))
    np.testing.assert_allclose(by_pixels.within_, model.within_)
    short = np.flatnonzero(groups.counts == 2)[0]
    kept = groups.x[short][groups.present[short]][None]
    codes = model.encode(groups.x, groups.mask)
    np.testing.assert_allclose(model.encode(kept).coherent[0], codes.coherent[short])
    assert not codes.nuisance[~groups.present].any()


def test_shrinkage_by_its_fixed_point() -> None:
    """After convergence, another EM step changes nothing."""
    groups = _simulate(30, 3)
    model = LinearMixedModel(0.1, max_iter=500, tol=1e-14).fit(groups)
    codes = model.encode(groups.x)
    _, covariances = model.posterior(groups.x)
    apart = codes.coherent - model.mean_
    moments = (apart.T @ apart + covariances.sum(axis=0)) / 30
    rest = model.between_ - 0.9 * moments
    np.testing.assert_allclose(rest, rest[0, 0] * np.eye(PIXELS), atol=1e-5)
    assert rest[0, 0] > 0.0


@EVERY_MASK
def test_the_shrinkage_predicts_instances_left_out_best(masked) -> None:
    """Compute the cross-validation error by brute force."""
    groups = masked(_simulate(10, 3, pixels=12))
    good = np.broadcast_to(groups.good_pixels, groups.x.shape)
    present = good.any(axis=2)
    several = np.flatnonzero(present.sum(axis=1) > 1)
    order = [*several, *np.flatnonzero(present.sum(axis=1) < 2)]
    errors = dict.fromkeys(module._SHRINKAGES, 0.0)
    for shrinkage in errors:
        for fold in range(5):
            out = [i for n, i in enumerate(order) if n % 5 == fold]
            kept = np.delete(np.arange(10), out)
            model = LinearMixedModel(shrinkage, max_iter=1).fit(groups[kept])
            law, _ = module._Moments.of(module._Data.of(groups[kept])).start(shrinkage)
            model.mean_, model.between_, model.within_ = (
                *(law.mean, law.between, law.within),
            )
            for i in set(out) & set(several.tolist()):
                for t in np.flatnonzero(present[i]):
                    mask = good[i : i + 1].copy()
                    mask[0, t] = False
                    guess = model.encode(groups.x[i : i + 1], mask).coherent[0]
                    error = (guess - groups.x[i, t])[good[i, t]]
                    errors[shrinkage] += (error**2).sum()
    best = min(errors, key=lambda each: errors[each])
    assert LinearMixedModel(max_iter=1).fit(groups).shrinkage_ == best
    assert best > 1e-6


def test_more_pixels_than_instances() -> None:
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(2, 3, 50))
    state = rng.normal(size=(40, 1, 3)) @ loadings[0]
    x = state + rng.normal(size=(40, 3, 3)) @ loadings[1]
    x += 0.1 * rng.normal(size=x.shape)
    model = LinearMixedModel().fit(GroupedData(x[:25]))
    found = model.encode(x[25:]).coherent
    error = ((found - state[25:, 0]) ** 2).mean()
    of_means = ((x[25:].mean(axis=1) - state[25:, 0]) ** 2).mean()
    assert error < 0.2 * of_means


def test_groups_without_differences() -> None:
    x = np.random.default_rng(0).normal(size=(100, 4, 3))
    model = LinearMixedModel().fit(GroupedData(x))
    assert np.trace(model.between_) < 0.1 * np.trace(model.within_)
    assert np.isfinite(model.encode(x).coherent).all()


# === As a model ===


def test_the_expected_error_is_the_error_of_virtual_instances() -> None:
    groups = _simulate(4000, 4)
    model = _fitted()
    source = np.roll(np.arange(4000), 1)
    virtual = model.redatum(groups.x[source], groups.x)
    own, instance = np.indices(groups.x.shape[:2])
    truth = groups.virtual(source[:, None], own, instance)
    variance = truth.reshape(-1, PIXELS).var(axis=0).mean()
    error = ((virtual - truth) ** 2).mean() / variance
    assert error == pytest.approx(model.expected_error(4), rel=0.05)
    swapped = MeanSwap().fit(groups).redatum(groups.x[source], groups.x)
    assert error < 0.9 * ((swapped - truth) ** 2).mean() / variance
    # For many instances, the error is proportional to 1 / T.
    ratio = model.expected_error(1000) / model.expected_error(2000)
    assert ratio == pytest.approx(2.0, rel=0.02)


def test_images() -> None:
    x = np.random.default_rng(0).normal(size=(30, 3, 2, 3, 1))
    model = LinearMixedModel().fit(GroupedData(x))
    assert model.redatum(x[:4], x[4:8]).shape == (4, 3, 2, 3, 1)
    means, covariances = model.posterior(x)
    assert means.shape == (30, 2, 3, 1)
    assert covariances.shape == (30, 6, 6)


def test_errors() -> None:
    for shrinkage in (-0.1, 1.0, np.nan, "0.1"):
        with pytest.raises(InputError, match=f"shrinkage must .*received {shrinkage}"):
            LinearMixedModel(shrinkage)
    with pytest.raises(InputError, match="max_iter must be a positive integer"):
        LinearMixedModel(max_iter=0)
    with pytest.raises(InputError, match="tol must be a finite number"):
        LinearMixedModel(tol=-1.0)
    groups = _simulate(6, 3)
    with pytest.raises(InputError, match="This LinearMixedModel is not fitted"):
        LinearMixedModel().expected_error(3)
    with pytest.raises(InputError, match="6 groups, of which 0 have two or more"):
        LinearMixedModel().fit(groups.take_instances(slice(1)))
    with pytest.raises(InputError, match="up to 4096 pixels; received 4097"):
        LinearMixedModel().fit(GroupedData(np.zeros((2, 2, 4097))))
    x = groups.x.copy()
    x[0, 1, 2] = np.inf
    with pytest.raises(InputError, match="NaN or infinite"):
        LinearMixedModel().fit(GroupedData(x))
    wide = GroupedData(np.random.default_rng(0).normal(size=(3, 2, 9)))
    with pytest.raises(InputError, match="singular with 3 deviations"):
        LinearMixedModel(0.0).fit(wide)
    same = GroupedData(groups.x[:, :1].repeat(3, axis=1))
    with pytest.raises(InputError, match="All instances of each group are equal"):
        LinearMixedModel().fit(same)
    with pytest.raises(InputError, match="n_instances must be a positive integer"):
        _fitted().expected_error(0)
