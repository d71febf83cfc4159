"""Training for the command line, the demo and the benchmarks."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, Self

import keras

from symae_keras._utils.arrays import swaps_codes
from symae_keras._utils.validation import (
    choice,
    not_negative,
    positive,
    positive_finite,
    positive_or_none,
    share,
)
from symae_keras.data import RaggedGroups, batches, instance_batches
from symae_keras.data.groups import Array, GroupedData
from symae_keras.distribute import even_batch_size
from symae_keras.errors import InputError
from symae_keras.layers.linear_backbone import LinearBackbone
from symae_keras.layers.noise import NuisanceDropout
from symae_keras.layers.normalization import Standardization, pixel_moments
from symae_keras.losses import RelativeMeanSquaredError
from symae_keras.models.groups import GroupedAutoencoder
from symae_keras.training.best_weights import AT_START, BestWeights
from symae_keras.training.checkpoint import Checkpoint
from symae_keras.training.non_finite_guard import NonFiniteGuard
from symae_keras.training.schedules import KLAnnealing, KLSchedule, NoiseSchedule

_log = logging.getLogger("symae_keras")

#: Default number of passes over the groups.
EPOCHS: Final = 32
#: Default number of weight updates for small data.
MIN_UPDATES: Final = 2000
#: Epochs of training on small data, which may have 2000 passes. Each epoch ends with a
#: validation and a checkpoint, which take longer than a few updates.
_LONG_EPOCHS: Final = 40
#: With fewer groups than this, all updates would overfit, and a linear backbone is a
#: better start than none.
FEW_GROUPS: Final = 128
#: Smallest number of groups of which a fifth is held out to choose the updates.
_MIN_TO_CHOOSE: Final = 10
#: Share of the groups for training while the number of updates is chosen.
_FIT_SHARE: Final = 0.8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """Training settings.

    Args:
        epochs: Passes over the groups. `None` (default) means 32, or more for small
            data, so that there are at least 2000 updates of the weights. For example,
            24 groups in batches of 16 make 2 updates per pass, and 32 passes would
            hardly train the model. With so many passes, each epoch of the history
            consists of several passes.
        batch_size: Groups per batch; instances per batch for a model of single
            instances.
        instances: Instances drawn per group and epoch, at most as many as exist; `None`
            takes all.
        learning_rate: Initial learning rate; it falls to 1 % along a cosine. Defaults
            to 2e-3, for Adam; Muon needs about 7e-3.
        clip_norm: Largest norm of the gradient of all weights together; a larger
            gradient is scaled down to it. `None` leaves gradients unchanged.
        min_updates: Minimum number of updates; small data get more passes to reach it.
            `None` (default) means 2000 if `epochs` is `None`, and 0 if it is a number.
        kl_annealing: Fraction of the updates during which the weight of the divergence
            of nuisance codes falls from 0.1 to that of the model, in variational models
            of groups. Without it, some seeds end in a bad minimum. Defaults to 0.25; 0
            turns it off.
        weight_decay: Decoupled decay of all weights (AdamW): each update subtracts
            `learning_rate * weight_decay` times each weight. Defaults to 0, plain Adam.
        optimizer: `"adam"` (default), or `"muon"`, which orthogonalises the updates of
            matrices and uses Adam for all other weights, also for matrices of a single
            row or column. It needs fewer updates, in large batches and layers of a few
            hundred units.
        final_noise: Strength of the noise on nuisance codes at the end of training; it
            falls linearly from that of the model. `None` (default) leaves it constant.

    Reference:
        - [Jordan et al., Muon: An optimizer for hidden layers in neural networks,
          2024](https://kellerjordan.github.io/posts/muon/)
        - [Liu et al., Muon is scalable for LLM training,
          2025](https://arxiv.org/abs/2502.16982)
    """

    epochs: int | None = None
    batch_size: int = 16
    instances: int | None = 8
    learning_rate: float = 2e-3
    clip_norm: float | None = None
    min_updates: int | None = None
    kl_annealing: float = 0.25
    weight_decay: float = 0.0
    optimizer: Literal["adam", "muon"] = "adam"
    final_noise: float | None = None

    def __post_init__(self) -> None:
        """Check the values that `train` itself uses."""
        positive_or_none("epochs", self.epochs)
        positive("batch_size", self.batch_size)
        positive_or_none("instances", self.instances)
        positive_finite("learning_rate", self.learning_rate)
        if self.min_updates is not None:
            not_negative("min_updates", self.min_updates)
        share("kl_annealing", self.kl_annealing)
        not_negative("weight_decay", self.weight_decay)
        choice("optimizer", self.optimizer, ("adam", "muon"))
        if self.final_noise is not None:
            not_negative("final_noise", self.final_noise)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe(Training):
    """Everything that determines a trained model, except the seed.

    A recipe file is a Python file with a docstring (command, cost, expected score) and
    a `RECIPE` of this class; see the folder zoo/.

    Args:
        model: Function of the training data and a seed that returns an uncompiled
            model, of groups or of single instances; the instance shape comes from the
            data.
        data: Function of a seed that returns the default training groups. `None` if the
            recipe works only with the user's data.
        score: Function of the trained model, the training groups and the held-out
            groups that returns additional metrics by name. Names that end in `_error`
            are relative errors, names in `_db` are gains in decibels, and all others
            are scores of at most 1. `None` (default) for only the errors that every run
            reports.
        epochs: As in `Training`, like the arguments below.
        batch_size: See `epochs`.
        instances: See `epochs`.
        learning_rate: See `epochs`.
        clip_norm: See `epochs`.
        min_updates: See `epochs`.
        kl_annealing: See `epochs`.
        weight_decay: See `epochs`.
        optimizer: See `epochs`.
        final_noise: See `epochs`.
    """

    model: Callable[[GroupedData, int], keras.Model]
    data: Callable[[int], GroupedData] | None = None
    score: Callable[[Any, GroupedData, GroupedData], dict[str, float]] | None = None


Groups = GroupedData | RaggedGroups


def data_variance(groups: Groups) -> float:
    """Return the variance of good pixels, averaged over pixels.

    The variance of each pixel is around its mean. For shards, a sample is used.
    """
    return pixel_moments(*_arrays(groups)).variance


def normalization(groups: Groups) -> Standardization:
    """Make a layer that subtracts the mean instance and divides by one common scale.

    One scale for all pixels keeps their relative weight. Dividing each pixel by its own
    scale would amplify pixels that contain only noise. For channels-last images, the
    mean is also over the pixels, with one value per channel.

    Args:
        groups: Training data. For shards, a sample is used.

    Returns:
        A `Standardization`, for `SymAE(normalization=...)`.
    """
    return Standardization.of(*_arrays(groups))


def _arrays(groups: Groups) -> tuple[Array, Array | None, Array | None, int]:
    if isinstance(groups, RaggedGroups):
        groups = groups.sample()
    mask = groups.model_mask
    instances, pixels = (mask, None) if groups.masks < 2 else (None, mask)
    return groups.x, instances, pixels, len(groups.instance_shape)


def train(
    model: keras.Model,
    groups: Groups,
    training: Training,
    seed: int = 0,
    validation: GroupedData | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    strategy: Any = None,
) -> keras.callbacks.History:
    """Compile a model and fit it to groups, or to the instances of groups.

    The loss is the mean squared error over the variance of the training data, so it is
    a relative error. A `NonFiniteGuard` checks it.

    A linear backbone that is not adapted yet is adapted to the training data.

    In variational models of groups, the weight of the divergence of nuisance codes is
    annealed, see `Training`. A `KLSchedule` among the callbacks replaces this. The
    final weight is that of the model.

    Small data, which are trained for `min_updates`, are overfitted at the end. With
    validation groups, the model gets the weights of the epoch with the lowest
    validation loss. Such a training run has about 40 epochs of several passes each.
    With a linear backbone, the linear solution before the first epoch counts, too.

    Without validation groups, 10 to 127 groups of small data are trained on twice. The
    first run holds out 20 % of them and finds the best epoch. The second run starts
    again, with all groups, and has twice as many updates as this epoch had, while the
    learning rate falls to its end.

    Args:
        model: An uncompiled model, such as `recipe.model(groups, seed)`. A model
            without a method `redatum` counts as a model of single instances.
        groups: Training data.
        training: Epochs, batch size, instances, learning rate and clipping; a `Recipe`
            is one.
        seed: Seed of the sampler.
        validation: Groups for the validation loss, with all their instances. After
            training, `fit_detail` of a model of groups uses them to estimate how much
            detail of the state `redatum` restores.
        callbacks: Additional Keras callbacks. If one of them is a `Checkpoint` with a
            saved state, training resumes from it as if it had not been interrupted.
        strategy: From `symae_keras.distribute.make_strategy`. Call `train` inside of
            `running(strategy)`, where the model was made.

    Returns:
        The Keras history. Its attribute `best_epoch` is the epoch whose weights were
        restored, counted from 0; -1 is the linear solution, and `None` means that the
        weights are those of the last epoch. `updates` is the number of updates in all
        epochs.

    Raises:
        InputError: `final_noise` does not suit the noise of the model, or a
            `Checkpoint` is of other data or another seed.
        NonFiniteError: A loss became NaN or infinite; the last finite weights were
            restored.
    """
    budget = Budget.of(groups, training, strategy, single=not swaps_codes(model))
    updates = None
    if validation is None and strategy is None and budget.is_chosen:
        saved = (each.saved_updates() for each in _checkpoints(callbacks))
        updates = next(saved, None)
        if updates is None:
            updates = _enough_updates(model, groups, training, seed)
        if updates is not None and updates < budget.updates:
            training = dataclasses.replace(training, epochs=1, min_updates=updates)
    history = _fit(
        model,
        groups,
        training,
        seed,
        validation,
        callbacks,
        strategy,
        start_only=updates == 0,
    )
    if isinstance(model, GroupedAutoencoder) and validation is not None:
        try:
            model.fit_detail(validation)
        except InputError as error:
            # The trained model is still valid.
            _log.warning("no detail of the state: %s", error)
    return history


def _fit(
    model: keras.Model,
    groups: Groups,
    training: Training,
    seed: int,
    validation: GroupedData | None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    strategy: Any = None,
    start_only: bool = False,
) -> keras.callbacks.History:
    """Compile and fit a model, with no epoch if only the start is wanted."""
    epoch = _EpochNumber()
    budget = Budget.of(groups, training, strategy, single=not swaps_codes(model))
    draws = {"first_epoch": epoch, "passes": budget.passes}
    dataset = _batches(model, groups, training, seed, strategy, **draws)
    updates = budget.updates
    linear = getattr(model, "linear", None)
    if isinstance(linear, LinearBackbone) and not linear.is_adapted:
        some = groups.sample() if isinstance(groups, RaggedGroups) else groups
        model.adapt_backbone(some)
    variance = data_variance(groups)
    model.compile(
        optimizer=_optimizer(model, training, updates),
        loss=RelativeMeanSquaredError(variance),
    )
    own: list[keras.callbacks.Callback] = []
    annealing = None
    scheduled = any(isinstance(each, KLSchedule) for each in callbacks)
    if getattr(model, "coherent_sampling", None) is not None and not scheduled:
        annealing = KLAnnealing(model, round(training.kl_annealing * updates))
        own.append(annealing)
    if training.final_noise is not None:
        own.append(_falling_noise(model, training.final_noise, updates))
    held_out: Any = None
    best = None
    if validation is not None:
        all_of_them = dataclasses.replace(training, instances=None)
        held_out = _batches(model, validation, all_of_them, 0, strategy, shuffle=False)
        if budget.at_least:
            best = BestWeights(after=annealing.steps if annealing else 0)
            own.append(best)
    kept = _checkpoints(callbacks)
    for each in kept:
        each.companion = best
        each.updates = updates
        each.run = f"{len(groups)} groups of variance {variance:.6g}, seed {seed}"
    done = kept[0].restore(model) if kept else 0
    if best is not None and isinstance(linear, LinearBackbone) and done == 0:
        # With few groups, the linear solution can be better than any trained network.
        start = model.evaluate(held_out, verbose=0, return_dict=True)
        best.compare(AT_START, start["loss"], model)
    if isinstance(model, GroupedAutoencoder):
        model.detail = None  # it belonged to other weights
    try:
        history = model.fit(
            dataset,
            initial_epoch=done,
            epochs=0 if start_only else budget.epochs,
            validation_data=held_out,
            # First in the list, so that no other callback saves non-finite weights.
            callbacks=[
                NonFiniteGuard(batch_at=dataset.batch_at),
                epoch,
                *own,
                *callbacks,
            ],
            shuffle=False,  # the dataset shuffles
            verbose=0,
        )
    finally:
        if annealing is not None:
            with contextlib.suppress(Exception):  # do not hide the original error
                annealing.finish()
    history.best_epoch = best.epoch if best else None
    history.updates = updates
    if start_only:
        history.best_epoch, history.updates = AT_START, 0
    return history


def _checkpoints(callbacks: Sequence[keras.callbacks.Callback]) -> list[Checkpoint]:
    return [each for each in callbacks if isinstance(each, Checkpoint)]


def _enough_updates(
    model: keras.Model, groups: Groups, training: Training, seed: int
) -> int | None:
    """Return the number of updates after which few groups are not overfitted yet.

    It is twice that of the best epoch of a run that holds out 20 % of the groups:
    its learning rate is high at this epoch and still has to fall. 0 means that the
    linear solution is best, `None` that there is no such run.

    The variables of the model have the same values before and after.
    """
    if not model.built:
        return None  # a model of the user, which has no variables to reset yet
    try:
        fit, held_out = groups.split(_FIT_SHARE, seed)
    except InputError:
        return None  # all groups have the same id
    if isinstance(held_out, RaggedGroups):
        held_out = held_out.sample()
    variables = list(model.variables)
    before = [keras.ops.convert_to_numpy(each) for each in variables]
    try:
        best = _fit(model, fit, training, seed, held_out).best_epoch
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
    budget = Budget.of(fit, training, single=not swaps_codes(model))
    return None if best is None else 2 * (best + 1) * budget.steps


def _optimizer(
    model: keras.Model, training: Training, updates: int
) -> keras.optimizers.Optimizer:
    rate = keras.optimizers.schedules.CosineDecay(
        training.learning_rate, max(updates, 1), alpha=0.01
    )
    decay, clip_norm = training.weight_decay, training.clip_norm
    if training.optimizer == "muon":
        # There is nothing to orthogonalise in a matrix of one row or column. Keras's
        # Muon also fails if the length of this row is unknown in a TensorFlow graph.
        vectors = [each.path for each in model.trainable_variables if 1 in each.shape]
        return keras.optimizers.Muon(
            rate,
            exclude_layers=[f"^{re.escape(path)}$" for path in vectors],
            # A short memory suits the few updates that Muon needs.
            adam_beta_2=0.95,
            adam_weight_decay=decay,
            weight_decay=decay,
            global_clipnorm=clip_norm,
        )
    if decay > 0.0:
        return keras.optimizers.AdamW(rate, decay, global_clipnorm=clip_norm)
    return keras.optimizers.Adam(rate, global_clipnorm=clip_norm)


def _falling_noise(model: keras.Model, final: float, updates: int) -> NoiseSchedule:
    """Return the schedule of `Training.final_noise`.

    Strong noise at first keeps the state out of nuisance codes; weak noise at the end
    lets them contain more detail.
    """
    layers = model._flatten_layers()
    strengths = [
        each.initial_strength for each in layers if isinstance(each, NuisanceDropout)
    ]
    if not strengths:
        raise InputError(
            f"`final_noise={final}` needs a model with noise that can fall, such as "
            'SymAE(nuisance_noise="gaussian"); for other models, leave it at None.'
        )
    if final > strengths[0]:
        raise InputError(
            f"`final_noise={final}` must be at most {strengths[0]:g}, the strength of "
            "the model's noise."
        )
    # Plain numbers: a Keras schedule computes tensors, which takes 2 ms per step.
    first, steps = strengths[0], max(updates, 1)
    return NoiseSchedule(lambda step: first + (final - first) * min(step / steps, 1.0))


@dataclasses.dataclass(frozen=True)
class Budget:
    """Length of a training run.

    Attributes:
        groups: Training groups.
        epochs: Epochs.
        passes: Passes over the groups per epoch: several for small data.
        steps: Updates of the weights per epoch.
        batch_size: Groups per update, or instances for a model of single instances.
        instances: Instances per group; `None` for a model of single instances.
        at_least: Whether the data are so small that `min_updates` sets the number of
            updates.

    Example:
    >>> from symae_keras.data import simulate_exposures
    >>> groups = simulate_exposures(n_states=24, n_instances=4)
    >>> budget = Budget.of(groups, Training())
    >>> print(budget)
    24 groups, 2,000 updates of 16 groups x 4 instances
    >>> budget.epochs, budget.passes, budget.steps, budget.at_least
    (40, 25, 50, True)
    """

    groups: int
    epochs: int
    passes: int
    steps: int
    batch_size: int
    instances: int | None
    at_least: bool

    @classmethod
    def of(
        cls,
        groups: Groups,
        training: Training,
        strategy: Any = None,
        single: bool = False,
    ) -> Self:
        """Return the length of the training run that `train` would start.

        Args:
            groups: Training data.
            training: As for `train`.
            strategy: As for `train`.
            single: Whether the model is a model of single instances.
        """
        rows, instances, size = _sampling(single, groups, training, strategy)
        steps = math.ceil(rows / size)
        least = training.min_updates
        if least is None:
            least = MIN_UPDATES if training.epochs is None else 0
        epochs, passes = EPOCHS if training.epochs is None else training.epochs, 1
        enough = math.ceil(least / max(steps, 1))
        at_least = enough > 0 and enough >= epochs
        if at_least:
            passes = math.ceil(enough / _LONG_EPOCHS)
            epochs = math.ceil(enough / passes)
        steps *= passes
        per_group = None if single else instances or groups.n_instances
        return cls(len(groups), epochs, passes, steps, size, per_group, at_least)

    @property
    def updates(self) -> int:
        """Number of weight updates in all epochs."""
        return self.epochs * self.steps

    @property
    def is_chosen(self) -> bool:
        """True if `train` without validation groups chooses the number of updates."""
        return self.at_least and _MIN_TO_CHOOSE <= self.groups < FEW_GROUPS

    def __str__(self) -> str:
        batch = f"{self.batch_size:,} instances"
        if self.instances is not None:
            batch = f"{self.batch_size:,} groups x {self.instances} instances"
        return f"{self.groups:,} groups, {self.updates:,} updates of {batch}"


def _batches(
    model: keras.Model,
    groups: Groups,
    training: Training,
    seed: int,
    strategy: Any,
    **options: Any,
) -> Any:
    """Return batches of groups, or of instances for a model of single instances."""
    single = not swaps_codes(model)
    _, instances, size = _sampling(single, groups, training, strategy)
    make = instance_batches if single else batches
    return make(groups, size, instances, seed, **options)


def _sampling(
    single: bool, groups: Groups, training: Training, strategy: Any
) -> tuple[int, int | None, int]:
    """Return the rows per epoch, the instances per group, and the batch size."""
    instances = training.instances
    if not single:
        rows = len(groups)
        if instances is not None:
            instances = min(instances, groups.n_instances)
    else:
        counts = groups.present.sum(axis=1)
        rows = int(counts.sum())
        if instances is not None:
            instances = min(instances, int(counts.max()))
            rows = int((counts > 0).sum()) * instances
    return rows, instances, even_batch_size(rows, training.batch_size, strategy)


class _EpochNumber(keras.callbacks.Callback):
    """Number of the current epoch in `fit`, for the draws of a dataset.

    Counting iterations would be wrong: Keras also reads the dataset when it builds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Store the number."""
        self.number = epoch

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        return self.number
