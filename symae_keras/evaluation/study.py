"""Trials of a search for settings, kept by Optuna in memory or in a SQLite file."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import math
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from symae_keras._utils.files import written_atomically
from symae_keras._utils.optional import import_optional
from symae_keras._utils.text import one_line
from symae_keras.errors import InputError
from symae_keras.evaluation.search_space import START, SymAESettings

if TYPE_CHECKING:
    import optuna

    from symae_keras.evaluation.estimate import EstimatedRedatumingError

_NAME: Final = "symae"
#: One trial in three continues after each rung.
_REDUCTION: Final = 3
_RECORD: Final = "record"
#: Error attributes of a trial; all but the first are attributes of the estimate.
_ERRORS: Final = (
    *("estimate", "reconstruction"),
    *("nuisance_in_state", "state_in_nuisance"),
)
#: Number of trials before the sampler uses its model.
_STARTUP_TRIALS: Final = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial of a search: settings and the resulting estimate.

    Attributes:
        number: Number of the trial, from 0; trial 0 has the default settings.
        settings: Settings of the model.
        outcome: `"complete"`; `"pruned"`: stopped early, because other settings were
            better after the same number of updates; `"stopped"`: by the end of the
            budget or by the user; `"failed"`: a loss became NaN or infinite.
        updates: Number of updates of the weights.
        seconds: Duration.
        estimate: The last `estimate_redatuming_error`, `None` if there is none. Its
            reconstruction error is that of held-out groups, see `tune`.
        reconstruction: The part of the estimate that is the reconstruction error.
        nuisance_in_state: See `EstimatedRedatumingError`.
        state_in_nuisance: See `EstimatedRedatumingError`.
    """

    number: int
    settings: SymAESettings
    outcome: str
    updates: int
    seconds: float
    estimate: float | None
    reconstruction: float | None
    nuisance_in_state: float | None
    state_in_nuisance: float | None


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """Return the complete trial with the lowest estimate, `None` without trials."""
    complete = [each for each in trials if each.outcome == "complete"]
    return min(complete, key=lambda each: each.estimate or 0.0, default=None)


