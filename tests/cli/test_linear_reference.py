"""The linear mixed model in the metrics of a run."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.cli._linear_reference import linear_mixed_model
from symae_keras.cli.evaluate import _compare_with_mixed_model
from symae_keras.data import GroupedData
from symae_keras.evaluation.estimate import _percent


@pytest.fixture
def linear(rng) -> GroupedData:
    """Return groups of which a linear mixed model predicts virtual instances well."""
    state = rng.normal(size=(40, 1, 2)) @ rng.normal(size=(2, 12))
    return GroupedData(state + rng.normal(size=(40, 4, 2)) @ rng.normal(size=(2, 12)))


@pytest.mark.parametrize(("own", "better"), [(1e-6, False), (0.9, True)])
def test_the_verdict_names_it_if_it_is_clearly_better(linear, own, better) -> None:
    said = "Fair: virtual instances are wrong."
    metrics = {"estimated_redatuming_error": own, "verdict": said}
    _compare_with_mixed_model(metrics, linear[:30], linear[30:])
    error = metrics["estimated_mixed_model_error"]
    assert 0.0 < error < 0.5
    if not better:
        assert metrics["verdict"] == said
        return
    assert metrics["verdict"] == (
        "Not better than a linear method: virtual instances are wrong. A linear mixed "
        f"model is better: {_percent(error)} %."
    )


def test_metrics_without_an_estimate_stay_as_they_are(linear) -> None:
    metrics: dict[str, object] = {"reconstruction_error": 0.1}
    _compare_with_mixed_model(metrics, linear, linear)
    assert metrics == {"reconstruction_error": 0.1}


def test_it_is_left_out_where_it_would_take_long_or_fail(linear) -> None:
    assert linear_mixed_model(linear) is linear_mixed_model(linear)  # fitted once
    assert linear_mixed_model(linear[:, :1]) is None  # single instances
    assert linear_mixed_model(GroupedData(np.ones((4, 2, 513)))) is None
    good = np.ones(linear.x.shape, bool)
    good[0, 0, 0] = False
    assert linear_mixed_model(GroupedData(linear.x, pixel_mask=good)) is not None
    good = np.random.default_rng(0).random(linear.x.shape) < 0.9  # many patterns
    assert linear_mixed_model(GroupedData(linear.x, pixel_mask=good)) is None
