"""Tools of Keras and related packages, used as in their documentation."""

from __future__ import annotations

import importlib.util

import keras
import numpy as np
import pytest

from symae_keras.data import simulate_exposures
from symae_keras.layers import DenseEncoder
from symae_keras.models import VAE, SymAE

X = simulate_exposures(n_states=8, n_instances=3, seed=0).x[:, :, ::8]


def build(**changed) -> SymAE:
    keras.utils.set_random_seed(0)
    encoder = DenseEncoder(8, units=(16,))
    return SymAE(**{"instance_shape": (32,), "encoder": encoder, "seed": 0, **changed})


def compiled(rate: float = 0.01, **options) -> SymAE:
    model = build()
    model.compile(keras.optimizers.Adam(rate), "mse", **options)
    return model


def numbers(tensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


def losses(model: SymAE, *callbacks, epochs: int = 2) -> list[float]:
    options = {"batch_size": 2, "shuffle": False, "verbose": 0}
    history = model.fit(X, X, epochs=epochs, callbacks=callbacks, **options)
    return history.history["loss"]


# === Callbacks ===


@pytest.mark.large
def test_backup_and_restore(tmp_path) -> None:
    """Epoch, weights and Adam's moments are restored."""

    class PowerCut(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    first = compiled(run_eagerly=True)
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        losses(first, backup, PowerCut(), epochs=4)
    second, seen = compiled(run_eagerly=True), {}

    class Resumed(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            state = [*self.model.get_weights(), *self.model.optimizer.variables]
            seen.setdefault(epoch, [numbers(each) for each in state])

    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    assert len(losses(second, backup, Resumed(), epochs=4)) == 2
    assert list(seen) == [2, 3] and not (tmp_path / "backup").exists()
    state = [*first.get_weights(), *first.optimizer.variables]
    kept = [each for each in state if keras.backend.is_float_dtype(str(each.dtype))]
    found = [each for each in seen[2] if each.dtype.kind == "f"]
    assert len(kept) == len(found) > 40
    for one, other in zip(found, kept, strict=True):
        np.testing.assert_array_equal(one, numbers(other))


@pytest.mark.large
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_with_the_graph(tmp_path, tf) -> None:
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    model = compiled(run_eagerly=True)
    board = keras.callbacks.TensorBoard(tmp_path, histogram_freq=1)
    expected = losses(model, board)
    # Keras 3 does not write graphs (`write_graph`), but TensorFlow does.
    graph = tf.function(model).get_concrete_function(X).graph
    with tf.summary.create_file_writer(str(tmp_path / "train")).as_default():
        tf.summary.graph(graph)
    found = events.EventAccumulator(str(tmp_path / "train")).Reload()
    nodes = [node.name for node in found.Graph().node]
    assert any("coherent_encoder" in name for name in nodes)
    tags = found.Tags()["tensors"]
    assert any("nuisance_code/kernel" in tag for tag in tags)
    logged = [tf.make_ndarray(e.tensor_proto) for e in found.Tensors("epoch_loss")]
    assert logged == pytest.approx(expected)


# === Training ===


@pytest.mark.large
def test_steps_per_execution() -> None:
    one, four = compiled(), compiled(steps_per_execution=4)
    assert losses(four) == pytest.approx(losses(one), rel=1e-5)


@pytest.mark.large
def test_jit_compile(tf) -> None:
    """XLA draws different noise; a step without noise is the same."""
    plain, jit = compiled(), compiled(jit_compile=True)
    before, after = losses(jit, epochs=4)[::3]
    assert after < before
    plain.set_weights(jit.get_weights())
    assert jit.evaluate(X, X, verbose=0) == pytest.approx(
        plain.evaluate(X, X, verbose=0), rel=1e-4
    )


def test_gradient_accumulation() -> None:
    """Two half batches give the same update as the whole batch."""
    x = np.repeat(X[:4], 2, axis=0)[:, :1]  # except for noise, both halves are equal
    found = []
    for steps, parts in ((None, [x]), (2, [x[::2], x[1::2]])):
        model = build(nuisance_noise=keras.layers.Identity())
        optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=steps)
        model.compile(optimizer, "mse", run_eagerly=True)
        start = model.get_weights()
        for k, part in enumerate(parts):
            if k:  # nothing moves before the last part
                for one, other in zip(model.get_weights(), start, strict=True):
                    np.testing.assert_array_equal(one, other)
            model.train_on_batch(part, part)
        found.append(numbers(model.reconstruct(X)))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-6)


@pytest.mark.large
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Skipping variable loading:UserWarning")
def test_keras_tuner(tmp_path) -> None:
    tuner = pytest.importorskip("keras_tuner")

    def hypermodel(hp):
        strength = hp.Float("noise_strength", 0.1, 1.0)
        model = build(coherent_dim=hp.Int("size", 2, 4), noise_strength=strength)
        model.compile("adam", "mse", run_eagerly=True)
        return model

    search = tuner.RandomSearch(
        hypermodel, "val_loss", max_trials=2, directory=str(tmp_path), seed=0
    )
    search.search(X[:6], X[:6], validation_data=(X[6:], X[6:]), epochs=1, verbose=0)
    best = search.get_best_models()[0]
    values = search.get_best_hyperparameters()[0].values
    assert (best.coherent_dim, best.noise_strength) == tuple(
        values[key] for key in ("size", "noise_strength")
    )
    assert len(search.oracle.trials) == 2


# === Models ===


def test_clone_model() -> None:
    model = build(coherent_dim=3)
    clone = keras.models.clone_model(model)
    assert clone.coherent_dim == 3 and clone is not model
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(
        numbers(clone.reconstruct(X)), numbers(model.reconstruct(X))
    )


def test_summary() -> None:
    lines: list[str] = []
    model = build()
    model.summary(print_fn=lambda line, **_: lines.append(line))
    text = "\n".join(lines)
    assert "coherent_encoder (PerInstance)" in text
    assert f"Total params: {model.count_params():,}" in text


def test_plot_model() -> None:
    """Test the model as a graph; drawing it needs the program dot."""
    pytest.importorskip("pydot")
    dot = keras.utils.model_to_dot(build(name="symae"), show_shapes=True)
    assert "<b>symae</b> (SymAE)" in dot.to_string()


#: Flatten, Standardization and similar layers have nothing to quantize, and warn.
not_all_layers = pytest.mark.filterwarnings("ignore:.*`quantize` method:UserWarning")


@not_all_layers
@pytest.mark.large
@pytest.mark.parametrize("kind", [SymAE, VAE])
def test_quantisation_to_int8(kind, tmp_path) -> None:
    model = build() if kind is SymAE else VAE((32,), code_dim=3, seed=0)
    x = X if kind is SymAE else X[:, 0]
    expected, size = numbers(model.reconstruct(x)), model.count_params()
    model.quantize("int8")
    found = numbers(model.reconstruct(x))
    assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    dtypes = {str(each.dtype) for each in model.weights if len(each.shape) == 2}
    assert "int8" in dtypes
    path = tmp_path / "int8.keras"
    model.save(path)
    again = keras.saving.load_model(path)
    np.testing.assert_array_equal(numbers(again.reconstruct(x)), found)
    kernels = sum(
        4 * np.prod(each.shape) for each in again.weights if "int8" in str(each.dtype)
    )
    assert kernels > 3 * size


@pytest.mark.large
def test_lora_on_dense_layers(tmp_path) -> None:
    """Fine-tune a trained model on new data with few parameters."""
    model = build()
    before = numbers(model.reconstruct(X))
    parts = [
        each for each in model._flatten_layers() if type(each) is keras.layers.Dense
    ]
    kernels = {id(each): numbers(each._kernel) for each in parts}
    for each in parts:
        each.enable_lora(rank=2)
    np.testing.assert_array_equal(numbers(model.reconstruct(X)), before)
    model.compile("adam", "mse", run_eagerly=True)
    losses(model)
    assert np.abs(numbers(model.reconstruct(X)) - before).max() > 0
    for each in parts:
        np.testing.assert_array_equal(numbers(each._kernel), kernels[id(each)])
    model.save(tmp_path / "lora.keras")
    again = keras.saving.load_model(tmp_path / "lora.keras", compile=False)
    np.testing.assert_allclose(
        numbers(again.reconstruct(X)), numbers(model.reconstruct(X)), atol=1e-6
    )


def test_tools_are_those_of_the_dev_extra() -> None:
    """Check that the tests above are not skipped everywhere."""
    if importlib.util.find_spec("xdist") is None:
        pytest.skip("the dev extra is not installed")
    for name in ("keras_tuner", "pydot", "tensorboard"):
        assert importlib.util.find_spec(name) is not None, name