def write_trials(path: Path, trials: Sequence[Trial]) -> None:
    """Write a CSV file with one row per trial and one column per setting."""
    with (
        written_atomically(path) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        names = [name for name in _names(Trial) if name != "settings"]
        writer = csv.writer(file)
        writer.writerow([*names, *_names(SymAESettings)])
        for each in trials:
            settings = dataclasses.astuple(each.settings)
            writer.writerow([*(getattr(each, name) for name in names), *settings])


def _names(cls: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]


class RunningTrial:
    """A trial during its training; `settings` are the settings to train."""

    def __init__(self, study: optuna.Study, trial: optuna.Trial) -> None:
        self._study = study
        self._trial = trial
        self._errors: dict[str, float | None] = dict.fromkeys(_ERRORS)
        self.settings = SymAESettings.sample(trial)

    @property
    def number(self) -> int:
        """Number of the trial."""
        return self._trial.number

    def report(self, estimate: EstimatedRedatumingError, step: int) -> bool:
        """Record the estimate at a rung, and return whether to stop the trial.

        Asynchronous successive halving: a trial continues if it is in the best third of
        the trials that reached this rung before. Trials only compete with those of the
        same noise, backbone and optimizer: variational noise converges slowly but ends
        well, falling noise improves a model at the end, and a linear backbone can be
        best before training. The first trial of each kind is therefore always
        completed.

        Args:
            estimate: The estimate on held-out groups.
            step: Number of the rung.
        """
        if not math.isfinite(estimate):
            return True
        self._take(estimate)
        self._trial.report(float(estimate), step)
        rivals = [
            each.intermediate_values[step]
            for each in self._study.trials
            if step in each.intermediate_values
            and _settings(each).kind == self.settings.kind
        ]
        better = sum(value < estimate for value in rivals)
        return better >= max(1, len(rivals) // _REDUCTION)

    def finish(
        self,
        outcome: str,
        updates: int,
        seconds: float,
        estimate: EstimatedRedatumingError | None = None,
    ) -> None:
        """Record the outcome, see `Trial`."""
        from optuna.trial import TrialState

        if estimate is not None:
            self._take(estimate)
        complete = estimate is not None and math.isfinite(estimate)
        if outcome == "complete" and not complete:
            outcome = "failed"
        known = {"outcome": outcome, "updates": updates, "seconds": seconds}
        self._trial.set_user_attr(_RECORD, known | self._errors)
        if outcome == "complete":
            self._study.tell(self._trial, float(estimate or 0.0))
        else:
            pruned = outcome == "pruned"
            state = TrialState.PRUNED if pruned else TrialState.FAIL
            self._study.tell(self._trial, state=state)

    def _take(self, estimate: EstimatedRedatumingError) -> None:
        if math.isfinite(estimate):
            parts = (float(getattr(estimate, name)) for name in _ERRORS[1:])
            self._errors = dict(zip(_ERRORS, (float(estimate), *parts), strict=True))


class Study:
    """Trials of a search in a study of Optuna, made by `open_study`.

    Args:
        study: The study.
        seed: Seed of the sampler.
        first: Settings of the first trials of a new study.
    """

    def __init__(
        self, study: optuna.Study, seed: int, first: Sequence[SymAESettings]
    ) -> None:
        from optuna.trial import TrialState

        self._study = study
        self._seed = seed
        if not study.trials:
            for settings in first:
                study.enqueue_trial(settings.parameters())
        for each in study.trials:
            if each.state == TrialState.RUNNING:
                # The process of this trial was killed.
                study.tell(each.number, state=TrialState.FAIL)
                fixed = each.system_attrs.get("fixed_params", {})
                study.enqueue_trial({**fixed, **each.params})

    def trials(self) -> tuple[Trial, ...]:
        """Return the trials that have an outcome."""
        found = [each for each in self._study.trials if _RECORD in each.user_attrs]
        return tuple(map(_trial, found))

    def ask(self) -> RunningTrial:
        """Return the next trial."""
        from optuna.samplers import TPESampler

        # A resumed search draws the same settings as one without interruption.
        seed = (self._seed + len(self.trials())) % 2**32  # what NumPy takes
        self._study.sampler = TPESampler(n_startup_trials=_STARTUP_TRIALS, seed=seed)
        return RunningTrial(self._study, self._study.ask())


def _trial(frozen: optuna.trial.FrozenTrial) -> Trial:
    record = frozen.user_attrs[_RECORD]
    return Trial(number=frozen.number, settings=_settings(frozen), **record)


def _settings(frozen: optuna.trial.FrozenTrial) -> SymAESettings:
    from optuna.trial import FixedTrial

    # Searches of earlier versions have no optimizer.
    return SymAESettings.sample(FixedTrial({"optimizer": "adam", **frozen.params}))


def require_optuna() -> Any:
    """Import Optuna, or raise an `InputError` with installation instructions."""
    return import_optional("optuna", "tune", "The search for settings")


@contextlib.contextmanager
def open_study(
    file: Path | None, seed: int, first: Sequence[SymAESettings] = START
) -> Iterator[Study]:
    """Open the study in a SQLite file, or a new one, in memory without a file.

    The first trials of a new study have the settings `first`.

    Raises:
        InputError: Optuna is not installed, or the file cannot be read.
    """
    optuna = require_optuna()
    verbosity = optuna.logging.get_verbosity()
    # Progress is shown by this package.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.InMemoryStorage()
    try:
        try:
            if file is not None:
                storage = optuna.storages.RDBStorage(
                    "sqlite://",
                    # The path would need quoting in a URL.
                    engine_kwargs={"creator": lambda: sqlite3.connect(file)},
                )
            study = _load(storage)
        except Exception as error:
            # A damaged file can raise any exception.
            raise InputError(
                f"The study {file} cannot be read: {one_line(error)}; start again with "
                "--force."
            ) from error
        yield Study(study, seed, first)
    finally:
        storage.remove_session()
        if isinstance(storage, optuna.storages.RDBStorage):
            storage.engine.dispose()
        optuna.logging.set_verbosity(verbosity)


def _load(storage: optuna.storages.BaseStorage) -> optuna.Study:
    """Return the study in a storage, or a new one if it has no complete trial."""
    import optuna
    from optuna.trial import TrialState

    def load() -> optuna.Study:
        return optuna.create_study(
            study_name=_NAME, storage=storage, load_if_exists=True
        )

    study = load()
    if study.trials and not study.get_trials(states=[TrialState.COMPLETE]):
        # There is nothing to resume, and the default settings have to come first.
        optuna.delete_study(study_name=_NAME, storage=storage)
        study = load()
    return study
