"""Ada-GVAE, adversarial GVAE, contrastive encoder and SymVAE against closed forms."""

from __future__ import annotations

import itertools
import math

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras.evaluation import probe
from symae_keras.layers import DenseEncoder
from symae_keras.models import (
    AdaGVAE,
    AdversarialGVAE,
    ContrastiveEncoder,
    SymVAE,
)

WEIGHT = 0.3


def _encoder() -> keras.Layer:
    return DenseEncoder(8, units=(16,))


def _numpy(tensor) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(tensor))


def _kl(mean, variance, other_mean=0.0, other_variance=1.0):
    distance = (mean - other_mean) ** 2 / other_variance
    ratio = variance / other_variance
    return 0.5 * (ratio + distance - 1.0 - np.log(ratio))


def _part(variable) -> str:
    """Return the name of the part of the model that a variable belongs to."""
    first, second = variable.path.split("/")[:2]
    return first if first == "adversary" else second


def _fit(model, x) -> None:
    model.compile(keras.optimizers.Adam(5e-3), "mse", steps_per_execution=20)
    model.fit(x, x, batch_size=32, epochs=20, verbose=0)


def _explained(codes, target) -> float:
    """Return the share of the variance that a linear function of the codes explains."""
    design = np.c_[codes, np.ones(len(codes))]
    fitted = design @ np.linalg.lstsq(design, target, rcond=None)[0]
    return 1.0 - float((target - fitted).var() / target.var())


