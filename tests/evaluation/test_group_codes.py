"""Agreement and dependence of codes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.data import GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation import coherent_agreement, nuisance_dependence


class Reader:
    """Reads both codes off the instance itself, the first half and the second."""

    def encode(self, x, mask=None):
        half = x.shape[-1] // 2
        weight = np.ones(x.shape[:2]) if mask is None else mask.astype(float)
        coherent = np.where(weight[..., None] > 0, x[..., :half], 0.0).sum(axis=1)
        return coherent / weight.sum(axis=1)[:, None], x[..., half:]


def _groups(coherent, nuisance, mask=None) -> GroupedData:
    x = np.concatenate([coherent, nuisance], axis=-1).astype("float32")
    if mask is not None:
        x = np.where(mask[..., None], x, np.float32(np.nan))
    return GroupedData(x, mask)


@pytest.fixture
def own(rng) -> np.ndarray:
    return rng.normal(size=(200, 6, 3))


@pytest.fixture
def shared(rng) -> np.ndarray:
    return rng.normal(size=(200, 1, 3)) + np.zeros((200, 6, 3))


def test_perfect_codes(own, shared) -> None:
    groups = _groups(shared, own)
    assert coherent_agreement(Reader(), groups) == pytest.approx(1.0)
    assert nuisance_dependence(Reader(), groups) == pytest.approx(0.0, abs=0.02)


def test_swapped_codes(own, shared) -> None:
    groups = _groups(own, shared)
    assert coherent_agreement(Reader(), groups) == pytest.approx(0.0, abs=0.05)
    assert nuisance_dependence(Reader(), groups) == pytest.approx(1.0)


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_agreement_is_the_share_of_variance(noise, own, shared) -> None:
    expected = 1.0 / (1.0 + noise**2)
    found = coherent_agreement(Reader(), _groups(shared + noise * own, own))
    assert found == pytest.approx(expected, abs=0.05)


def test_dependence_of_gaussian_codes(own, shared) -> None:
    """Distances within a group are shorter by the share of the variance."""
    share = 0.36
    leaking = np.sqrt(share) * shared + np.sqrt(1.0 - share) * own
    found = nuisance_dependence(Reader(), _groups(shared, leaking))
    assert found == pytest.approx(1.0 - np.sqrt(1.0 - share), abs=0.03)


def test_absent_instances_do_not_count(own, shared, rng) -> None:
    mask = rng.random((200, 6)) < 0.7
    mask[:, 0] = True
    groups = _groups(shared + own, own, mask)
    assert coherent_agreement(Reader(), groups) == pytest.approx(0.5, abs=0.06)
    assert nuisance_dependence(Reader(), groups) == pytest.approx(0.0, abs=0.03)


@pytest.mark.parametrize("measure", [coherent_agreement, nuisance_dependence])
def test_too_little_to_compare(measure, own) -> None:
    for groups in (_groups(own[:1], own[:1]), _groups(own[:, :1], own[:, :1])):
        with pytest.raises(InputError, match="two groups, and a group of two"):
            measure(Reader(), groups)
    with pytest.raises(InputError, match="are equal"):
        measure(Reader(), _groups(np.ones_like(own), np.ones_like(own)))
