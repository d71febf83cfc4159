"""Probes, agreement and dependence of codes of which it is known what they tell."""

from __future__ import annotations

import numpy as np
import pytest

from symae_keras.data import GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation import (
    Leakage,
    coherent_agreement,
    leakage,
    nuisance_dependence,
    probe,
    probe_labels,
)

N_GROUPS, N_INSTANCES = 300, 4


@pytest.fixture(scope="module")
def groups() -> GroupedData:
    """State: a number, a vector and a class. Nuisance: a number. x holds them all."""
    rng = np.random.default_rng(0)
    number = rng.normal(size=N_GROUPS)
    vector = rng.uniform(size=(N_GROUPS, 2))
    label = rng.choice(3, p=[0.5, 0.3, 0.2], size=N_GROUPS)
    # Some of the nuisance is common to a group, or its mean would be all but constant.
    shift = rng.normal(size=(N_GROUPS, N_INSTANCES)) + rng.normal(size=(N_GROUPS, 1))
    state = np.column_stack([number, vector, label])
    x = np.repeat(state[:, None], N_INSTANCES, axis=1)
    return GroupedData(
        np.concatenate([x, shift[..., None]], axis=-1).astype("float32"),
        state={"number": number, "vector": vector, "label": label},
        nuisance={"shift": shift},
    )


class _Codes:
    """Codes that are columns of x, with columns of noise beside them."""

    def __init__(self, coherent: list[int], nuisance: list[int]) -> None:
        self.columns = coherent, nuisance
        self.rng = np.random.default_rng(1)

    def encode(self, x, mask):
        weights = np.ones(x.shape[:2]) if mask is None else mask
        x = np.where(weights[..., None], x, 0.0)
        count = weights.sum(axis=1)[:, None]
        mean = x.sum(axis=1) / count
        coherent, nuisance = self.columns
        return (
            self._with_noise(mean[:, coherent]),
            self._with_noise(x[:, :, nuisance]),
        )

    def _with_noise(self, code):
        noise = self.rng.normal(size=(*code.shape[:-1], 1))
        return np.concatenate([code, noise], axis=-1).astype("float32")


STATE, NUISANCE = [0, 1, 2, 3], [4]


@pytest.fixture(scope="module")
def clean(groups) -> Leakage:
    return leakage(_Codes(STATE, NUISANCE), groups)


def test_a_disentangled_model_is_at_chance(clean) -> None:
    assert set(clean.state_from_nuisance) == {"number", "vector", "label"}
    assert set(clean.nuisance_from_coherent) == {"shift"}
    assert clean.state_from_nuisance["number"] < 0.05
    assert clean.state_from_nuisance["vector"] < 0.05
    assert clean.nuisance_from_coherent["shift"] < 0.1
    label = clean.state_from_nuisance["label"]
    assert label == pytest.approx(clean.chance["label"], abs=0.08)


def test_its_coherent_code_tells_the_state(clean) -> None:
    assert clean.state_from_coherent["number"] > 0.8
    assert clean.state_from_coherent["vector"] > 0.8
    assert clean.state_from_coherent["label"] > 0.9


def test_chance(clean, groups) -> None:
    assert clean.chance["number"] == clean.chance["shift"] == 0.0
    _, held_out = groups.split(0.7, seed=0)
    commonest = np.bincount(held_out.state["label"]).max() / len(held_out)
    assert clean.chance["label"] == pytest.approx(commonest)


@pytest.mark.parametrize("masked", [False, True])
def test_leaks_are_found(groups, masked) -> None:
    """State in the nuisance code and nuisance in the coherent code."""
    if masked:
        mask = np.random.default_rng(2).random((N_GROUPS, N_INSTANCES)) < 0.6
        mask[:, 1] = True
        x = np.where(mask[..., None], groups.x, np.nan)
        groups = GroupedData(x, mask, groups.state, groups.nuisance)
    result = leakage(_Codes([*STATE, *NUISANCE], [*STATE, *NUISANCE]), groups)
    assert result.state_from_nuisance["number"] > 0.8
    assert result.state_from_nuisance["label"] > 0.9
    assert result.nuisance_from_coherent["shift"] > 0.8


