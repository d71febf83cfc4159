"""Redatuming errors in the logs, and callbacks that use them."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from symae_keras.callbacks import RedatumMonitor
from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.errors import InputError
from symae_keras.evaluation import (
    estimate_redatuming_error,
    leakage,
    reconstruction_error,
    redatuming_error,
)
from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE
from symae_keras.plotting.redatuming import plot_model_redatuming


@pytest.fixture(scope="module")
def groups() -> GroupedData:
    return simulate_exposures(n_states=6, n_instances=3, seed=0)


def _model(groups: GroupedData, rate: float = 0.01) -> SymAE:
    encoder = DenseEncoder(8, units=(16,))
    model = SymAE(groups.instance_shape, 2, 2, encoder=encoder, seed=0)
    # Tracing takes longer than the few steps, but JAX compiles each operation.
    eagerly = keras.backend.backend() != "jax"
    model.compile(keras.optimizers.Adam(rate), "mse", run_eagerly=eagerly)
    return model


def _fit(model, groups, *callbacks, **options):
    x = groups.x
    return model.fit(x, x, batch_size=3, verbose=0, callbacks=callbacks, **options)


@pytest.mark.jax
def test_the_error_is_that_of_the_model_of_the_epoch(groups) -> None:
    model, expected = _model(groups), []

    class Judge(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            expected.append(float(redatuming_error(self.model, groups)))

    history = _fit(model, groups, RedatumMonitor(groups), Judge(), epochs=3).history
    assert set(history) == {"loss", "val_redatuming_error"}
    assert history["val_redatuming_error"] == pytest.approx(expected, rel=1e-6)
    assert len(set(expected)) == 3


@pytest.mark.jax
@pytest.mark.compiles
def test_stopping_early_and_keeping_the_best(groups, tmp_path) -> None:
    best = tmp_path / "best.keras"
    judged_by = {"monitor": "val_redatuming_error", "mode": "min"}
    stop = keras.callbacks.EarlyStopping(**judged_by, patience=2)
    keep = keras.callbacks.ModelCheckpoint(best, **judged_by, save_best_only=True)
    # The learning rate is so high that the error soon increases.
    model, monitor = _model(groups, rate=0.3), RedatumMonitor(groups)
    history = _fit(model, groups, monitor, stop, keep, epochs=20).history
    errors = history["val_redatuming_error"]
    assert np.argmin(errors) == len(errors) - 3 < 17
    kept = keras.saving.load_model(best)
    assert float(redatuming_error(kept, groups)) == pytest.approx(min(errors), rel=1e-4)


def test_values_are_repeated_between_measurements(groups) -> None:
    """The first and the last epoch are measured."""
    monitor = RedatumMonitor(groups, every=2)
    model = _model(groups)
    errors = _fit(model, groups, monitor, epochs=5).history["val_redatuming_error"]
    assert errors[1] != errors[0] and errors[2] == errors[1] != errors[3] != errors[4]


def test_a_figure_of_each_measurement(groups, tmp_path) -> None:
    monitor = RedatumMonitor(groups, every=10, figures=tmp_path / "figures")
    model = _model(groups)
    _fit(model, groups, monitor, initial_epoch=9, epochs=10)
    (figure,) = (tmp_path / "figures").iterdir()
    assert figure.name == "epoch-0010.png" and figure.stat().st_size > 10_000


def test_figures_of_images_and_of_pixels_that_are_masked(rng) -> None:
    x = rng.normal(size=(3, 2, 6, 7, 1)).astype("float32")
    model = SymAE((6, 7, 1), 2, 2, encoder=DenseEncoder(8, units=()), seed=0)
    assert len(plot_model_redatuming(model, GroupedData(x)).axes) >= 6
    x, good = x[..., :2, :, 0].reshape(3, 2, 14), rng.random((3, 2, 14)) < 0.8
    model = SymAE((14,), 2, 2, encoder=DenseEncoder(8, units=()), seed=0)
    figure = plot_model_redatuming(model, GroupedData(x, pixel_mask=good))
    lines = [line.get_ydata() for axes in figure.axes for line in axes.get_lines()]
    assert any(np.isnan(np.asarray(line, "float64")).any() for line in lines)


def test_measured_groups_have_an_estimate(groups) -> None:
    measured = dataclasses.replace(groups, render=None, state={}, nuisance={})
    model = _model(groups)
    history = _fit(model, groups, RedatumMonitor(measured)).history
    found = {"loss", "val_reconstruction_error", "val_estimated_redatuming_error"}
    assert set(history) == found
    expected = reconstruction_error(model, groups)
    assert history["val_reconstruction_error"] == pytest.approx([expected])
    expected = estimate_redatuming_error(model, measured, n_donors=2)
    assert history["val_estimated_redatuming_error"] == pytest.approx([expected])
    alone = measured.take_instances(slice(1))
    history = _fit(model, groups, RedatumMonitor(alone)).history
    assert set(history) == {"loss", "val_reconstruction_error"}
    with pytest.raises(InputError, match="give them a state or leave out leakage"):
        RedatumMonitor(measured, leakage=True)


@pytest.mark.usefixtures("short_probes")
def test_leakage_is_measured_if_asked() -> None:
    groups = simulate_exposures(n_states=30, n_instances=2, seed=0)
    model = _model(groups)
    history = _fit(model, groups, RedatumMonitor(groups, leakage=True)).history
    scores = leakage(model, groups)
    for name, part in (
        ("state", scores.state_from_nuisance),
        ("nuisance", scores.nuisance_from_coherent),
    ):
        expected = np.mean([max(score, 0.0) for score in part.values()])
        assert history[f"val_leakage_{name}"] == pytest.approx([expected], abs=1e-6)


def test_what_cannot_be_measured_is_refused(groups) -> None:
    with pytest.raises(ValueError, match="`every`.*every=0"):
        RedatumMonitor(groups, every=0)
    with pytest.raises(InputError, match="at least two groups to swap; received 1"):
        RedatumMonitor(simulate_exposures(n_states=1, n_instances=2, seed=0))
