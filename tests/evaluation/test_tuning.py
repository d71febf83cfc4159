"""The search for settings."""

from __future__ import annotations

import csv
import dataclasses
import functools
import math
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

from symae_keras.data import GroupedData, simulate_exposures, simulate_shapes
from symae_keras.errors import InputError, NonFiniteError
from symae_keras.evaluation import tuning
from symae_keras.evaluation.estimate import EstimatedRedatumingError
from symae_keras.evaluation.search_space import START, SymAESettings, first_settings
from symae_keras.evaluation.study import open_study, write_trials
from symae_keras.evaluation.tuning import search
from symae_keras.models import SymAE
from symae_keras.training import Training, tune
from symae_keras.zoo.recipes import load_recipe

optuna = pytest.importorskip("optuna")

GROUPS = GroupedData(np.random.default_rng(0).normal(size=(24, 3, 4)))
FIRST = first_settings(GROUPS)
EPOCHS = 12


def error_of(settings: SymAESettings) -> float:
    """Return a redatuming error with one optimum, away from all initial settings."""
    far = abs(math.log(settings.coherent_dim / 11))
    far += 0.5 * abs(math.log(settings.nuisance_dim / 5))
    far += 0.3 * abs(math.log10(settings.noise_strength / 0.003))
    far += 0.2 * (not settings.conditional_nuisance)
    return 0.03 * (1.0 + far)


class Pretender(SimpleNamespace):
    """Model whose errors fall with the epochs, without training."""

    redatum = None
    epochs = 0
    stop_training = False

    def estimate(self) -> EstimatedRedatumingError:
        error = error_of(self.settings) * (1.0 + 3.0 / max(self.epochs, 0.1))
        # The reconstruction error prefers the opposite settings.
        parts = 0.1 / (1.0 + 100.0 * error), 0.0, 0.0
        return EstimatedRedatumingError(
            parts[0], 0.0, 0.5 * (error - parts[0]), (error, error), 0.9
        )


@pytest.fixture
def pretended(monkeypatch):
    """Search with fake trainings; return a function that is called in each epoch."""
    act = SimpleNamespace(now=lambda model: None)

    def train(model, groups, training, seed, validation=None, callbacks=()):
        for callback in callbacks:
            callback.set_model(model)
        for epoch in range(training.epochs):
            model.epochs = epoch + 1
            act.now(model)
            for callback in callbacks:
                callback.on_epoch_end(epoch)
            if model.stop_training:
                break

    def build(settings, groups, seed=0):
        return Pretender(settings=settings)

    monkeypatch.setattr(tuning, "train", train)
    monkeypatch.setattr(SymAESettings, "build", build)

    def estimate(model, groups, swapped=None):
        act.estimated = len(groups), None if swapped is None else len(swapped)
        return model.estimate()

    monkeypatch.setattr(tuning, "estimate_redatuming_error", estimate)
    return act


def run(n_trials=None, budget_s=900.0, **options):
    return search(
        GROUPS, budget_s, n_trials=n_trials, training=Training(epochs=EPOCHS), **options
    )


def without_times(trials):
    return [dataclasses.replace(each, seconds=0.0) for each in trials]


# === Result of the search ===


def test_few_groups_start_with_a_linear_backbone() -> None:
    """As in the preset; images and many groups start with the plain network."""
    assert FIRST[0] == SymAESettings(backbone="linear") and set(FIRST) == set(START)
    many = GroupedData(np.zeros((128, 2, 8), "float32"))
    images = GroupedData(np.zeros((4, 2, 8, 8, 1), "float32"))
    assert first_settings(many) == START
    assert START[0] == SymAESettings()
    # Muon is for matrices.
    left_out = set(START) - set(first_settings(images))
    assert [each.optimizer for each in left_out] == ["muon", "muon"]


def test_it_finds_the_least_estimate_and_not_the_least_reconstruction(pretended):
    trials = run(40)
    best = min(trials, key=lambda each: (each.outcome != "complete", each.estimate))
    assert tuning.chosen_settings(trials, GROUPS) == best.settings
    first = trials[0]
    assert first.settings == FIRST[0] and first.outcome == "complete"
    assert error_of(best.settings) < 0.7 * error_of(FIRST[0])
    assert error_of(best.settings) < min(map(error_of, START))
    by_reconstruction = min(trials, key=lambda each: each.reconstruction)
    assert error_of(by_reconstruction.settings) > 2 * error_of(best.settings)