@pytest.mark.large
def test_a_seed_repeats_the_scores(groups) -> None:
    one, other = (leakage(_Codes([3], [4]), groups[:60], seed=3) for _ in range(2))
    assert one == other


def test_needs_true_parameters() -> None:
    with pytest.raises(InputError, match="carry none"):
        leakage(_Codes([0], [0]), GroupedData(np.zeros((4, 2, 3))))


def test_the_probe_is_not_linear() -> None:
    """A decoder can use |code|, so the probe must see it; units do not matter."""
    rng = np.random.default_rng(0)
    code = rng.normal(size=(1200, 1))
    target = 1e3 * np.abs(code[:, 0])
    train, test = slice(0, 900), slice(900, None)
    assert probe((code[train], code[test]), (target[train], target[test])) > 0.9


def test_too_few_groups_are_refused(groups) -> None:
    with pytest.raises(InputError, match="at least 20 groups.* received 19"):
        leakage(_Codes([0], [0]), groups[:19])


def test_a_parameter_that_is_nan_is_refused() -> None:
    x = np.random.default_rng(0).normal(size=(30, 3, 4))
    groups = GroupedData(x, state={"depth": np.full(30, np.nan)})
    with pytest.raises(InputError, match="No probe can be trained on depth"):
        leakage(_Codes([0], [0]), groups)


@pytest.mark.parametrize("kind", ["int", "bool", "text"])
def test_the_probe_scores_labels_by_accuracy(kind) -> None:
    rng = np.random.default_rng(0)
    code = rng.normal(size=(400, 1))
    label = {
        "int": (code[:, 0] > 0).astype("int64"),
        "bool": code[:, 0] > 0,
        "text": np.where(code[:, 0] > 0, "yes", "no"),
    }[kind]
    score = probe((code[:300], code[300:]), (label[:300], label[300:]))
    assert 0.9 < score <= 1.0
    hits = score * 100.0
    assert hits == pytest.approx(round(hits))


def test_a_constant_target_does_not_break_the_probe() -> None:
    code = np.random.default_rng(0).normal(size=(100, 2))
    ones = np.ones(100)
    score = probe((code[:80], code[80:]), (ones[:80], ones[80:]))
    assert np.isfinite(score)


def test_a_linear_probe_sees_what_lies_open_alone() -> None:
    rng = np.random.default_rng(0)
    code = rng.normal(size=(600, 3))
    parts = code[:400], code[400:]
    weights = np.array([[1.0, 0.0], [2.0, 1.0], [0.0, -3.0]])
    scores = [
        probe(parts, tuple(function(part) for part in parts), linear=True)
        for function in (
            lambda part: 1e3 * part @ weights + 7.0,
            lambda part: np.abs(part[:, 0]),
            lambda part: part[:, 1] > 0.0,
        )
    ]
    assert scores[0] > 0.999
    assert scores[1] < 0.1
    assert scores[2] > 0.95


# === probe_labels ===


def _parts(*arrays: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    return tuple((each[:300], each[300:]) for each in arrays)


@pytest.mark.parametrize("linear", [True, False])
def test_each_label_has_the_score_of_its_probe(linear, rng) -> None:
    code = rng.normal(size=(400, 2))
    noise = rng.normal(size=400)
    label = np.where(code[:, 0] > 0.0, "hot", "cool")
    both, number, unknown, kind = _parts(code, code @ [1.0, -2.0], noise, label)
    names = ("number", "unknown", "kind")
    labels = tuple(
        dict(zip(names, part, strict=True))
        for part in zip(number, unknown, kind, strict=True)
    )
    scores = probe_labels(both, labels, seed=1, linear=linear)
    assert list(scores) == list(names)
    assert scores["number"] > 0.95 and scores["kind"] > 0.9
    assert scores["unknown"] < 0.1
    for name in names:
        pair = labels[0][name], labels[1][name]
        assert scores[name] == probe(both, pair, seed=1, linear=linear)


def test_both_parts_must_have_the_same_labels(rng) -> None:
    code = rng.normal(size=(10, 2))
    with pytest.raises(InputError, match=r"received \['a'\] and \['b'\]"):
        probe_labels((code, code), ({"a": code[:, 0]}, {"b": code[:, 0]}))


# === coherent_agreement and nuisance_dependence ===


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