@pytest.fixture
def mixture(rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make two numbers per group and two per instance, and a mixture of them."""
    state, nuisance = rng.normal(size=(400, 1, 2)), rng.normal(size=(400, 4, 2))
    numbers = np.concatenate([state + 0.0 * nuisance, nuisance], axis=-1)
    x = numbers @ rng.normal(size=(4, 12))
    return x.astype("float32"), state[:, 0], nuisance


def _reached(tape, loss, variables) -> set[str]:
    gradients = tape.gradient(loss, variables)
    return {
        _part(variable)
        for variable, gradient in zip(variables, gradients, strict=True)
        if gradient is not None and np.abs(_numpy(gradient)).max() > 0.0
    }


# === Ada-GVAE ===


def _ada(**arguments) -> AdaGVAE:
    return AdaGVAE((12,), 5, _encoder(), kl_weight=WEIGHT, seed=0, **arguments)


def _between_pairs(mean, variance) -> np.ndarray:
    """Compute the mean divergence over the ordered pairs of one group in loops."""
    pairs = list(itertools.permutations(range(len(mean)), 2))
    divergences = [_kl(mean[s], variance[s], mean[t], variance[t]) for s, t in pairs]
    return np.mean(divergences, axis=0) if pairs else np.zeros(mean.shape[1])


@pytest.mark.jax
@pytest.mark.parametrize("masked", [False, True])
def test_shared_numbers_have_the_average_of_variances(masked, x, mask) -> None:
    """Variances are averaged, not log variances or deviations, which would differ."""
    model = _ada()
    kernel = model.head[-1].kernel
    kernel.assign(4.0 * kernel)  # make posteriors differ
    mask = mask if masked else np.ones((6, 4), bool)
    mean, log_variance = map(_numpy, model._posterior(ops.convert_to_tensor(x)))
    inputs = {"instances": x, "mask": mask} if masked else x

    averages = {
        "variance": lambda v: v.mean(axis=0),
        "deviation": lambda v: np.sqrt(v).mean(axis=0) ** 2,
        "log variance": lambda v: np.exp(np.log(v).mean(axis=0)),
    }
    total = dict.fromkeys(averages, 0.0)
    expected, n_pairs = np.zeros(5), 0
    for i, present in enumerate(mask):
        m, v = mean[i, present], np.exp(log_variance[i, present])
        divergence = _between_pairs(m, v)
        shared = divergence < 0.5 * (divergence.min() + divergence.max())
        if len(m) > 1:
            assert 0 < shared.sum() < 5
            expected, n_pairs = expected + divergence, n_pairs + 1
        for name, average in averages.items():
            mixed = np.where(shared, m.mean(axis=0), m)
            total[name] += _kl(mixed, np.where(shared, average(v), v)).sum()

    model(inputs, training=True)
    found = float(_numpy(model.losses[0])) / WEIGHT * mask.sum()
    assert found == pytest.approx(total.pop("variance"), rel=1e-4)
    assert all(abs(found - wrong) > 1e-3 * found for wrong in total.values())
    # The moving average took its first step.
    moved = _numpy(model.sharing.divergence)
    np.testing.assert_allclose(moved, 0.01 * expected / n_pairs, rtol=1e-3)
    assert model.shared.tolist() == (moved < 0.5 * (moved.min() + moved.max())).tolist()


@pytest.mark.jax
def test_groups_of_one_share_nothing(x) -> None:
    model = _ada()
    assert not model.shared.any()
    model(x[:, :1], training=True)
    assert not _numpy(model.sharing.divergence).any()
    mean, log_variance = map(_numpy, model._posterior(ops.convert_to_tensor(x[:, :1])))
    expected = WEIGHT * _kl(mean, np.exp(log_variance)).sum() / 6
    assert float(_numpy(model.losses[0])) == pytest.approx(expected, rel=1e-5)


@pytest.mark.jax
def test_equal_instances_have_no_divergence(x) -> None:
    model = _ada()
    model(np.repeat(x[:, :1], 4, axis=1), training=True)
    assert _numpy(model.sharing.divergence).max() < 1e-6


@pytest.mark.jax
def test_shared_numbers_are_swapped(x, mask) -> None:
    model = _ada()
    model.sharing.divergence.assign([0.1, 3.0, 0.2, 2.0, 0.3])
    assert model.shared.tolist() == [True, False, True, False, True]
    own = _numpy(model._posterior(ops.convert_to_tensor(x))[0])
    codes = model.encode(x, mask)
    coherent, nuisance = map(_numpy, codes)
    weights = mask[..., None] / mask.sum(axis=1)[:, None, None]
    filled = np.where(mask[..., None], x, 0.0).astype("float32")
    means = _numpy(model._posterior(ops.convert_to_tensor(filled))[0])
    average = (weights * means).sum(axis=1)
    np.testing.assert_allclose(coherent[:, ::2], average[:, ::2], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(coherent[:, 1::2], 0.0)
    np.testing.assert_array_equal(nuisance[..., ::2], 0.0)
    np.testing.assert_allclose(nuisance[mask][:, 1::2], own[mask][:, 1::2], rtol=1e-5)
    # The codes that `call` uses outside of training.
    inputs = {"instances": filled, "mask": mask}
    np.testing.assert_allclose(
        _numpy(model(inputs))[mask], _numpy(model.reconstruct(x, mask))[mask], atol=1e-6
    )
    virtual = _numpy(model.redatum(x[:3], x[3:]))
    code = np.where(
        model.shared, _numpy(model.encode(x[:3]).coherent)[:, None], own[3:]
    )
    expected = _numpy(model._denormalize(model.instance_decoder(code)))
    np.testing.assert_allclose(virtual, expected, atol=1e-6)


@pytest.mark.jax
def test_the_order_of_instances_does_not_matter(x) -> None:
    one, other = _ada(), _ada()
    other.set_weights(one.get_weights())
    one(x, training=True)
    other(x[:, ::-1], training=True)
    first, second = (_numpy(each.sharing.divergence) for each in (one, other))
    np.testing.assert_allclose(first, second, rtol=1e-4)
    losses = [float(_numpy(each.losses[0])) for each in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.large
def test_finds_out_what_groups_share(mixture) -> None:
    x, state, nuisance = mixture
    model = AdaGVAE((12,), 6, keras.layers.Dense(16), kl_weight=0.01, seed=0)
    _fit(model, x)
    coherent, own = map(_numpy, model.encode(x))
    own = own.reshape(-1, 6)
    assert 0 < model.shared.sum() < 6
    assert _explained(coherent, state) > 0.9
    assert _explained(own, np.repeat(state, 4, axis=0)) < 0.2
    assert _explained(own, nuisance.reshape(-1, 2)) > 0.3


# === Adversarial GVAE ===


def _adversarial(units=(), weight=0.5) -> AdversarialGVAE:
    return AdversarialGVAE((12,), 3, 2, _encoder(), None, WEIGHT, weight, units, seed=0)


KERNEL = np.float32([[0.7], [-0.4], [0.2], [1.3], [-0.8]])
BIAS = np.float32([0.3])


def _linear_adversary(weight=0.5):
    model = _adversarial(weight=weight)
    model.adversary.discriminator[-1].kernel.assign(KERNEL)
    model.adversary.discriminator[-1].bias.assign(BIAS)
    return model.adversary


def _pairs(means, codes, mask):
    """Compute pairs of the same group and of different groups in loops."""
    same, other, places = [], [], []
    groups, instances = mask.shape
    for i, t in itertools.product(range(groups), range(instances)):
        rest = [s for s in range(instances) if s != t and mask[i, s]]
        before = [s for s in range(instances) if s != t and mask[i - 1, s]]
        if mask[i, t] and mask[i - 1, t] and rest and before:
            same.append(np.r_[means[i, rest].mean(axis=0), codes[i, t]])
            other.append(np.r_[means[i - 1, before].mean(axis=0), codes[i, t]])
            places.append((i, t))
    return np.array(same), np.array(other), places


def _sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


@pytest.mark.jax
@pytest.mark.parametrize("masked", [False, True])
def test_cross_entropy_of_pairs(masked, rng, mask) -> None:
    means = rng.normal(size=(6, 4, 3)).astype("float32")
    codes = rng.normal(size=(6, 4, 2)).astype("float32")
    mask = mask if masked else np.ones((6, 4), bool)
    layer = _linear_adversary()
    out = layer((means, codes), mask=mask if masked else None)
    np.testing.assert_array_equal(_numpy(out), codes)
    same, other, _ = _pairs(means, codes, mask)
    right = np.r_[_sigmoid(same @ KERNEL + BIAS), 1.0 - _sigmoid(other @ KERNEL + BIAS)]
    expected = -np.log(right).mean()
    assert float(_numpy(layer.losses[0])) == pytest.approx(expected, rel=1e-5)


@pytest.mark.jax
def test_log_2_when_no_pair_is_told_apart(x) -> None:
    model = _adversarial((4,))
    last = model.adversary.discriminator[-1]
    last.kernel.assign(np.zeros((4, 1)))
    model.compile(loss="mse", run_eagerly=True)
    logs = model.test_on_batch(x, x, return_dict=True)
    assert logs["adversary_loss"] == pytest.approx(math.log(2.0), rel=1e-5)
    # A single group is its own neighbour, and single instances have no others.
    last.kernel.assign(np.ones((4, 1)))
    logs = model.test_on_batch(x[:, :1], x[:, :1], return_dict=True)
    assert logs["adversary_loss"] == 0.0


@pytest.mark.parametrize("weight", [0.0, 0.5, 10.0])
def test_gradients_of_codes_and_discriminator(weight, rng, tf) -> None:
    """Codes get the gradient of exchanged pairs; the discriminator that of its loss."""
    means = tf.constant(rng.normal(size=(5, 3, 3)).astype("float32"))
    codes = tf.constant(rng.normal(size=(5, 3, 2)).astype("float32"))
    layer = _linear_adversary(weight)
    with tf.GradientTape() as tape:
        tape.watch([means, codes])
        layer((means, codes))
        loss = layer.losses[0]
    kernel = layer.discriminator[-1].kernel
    gradients = tape.gradient(loss, [means, codes, kernel.value])
    assert gradients[0] is None  # group codes get no gradient from it
    same, other, places = _pairs(means.numpy(), codes.numpy(), np.ones((5, 3), bool))
    of_same, of_other = same @ KERNEL + BIAS, other @ KERNEL + BIAS
    slopes = 0.5 * (_sigmoid(of_same) - _sigmoid(-of_other)) / len(places)
    expected = np.zeros((5, 3, 2))
    for place, slope in zip(places, slopes, strict=True):
        expected[place] = weight * slope * KERNEL[3:, 0]
    np.testing.assert_allclose(gradients[1], expected, rtol=1e-4, atol=1e-8)
    slopes = 0.5 * (other.T @ _sigmoid(of_other) - same.T @ _sigmoid(-of_same))
    np.testing.assert_allclose(gradients[2], slopes / len(places), rtol=1e-4, atol=1e-6)


def test_the_adversary_reaches_the_nuisance_encoder_alone(x, tf) -> None:
    model = _adversarial((4,))
    with tf.GradientTape() as tape:
        model(x, training=True)
        (loss,) = model.adversary.losses
    parts = _reached(tape, loss, model.trainable_variables)
    assert "nuisance_encoder" in parts and "adversary" in parts
    assert not parts & {"coherent_encoder", "instance_decoder", "coherent_hidden"}


@pytest.mark.large
def test_cleans_the_nuisance_codes(mixture) -> None:
    """Without the adversary, codes of instances encode what groups share."""
    x, state, _ = mixture

    def state_in_nuisance(weight: float) -> float:
        keras.utils.set_random_seed(0)
        model = AdversarialGVAE(
            *((12,), 2, 4, keras.layers.Dense(16), None, 1e-4, weight), seed=0
        )
        _fit(model, x)
        codes = _numpy(model.encode(x).nuisance).reshape(-1, 4)
        return _explained(codes, np.repeat(state, 4, axis=0))

    assert state_in_nuisance(0.3) < state_in_nuisance(0.0) - 0.2


# === Contrastive encoder ===


def _contrastive(**arguments) -> ContrastiveEncoder:
    arguments = {"temperature": 0.5, **arguments}
    return ContrastiveEncoder((12,), 3, 2, _encoder(), seed=0, **arguments)


def _info_nce(vectors, mask, temperature) -> float:
    """Compute the formula of the docstring, term by term."""
    views = {}
    for i, present in enumerate(mask):
        places = np.flatnonzero(present)
        for k, half in enumerate((places[::2], places[1::2])):
            if len(half):
                total = vectors[i, half].sum(axis=0)
                views[i, k] = total / np.linalg.norm(total)
    of_views = []
    for (i, k), view in views.items():
        weights = {
            name: np.exp(view @ other / temperature)
            for name, other in views.items()
            if name != (i, k)
        }
        if (i, 1 - k) in weights:
            of_views.append(-np.log(weights[i, 1 - k] / sum(weights.values())))
    return float(np.mean(of_views))


@pytest.mark.jax
@pytest.mark.parametrize("masked", [False, True])
def test_info_nce_equals_its_formula(masked, x, mask) -> None:
    model = _contrastive()
    mask = mask if masked else np.ones((6, 4), bool)
    vectors = _numpy(model._directions(ops.convert_to_tensor(x))).astype("float64")
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1.0, rtol=1e-5)
    model({"instances": x, "mask": mask} if masked else x)
    expected = _info_nce(vectors, mask, 0.5)
    assert float(_numpy(model.losses[0])) == pytest.approx(expected, rel=1e-4)


@pytest.mark.jax
def test_info_nce_of_known_vectors() -> None:
    """Groups of equal views are at right angles to each other."""
    layer, both = _contrastive(temperature=0.5).contrast, np.ones((3, 2), bool)
    views = np.repeat(np.eye(3, dtype="float32")[:, None], 2, axis=1)
    layer(views, mask=both)
    expected = math.log(1.0 + 4.0 * math.exp(-2.0))
    assert float(_numpy(layer.losses[0])) == pytest.approx(expected, rel=1e-5)
    layer(np.ones((3, 2, 3), "float32") / math.sqrt(3.0), mask=both)  # all equal
    assert float(_numpy(layer.losses[0])) == pytest.approx(math.log(5.0), rel=1e-5)
    layer(views, mask=both & [True, False])  # no positives
    assert float(_numpy(layer.losses[0])) == 0.0


def test_each_loss_reaches_its_own_networks(x, tf) -> None:
    model = _contrastive()
    model.compile(loss="mse")
    variables = model.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        decoded = model(x, training=True)
        (contrastive,) = model.losses
        reconstruction = model.compute_loss(x, x, decoded) - contrastive
    of_contrast = _reached(tape, contrastive, variables)
    of_decoder = _reached(tape, reconstruction, variables)
    assert not of_contrast & of_decoder
    assert of_contrast == {"coherent_encoder", "coherent_hidden", "coherent_code"}
    assert {"nuisance_encoder", "instance_decoder"} <= of_decoder
    assert of_contrast | of_decoder == {_part(each) for each in variables}


@pytest.mark.jax
def test_the_coherent_code_is_the_mean_direction(x, mask) -> None:
    model = _contrastive()
    vectors = _numpy(model._directions(ops.convert_to_tensor(x)))
    total = np.where(mask[..., None], vectors, 0.0).sum(axis=1)
    expected = total / np.linalg.norm(total, axis=-1, keepdims=True)
    found = _numpy(model.encode(x, mask).coherent)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    nothing = model.encode(x, np.zeros((6, 4), bool)).coherent
    np.testing.assert_array_equal(_numpy(nothing), 0.0)


@pytest.mark.large
def test_identifies_the_state(mixture) -> None:
    """The code predicts the state of new groups, but not their mean nuisance."""
    x, state, nuisance = mixture
    model = ContrastiveEncoder((12,), 4, 3, DenseEncoder(16, units=(64,)), seed=0)
    _fit(model, np.tanh(x[:300] / 2))
    codes = _numpy(model.encode(np.tanh(x / 2)).coherent)
    parts, mean = (codes[:300], codes[300:]), nuisance.mean(axis=1)
    assert probe(parts, (state[:300], state[300:])) > 0.7
    assert probe(parts, (mean[:300], mean[300:])) < 0.2


# === SymVAE ===


def _symvae() -> SymVAE:
    return SymVAE((12,), 3, 2, _encoder(), kl_weight=WEIGHT, seed=0)


@pytest.mark.jax
@pytest.mark.parametrize("masked", [False, True])
def test_divergence_of_instances_from_their_group(masked, x, mask) -> None:
    model = _symvae()
    mask = mask if masked else np.ones((6, 4), bool)
    head = _numpy(model._gaussians(ops.convert_to_tensor(x))[0])
    mean, variance = head[0], np.exp(head[1])
    precision = (mask[..., None] / variance).sum(axis=1, keepdims=True)
    center = (mask[..., None] * mean / variance).sum(axis=1, keepdims=True) / precision
    expected = _kl(center, 1.0 / precision, mean, variance).sum(axis=-1)
    found = _numpy(model.instance_divergence(x, mask if masked else None))
    np.testing.assert_allclose(found[mask], expected[mask], rtol=1e-3, atol=1e-5)
    alone = _numpy(model.instance_divergence(x[:, :1]))
    np.testing.assert_allclose(alone, 0.0, atol=1e-5)


@pytest.mark.jax
def test_the_best_nuisance_shows_the_state_better(x) -> None:
    model = _symvae()
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign_add(0.3 * rng.normal(size=weight.shape))
    before = [_numpy(each) for each in model.get_weights()]
    coherent, start = model.encode(x)

    def divergence(nuisance) -> float:
        virtual = model.decode(coherent, nuisance)
        mean, log_variance = map(_numpy, model.group_posterior(x))
        each = _numpy(model._gaussians(model._clean(virtual, None)[0])[0])
        others = mean[:, None], np.exp(log_variance)[:, None]
        return float(_kl(*others, each[0], np.exp(each[1])).sum())

    found = model.optimize_nuisance(x, x, steps=30, learning_rate=0.05)
    assert found.shape == start.shape
    assert divergence(found) < 0.9 * divergence(start)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, _numpy(other))


def test_sparse_virtual_instances(x) -> None:
    model = _symvae()
    coherent = model.encode(x).coherent

    def size(sparsity) -> float:
        found = model.optimize_nuisance(x, x, steps=20, sparsity=sparsity)
        virtual = _numpy(model.decode(coherent, found))
        virtual = virtual - virtual.mean(axis=-1, keepdims=True)
        return float(np.abs(virtual / virtual.std(axis=-1, keepdims=True)).mean())

    assert size(100.0) < size(0.0) - 1e-3


@pytest.mark.jax
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"steps": 0}, "`steps`. Expected a positive integer"),
        ({"learning_rate": 0.0}, "`learning_rate`"),
        ({"sparsity": -1.0}, "`sparsity`"),
        ({"nuisance_from": np.zeros((2, 1, 12))}, "same number of groups. .*6 and 2"),
    ],
)
def test_arguments_of_the_search(arguments, sentence, x) -> None:
    with pytest.raises(ValueError, match=sentence):
        _symvae().optimize_nuisance(
            **{"coherent_from": x, "nuisance_from": x, **arguments}
        )
