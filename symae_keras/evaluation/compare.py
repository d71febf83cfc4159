"""Comparison of models with equal data, networks, codes, steps and seeds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from os import PathLike
from typing import Any, Final

import keras
import numpy as np

from symae_keras._utils.arrays import swaps_codes
from symae_keras._utils.text import check_names, one_line
from symae_keras.data.axis import Axis
from symae_keras.data.groups import GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation.comparison import (
    VERSION,
    Comparison,
    Record,
    Row,
    data_digest,
)
from symae_keras.evaluation.contenders import CONTENDERS, DEFAULT, Sizes
from symae_keras.evaluation.estimate import estimate_redatuming_error
from symae_keras.evaluation.leakage import MIN_GROUPS, leakage, mean_score
from symae_keras.evaluation.redatuming import reconstruction_error, redatuming_error
from symae_keras.training import Budget, Training, train

_FIT_SHARE: Final = 0.8
#: With fewer groups, too few are left for evaluation.
_MIN_TO_SPLIT: Final = 10

#: Called with a description of the current step, and the completed share, from 0 to 1.
Progress = Callable[[str, float], None]


def compare(
    groups: GroupedData,
    test: GroupedData,
    models: Sequence[str] = DEFAULT,
    seeds: int = 3,
    training: Training | None = None,
    sizes: Sizes | None = None,
    out: str | PathLike[str] | None = None,
    progress: Progress | None = None,
    failures: dict[str, str] | None = None,
) -> Comparison:
    """Train models on the same groups and evaluate them on the same test groups.

    All neural models share the encoder, decoder, code sizes, batches, optimiser, number
    of steps and seeds. Each has the regularisation that works best for it on the
    entangled exposures. Models of single instances redatum by the mean swap of their
    codes, see `symae_keras.models.LatentMeanSwap`.

    On small data, training for `min_updates` overfits. Every neural model then holds
    out 20 % of the groups and restores the weights of the epoch with the lowest
    validation loss. The test groups are not used for this.

    Args:
        groups: Training groups.
        test: Other groups, for evaluation. Redatuming errors need simulated groups.
            Leakage needs a known `state` and 20 groups. Values that cannot be computed
            are `None`.
        models: Names from `symae_keras.evaluation.CONTENDERS`. Defaults to all grouped
            models, two models of single instances and the classical references.
        seeds: How many times each neural model is trained, with the seeds 0, 1, ...
        training: Epochs, batch size, instances and learning rate. Defaults to
            `Training()`: 32 epochs of 16 groups x 8 instances, and at least 2000
            updates.
        sizes: Sizes of the codes, and the encoder. Defaults to 8 and 8, dense.
        out: Folder in which each row is saved as soon as it is computed, and the tables
            and the figure at the end. An interrupted comparison in it is resumed if
            data and settings are the same; more models or seeds can be added. Defaults
            to `None`.
        progress: Called as `progress(text, share)` while training.
        failures: If given, a model that does not support the data or whose training
            diverges is left out of the result, and its error is stored here under its
            name. Defaults to `None`: such a model raises.

    Returns:
        A `Comparison`.

    Raises:
        InputError: A name is unknown, the data do not fit each other, or the folder
            contains something else.

    Example:
    >>> from symae_keras.data import simulate_exposures
    >>> groups = simulate_exposures(n_states=40, n_instances=4, seed=0)
    >>> result = compare(groups, groups, models=["mean_swap", "pca"])
    >>> [row.model for row in result.rows]
    ['mean_swap', 'pca']
    """
    training, sizes = training or Training(), sizes or Sizes()
    check_models(models)
    if seeds < 1:
        raise InputError(f"seeds must be 1 or more; received {seeds}.")
    if test.instance_shape != groups.instance_shape:
        raise InputError(
            f"The test groups have instances of shape {test.instance_shape}, the "
            f"training groups {groups.instance_shape}; both must have the same shape."
        )
    axis, other = Axis.of(groups), Axis.of(test)
    if axis is not None and other is not None and not axis.equals(other):
        raise InputError(
            f"The test groups are on the axis {other}, the training groups on {axis}; "
            "resample one of them to the axis of the other."
        )
    wanted = [
        (name, seed)
        for name in models
        for seed in range(seeds)
        # Classical references do not depend on the seed.
        if seed == 0 or CONTENDERS[name].family != "classical"
    ]
    with Record(out, _settings(groups, test, training, sizes)) as record:
        missing = [each for each in wanted if each not in record.rows]
        missing.sort(key=lambda each: each[1])  # one seed of all models, then the next
        for n, (name, seed) in enumerate(missing):
            title = f"{CONTENDERS[name].title}, seed {seed}, {n + 1} of {len(missing)}"

            def report(share: float, n: int = n, title: str = title) -> None:
                if progress is not None:
                    progress(title, (n + share) / len(missing))

            report(0.0)
            try:
                row = _row(name, seed, groups, test, training, sizes, report)
            except InputError as error:
                if failures is None:
                    raise
                failures.setdefault(name, one_line(error))
            else:
                record.add(row)
        rows = record.rows
        result = Comparison(tuple(rows[each] for each in wanted if each in rows))
        record.finish(result)
        return result


def check_models(models: Sequence[str]) -> None:
    """Raise an error for names of models that are unknown or repeated."""
    if not models:
        raise InputError("No models to compare; name at least one.")
    check_names("model", models, CONTENDERS)


class _Timer(keras.callbacks.Callback):
    """Seconds of each epoch, and the progress of training."""

    def __init__(self, report: Callable[[float], None]) -> None:
        super().__init__()
        self.report = report
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds.append(time.perf_counter() - self._start)
        self.report((epoch + 1) / self.params["epochs"])

    @property
    def per_step(self) -> float:
        """Median over epochs; the first epoch also traces the model."""
        epochs = self.seconds[1:] or self.seconds
        return float(np.median(epochs) / self.params["steps"])


def _parts(
    groups: GroupedData, training: Training
) -> tuple[GroupedData, GroupedData | None]:
    """Return training groups, and groups for early stopping on small data."""
    if len(groups) < _MIN_TO_SPLIT or not Budget.of(groups, training).at_least:
        return groups, None
    return groups.split(train=_FIT_SHARE, seed=0)


def _row(
    name: str,
    seed: int,
    groups: GroupedData,
    test: GroupedData,
    training: Training,
    sizes: Sizes,
    report: Callable[[float], None],
) -> Row:
    """Train one model and evaluate it."""
    keras.utils.set_random_seed(seed)
    model = CONTENDERS[name].build(groups, sizes, seed)
    parameters, per_step = None, None
    start = time.perf_counter()
    if isinstance(model, keras.Model):
        parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
        timer = _Timer(report)
        fitted, held_out = _parts(groups, training)
        train(model, fitted, training, seed, held_out, callbacks=[timer])
        per_step = timer.per_step
    else:
        model.fit(groups)
    seconds = time.perf_counter() - start
    if test.render is not None and len(test) > 1:
        error = redatuming_error(model, test)
        errors: tuple[float, float | None] = error.reconstruction, float(error)
    else:
        errors = reconstruction_error(model, test), None
    estimate = None
    if swaps_codes(model) and (test.counts > 1).sum() > 1:
        estimate = float(estimate_redatuming_error(model, test))
    leaks: tuple[float | None, float | None, float | None] = None, None, None
    if test.state and len(test) >= MIN_GROUPS:
        scores = leakage(model, test)
        leaks = (
            mean_score(scores.state_from_nuisance),
            mean_score(scores.nuisance_from_coherent),
            mean_score(scores.state_from_coherent),
        )
    return Row(name, seed, parameters, per_step, *errors, estimate, *leaks, seconds)


def _settings(
    groups: GroupedData, test: GroupedData, training: Training, sizes: Sizes
) -> dict[str, Any]:
    """Return all settings that the rows depend on, except models and seeds."""
    encoder = sizes.encoder
    if not isinstance(encoder, str):
        encoder = keras.saving.serialize_keras_object(encoder)
    settings = {
        "version": VERSION,
        # A recipe is also a kind of training; keep only the settings of `Training`.
        **{each.name: getattr(training, each.name) for each in fields(Training)},
        "coherent_dim": sizes.coherent_dim,
        "nuisance_dim": sizes.nuisance_dim,
        "encoder": encoder,
        "backend": keras.config.backend(),
        "floatx": keras.config.floatx(),
        "dtype_policy": keras.config.dtype_policy().name,
        "train": {"groups": len(groups), "sha256": data_digest(groups)},
        "test": {"groups": len(test), "sha256": data_digest(test)},
    }
    if (held_out := _parts(groups, training)[1]) is not None:
        settings["held_out"] = {"groups": len(held_out)}
    return dict(json.loads(json.dumps(settings)))
