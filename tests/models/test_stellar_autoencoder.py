"""The architecture of the paper, the effect of medians, and the quality of codes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from conformance import silence_decoder
from keras import ops

from symae_keras.data import simulate_exposures
from symae_keras.layers import Standardization
from symae_keras.losses import RelativeMeanAbsoluteError
from symae_keras.models import LatentMeanSwap, StellarAutoencoder

PIXELS = 60


@pytest.fixture
def spectra(rng) -> np.ndarray:
    """Make ten spectra of different brightness."""
    return rng.uniform(0.5, 1.5, (10, PIXELS)) * np.logspace(-1, 2, 10)[:, None]


def _tiny(**arguments) -> StellarAutoencoder:
    return StellarAutoencoder((PIXELS,), code_dim=3, seed=0, **arguments)


def _arrays(tensors) -> list[np.ndarray]:
    return [ops.convert_to_numpy(each) for each in keras.tree.flatten(tensors)]


# === Architecture ===


@pytest.mark.jax
def test_the_network_of_the_paper() -> None:
    model = StellarAutoencoder((327_680,), kl_weight=1e-3)
    encoder, decoder = model.instance_encoder, model.instance_decoder
    channels = [16] * 3 + [32] * 3 + [64] * 3 + [128] * 3 + [256, 512, 512]
    shape, maps, kernels, strides = (None, 327_680, 1), [], [], []
    slopes = set()
    for layer in encoder.chain:
        shape = layer.compute_output_shape(shape)
        if isinstance(layer, keras.layers.Conv1D):
            maps.append(shape[1:])
            kernels += layer.kernel_size
            strides += layer.strides
        elif isinstance(layer, keras.layers.LeakyReLU):
            slopes.add(layer.negative_slope)
    assert slopes == {0.1}
    assert [each[1] for each in maps] == channels
    assert maps[-1] == (20, 512)
    assert model.maps == tuple(maps)
    assert kernels == [7, 5, 5] + [3] * 12
    assert strides == [2] * 14 + [1]

    def convolutions(one: int, many: list[int]) -> int:
        """Return the weights of kernels and biases."""
        before = [one, *many[:-1]]
        return sum(k * a * b + b for k, a, b in zip(kernels, before, many, strict=True))

    latents = 128
    head = 20 * 512 * 2 * latents + 2 * latents
    assert encoder.count_params() == convolutions(1, channels) + head
    kernels.reverse()
    stem = latents * 20 * 512 + 20 * 512
    assert decoder.count_params() == stem + convolutions(512, [*channels[-2::-1], 1])
    assert model.code_shape == (latents,)
    assert model.compute_output_shape((None, 327_680)) == (None, 327_680)


@pytest.mark.parametrize(
    ("pixels", "channels", "last"),
    [
        (4096, [16, 16, 32, 32, 64, 128, 128, 256, 512], 16),
        (2048, [16, 16, 32, 64, 64, 128, 256, 512], 16),
        (256, [16, 32, 64, 128, 512], 16),
        (40, [16, 512], 20),
        (7, [16, 512], 4),
    ],
)
def test_depth_follows_the_length(pixels, channels, last) -> None:
    maps = StellarAutoencoder((pixels,), code_dim=2).maps
    assert [each[1] for each in maps] == channels
    assert maps[-1][0] == maps[-2][0] == last


@pytest.mark.parametrize("pixels", range(29, 4000, 397))
def test_about_twenty_pixels_are_left(pixels) -> None:
    assert 14 <= StellarAutoencoder((pixels,), code_dim=2).maps[-1][0] <= 29


def test_the_forms_differ_by_the_posterior_alone(spectra) -> None:
    plain, variational = _tiny(), _tiny(kl_weight=1e-3)
    shapes = [
        [tuple(weight.shape) for weight in model.trainable_weights]
        for model in (plain, variational)
    ]
    differing = [pair for pair in zip(*shapes, strict=True) if pair[0] != pair[1]]
    assert [pair[1][-1] for pair in differing] == [6, 6]  # kernel and bias of the head
    assert plain.sampling is None
    mean, log_variance = variational.posterior(spectra)
    assert mean.shape == log_variance.shape == (10, 3)
    np.testing.assert_array_equal(*_arrays([mean, variational.encode(spectra)]))
    with pytest.raises(ValueError, match="give the model a `kl_weight`"):
        plain.posterior(spectra)


# === Medians ===


@pytest.mark.jax
@pytest.mark.parametrize("masked", [False, True])
def test_outputs_are_as_bright_as_inputs(spectra, masked, rng) -> None:
    """A decoder output of 0 gives the median of good pixels, in data units."""
    good = rng.random(spectra.shape) < 0.6
    mask = good if masked else None
    expected = np.median(spectra, axis=1)
    if masked:
        expected = [np.median(x[m]) for x, m in zip(spectra, good, strict=True)]
        spectra = np.where(good, spectra, np.nan)
    model = _tiny()
    code, brighter = _arrays([model.encode(k * spectra, mask) for k in (1.0, 1e-17)])
    np.testing.assert_allclose(brighter, code, atol=1e-6)
    silence_decoder(model)
    expected = np.broadcast_to(np.reshape(expected, (10, 1)), (10, PIXELS))
    inputs = {"instances": spectra, "mask": mask} if masked else spectra
    for output in _arrays([model.reconstruct(spectra, mask), model(inputs)]):
        np.testing.assert_allclose(output, expected, rtol=1e-6)
    (decoded,) = _arrays([model.decode(code)])
    np.testing.assert_array_equal(decoded, np.ones((10, PIXELS)))


def test_a_spectrum_without_good_pixels_is_harmless(spectra) -> None:
    good = np.ones(spectra.shape, bool)
    good[3] = False
    model = _tiny(kl_weight=1.0)
    model.compile("sgd", "mae")
    spectra[3] = np.nan
    loss = model.train_on_batch({"instances": spectra, "mask": good}, spectra)
    assert np.isfinite(loss).all()
    (code,) = _arrays([model.encode(spectra, good)])
    assert np.isfinite(code).all()


@pytest.mark.parametrize("loss", ["mae", "mse", "weighted"])
def test_the_loss_does_not_depend_on_brightness(loss, spectra, rng) -> None:
    """The loss is that of spectra over their medians, also with pixel weights."""
    model, weights = _tiny(), None
    (decoded,) = _arrays([model.decode(model.encode(spectra))])
    difference = decoded - spectra / np.median(spectra, axis=1, keepdims=True)
    expected = np.abs(difference) ** (2 if loss == "mse" else 1)
    if loss == "weighted":
        loss, weights = RelativeMeanAbsoluteError(), rng.uniform(size=spectra.shape)
        expected = weights * expected
    model.compile("sgd", loss)
    for units in (1.0, 1e-17, 1e6):
        x = spectra * units
        found = model.evaluate(x, x, sample_weight=weights, verbose=0)
        assert found == pytest.approx(np.mean(expected), rel=1e-5)


def test_brightness_can_stay_in_the_code(spectra) -> None:
    """With another normalisation, the model behaves like other models."""
    x = spectra.astype("float32")
    layer = Standardization.of(x[:, None])
    model = _tiny(normalization=layer)
    silence_decoder(model)
    (code, other) = _arrays([model.encode(x), model.encode(2.0 * x)])
    assert np.abs(code - other).max() > 1e-3
    (decoded,) = _arrays([model.decode(code)])
    np.testing.assert_allclose(decoded, np.tile(layer.mean, (10, 1)), rtol=1e-6)


def test_swaps_of_codes_would_lose_the_brightness() -> None:
    with pytest.raises(ValueError, match="do not encode brightness"):
        LatentMeanSwap(_tiny())
    LatentMeanSwap(_tiny(normalization=None))


# === Quality ===


@pytest.mark.large
def test_its_code_tells_more_than_as_many_principal_components(optimised) -> None:
    """Held-out stars have 256 pixels; velocities curve the planes that PCA assumes."""
    from sklearn.decomposition import PCA

    from symae_keras.evaluation import in_batches, probe_labels

    stars, held_out = (
        simulate_exposures(n, 1, seed, excitation=1.0, nuisances=("slope", "velocity"))
        for n, seed in ((1500, 0), (500, 1))
    )
    x, y = stars.x[:, 0], held_out.x[:, 0]
    keras.utils.set_random_seed(0)
    model = StellarAutoencoder((256,), code_dim=8)
    steps = 8 * 47
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps, alpha=0.01)
    model.compile(keras.optimizers.Adam(rate), "mse")
    model.fit(x, x, batch_size=32, epochs=8, verbose=0)

    shape_x, shape_y = (
        each / np.median(each, axis=1, keepdims=True) for each in (x, y)
    )
    pca = PCA(8, random_state=0).fit(shape_x)
    truth = [
        {k: groups.state[k] for k in ("temperature", "abundance")}
        for groups in (stars, held_out)
    ]
    codes = [
        (pca.transform(shape_x), pca.transform(shape_y)),
        (in_batches(model.encode, x), in_batches(model.encode, y)),
    ]
    linear, network = (probe_labels(each, truth, linear=True) for each in codes)
    for name, score in network.items():
        assert score > linear[name] + 0.05, (name, score, linear[name])
