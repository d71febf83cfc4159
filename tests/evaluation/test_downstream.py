"""Estimation from real, averaged and virtual instances whose order is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from symae_keras.classical import MeanSwap
from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.errors import InputError
from symae_keras.evaluation import downstream, virtual_under

KINDS = ("real", "means", "virtual")


class Oracle:
    """Knows each group, told by its first instance, and shows it under any other."""

    def __init__(self, groups: GroupedData) -> None:
        self.groups = groups
        self.index = {x[0].tobytes(): i for i, x in enumerate(groups.x)}

    def redatum(self, coherent_from, nuisance_from, coherent_mask, nuisance_mask):
        state, lender = (
            np.array([self.index[x[0].tobytes()] for x in groups])[:, None]
            for groups in (coherent_from, nuisance_from)
        )
        return self.groups.virtual(state, lender, np.arange(nuisance_from.shape[1]))


@pytest.fixture(scope="module")
def stars() -> GroupedData:
    return simulate_exposures(n_states=150, n_instances=4, seed=0)


@pytest.mark.large
def test_exact_virtual_instances_are_best(stars) -> None:
    scores = downstream(Oracle(stars), stars)
    for name in ("temperature", "abundance"):
        real, means, virtual = (getattr(scores, kind)[name] for kind in KINDS)
        assert real < means < virtual
    assert scores.virtual["temperature"] > 0.95 > scores.means["temperature"]


def test_virtual_instances_are_those_of_the_reference(stars) -> None:
    found = virtual_under(Oracle(stars), stars, reference=stars[3:4])
    groups = np.arange(len(stars))[:, None]
    exact = stars.virtual(groups, 3, np.arange(4)).mean(axis=1)
    np.testing.assert_allclose(found, exact, atol=1e-6)


def test_mean_swap_knows_what_group_means_know(stars) -> None:
    """Its virtual instances are group means, moved by one and the same vector."""
    scores = downstream(MeanSwap().fit(stars), stars, reference=stars[7:8])
    assert scores.virtual == pytest.approx(scores.means, abs=0.02)


def test_absent_instances_do_not_count(known_model, known_groups) -> None:
    mask = np.random.default_rng(3).random(known_groups.x.shape[:2]) < 0.6
    mask[:, 1] = True
    x = np.where(mask[..., None], known_groups.x, np.float32(1e6))
    masked = dataclasses.replace(known_groups, x=x, mask=mask)
    scores = downstream(known_model("perfect"), masked)
    for kind in KINDS:
        assert min(getattr(scores, kind).values()) > 0.95, kind


def test_classes_and_bad_pixels(known_model, known_groups) -> None:
    """Labels of measured groups; one pixel in ten is NaN for the estimator to miss."""
    groups = dataclasses.replace(known_groups, state={}, nuisance={}, render=None)
    label = {"high": np.where(known_groups.state["level"] > 0.0, "yes", "no")}
    bad = np.random.default_rng(4).random(groups.x.shape) < 0.1
    spoiled = dataclasses.replace(
        groups, x=np.where(bad, np.float32(np.nan), groups.x), pixel_mask=~bad
    )
    scores = downstream(MeanSwap().fit(groups), spoiled, labels=label)
    assert 0.85 < scores.real["high"] < scores.means["high"]
    assert min(scores.means["high"], scores.virtual["high"]) > 0.9


def test_a_seed_repeats_the_scores_of_a_perceptron(known_model, known_groups) -> None:
    few, model = known_groups[:60], known_model("perfect")
    one, other = (downstream(model, few, seed=3, linear=False) for _ in range(2))
    assert one == other


def test_refused(known_model, known_groups) -> None:
    model = known_model("perfect")
    unknown = GroupedData(known_groups.x)
    with pytest.raises(InputError, match="nothing to estimate"):
        downstream(model, unknown)
    with pytest.raises(InputError, match=r"labels\['a'\] must have one row .* 300"):
        downstream(model, unknown, labels={"a": np.zeros(4)})
    with pytest.raises(InputError, match="20 groups or more.*received 19"):
        downstream(model, known_groups[:19])
    with pytest.raises(InputError, match="must be one group .*received 2"):
        virtual_under(model, known_groups, known_groups[:2])
