"""Search for the settings of SymAE by the estimated redatuming error."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import keras

from symae_keras._utils.validation import positive, positive_finite
from symae_keras.data.groups import GroupedData
from symae_keras.errors import InputError, NonFiniteError
from symae_keras.evaluation.estimate import (
    EstimatedRedatumingError,
    estimate_redatuming_error,
)
from symae_keras.evaluation.search_space import SymAESettings, first_settings
from symae_keras.evaluation.study import (
    RunningTrial,
    Study,
    Trial,
    best_trial,
    open_study,
    require_optuna,
)
from symae_keras.models import SymAE
from symae_keras.training.checkpoint import sync_state
from symae_keras.training.fit import FEW_GROUPS, Budget, Training, train

_log = logging.getLogger("symae_keras")

#: Called with a description of the current step, and the completed share, from 0 to 1.
Progress = Callable[[str, float], None]

#: Shares of the groups for training: in the final training and, of these groups, in
#: the search.
_TRAIN_FRACTION: Final = 0.8
_SEARCH_FRACTION: Final = 0.75
#: Shares of a training after which trials are compared (rungs).
_RUNGS: Final = (1 / 6, 1 / 2)
#: Time of the final training relative to a trial with as many updates: it also
#: validates and writes a checkpoint after each epoch.
_FINAL_FACTOR: Final = 1.5
#: More trials than fit into an hour; used if only the budget limits the search.
_MOST_TRIALS: Final = 1000
#: Trials for which there is time in the budget that a warning proposes.
_FEW_TRIALS: Final = 3


@dataclasses.dataclass(frozen=True)
class Tuning:
    """The result of `tune`.

    Attributes:
        model: The trained model.
        settings: Its settings.
        trials: The trials of the search, in order; the first one has the default
            settings. Their `estimate` refers to the groups that the search held out.
        estimate: The estimate of the redatuming error on groups that were used neither
            for training nor in the search. For small data, they chose the epoch of the
            model, as in `symae train`.
    """

    model: SymAE
    settings: SymAESettings
    trials: tuple[Trial, ...]
    estimate: EstimatedRedatumingError


def tune(
    groups: GroupedData,
    budget_s: float = 900.0,
    seed: int = 0,
    n_trials: int | None = None,
    training: Training | None = None,
    progress: Progress | None = None,
) -> Tuning:
    """Choose code sizes, noise and networks of a `SymAE`, and train it.

    The search minimises `estimate_redatuming_error` on held-out groups, without ground
    truth. 20 % of the groups are held out for the `estimate` of the result. Of the
    remaining groups, the search uses 75 % for training and 25 % for the comparison of
    settings. The model with the chosen settings is then trained on all of them. If
    these 25 % are fewer than 128 groups, only the reconstruction error of the estimate
    is theirs. Its other parts vary too much by chance, and are measured on all groups
    of the search.

    The first four trials have Gaussian noise, variational noise, a linear backbone, and
    the optimizer Muon with falling noise, and are only stopped at the end of the
    budget. With fewer than 128 training groups, the backbone comes first; with images,
    Muon is left out. The next trials have a few other good settings, and all further
    settings are proposed by Optuna's TPE sampler. After one sixth and one half of its
    updates, a trial continues only if it is in the best third of the trials with the
    same noise, backbone and optimizer so far (successive halving).
    The encoder is dense, or convolutional for images `(height, width, channels)`.

    The search ends at the end of the budget or with Ctrl-C (`KeyboardInterrupt`). A
    model is then trained with the best settings of the complete trials. If no trial was
    completed within the budget, the default settings are used, and a warning of the
    logger `"symae_keras"` gives a sufficient budget. Install Optuna with `pip install
    "symae_keras[tune]"`.

    Args:
        groups: Groups, simulated or measured, with or without masks; about 100 or more.
        budget_s: Seconds for the search and the final training together. Defaults to
            900.
        seed: Seed of splits, weights, sampling and search. Defaults to 0.
        n_trials: Number of trials, unless the budget ends the search first. The result
            is then reproducible. Defaults to `None`, as many as the budget allows.
        training: Epochs, batch size, instances and learning rate of all trainings with
            Adam. `None` (default) stands for `Training()`.
        progress: Called as `progress(text, share)`. Defaults to `None`.

    Returns:
        A `Tuning` with `model`, `settings`, `trials` and `estimate`.

    Raises:
        InputError: Optuna is not installed, or there are too few groups.

    Example:
    >>> from symae_keras.data import simulate_exposures
    >>> from symae_keras.training import Training
    >>> groups = simulate_exposures(n_states=40, n_instances=3, seed=0)
    >>> result = tune(groups, n_trials=2, training=Training(epochs=1))
    >>> len(result.trials), result.model.coherent_dim == result.settings.coherent_dim
    (2, True)
    """
    require_optuna()
    _check_arguments(budget_s, n_trials)
    training = training or Training()
    fit, held_out = groups.split(_TRAIN_FRACTION, seed)
    trials = search(fit, budget_s, seed, n_trials, training, None, progress)
    settings = chosen_settings(trials, fit)
    if progress is not None:
        progress(f"training {settings}", 1.0)
    keras.utils.set_random_seed(seed)
    model = settings.build(fit, seed)
    training = settings.training(training)
    train(model, fit, training, seed, _for_best_epoch(fit, held_out, training))
    estimate = estimate_redatuming_error(model, held_out)
    warn_of_bad_luck(estimate.interval[0], trials)
    return Tuning(model, settings, trials, estimate)


def search(
    groups: GroupedData,
    budget_s: float = 900.0,
    seed: int = 0,
    n_trials: int | None = None,
    training: Training | None = None,
    file: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Trial, ...]:
    """Run the trials of `tune`; arguments are as for `tune`.

    Args:
        groups: Training groups, 25 % of which are held out to compare settings.
        budget_s: Seconds for the search and the final training.
        seed: See `tune`.
        n_trials: See `tune`.
        training: See `tune`.
        file: SQLite file with the trials. If it exists, the search is resumed, and the
            time of its trials counts towards the budget. Defaults to `None`.
        progress: See `tune`.

    Returns:
        The trials, including finished trials of the file.

    Raises:
        InputError: See `tune`.
        KeyboardInterrupt: The user stopped the search before a trial was complete.
    """
    _check_arguments(budget_s, n_trials)
    training = training or Training()
    runner = _Runner(groups, training, seed, progress)
    most = n_trials or _MOST_TRIALS
    with open_study(file, seed, first_settings(groups)) as study:
        clock = runner.clock = _Clock(budget_s, study.trials(), runner.final_updates)
        try:
            while len(study.trials()) < most and not clock.over:
                clock.n_trials = len(study.trials()), n_trials
                if runner.run(study) == "stopped":
                    break
                clock.take_note(study.trials())
        except KeyboardInterrupt:
            if best_trial(study.trials()) is None:
                raise
            _log.warning(
                "the search was interrupted after %d trials; training with the best "
                "settings so far",
                len(study.trials()),
            )
        _warn_of_default_settings(study.trials(), runner)
        return study.trials()


def chosen_settings(trials: tuple[Trial, ...], groups: GroupedData) -> SymAESettings:
    """Return the best settings, or the default ones if no trial is complete."""
    best = best_trial(trials)
    return first_settings(groups)[0] if best is None else best.settings


def _warn_of_default_settings(trials: tuple[Trial, ...], runner: _Runner) -> None:
    """Log a warning with a sufficient budget if no trial is complete."""
    if best_trial(trials) is not None:
        return
    measured = [each for each in trials if each.outcome == "stopped" and each.updates]
    if not measured:
        why = (
            "no trial was completed"
            if trials
            else "the budget is too small for one trial"
        )
        _log.warning("%s, so the default settings are used", why)
        return
    pace = measured[0].seconds / measured[0].updates
    settings = measured[0].settings
    trial = pace * runner.budget(settings).updates
    final = runner.clock.seconds_of_final(settings, pace)
    # A search of three trials, with a margin, in minutes.
    budget = math.ceil(1.2 * (_FEW_TRIALS * trial + final) / 60.0)
    _log.warning(
        "the budget is too small for one trial, so the default settings are used: a "
        "trial takes about %.0f s here, and the final training %.0f s; give --budget "
        "%dm or more (in Python, budget_s=%d)",
        trial,
        final,
        budget,
        60 * budget,
    )


def warn_of_bad_luck(low: float, trials: tuple[Trial, ...]) -> None:
    """Log a warning if the final training was much worse than the best trial.

    Args:
        low: Lower bound of the final estimate.
        trials: The trials of the search.
    """
    best = best_trial(trials)
    if best is not None and best.estimate is not None and low > 1.5 * best.estimate:
        _log.warning(
            "the final model is worse (estimate %.4f or more) than the best trial "
            "(%.4f): training depends on the seed here, so try another seed",
            low,
            best.estimate,
        )


def _check_arguments(budget_s: float, n_trials: int | None) -> None:
    positive_finite("budget_s", budget_s)
    if n_trials is not None:
        positive("n_trials", n_trials)


def _for_best_epoch(
    groups: GroupedData, held_out: GroupedData, training: Training
) -> GroupedData | None:
    """Return the groups for `train` to choose the epoch; on large data, it does not."""
    return held_out if Budget.of(groups, training).at_least else None


class _Clock:
    """Time budget of the search and of the final training.

    Args:
        budget_s: Seconds for both.
        trials: Earlier trials.
        final_updates: Function of settings that returns the number of updates in the
            final training.
    """

    def __init__(
        self,
        budget_s: float,
        trials: tuple[Trial, ...],
        final_updates: Callable[[SymAESettings], int],
    ) -> None:
        self.budget_s = budget_s
        self.final_updates = final_updates
        self.n_trials: tuple[int, int | None] = 0, None
        self._start = time.monotonic() - sum(each.seconds for each in trials)
        self._reserve = 0.0
        self.take_note(trials)

    @property
    def seconds(self) -> float:
        """Seconds since the search began."""
        return time.monotonic() - self._start

    @property
    def over(self) -> bool:
        """True if the search must end to leave time for the final training."""
        return self.seconds + self._reserve > self.budget_s

    @property
    def share(self) -> float:
        """Completed share of the search."""
        done, total = self.n_trials
        of_time = self.seconds / max(self.budget_s - self._reserve, 1e-3)
        return min(max(of_time, done / total if total else 0.0), 1.0)

    def take_note(self, trials: tuple[Trial, ...]) -> None:
        """Reserve the time that the final training will take."""
        best = best_trial(trials)
        if best is not None:
            pace = best.seconds / best.updates
            self._reserve = self.seconds_of_final(best.settings, pace)

    def seconds_of_final(self, settings: SymAESettings, pace: float) -> float:
        """Return the seconds of the final training, given the seconds per update."""
        return _FINAL_FACTOR * self.final_updates(settings) * pace

    def suffices(self, seconds: float) -> bool:
        """Return whether this number of seconds is left in the budget."""
        return self.seconds + seconds < self.budget_s


class _Runner:
    """Training and evaluation of one trial after another.

    Args:
        groups: Groups, which are split for the search.
        training: Settings of all trainings.
        seed: Seed of the split, weights and sampling.
        progress: Called with a text and the completed share of the search.
    """

    clock: _Clock

    def __init__(
        self,
        groups: GroupedData,
        training: Training,
        seed: int,
        progress: Progress | None,
    ) -> None:
        self.groups, self.validation = groups.split(_SEARCH_FRACTION, seed)
        several = int((self.validation.counts > 1).sum())
        if several < 2:
            raise InputError(
                "The search compares settings on held-out groups of two or more "
                f"instances, but only {several} of {len(groups)} groups would be held "
                "out and suitable; give at least 10 groups, or use the default "
                "settings of symae train."
            )
        self.seed = seed
        self.progress = progress
        self.training = training
        self._all = groups

    def budget(self, settings: SymAESettings) -> Budget:
        """Return the updates of a trial."""
        return Budget.of(self.groups, settings.training(self.training))

    def final_updates(self, settings: SymAESettings) -> int:
        """Return the number of updates in the final training."""
        return Budget.of(self._all, settings.training(self.training)).updates

    def run(self, study: Study) -> str:
        """Run the next trial of a study, and record and return its outcome."""
        trial, start = study.ask(), time.monotonic()
        self._report(study, trial)
        training = trial.settings.training(self.training)
        budget = self.budget(trial.settings)
        rungs = _Rungs(trial, self, budget)
        estimate, outcome = None, "stopped"
        try:
            keras.utils.set_random_seed(self.seed)
            model = trial.settings.build(self.groups, self.seed)
            train(
                model,
                self.groups,
                training,
                self.seed,
                _for_best_epoch(self.groups, self.validation, training),
                callbacks=[rungs],
            )
            outcome = rungs.outcome
            if outcome == "complete":
                estimate = self.estimate(model)
        except NonFiniteError:
            outcome = "failed"
        finally:
            seconds = time.monotonic() - start
            trial.finish(outcome, rungs.epochs * budget.steps, seconds, estimate)
        return outcome

    def estimate(self, model: Any) -> EstimatedRedatumingError:
        """Return the estimate, whose reconstruction error is that of held-out groups.

        With few held-out groups, the chance variation of the other parts is larger than
        the differences between good settings, so these are measured on all groups.
        """
        few = len(self.validation) < FEW_GROUPS
        swapped = self._all if few else None
        return estimate_redatuming_error(model, self.validation, swapped=swapped)

    def _report(self, study: Study, trial: RunningTrial) -> None:
        if self.progress is None:
            return
        best = best_trial(study.trials())
        text = f"trial {trial.number}: {trial.settings}"
        if best is not None:
            text += f"; best estimate so far {best.estimate:.4f}"
        self.progress(text, self.clock.share)


class _Rungs(keras.callbacks.Callback):
    """Comparison of a trial with earlier ones, with early stopping if it is worse.

    Attributes:
        outcome: See `Trial`.
        epochs: Number of completed epochs.
    """

    def __init__(self, trial: RunningTrial, runner: _Runner, budget: Budget) -> None:
        super().__init__()
        self.outcome = "complete"
        self.epochs = 0
        self._trial = trial
        self._runner = runner
        self._budget = budget
        self._start = time.monotonic()
        total = budget.epochs
        self._steps = {max(1, round(part * total)): n for n, part in enumerate(_RUNGS)}
        self._steps.pop(total, None)  # the end is compared by the final estimate

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop at the end of the budget, and at a rung unless the trial is good."""
        self.epochs = epoch + 1
        if self._runner.clock.over:
            self._stop("stopped")
        elif self.epochs in self._steps:
            sync_state(self.model)
            estimate = self._runner.estimate(self.model)
            if self._trial.report(estimate, self._steps[self.epochs]):
                self._stop("pruned")
            elif self._trial.number == 0 and not self._in_time():
                self._stop("stopped")

    def _in_time(self) -> bool:
        clock, seconds = self._runner.clock, time.monotonic() - self._start
        done = self.epochs * self._budget.steps
        pace, left = seconds / done, self._budget.updates - done
        final = clock.seconds_of_final(self._trial.settings, pace)
        return clock.suffices(pace * left + final)

    def _stop(self, outcome: str) -> None:
        self.outcome = outcome
        self.model.stop_training = True
