"""All measures of codes for a perfect, a leaking and a random code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from symae_keras.evaluation import (
    coherent_agreement,
    disentanglement,
    downstream,
    energy_distance,
    error_over_instances,
    leakage,
    mutual_information,
    nuisance_dependence,
    reconstruction_error,
    redatuming_error,
    repeatability,
    shifts,
)

KINDS = ("perfect", "leaking", "random")


def _nuisance_code(model: Any, groups: Any) -> Any:
    """One nuisance code of each group."""
    return model.encode(groups.x)[1][:, 0]


def _informativeness(model: Any, groups: Any) -> float:
    found = disentanglement(_nuisance_code(model, groups), groups.state)
    return max(0.0, found.informativeness)


def _least_downstream_score(model: Any, groups: Any) -> float:
    return min(downstream(model, groups).virtual.values())


def _repeatability(model: Any, groups: Any) -> float:
    return repeatability(model, groups).virtual


# Of 4 numbers, 2 are shared: mean distances of 2 and of 4 normal numbers.
LEAK = 1.0 - math.sqrt(math.pi / 2) / (3 * math.sqrt(2 * math.pi) / 4)

# Instances have four pixels of unit variance, two of them the state. The leaking code
# shows the wrong state in two of four pixels, with twice their variance; the random
# code is wrong in all pixels. Half of the variance that leaks into the coherent code
# is due to the group.
MEASURES = {
    "reconstruction_error": (reconstruction_error, 0.0, 0.0, 2.0),
    "redatuming_error": (redatuming_error, 0.0, 1.0, 2.0),
    "coherent_agreement": (coherent_agreement, 1.0, 0.5, 0.0),
    "nuisance_dependence": (nuisance_dependence, 0.0, LEAK, 0.0),
    "informativeness": (_informativeness, 0.0, 1.0, 0.0),
    # The leaking decoder only uses the common nuisance code.
    "repeatability": (_repeatability, 1.0, 0.0, 0.0),
    "downstream": (_least_downstream_score, 1.0, 0.0, 0.0),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MEASURES)
def test_measure(name, kind, known_model, known_groups) -> None:
    measure, *expected = MEASURES[name]
    answer = expected[KINDS.index(kind)]
    found = measure(known_model(kind), known_groups)
    # Probes of 210 rows overfit noise to some extent.
    noise = 0.2 if answer == 0.0 and kind != "perfect" else 0.12
    assert found == pytest.approx(answer, abs=noise)


@pytest.mark.large
@pytest.mark.parametrize(
    ("kind", "expected"),
    [("perfect", (0.0, 0.0, 1.0)), ("leaking", (1.0,) * 3), ("random", (0.0,) * 3)],
)
def test_leakage(kind, expected, known_model, known_groups) -> None:
    found = leakage(known_model(kind), known_groups)
    names = ("state_from_nuisance", "nuisance_from_coherent", "state_from_coherent")
    for name, answer in zip(names, expected, strict=True):
        each = getattr(found, name)
        # Negative if a probe is worse than the mean, as for noise.
        worst, best = max(0.0, min(each.values())), max(0.0, max(each.values()))
        assert (worst, best) == pytest.approx((answer, answer), abs=0.12)


def test_a_gauge_forgives_no_leak(known_model, known_groups) -> None:
    errors = [redatuming_error(known_model(k), known_groups, shifts(1)) for k in KINDS]
    assert errors[0] == 0.0
    assert 0.5 < errors[1] <= 1.0 and 1.0 < errors[2] <= 2.2


@pytest.mark.parametrize("kind", ["leaking", "random"])
def test_more_instances_help_neither(kind, known_model, known_groups) -> None:
    found = error_over_instances(known_model(kind), known_groups)
    assert found.slope == pytest.approx(0.0, abs=0.05)


def test_the_perfect_code_has_no_slope(known_model, known_groups) -> None:
    found = error_over_instances(known_model("perfect"), known_groups, [2, 4])
    assert found.errors == (0.0, 0.0) and math.isnan(found.slope)


def test_mutual_information_of_the_nuisance_code(known_model, known_groups) -> None:
    def excess(kind: str) -> float:
        code = _nuisance_code(known_model(kind), known_groups)
        found = mutual_information(code, known_groups.state, n_permutations=5)
        return float(np.max([found.nats[k] - found.chance[k] for k in found.nats]))

    assert excess("perfect") < 0.15 and excess("random") < 0.15
    assert excess("leaking") > 1.5


def test_energy_of_a_groups_codes_against_all(known_model, known_groups) -> None:
    """With only four instances, the chance level is that of the perfect code."""
    energies = []
    for kind in KINDS:
        nuisance = known_model(kind).encode(known_groups.x)[1]
        every = nuisance[:60].reshape(-1, nuisance.shape[-1])
        squares = [energy_distance(own, every) ** 2 for own in nuisance[:30]]
        energies.append(np.mean(squares))
    perfect, leaking, random = energies
    assert random == pytest.approx(perfect, rel=0.15)
    assert leaking > 1.8 * perfect
