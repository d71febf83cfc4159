"""Gathers of simulated media: sources, media, virtual gathers, training."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.data import simulate_gathers
from symae_keras.evaluation import redatuming_error, relative_error
from symae_keras.models import TomographicSymAE

_N, _T = 4, 6


def _ring(groups) -> np.ndarray:
    angle = np.radians(groups.axis)
    return 0.6 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)


@pytest.fixture(scope="module")
def gathers():
    return simulate_gathers(_N, _T, seed=1)


@pytest.fixture(scope="module")
def model(gathers) -> TomographicSymAE:
    return TomographicSymAE((24, 96), _ring(gathers))


@pytest.fixture(scope="module")
def codes(model, gathers):
    return [ops.convert_to_numpy(each) for each in model.encode(gathers.x)]


def test_sources_are_found(codes, gathers) -> None:
    """Sources are found to a hundredth of a wavelength, 2 m; times to a sample."""
    angle, radius = gathers.nuisance["angle"], gathers.nuisance["radius"]
    truth = radius[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    distance = np.linalg.norm(codes[1][..., :2] - truth, axis=-1)
    assert np.median(distance) < 0.002
    assert distance.max() < 0.02


def test_slowness_is_that_of_the_medium(model, codes, gathers) -> None:
    side = np.linspace(-0.3, 0.3, 13)
    points = np.stack(np.meshgrid(side, side), axis=-1)
    drawn = ops.convert_to_numpy(model.slowness(codes[0], points))
    assert drawn.shape == (_N, 13, 13)
    state = gathers.state
    way = points - state["position"][:, :, None, None]
    square = np.sum(way**2, axis=-1) / state["width"][..., None, None] ** 2
    bells = state["strength"][..., None, None] * np.exp(-0.5 * square)
    ratio = 2.0 / state["velocity"][:, None, None]  # slowness of the background
    truth = ratio * (1.0 + bells.sum(axis=1)) - 1.0
    assert relative_error(truth, drawn) < 0.15


def test_virtual_gathers(model, gathers) -> None:
    """The error is far below those of the unchanged donor and of unphysical delays."""
    group, donor = np.arange(_N), np.roll(np.arange(_N), 1)
    truth = gathers.virtual(group[:, None], donor[:, None], np.arange(_T))
    virtual = model.redatum(gathers.x, gathers.x[donor])
    assert relative_error(truth, gathers.x[donor]) > 0.1
    assert relative_error(truth, virtual) < 0.01


def test_noise_of_the_donor_is_averaged(model, gathers) -> None:
    """A wavelet is the mean of the traces, so it has less noise than the traces."""
    clean = gathers.virtual(
        np.arange(_N)[:, None], np.arange(_N)[:, None], np.arange(_T)
    )
    restored = model.reconstruct(gathers.x)
    assert relative_error(clean, restored) < 0.7 * relative_error(clean, gathers.x)


def test_dead_traces_and_absent_gathers(model, codes, gathers) -> None:
    x = gathers.x.copy()
    x[:, :, 5] = 0.0
    x[:, 0] = np.nan
    mask = np.ones((_N, _T), bool)
    mask[:, 0] = False
    found = [ops.convert_to_numpy(each) for each in model.encode(x, mask)]
    distance = np.linalg.norm(found[1][:, 1:, :2] - codes[1][:, 1:, :2], axis=-1)
    assert distance.max() < 0.02
    assert relative_error(codes[0], found[0]) < 0.2
    values = ops.convert_to_numpy(model.decode(*found))
    assert np.isfinite(values[:, 1:]).all()
    # A dead trace is decoded as if it were intact.
    assert relative_error(gathers.x[:, 1:, 5], values[:, 1:, 5]) < 0.05


@pytest.mark.jax
def test_the_medium_does_not_depend_on_the_order_and_on_padding() -> None:
    groups = simulate_gathers(2, 3, seed=3, n_receivers=8)
    model = TomographicSymAE((8, 96), _ring(groups), spacing=0.2)
    padded = np.concatenate([groups.x[:, ::-1], np.full((2, 2, 8, 96), 7.0)], axis=1)
    mask = np.arange(5) < 3
    code = ops.convert_to_numpy(model.encode(groups.x).coherent)
    again = model.encode(padded.astype("float32"), np.tile(mask, (2, 1))).coherent
    np.testing.assert_allclose(ops.convert_to_numpy(again), code, atol=1e-4)


def test_training_decodes_with_the_medium_of_the_others(model, gathers) -> None:
    own = ops.convert_to_numpy(model(gathers.x[:1], training=True))[0]
    for left_out in range(3):
        others = np.delete(np.arange(_T), left_out)
        medium = model.encode(gathers.x[:1, others]).coherent
        nuisance = model.encode(gathers.x[:1, [left_out]]).nuisance
        alone = ops.convert_to_numpy(model.decode(medium, nuisance))[0, 0]
        # The source was located with another medium, but the wavelet is the same.
        assert relative_error(own[left_out], alone) < 0.05


@pytest.mark.large
def test_training_finds_the_velocity() -> None:
    groups = simulate_gathers(8, 4, seed=5, n_receivers=12)
    held_out = simulate_gathers(4, 4, seed=6, n_receivers=12)
    model = TomographicSymAE((12, 96), _ring(groups), velocity=2.08, spacing=0.14)
    before = float(redatuming_error(model, held_out))
    # Compiling would take longer than these six steps.
    model.compile(keras.optimizers.Adam(0.2), "mse", run_eagerly=True)
    model.fit(groups, batch_size=4, epochs=3, verbose=0)
    velocity = 2.08 * np.exp(0.01 * float(ops.convert_to_numpy(model.velocity_change)))
    assert 1.97 < velocity < 2.07
    assert float(redatuming_error(model, held_out)) < 0.8 * before


@pytest.mark.jax
def test_saved_models_keep_receivers_of_any_kind(tmp_path) -> None:
    groups = simulate_gathers(2, 2, seed=3, n_receivers=6)
    model = TomographicSymAE((6, 96), _ring(groups).astype("float32"), spacing=0.25)
    model.velocity_change.assign(0.5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for one, two in zip(model.encode(groups.x), again.encode(groups.x), strict=True):
        one, two = ops.convert_to_numpy(one), ops.convert_to_numpy(two)
        np.testing.assert_array_equal(one, two)
