"""Max pooling with indices and max unpooling compared with slow loops; gradients."""

from __future__ import annotations

from itertools import product

import keras
import numpy as np
import pytest
from keras import ops

from symae_keras import layers

POOLING = {1: layers.MaxPoolingWithIndices1D, 2: layers.MaxPoolingWithIndices2D}
UNPOOLING = {1: layers.MaxUnpooling1D, 2: layers.MaxUnpooling2D}


# === Slow references ===


def _axis(size, pool_size, stride, padding):
    """Return the positions that each window of an axis covers."""
    if padding == "valid":
        starts = range(0, size - pool_size + 1, stride)
    else:
        count = -(-size // stride)
        total = max((count - 1) * stride + pool_size - size, 0)
        starts = [i * stride - total // 2 for i in range(count)]
    return [[p for p in range(s, s + pool_size) if 0 <= p < size] for s in starts]


def _slow_pooling(x, pool_size, strides, padding):
    """Compute maxima and flat positions, one window at a time."""
    sizes = x.shape[1:-1]
    arguments = zip(sizes, pool_size, strides, strict=True)
    axes = [_axis(*each, padding) for each in arguments]
    shape = (len(x), *map(len, axes), x.shape[-1])
    maxima, indices = np.empty(shape, x.dtype), np.empty(shape, "int32")
    for row, channel in product(range(len(x)), range(x.shape[-1])):
        for window in product(*(range(len(axis)) for axis in axes)):
            covered = product(*(a[w] for a, w in zip(axes, window, strict=True)))
            place = (row, *window, channel)
            best = None
            for position in covered:
                value = x[(row, *position, channel)]
                if best is None or value > best:
                    best = value
                    indices[place] = np.ravel_multi_index(position, sizes)
            maxima[place] = best
    return maxima, indices


def _slow_unpooling(values, indices, sizes):
    """Assign one value after the other."""
    y = np.zeros((len(values), int(np.prod(sizes)), values.shape[-1]), values.dtype)
    for row, channel in product(range(len(values)), range(values.shape[-1])):
        for window in np.ndindex(values.shape[1:-1]):
            place = (row, *window, channel)
            y[row, indices[place], channel] = values[place]
    return y.reshape((len(values), *sizes, values.shape[-1]))


def _drawn(case):
    """Return shape, arguments and data of one of the random cases."""
    rng = np.random.default_rng(case)
    rank = int(rng.integers(1, 3))
    pool_size = tuple(int(n) for n in rng.integers(1, 4, rank))
    strides = tuple(int(n) for n in rng.integers(1, 4, rank))
    padding = ["valid", "same"][int(rng.integers(2))]
    smallest = pool_size if padding == "valid" else (1,) * rank
    sizes = tuple(int(n + rng.integers(0, 7)) for n in smallest)
    shape = (int(rng.integers(1, 4)), *sizes, int(rng.integers(1, 4)))
    x = rng.normal(size=shape)
    if rng.random() < 0.5:  # few different values, so many are equal
        x = rng.integers(-2, 2, shape)
    return x.astype("float32"), pool_size, strides, padding, rng


def _layers(pool_size, strides, padding="valid", **kwargs):
    rank = len(pool_size)
    arguments = {"pool_size": pool_size, "strides": strides, "padding": padding}
    return POOLING[rank](**arguments, **kwargs), UNPOOLING[rank](**arguments, **kwargs)


def _compiled(function):
    """Compile all operations together; JAX would compile each for each shape."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


# === Numbers ===


@pytest.mark.jax
@pytest.mark.parametrize("start", range(0, 100, 20))
def test_both_equal_slow_loops(start) -> None:
    for case in range(start, start + 20):
        x, pool_size, strides, padding, rng = _drawn(case)
        sizes = x.shape[1:-1]
        pooling, unpooling = _layers(pool_size, strides, padding)
        expected, places = _slow_pooling(x, pool_size, strides, padding)
        # Other values than the maxima, so that the last overlapping window matters.
        values = rng.normal(size=expected.shape).astype("float32")

        @_compiled
        def both(x, values, pooling=pooling, unpooling=unpooling, sizes=sizes):
            maxima, indices = pooling(x)
            return maxima, indices, unpooling((values, indices), output_size=sizes)

        maxima, indices, y = both(x, values)
        assert keras.backend.standardize_dtype(indices.dtype) == "int32"
        message = f"case {case}"
        np.testing.assert_array_equal(maxima, expected, message)
        np.testing.assert_array_equal(indices, places, message)
        again = _slow_unpooling(values, places, sizes)
        np.testing.assert_array_equal(y, again, message)


@pytest.mark.jax
def test_the_random_cases_are_of_every_kind() -> None:
    drawn = [_drawn(case)[:4] for case in range(100)]
    kinds = set()
    for x, pool_size, strides, padding in drawn:
        pairs = list(zip(pool_size, strides, strict=True))
        kinds |= {("rank", len(pool_size)), ("padding", padding)}
        kinds |= {("overlap", k > s) for k, s in pairs}
        kinds |= {("gap", k < s) for k, s in pairs}
        kinds |= {("odd", n % 2) for n in x.shape[1:-1]}
        kinds |= {("ties", np.array_equal(x, np.round(x)))}
    assert len(kinds) == 2 * 6


@pytest.mark.jax
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("pool_size", "strides"), [((2,), (2,)), ((3, 2), (2, 1))])
def test_maxima_stay_in_place(pool_size, strides, padding, rng) -> None:
    """Unpooling keeps the maxima of all windows at their positions, nothing else."""
    x = rng.uniform(1.0, 2.0, (3, *(9, 7)[: len(pool_size)], 2)).astype("float32")
    pooling, unpooling = _layers(pool_size, strides, padding)
    maxima, indices = pooling(x)
    y = np.asarray(unpooling((maxima, indices), output_size=x.shape[1:-1]))
    kept = y != 0.0
    np.testing.assert_array_equal(y[kept], x[kept])
    again, places = pooling(y)
    np.testing.assert_array_equal(again, maxima)
    np.testing.assert_array_equal(places, indices)
    flat = kept.reshape(3, -1, 2)
    for row, channel in product(range(3), range(2)):
        found = set(np.asarray(indices)[row, ..., channel].ravel().tolist())
        assert set(np.flatnonzero(flat[row, :, channel]).tolist()) == found


@pytest.mark.jax
def test_padding_never_wins() -> None:
    pooling, _ = _layers((3, 3), (2, 2), "same")
    for lowest in (-7.0, -np.inf):
        maxima, indices = pooling(np.full((1, 3, 3, 1), lowest, "float32"))
        np.testing.assert_array_equal(maxima, np.full((1, 2, 2, 1), lowest))
        np.testing.assert_array_equal(np.ravel(indices), [0, 1, 3, 4])


@pytest.mark.jax
@pytest.mark.parametrize("place", range(4))
def test_nan_is_not_hidden(place) -> None:
    x = np.arange(4, dtype="float32")
    x[place] = np.nan
    maxima, indices = layers.MaxPoolingWithIndices1D(4)(x[None, :, None])
    assert np.isnan(np.asarray(maxima)).all()
    assert int(indices[0, 0, 0]) == place


@pytest.mark.jax
@pytest.mark.parametrize(
    ("arguments", "sizes", "default"),
    [
        ({}, (7, 8), (6, 8)),
        ({"pool_size": (3, 2), "strides": (2, 3)}, (8, 9), (7, 8)),
        ({"padding": "same"}, (7, 8), (8, 8)),
    ],
)
def test_default_output_size(arguments, sizes, default) -> None:
    pooled = layers.MaxPoolingWithIndices2D(**arguments)(np.ones((2, *sizes, 1)))
    y = layers.MaxUnpooling2D(**arguments)(pooled)
    assert tuple(y.shape) == (2, *default, 1)


# === Gradients ===


def _gradient(function, x):
    """Compute the gradient of the sum of a function on the current backend."""
    if keras.backend.backend() == "jax":
        import jax

        total = jax.grad(lambda x: ops.sum(function(x)))
        return np.asarray(jax.jit(total)(x))
    if keras.backend.backend() == "torch":
        import torch

        x = torch.tensor(x, requires_grad=True)
        ops.sum(function(x)).backward()
        return x.grad.numpy()
    import tensorflow as tf

    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x).numpy()


def _differences(function, x, step):
    """Compute central differences in one batch; exact for quadratic functions."""
    steps = step * np.eye(x.size, dtype=x.dtype).reshape((x.size, *x.shape[1:]))
    function = _compiled(function)
    difference = np.asarray(function(x + steps)) - np.asarray(function(x - steps))
    return difference.reshape(x.shape) / (2 * step)


@pytest.mark.jax
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("sizes", "pool_size", "strides"),
    [
        ((7,), (2,), (2,)),
        ((7,), (3,), (1,)),
        ((5, 4), (2, 2), (2, 2)),
        ((4, 5), (3, 2), (2, 1)),
    ],
)
def test_gradients_equal_finite_differences(
    sizes, pool_size, strides, padding, rng
) -> None:
    shape = (1, *sizes, 2)
    # Whole numbers that differ by at least 1: a step below a half changes no maximum,
    # and no sum is rounded.
    x = rng.permutation(int(np.prod(shape))).reshape(shape).astype("float32")
    pooling, unpooling = _layers(pool_size, strides, padding)
    pooled_shape = pooling.compute_output_shape(shape)[0]
    of_pooled = rng.integers(-3, 4, pooled_shape).astype("float32")
    of_unpooled = rng.integers(-3, 4, shape).astype("float32")
    _, indices = pooling(x)

    axes = tuple(range(1, len(shape)))

    def weighted(y, weights):
        return ops.sum(ops.square(y) * ops.convert_to_tensor(weights), axis=axes)

    def pooled(x):
        return weighted(pooling(x)[0], of_pooled)

    def unpooled(values):
        places = ops.broadcast_to(indices, ops.shape(values))
        return weighted(unpooling((values, places), output_size=sizes), of_unpooled)

    def both(x):
        return weighted(unpooling(pooling(x), output_size=sizes), of_unpooled)

    values = rng.integers(-9, 10, pooled_shape).astype("float32")
    for function, at in ((pooled, x), (unpooled, values), (both, x)):
        gradient = _gradient(function, at)
        assert np.abs(gradient).max() > 0.0
        np.testing.assert_array_equal(gradient, _differences(function, at, 0.25))


@pytest.mark.jax
@pytest.mark.parametrize("rank", [1, 2])
def test_of_equal_numbers_the_first_has_the_gradient(rank) -> None:
    pooling, _ = _layers((2,) * rank, (2,) * rank)
    x = np.zeros((2, *(4,) * rank, 3), "float32")
    expected = np.zeros_like(x)
    expected[(slice(None), *(slice(None, None, 2),) * rank)] = 1.0
    gradient = _gradient(lambda x: ops.sum(pooling(x)[0]), x)
    np.testing.assert_array_equal(gradient, expected)


# === Keras protocol ===


@pytest.mark.jax
@pytest.mark.parametrize("policy", ["float16", "mixed_bfloat16"])
def test_precision(policy, rng) -> None:
    pooling, unpooling = _layers((3, 2), (2, 2), "same", dtype=policy)
    x = ops.cast(rng.integers(-9, 9, (2, 5, 4, 3)), pooling.compute_dtype)
    maxima, indices = pooling(x)
    y = unpooling((maxima, indices), output_size=(5, 4))
    dtypes = [keras.backend.standardize_dtype(each.dtype) for each in (maxima, y)]
    assert dtypes == [pooling.compute_dtype] * 2
    assert keras.backend.standardize_dtype(indices.dtype) == "int32"
    exact = np.asarray(ops.cast(x, "float32"))
    values, places = _slow_pooling(exact, (3, 2), (2, 2), "same")
    np.testing.assert_array_equal(indices, places)
    expected = _slow_unpooling(values, places, (5, 4))
    np.testing.assert_array_equal(ops.cast(y, "float32"), expected)


@pytest.mark.jax
@pytest.mark.parametrize("layer", [*POOLING.values(), *UNPOOLING.values()])
def test_one_number_is_for_every_axis(layer) -> None:
    """Strides default to the size of the windows."""
    made = layer(3, strides=2)
    assert (made.pool_size, made.strides) == ((3,) * made.rank, (2,) * made.rank)
    assert layer(3).strides == made.pool_size


@pytest.mark.jax
@pytest.mark.parametrize("rank", [1, 2])
def test_in_a_model_of_any_batch(rank, tmp_path, rng) -> None:
    """Symbolic shapes, `fit`, and a saved file return the same numbers."""
    sizes = (7, 9)[:rank]
    pooling, unpooling = _layers((2,) * rank, (2,) * rank)
    x = keras.Input((*sizes, 3))
    values, indices = pooling(keras.layers.Dense(4)(x))
    assert keras.backend.standardize_dtype(indices.dtype) == "int32"
    assert values.shape == indices.shape == (None, *(n // 2 for n in sizes), 4)
    values = keras.layers.Dense(4)(values)
    output_size = sizes[0] if rank == 1 else sizes
    y = unpooling((values, indices), output_size=output_size)
    assert y.shape == (None, *sizes, 4)
    model = keras.Model(x, keras.layers.Dense(3)(y))
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse")
    data = rng.normal(size=(5, *sizes, 3)).astype("float32")
    before = [np.array(each) for each in model.get_weights()]
    model.fit(data, data, batch_size=2, verbose=0)  # a last batch of one
    kernels = zip(before[::2], model.get_weights()[::2], strict=True)
    assert all(np.abs(old - new).max() > 0.0 for old, new in kernels)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(data), model(data))


# === Errors ===


@pytest.mark.jax
def test_inputs_that_do_not_fit() -> None:
    pooling, unpooling = POOLING[2](), UNPOOLING[2]()
    for shape in ((None, 4), (None, 4, None, 3)):
        with pytest.raises(ValueError, match="2 known sizes"):
            pooling(keras.KerasTensor(shape))
    values = np.ones((2, 3, 3, 1), "float32")
    with pytest.raises(ValueError, match="indices of the shape of the values"):
        unpooling((values, np.zeros((2, 3, 2, 1), "int32")))
    indices = np.zeros((2, 3, 3, 1), "int32")
    message = r"pooled to \(3, 3\).*output_size=\(8, 6\).*pooled to \(4, 3\)"
    with pytest.raises(ValueError, match=message):
        unpooling((values, indices), output_size=(8, 6))
