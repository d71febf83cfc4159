"""The scikit-learn transformers: checks of scikit-learn, and typical use."""

from __future__ import annotations

import functools
import io
import pickle
import random

import keras
import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from symae_keras.data import group_by, ragged
from symae_keras.data.simulators.replicates import simulate_replicates
from symae_keras.errors import InputError
from symae_keras.sklearn import CoherentCode, Redatum
from symae_keras.training import Training

#: One update or two, of small codes.
QUICK = {"training": Training(epochs=1), "random_state": 0}

EAGER = functools.partialmethod(keras.Model.compile, run_eagerly=True)

DATA = simulate_replicates(n_states=10, n_instances=3, seed=0)
X = DATA.x.reshape(30, 200)[:, ::10].astype("float64")
IDS = np.repeat([f"sample {k}" for k in range(10)], 3)
Y = np.repeat(DATA.state["heights"][:, 1], 3)


@pytest.fixture(autouse=True)
def _untraced(monkeypatch) -> None:
    """Run eagerly, because tracing takes longer than the few steps."""
    monkeypatch.setattr(keras.Model, "compile", EAGER)


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture(scope="module")
def fitted():
    """Train both transformers on groups."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "compile", EAGER)
        return [
            cls(3, 2, **QUICK).fit(X, groups=IDS) for cls in (CoherentCode, Redatum)
        ]


# === The checks of scikit-learn ===


#: Checks that compare results of several trainings, or of several dtypes.
TRAINED = {
    "check_estimators_dtypes",
    "check_estimators_pickle",
    "check_fit_idempotent",
    "check_methods_subset_invariance",
    "check_transformer_general",
}


def _small(cls):
    return cls(2, 1, nuisance_noise="gaussian", validation_fraction=0.0, **QUICK)


@pytest.mark.large
@pytest.mark.filterwarnings("ignore:.*without the ids of groups:UserWarning")
@parametrize_with_checks([_small(CoherentCode), _small(Redatum)])
def test_checks_of_scikit_learn(estimator, check, monkeypatch) -> None:
    """All checks pass without exceptions."""
    # `fit` is the same in both, and steps of training take most of the time. The other
    # checks are about arguments and attributes.
    name = getattr(check, "func", check).__name__
    if isinstance(estimator, CoherentCode) or name not in TRAINED:
        monkeypatch.setattr("symae_keras.sklearn.train", lambda *_, **__: None)
    check(estimator)


# === Fit and transform ===


def test_codes_and_virtual_spectra_are_those_of_the_model(fitted) -> None:
    code, redatum = fitted
    rows = X[:, None]
    codes = code.model_.encode(rows)
    np.testing.assert_allclose(code.transform(X), codes.coherent, atol=1e-6)
    spectra = code.inverse_transform(code.transform(X))
    assert spectra.shape == X.shape and spectra.dtype == X.dtype
    # All instances of this group have the nuisance code of the reference.
    redatum = pickle.loads(pickle.dumps(redatum))
    for detail in (None, np.full(20, 0.25)):
        redatum.model_.detail = detail
        codes = redatum.model_.encode(rows)
        nuisance = np.broadcast_to(redatum.nuisance_, (30, 1, 2))
        expected = redatum.model_.decode(codes.coherent, nuisance)[:, 0]
        if detail is not None:
            expected += 0.25 * (rows - redatum.model_.decode(*codes))[:, 0]
        np.testing.assert_allclose(redatum.transform(X), expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*without the ids of groups:UserWarning")
@pytest.mark.parametrize(
    ("arguments", "ids", "backbone"),
    [
        ({}, IDS, "linear"),
        ({"backbone": None}, IDS, None),
        ({"nuisance_noise": "variational"}, IDS, None),
        ({}, None, None),  # single rows show no nuisances
    ],
)
def test_few_groups_start_at_the_linear_model(arguments, ids, backbone) -> None:
    built = CoherentCode(3, 2, **QUICK, **arguments).fit(X, groups=ids)
    assert built.model_.backbone == backbone


def test_many_groups_have_no_backbone(monkeypatch) -> None:
    monkeypatch.setattr("symae_keras.sklearn.FEW_GROUPS", 8)
    built = CoherentCode(3, 2, validation_fraction=0.0, **QUICK).fit(X, groups=IDS)
    assert built.model_.backbone is None


def test_rows_of_a_group_are_pooled_if_their_ids_are_given(fitted) -> None:
    order = np.random.default_rng(0).permutation(30)
    for each in fitted:
        pooled = each.transform(X[order], groups=IDS[order])
        back = pooled[np.argsort(order)].reshape(10, 3, -1)
        np.testing.assert_allclose(back - back[:, :1], 0.0, atol=1e-5)
        alone = each.transform(X, groups=np.arange(30))
        np.testing.assert_allclose(alone, each.transform(X), atol=1e-6)
        assert np.abs(back[:, 0] - each.transform(X[::3])).max() > 1e-3
    expected = fitted[0].model_.encode(X.reshape(10, 3, 20)).coherent
    found = fitted[0].transform(X, groups=IDS)[::3]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_groups_far_from_equal_in_size_are_not_padded(monkeypatch) -> None:
    monkeypatch.setattr(ragged, "PADDED_BYTES", 0)
    monkeypatch.setattr(ragged, "PADDED_TIMES", 2)
    rows = np.random.default_rng(0).normal(size=(120, 5)).astype("float32")
    ids = np.maximum(np.arange(120) - 60, 0)
    with pytest.raises(ragged.UnevenGroups):
        group_by(rows, ids)
    code = CoherentCode(2, 1, **QUICK).fit(rows, groups=ids)
    pooled = code.transform(rows, groups=ids)
    np.testing.assert_allclose(pooled[1:61], pooled[:60], atol=1e-5)
    np.testing.assert_allclose(pooled[61:], code.transform(rows)[61:], atol=1e-5)


@pytest.mark.parametrize("what", ["mean", "id", "spectra", "spectrum"])
def test_reference(what) -> None:
    reference = {"mean": None, "id": "sample 3", "spectra": X[9:12], "spectrum": X[9]}
    redatum = Redatum(3, 2, reference=reference[what], **QUICK).fit(X, groups=IDS)
    own = redatum.model_.encode(X.reshape(10, 3, 20)).nuisance
    expected = {
        "mean": np.mean(own, axis=(0, 1)),
        "id": np.mean(own[3], axis=0),
        "spectra": np.mean(redatum.model_.encode(X[9:12, None]).nuisance, axis=(0, 1)),
        "spectrum": redatum.model_.encode(X[9:10, None]).nuisance[0, 0],
    }
    np.testing.assert_allclose(redatum.nuisance_, expected[what], atol=1e-6)


def test_missing_pixels() -> None:
    """Values of missing pixels have no effect."""
    gaps = np.random.default_rng(0).random(X.shape) < 0.1
    masked = np.ma.array(np.where(gaps, 1e6, X), mask=gaps)
    both = np.where(gaps, np.nan, X), masked
    found = [Redatum(3, 2, **QUICK).fit_transform(x, groups=IDS) for x in both]
    assert np.isfinite(found[0]).all()
    np.testing.assert_array_equal(*found)


def test_tensors() -> None:
    torch = pytest.importorskip("torch")
    jax = pytest.importorskip("jax")
    single = X.astype("float32")
    code = CoherentCode(3, 2, **QUICK).fit(
        torch.tensor(single), groups=torch.arange(30) // 3
    )
    expected = code.transform(single)
    for x in (torch.tensor(single, requires_grad=True), jax.numpy.asarray(single)):
        np.testing.assert_array_equal(code.transform(x), expected)


def test_seeds() -> None:
    def virtual(seed):
        return Redatum(3, 2, **{**QUICK, "random_state": seed}).fit_transform(
            X, groups=IDS
        )

    state = random.getstate(), np.random.get_state()[1].tolist()
    first = virtual(3)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state
    np.testing.assert_array_equal(virtual(np.random.RandomState(3)), first)
    assert np.abs(virtual(4) - first).max() > 1e-3


# === Inside of scikit-learn ===


def test_pickles_are_exact_and_hold_no_code(fitted) -> None:
    for each in fitted:
        content = pickle.dumps(each)
        assert _classes(content) == {type(each).__name__, "Training"}
        weights = 4 * each.model_.count_params()
        assert weights < len(content) < 1.2 * weights + 200_000
        again = pickle.loads(content)
        np.testing.assert_array_equal(again.transform(X), each.transform(X))
        assert again.get_params() == each.get_params()
    assert not hasattr(pickle.loads(pickle.dumps(Redatum())), "model_")


def _classes(content: bytes) -> set[str]:
    """Return the names from this package that a pickle imports."""
    found = set()

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            if module.startswith(("symae_keras", "keras", "tensorflow")):
                found.add(name)
            return super().find_class(module, name)

    Reader(io.BytesIO(content)).load()
    return found


@pytest.mark.large
def test_pickles_load_in_a_fresh_process(fitted, run_python, tmp_path) -> None:
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "both.pkl").write_bytes(pickle.dumps(fitted))
    code = (
        "import pickle, sys, numpy as np; folder = sys.argv[1]\n"
        "x = np.load(folder + '/x.npy')\n"
        "loaded = pickle.load(open(folder + '/both.pkl', 'rb'))\n"
        "from symae_keras._utils import compiled\n"
        "compiled.CALLS_BEFORE = 8  # as in the process of the tests\n"
        "for k, each in enumerate(loaded):\n"
        "    np.save(f'{folder}/{k}.npy', each.transform(x))"
    )
    run_python(code, tmp_path, backend=keras.backend.backend())
    for k, each in enumerate(fitted):
        found = np.load(tmp_path / f"{k}.npy")
        np.testing.assert_array_equal(found, each.transform(X))


def test_pandas(fitted) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[f"{k} nm" for k in range(20)])
    for cls in (CoherentCode, Redatum):
        each = cls(3, 2, **QUICK).set_output(transform="pandas")
        found = each.fit_transform(frame, groups=pandas.Series(IDS))
        assert isinstance(found, pandas.DataFrame) and len(found) == 30
        expected = (
            frame.columns if cls is Redatum else [f"coherentcode{k}" for k in range(3)]
        )
        assert found.columns.tolist() == list(expected)
        assert found.index.equals(frame.index)


def test_ids_are_routed_to_fit(routing) -> None:
    """Groups are routed without `set_fit_request`, as for splitters."""
    seen = []

    class Spy(Redatum):
        def fit(self, X, y=None, groups=None):
            seen.append(groups)
            return super().fit(X, y, groups)

    model = make_pipeline(Spy(2, 1, **QUICK), Ridge())
    found = cross_val_predict(model, X, Y, cv=GroupKFold(2), params={"groups": IDS})
    assert found.shape == (30,) and len(seen) == 2
    assert sorted(np.concatenate(seen)) == sorted(IDS)
    model[0].set_fit_request(groups=False)
    with pytest.warns(UserWarning, match="without the ids of groups"):
        model.fit(X, Y)


def test_ids_by_the_name_of_the_step() -> None:
    model = make_pipeline(CoherentCode(2, 1, **QUICK), Ridge())
    with pytest.warns(UserWarning, match="enable_metadata_routing=True"):
        model.fit(X, Y)
    model.fit(X, Y, coherentcode__groups=IDS)
    assert model.predict(X).shape == (30,)


@pytest.mark.large
def test_search_for_sizes(routing) -> None:
    model = make_pipeline(Redatum(2, 1, **QUICK), Ridge())
    search = GridSearchCV(model, {"redatum__coherent_dim": [1, 2]}, cv=GroupKFold(2))
    search.fit(X, Y, groups=IDS)
    best = search.best_estimator_[0]
    assert best.model_.coherent_dim == search.best_params_["redatum__coherent_dim"]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert clone(best).get_params() == best.get_params()


# === What is refused ===


def test_what_is_refused(fitted) -> None:
    def refuses(words, call, error=InputError):
        with pytest.raises(error, match=words):
            call()

    code, redatum = fitted
    refuses("one entry for each row", lambda: Redatum().fit(X, groups=IDS[:-1]))
    for share in (1.0, "some"):
        bad = Redatum(validation_fraction=share)
        words = "0 <= validation_fraction < 1"
        refuses(words, lambda bad=bad: bad.fit(X, groups=IDS), ValueError)
    refuses("codes with 3 numbers per row", lambda: code.inverse_transform(X))
    refuses("one entry for each row", lambda: redatum.transform(X, groups=IDS[1:]))
    huge = np.full((1, 20), 1e39)
    refuses("outside the range of float32", lambda: redatum.transform(huge))
    gap = np.where(np.arange(30)[:, None] == 4, np.nan, X)
    refuses("1 of 30 rows .* row 4", lambda: redatum.transform(gap))
    for reference, words in (
        ("sample 77", "not the id of a training group; there are 10, such as"),
        (X[:, :7], "reference must be spectra of 20 pixels"),
        (np.full((2, 20), np.nan), "`reference` contain only NaN"),
    ):
        bad = clone(redatum).set_params(reference=reference)
        refuses(words, lambda bad=bad: bad.fit(X, groups=IDS))