def test_bad_trials_stop_early_and_good_ones_do_not(pretended):
    trials = run(40)
    assert [each.number for each in trials] == list(range(40))
    complete = [each for each in trials if each.outcome == "complete"]
    pruned = [each for each in trials if each.outcome == "pruned"]
    assert len(complete) + len(pruned) == 40 and 4 <= len(complete) <= 16
    # 18 groups in batches of 16 are two updates per epoch; in batches of 64, one.
    for each in trials:
        steps = 1 if each.settings.optimizer == "muon" else 2
        shares = (1,) if each.outcome == "complete" else (6, 2)
        assert each.updates in [steps * EPOCHS // share for share in shares]
    # The first trials of each kind, even if one kind is far better.
    assert [each.number for each in complete[:4]] == [0, 1, 2, 3]
    # Updates are spent on good settings: the best trial was not stopped.
    best = min(error_of(each.settings) for each in trials)
    assert best == min(error_of(each.settings) for each in complete)


def test_the_same_seed_makes_the_same_trials(pretended):
    assert without_times(run(16)) == without_times(run(16))
    other = run(16, seed=1)
    assert [each.settings for each in other[: len(FIRST)]] == list(FIRST)
    assert other[-1].settings != run(16)[-1].settings
    assert len(run(14, seed=2**32 - 2)) == 14


# === Interruptions and budgets ===


class Killed(BaseException):
    """Stand-in for a process that ends at once."""


FINISH = tuning.RunningTrial.finish


def test_a_killed_search_is_resumed(pretended, tmp_path, monkeypatch):
    # A name that is invalid in a URL.
    file = tmp_path / "study #1?.db"
    whole = run(16)
    seen = []

    def kill(model):
        seen.append(model)
        if len(seen) == 5 * EPOCHS:
            monkeypatch.setattr(tuning.RunningTrial, "finish", lambda *_: None)
            raise Killed

    pretended.now = kill
    with pytest.raises(Killed):
        run(16, file=file)
    pretended.now = lambda model: None
    monkeypatch.setattr(tuning.RunningTrial, "finish", FINISH)
    trials = run(16, file=file)
    numbers = [each.number for each in trials]
    # The interrupted trial is repeated with another number.
    assert len(trials) == 16 and len(set(range(17)) - set(numbers)) == 1
    assert {each.settings for each in trials} >= {each.settings for each in whole[:9]}
    assert file.is_file() and [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_search_killed_in_its_first_trial_starts_with_the_default_settings(
    pretended, tmp_path, monkeypatch
):
    file = tmp_path / "study.db"

    def kill(model):
        monkeypatch.setattr(tuning.RunningTrial, "finish", lambda *_: None)
        raise Killed

    pretended.now = kill
    with pytest.raises(Killed):
        run(3, file=file)
    pretended.now = lambda model: None
    monkeypatch.setattr(tuning.RunningTrial, "finish", FINISH)
    trials = run(3, file=file)
    assert trials[0].number == 0 and trials[0].settings == FIRST[0]


def test_a_finished_search_is_left_as_it_is(pretended, tmp_path):
    file = tmp_path / "study.db"
    trials = run(3, file=file)
    assert run(3, file=file) == trials
    assert run(5, file=file)[:3] == trials


def test_a_damaged_study_is_refused(tmp_path):
    file = tmp_path / "study.db"
    file.write_bytes(b"SQLite format 3\0" + 100 * b"x")
    with (
        pytest.raises(InputError, match="study.db cannot be read.*--force"),
        open_study(file, 0),
    ):
        pass


@pytest.fixture
def clock(monkeypatch):
    """Return a list with the time of a fake clock, which the test sets."""
    now = [0.0]
    monkeypatch.setattr(tuning, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_the_budget_has_room_for_the_final_training(pretended, clock):
    def tick(model):
        clock[0] += 1.0

    pretended.now = tick
    trials = run(budget_s=100.0)
    # The final training of 24 groups in two batches of 16 has as many updates as a
    # trial of 18 groups, which takes 12 s; 50 % are added for safety.
    assert 70.0 <= clock[0] <= 100.0 - 1.5 * EPOCHS + 1.0
    assert sum(each.seconds for each in trials) == clock[0]


def test_the_seconds_of_a_killed_search_count(pretended, clock, tmp_path):
    def tick(model):
        clock[0] += 1.0

    pretended.now = tick
    run(2, file=tmp_path / "study.db")
    before = clock[0]
    run(budget_s=60.0, file=tmp_path / "study.db")
    assert clock[0] <= 60.0 - EPOCHS + 1.0 and clock[0] > before


@pytest.mark.parametrize("budget_s", [0.5, 20.0])
def test_a_budget_too_small_for_one_trial(pretended, clock, caplog, budget_s):
    def tick(model):
        clock[0] += 1.0

    pretended.now = tick
    trials = run(budget_s=budget_s)
    assert [each.outcome for each in trials] == ["stopped"]
    # The search ends early enough for the final training.
    assert clock[0] <= max(1.0, EPOCHS / 6)
    assert tuning.chosen_settings(trials, GROUPS) == FIRST[0]
    assert "too small for one trial" in caplog.text
    assert f"a trial takes about {EPOCHS} s here" in caplog.text
    assert "give --budget 2m or more (in Python, budget_s=120)" in caplog.text


def test_an_interruption_ends_with_the_best_so_far(pretended, caplog):
    seen = []

    def interrupt(model):
        seen.append(model)
        if len(seen) == 3 * EPOCHS:
            raise KeyboardInterrupt

    pretended.now = interrupt
    trials = run()
    assert trials[-1].outcome == "stopped"
    assert {each.outcome for each in trials[:-1]} <= {"complete", "pruned"}
    assert "interrupted after" in caplog.text


def test_an_interruption_of_the_first_trial_is_one(pretended):
    def interrupt(model):
        raise KeyboardInterrupt

    pretended.now = interrupt
    with pytest.raises(KeyboardInterrupt):
        run()


def test_bad_luck_in_the_final_training_is_noted(pretended, caplog):
    trials = run(2)
    best = min(each.estimate for each in trials)
    tuning.warn_of_bad_luck(1.4 * best, trials)
    tuning.warn_of_bad_luck(1.0, ())
    assert not caplog.text
    tuning.warn_of_bad_luck(1.6 * best, trials)
    assert f"than the best trial ({best:.4f})" in caplog.text


def test_few_groups_are_all_swapped(pretended):
    """Parts of the estimate that vary by chance are measured on training groups too."""
    few = GroupedData(np.zeros((508, 2, 1), "float32"))
    search(few, n_trials=1, training=Training(epochs=EPOCHS))
    assert pretended.estimated == (127, 508)
    many = GroupedData(np.zeros((512, 2, 1), "float32"))
    search(many, n_trials=1, training=Training(epochs=EPOCHS))
    assert pretended.estimated == (128, None)


def test_a_trial_that_fails_is_left_out(pretended):
    def explode(model):
        if model.settings == FIRST[1]:
            raise NonFiniteError("loss became nan")

    pretended.now = explode
    trials = run(4)
    assert trials[1].outcome == "failed" and trials[1].estimate is None
    assert tuning.chosen_settings(trials, GROUPS) != FIRST[1]


# === Invalid arguments ===


def test_without_optuna(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r'needs optuna; .* "symae_keras\[tune\]"'):
        tune(GROUPS)


def test_too_few_groups():
    with pytest.raises(InputError, match="only 1 of 4 groups .* at least 10 groups"):
        tune(GROUPS[:5])


@pytest.mark.parametrize(
    "arguments", [{"budget_s": 0}, {"budget_s": "15m"}, {"n_trials": 0}]
)
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        tune(GROUPS, **arguments)


# === Models, recipes and tables ===


def images():
    return simulate_shapes(n_states=3, n_instances=2, seed=0, size=8)


@pytest.mark.parametrize("groups", [GROUPS[:3], images()], ids=["spectra", "images"])
@pytest.mark.parametrize(
    "kind",
    [
        {"nuisance_noise": "variational", "noise_strength": 0.00012},
        {"noise_strength": 0.12, "backbone": "linear"},
        {"noise_strength": 0.12, "optimizer": "muon"},
    ],
    ids=["variational", "backbone", "muon"],
)
def test_the_recipe_makes_the_model_of_the_settings(groups, kind, tmp_path):
    settings = SymAESettings(
        coherent_dim=3,
        nuisance_dim=2,
        width=0.25,
        conditional_nuisance=False,
        **kind,
    )
    path = tmp_path / "recipe.py"
    path.write_text(settings.recipe(groups), encoding="utf-8")
    recipe, docstring, _ = load_recipe(path)
    assert docstring.startswith("SymAE with the settings")
    assert [each.name for each in tmp_path.iterdir()] == ["recipe.py"]  # no bytecode
    wanted = settings.training(Training())
    assert all(getattr(recipe, name) == value for name, value in vars(wanted).items())
    built, made = settings.build(groups, 5), recipe.model(groups, 5)
    ours, theirs = (keras.tree.flatten(each.get_config()) for each in (built, made))
    assert [each for each in ours if isinstance(each, (int, float))] == [
        each for each in theirs if isinstance(each, (int, float))
    ]
    shapes = [[tuple(v.shape) for v in each.weights] for each in (built, made)]
    assert shapes[0] == shapes[1]
    convolutional = any("conv" in v.path for v in built.weights)
    assert convolutional == (len(groups.instance_shape) == 3)


def test_the_default_settings_are_those_of_symae():
    built = SymAESettings().build(GROUPS)
    usual = SymAE(GROUPS.instance_shape, seed=0)
    shapes = [
        [tuple(v.shape) for v in each.trainable_weights] for each in (built, usual)
    ]
    assert shapes[0] == shapes[1]
    for name in ("coherent_dim", "nuisance_dim", "nuisance_noise"):
        assert getattr(built, name) == getattr(usual, name)
    assert built.noise.strength == usual.noise.strength


def test_muon_has_its_own_updates_and_falling_noise():
    muon = SymAESettings(noise_strength=0.25, optimizer="muon")
    assert SymAESettings().training(Training(epochs=3)) == Training(epochs=3)
    usual, given = muon.training(Training()), muon.training(Training(epochs=3))
    assert (usual.final_noise, usual.epochs, usual.min_updates) == (0.1, 40, 640)
    assert given == dataclasses.replace(usual, epochs=3, min_updates=None)
    assert (usual.batch_size, usual.optimizer) == (64, "muon")


def test_settings_survive_a_study():
    for settings in START:
        trial = optuna.trial.FixedTrial(settings.parameters())
        assert SymAESettings.sample(trial) == settings


def test_a_search_without_optimizers_is_resumed(pretended, tmp_path, monkeypatch):
    """As an earlier version wrote it."""
    parameters = SymAESettings.parameters

    def without(settings):
        return {k: v for k, v in parameters(settings).items() if k != "optimizer"}

    def suggest(self, name, choices, _as_ever=optuna.Trial.suggest_categorical):
        return "adam" if name == "optimizer" else _as_ever(self, name, choices)

    file = tmp_path / "study.db"
    with monkeypatch.context() as patch:
        patch.setattr(SymAESettings, "parameters", without)
        patch.setattr(optuna.Trial, "suggest_categorical", suggest)
        before = run(4, file=file)
    trials = run(8, file=file)
    assert trials[:4] == before and len(trials) == 8
    assert {each.settings.optimizer for each in before} == {"adam"}


def test_the_table_of_trials(pretended, tmp_path):
    trials = run(5)
    write_trials(tmp_path / "trials.csv", trials)
    with (tmp_path / "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    for row, trial in zip(rows, trials, strict=True):
        assert row["outcome"] == trial.outcome
        assert float(row["estimate"]) == trial.estimate
        assert int(row["coherent_dim"]) == trial.settings.coherent_dim
        assert row["nuisance_noise"] == trial.settings.nuisance_noise


# === With training ===


@pytest.mark.large
def test_tune_returns_the_trained_model(monkeypatch, few_donors):
    # Tracing takes longer than these few updates.
    eager = functools.partialmethod(SymAE.compile, run_eagerly=True)
    monkeypatch.setattr(SymAE, "compile", eager)
    groups = simulate_exposures(n_states=20, n_instances=3, seed=0, n_pixels=24)
    mask = np.ones((20, 3), bool)
    mask[::3, 2] = False
    groups = dataclasses.replace(groups, mask=mask)
    seen = []
    result = tune(
        groups,
        n_trials=2,
        training=Training(epochs=4),
        progress=lambda text, share: seen.append((text, share)),
    )
    assert len(result.trials) == 2 and len(seen) == 3
    assert all(0.0 <= share <= 1.0 for _, share in seen)
    assert result.settings in [each.settings for each in result.trials]
    assert result.model.coherent_dim == result.settings.coherent_dim
    low, high = result.estimate.interval
    assert 0.0 < low < result.estimate < high
    # The reconstruction has improved on groups that were not used for training.
    assert result.estimate.reconstruction < 1.0
    # The same seed makes the same trials, above; the trainings repeat, too.
    again, first = (
        tune(groups, n_trials=1, training=Training(epochs=4)),
        result.trials[0],
    )
    assert again.trials[0].settings == first.settings
    assert_allclose(again.trials[0].estimate, first.estimate, rtol=0.02)
