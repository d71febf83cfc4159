"""Probes, agreement and dependence of codes with known information."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.data import GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation import (
    coherent_agreement,
    leakage,
    nuisance_dependence,
    probe,
    probe_labels,
)

N_GROUPS, N_INSTANCES = 300, 4


@pytest.fixture(scope="module")
def groups() -> GroupedData:
    """State: a number, a vector and a class. Nuisance: a number. `x` contains all."""
    rng = np.random.default_rng(0)
    number, vector = rng.normal(size=N_GROUPS), rng.uniform(size=(N_GROUPS, 2))
    label = rng.choice(3, p=[0.5, 0.3, 0.2], size=N_GROUPS)
    # A part of the nuisance is common to the group, so that its mean varies.
    shift = rng.normal(size=(N_GROUPS, N_INSTANCES)) + rng.normal(size=(N_GROUPS, 1))
    state = np.column_stack([number, vector, label])
    x = np.repeat(state[:, None], N_INSTANCES, axis=1)
    # As many columns as the state has.
    noise = rng.normal(size=(N_GROUPS, N_INSTANCES, 3))
    return GroupedData(
        np.concatenate([x, shift[..., None], noise], axis=-1).astype("float32"),
        state={"number": number, "vector": vector, "label": label},
        nuisance={"shift": shift},
    )


def test_a_disentangled_model_is_at_chance(groups, known_model) -> None:
    found = leakage(known_model("perfect"), groups)
    assert set(found.state_from_nuisance) == {"number", "vector", "label"}
    assert set(found.nuisance_from_coherent) == {"shift"}
    assert found.state_from_nuisance["number"] < 0.05
    assert found.state_from_nuisance["vector"] < 0.05
    assert found.nuisance_from_coherent["shift"] < 0.1
    label = found.state_from_nuisance["label"]
    assert label == pytest.approx(found.chance["label"], abs=0.08)
    assert found.state_from_coherent["number"] > 0.8
    assert found.state_from_coherent["vector"] > 0.8
    assert found.state_from_coherent["label"] > 0.9
    assert found.chance["number"] == found.chance["shift"] == 0.0
    _, held_out = groups.split(0.7, seed=0)
    commonest = np.bincount(held_out.state["label"]).max() / len(held_out)
    assert found.chance["label"] == pytest.approx(commonest)


def test_leaks_are_found(groups, known_model) -> None:
    """Probe the codes of present instances; absent ones are ignored."""
    mask = np.random.default_rng(2).random((N_GROUPS, N_INSTANCES)) < 0.6
    mask[:, 1] = True
    x = np.where(mask[..., None], groups.x, np.nan)
    groups = GroupedData(x, mask, groups.state, groups.nuisance)
    result = leakage(known_model("leaking"), groups)
    assert result.state_from_nuisance["number"] > 0.8
    assert result.state_from_nuisance["label"] > 0.9
    assert result.nuisance_from_coherent["shift"] > 0.8


@pytest.mark.large
def test_a_seed_repeats_the_scores(groups, known_model) -> None:
    few, model = groups[:60], known_model("perfect")
    one, other = (leakage(model, few, seed=3) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    ("rows", "state", "message"),
    [
        (30, {}, "these groups have none"),
        (19, {"depth": np.zeros(19)}, "at least 20 groups.* received 19"),
        (30, {"depth": np.full(30, np.nan)}, "No probe can be trained on depth"),
    ],
)
def test_groups_that_cannot_be_probed(rows, state, message, rng, known_model) -> None:
    groups = GroupedData(rng.normal(size=(rows, 3, 4)), state=state)
    with pytest.raises(InputError, match=message):
        leakage(known_model("perfect"), groups)


# === Probes ===


def test_a_constant_target_does_not_break_the_probe() -> None:
    code = np.random.default_rng(0).normal(size=(100, 2))
    ones = np.ones(100)
    score = probe((code[:80], code[80:]), (ones[:80], ones[80:]))
    assert np.isfinite(score)


def test_components_may_have_several_axes(rng) -> None:
    """Positions are predicted as if they were in one row."""
    code = rng.normal(size=(200, 3))
    places = np.stack([code, 2.0 * code + rng.normal(size=code.shape)], axis=-1)
    parts = (code[:150], code[150:]), (places[:150], places[150:])
    flat = tuple(each.reshape(len(each), -1) for each in parts[1])
    score = probe(*parts, linear=True)
    assert 0.7 < score < 1.0
    assert score == pytest.approx(probe(parts[0], flat, linear=True))


@pytest.mark.parametrize("linear", [True, False])
def test_only_a_linear_probe_misses_what_is_folded(linear, rng) -> None:
    """A decoder can use |code|, so the probe must detect it; units do not matter."""
    code = rng.normal(size=(1200, 3))
    weights = np.array([[1.0, 0.0], [2.0, 1.0], [0.0, -3.0]])
    parts = code[:900], code[900:]
    straight, folded, label = (
        probe(parts, (target[:900], target[900:]), linear=linear)
        for target in (
            1e3 * code @ weights + 7.0,
            1e3 * np.abs(code[:, 0]),
            code[:, 1] > 0,
        )
    )
    assert straight > (0.999 if linear else 0.99) and label > 0.95
    assert folded < 0.1 if linear else folded > 0.9


@pytest.mark.parametrize("linear", [True, False])
def test_each_label_has_the_score_of_its_probe(linear, rng) -> None:
    code, unknown = rng.normal(size=(400, 2)), rng.normal(size=400)
    hot = code[:, 0] > 0.0
    classes = {"bool": hot, "int": hot.astype(int), "str": np.where(hot, "hot", "cool")}
    labels = {"number": code @ [1.0, -2.0], "unknown": unknown, **classes}
    both = code[:300], code[300:]
    parts = {name: (each[:300], each[300:]) for name, each in labels.items()}
    halves = tuple({name: each[n] for name, each in parts.items()} for n in (0, 1))
    scores = probe_labels(both, halves, seed=1, linear=linear)
    assert scores["number"] > 0.95 and scores["unknown"] < 0.1
    for name in classes:
        assert 0.9 < scores[name] <= 1.0
        hits = 100.0 * scores[name]
        assert hits == pytest.approx(round(hits))
    alone = {k: probe(both, each, 1, linear) for k, each in parts.items()}
    assert scores == alone and list(scores) == list(labels)


def test_both_parts_must_have_the_same_labels(rng) -> None:
    code = rng.normal(size=(10, 2))
    with pytest.raises(InputError, match=r"received \['a'\] and \['b'\]"):
        probe_labels((code, code), ({"a": code[:, 0]}, {"b": code[:, 0]}))


# === coherent_agreement and nuisance_dependence ===


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.36, 0.5, 0.8, 1.0])
def test_codes_of_which_a_share_of_the_variance_is_common(
    share, masked, rng, known_model
) -> None:
    """Agreement is that share; distances within a group are reduced by it."""
    own, shared = rng.normal(size=(200, 6, 3)), rng.normal(size=(200, 1, 3))
    codes = np.sqrt(share) * shared + np.sqrt(1.0 - share) * own
    x, mask = np.concatenate([codes, codes], axis=-1), None
    if masked:
        mask = rng.random((200, 6)) < 0.7
        mask[:, 0] = True
        x[~mask] = np.nan
    model, groups = known_model("perfect"), GroupedData(x.astype("float32"), mask)
    noise = 1e-6 if share == 1.0 else 0.05
    assert coherent_agreement(model, groups) == pytest.approx(share, abs=noise)
    expected, noise = 1.0 - np.sqrt(1.0 - share), 1e-6 if share == 1.0 else 0.03
    assert nuisance_dependence(model, groups) == pytest.approx(expected, abs=noise)


@pytest.mark.parametrize("measure", [coherent_agreement, nuisance_dependence])
def test_too_little_to_compare(measure, rng, known_model) -> None:
    x, model = rng.normal(size=(20, 6, 4)), known_model("perfect")
    for groups in (GroupedData(x[:1]), GroupedData(x[:, :1])):
        with pytest.raises(InputError, match="two groups, and a group of two"):
            measure(model, groups)
    with pytest.raises(InputError, match="are equal"):
        measure(model, GroupedData(np.ones_like(x)))
