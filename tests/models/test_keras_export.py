"""`model.export` of Keras: the reconstruction of any number of groups and instances."""

from __future__ import annotations

import numpy as np
import pytest
from conformance import CASES

NAMES = ("vae", "symae", "mlvae", "latent_mean_swap", "unet")


@pytest.mark.large
@pytest.mark.parametrize(
    ("name", "fitted"), [*((name, False) for name in NAMES), ("symae", True)]
)
def test_saved_model(name, fitted, tf, tmp_path) -> None:
    case = CASES[name]
    model, x = case.build(), case.data(5)
    if fitted:
        case.compile(model)
        model.fit(x, x, verbose=0)
    model(x)
    model.export(tmp_path / "exported", verbose=False)
    served = tf.saved_model.load(tmp_path / "exported")
    for data in (x, x[:2, :1] if case.grouped else x[:2]):
        expected = np.asarray(model(data))
        np.testing.assert_allclose(served.serve(data), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.large
def test_inputs_are_not_half_precision(tf, tmp_path) -> None:
    """Data units are cast to it once they are normalised."""
    case = CASES["symae-attention"]
    model, x = case.build(dtype="mixed_float16"), case.data(5)
    expected = np.asarray(model(x))
    model.export(tmp_path / "exported", verbose=False)
    served = tf.saved_model.load(tmp_path / "exported")
    np.testing.assert_allclose(served.serve(x), expected, rtol=1e-2, atol=1e-2)
