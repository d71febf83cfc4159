"""Train a recipe into a run folder."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import keras

import symae_keras
from symae_keras._utils.files import write_json
from symae_keras._utils.folders import STATE, Draft, Interrupted
from symae_keras._utils.text import one_line
from symae_keras.cli._measure import measure_run, write_figures
from symae_keras.cli._progress import EpochProgress, HistoryFile
from symae_keras.cli._run_folder import (
    RUN_CONTENTS,
    environment,
    file_hash,
    read_config,
)
from symae_keras.cli._sources import Groups, data_hash, read_groups, split_groups
from symae_keras.data import Axis, GroupedData, check
from symae_keras.distribute import (
    WorkerLost,
    check_same,
    is_chief,
    make_strategy,
    meet,
    running,
)
from symae_keras.errors import InputError
from symae_keras.training import (
    EPOCHS,
    MIN_UPDATES,
    Recipe,
    data_variance,
    enough_epochs,
    steps_per_epoch,
    train,
)
from symae_keras.training.checkpoint import Checkpoint
from symae_keras.zoo.recipes import load_recipe, preset_names, recipe_file, recipe_hash

_log = logging.getLogger("symae_keras")
_TRAIN_FRACTION: Final = 0.8


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run that only needs computing: all that could be wrong has been looked at.

    Attributes:
        title: What is trained, for the progress bar.
        recipe: With the epochs to train.
        config: Content of config.json.
        train: Groups to train on.
        held_out: Groups to judge by.
        model: Built, not compiled.
    """

    title: str
    recipe: Recipe
    config: dict[str, Any]
    train: Groups
    held_out: GroupedData
    model: Any


def run_config(
    source: str,
    data_file: Path | None,
    seed: int,
    epochs: int | None = None,
    group: str | None = None,
) -> tuple[Recipe, dict[str, Any]]:
    """A recipe and the config of a run of it, as far as known without the data.

    Args:
        source: Name of a preset or path of a recipe file.
        data_file: The user's data; `None` for those of the recipe.
        seed: Seed of data, split, weights and sampler.
        epochs: Overrides those of the recipe.
        group: What tells the group in the user's data, see `symae_keras.data.load`.

    Raises:
        InputError: The recipe or the file cannot be used.
    """
    recipe, _, name = load_recipe(source)
    if epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=epochs)
    preset = source in preset_names()
    # Presets have the epochs that their own data need; other data may be a hundredth of
    # these. The author of a recipe knows their data.
    enough = recipe.epochs is None or (epochs is None and preset and data_file)
    recipe = dataclasses.replace(recipe, epochs=recipe.epochs or EPOCHS)
    file = recipe_file(source)
    data: dict[str, Any] = {"file": None, "sha256": None, "group": group}
    if data_file is not None:
        data["file"] = str(data_file.resolve())
        data["sha256"] = data_hash(data_file)
    return recipe, {
        "symae_keras": symae_keras.__version__,
        "recipe": {
            "name": name,
            "source": source if preset else str(file),
            "sha256": recipe_hash(source),
        },
        "data": data,
        "seed": seed,
        "epochs": recipe.epochs,
        "min_updates": MIN_UPDATES if enough else 0,
        "batch_size": recipe.batch_size,
        "instances": recipe.instances,
        "learning_rate": recipe.learning_rate,
        "clip_norm": recipe.clip_norm,
        "train_fraction": _TRAIN_FRACTION,
    }


def find_groups(recipe: Recipe, config: dict[str, Any]) -> Groups:
    """Load or simulate what a config names, ready for a model.

    Raises:
        InputError: There are no data, or they cannot be used.
    """
    file, name = config["data"]["file"], config["recipe"]["name"]
    if file is not None:
        return read_groups(Path(file), config["data"].get("group"), min_instances=2)
    if recipe.data is None:
        raise InputError(f"The recipe {name} brings no data; give a file with --data.")
    groups = _call(name, "data()", recipe.data, config["seed"])
    if not isinstance(groups, GroupedData):
        raise InputError(
            f"data() of the recipe {name} must return symae_keras.data.GroupedData; "
            f"received an object of class {type(groups).__name__}."
        )
    return check(groups, min_instances=2, source=f"the data of the recipe {name}")


def make_plan(
    recipe: Recipe, config: dict[str, Any], groups: Groups, strategy: Any = None
) -> Plan:
    """Split the groups, build the model, and settle the number of epochs.

    Args:
        recipe: From `run_config`.
        config: From `run_config`.
        groups: From `find_groups`.
        strategy: From `make_strategy`.

    Raises:
        InputError: The groups cannot be split or do not suit the recipe.
    """
    name, seed = config["recipe"]["name"], config["seed"]
    source = config["data"]["file"] or f"the data of the recipe {name}"
    fit, rest = split_groups(groups, config["train_fraction"], seed, source)
    # As much as can be judged by at once.
    held_out = rest if isinstance(rest, GroupedData) else rest.sample()
    for part, title in ((fit, "to train on"), (held_out, "held out")):
        _refuse_range(data_variance(part), f"{source}: the {len(part)} groups {title}")
    keras.utils.set_random_seed(seed)
    shape = groups.instance_shape
    what = f"model() on instances of shape {shape}"
    model = _call(name, what, recipe.model, fit, seed)
    for method in ("encode", "reconstruct"):
        if not hasattr(model, method):
            raise InputError(
                f"model() of the recipe {name} must return a model with the methods "
                "encode and reconstruct, and redatum for groups; received a "
                f"{type(model).__name__} without {method}."
            )
    steps = steps_per_epoch(model, fit, recipe, strategy)
    epochs = enough_epochs(steps, recipe.epochs or EPOCHS, config["min_updates"])
    recipe = dataclasses.replace(recipe, epochs=epochs)
    config = {
        **config,
        "updates": epochs * steps,
        "instance_shape": list(shape),
        "groups": {"train": len(fit), "held_out": len(held_out)},
    }
    return Plan(name, recipe, config, fit, held_out, model)


def _note_few_updates(plan: Plan) -> None:
    updates, epochs = plan.config["updates"], plan.recipe.epochs or EPOCHS
    if updates < MIN_UPDATES:
        _log.warning(
            "the %d epochs of the recipe are only %d updates of the weights, and small "
            "data need about %d; give --epochs %d, or leave epochs out of the recipe.",
            epochs,
            updates,
            MIN_UPDATES,
            math.ceil(MIN_UPDATES * epochs / updates),
        )


def _refuse_range(variance: float, what: str) -> None:
    """Refuse values that differ by nothing, or by what float32 cannot square."""
    if not variance > 0.0:
        raise InputError(
            f"{what} hold one instance all over; there is nothing to tell."
        )
    deviation = math.sqrt(variance)
    # Squares of what is left after scaling must not leave float32.
    if not 1e-30 < deviation < 1e18:
        raise InputError(
            f"{what} vary by about {deviation:.0e}, beyond what can be computed with; "
            "rescale them to about 1."
        )


def _call(name: str, what: str, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function of a recipe, whose failures are the recipe's."""
    try:
        return function(*args)
    except Exception as error:
        raise InputError(
            f"The recipe {name} failed in {what}: {one_line(error)}."
        ) from error


def fill_run(folder: Path, plan: Plan, strategy: Any = None) -> dict[str, Any]:
    """Train as planned and write all of a run folder, going on from a checkpoint.

    The checkpoint stays in it, for the caller to remove when the folder is in place.

    Args:
        folder: The run folder, made by the caller.
        plan: From `make_plan`.
        strategy: From `make_strategy`, under which the model was made.

    Returns:
        The metrics.
    """
    write_json(folder / "config.json", plan.config)
    axis = Axis.of(plan.train)
    if axis is not None:
        axis.write(folder)
    write_json(folder / "environment.json", environment())
    history = folder / "history.csv"
    with EpochProgress(plan.title) as progress:
        # What the history tells is there before the state that follows from it.
        kept = [HistoryFile(history), Checkpoint(folder / STATE), progress]
        start = time.perf_counter()
        _fit(plan, kept, strategy)
        # Of a run that was resumed, since then.
        took = {"training_seconds": f"{time.perf_counter() - start:.1f}"}
    write_json(folder / "environment.json", environment() | took)
    plan.model.save(folder / "model.keras")
    metrics = measure_run(plan.model, plan.recipe, plan.train, plan.held_out)
    write_json(folder / "metrics.json", metrics)
    write_figures(folder / "figures", plan.model, plan.held_out, history)
    return metrics


def take_part(plan: Plan, aside: Path | None, strategy: Any) -> dict[str, Any]:
    """What the workers do that are not the chief: all but writing.

    Args:
        plan: From `make_plan`.
        aside: The folder of an interrupted run to go on with, or `None`.
        strategy: From `make_strategy`.

    Returns:
        The metrics, which are those of the chief.
    """
    state = [] if aside is None else [Checkpoint(aside / STATE, writes=False)]
    _fit(plan, state, strategy)
    return measure_run(plan.model, plan.recipe, plan.train, plan.held_out)


def _fit(plan: Plan, callbacks: list[Any], strategy: Any) -> None:
    # Nothing but this is in the scope of the strategy: each variable made there is sent
    # to all workers, which then have to make it, too.
    with running(strategy):
        train(
            plan.model,
            plan.train,
            plan.recipe,
            plan.config["seed"],
            validation=plan.held_out,
            callbacks=callbacks,
            strategy=strategy,
        )


def train_run(
    source: str,
    data_file: Path | None = None,
    out: Path | None = None,
    epochs: int | None = None,
    seed: int = 0,
    resume: bool = False,
    force: bool = False,
    group: str | None = None,
    strategy_name: str = "none",
) -> tuple[Path, dict[str, Any] | None]:
    """Train a recipe into a run folder.

    Args:
        source: Name of a preset or path of a recipe file.
        data_file: The user's data; `None` for those of the recipe.
        out: The run folder. Defaults to runs/ and the name of the recipe.
        epochs: Overrides those of the recipe.
        seed: Seed of data, split, weights and sampler.
        resume: Go on with an interrupted run.
        force: Replace a finished run, or discard an interrupted one.
        group: What tells the group in the user's data, see `symae_keras.data.load`.
        strategy_name: See `symae_keras.distribute.make_strategy`. Of several workers
            the chief writes the run folder, which all must be able to read.

    Returns:
        The run folder and the metrics, `None` if the run was complete already.

    Raises:
        InputError: The recipe, the data or the folder cannot be used; nothing has been
            written then.
        Interrupted: The user stopped the training.
    """
    recipe, config = run_config(source, data_file, seed, epochs, group)
    out = out or Path("runs") / config["recipe"]["name"]
    inputs = [recipe_file(source), *([data_file] if data_file else [])]
    draft = Draft(out, RUN_CONTENTS, resume, force, inputs)
    if draft.complete:
        _refuse_other(out, config)
        return out, None
    if draft.resumes:
        _refuse_other(draft.aside, config)
    # All workers have looked at the folder before any goes on, and the chief writes.
    strategy = make_strategy(strategy_name)
    state = draft.aside / STATE
    kept = file_hash(state) if draft.resumes and state.is_file() else None
    try:
        check_same(f"{_identity(config)} {kept}", "settings or checkpoint", strategy)
        with running(strategy):
            groups = find_groups(recipe, config)
            plan = make_plan(recipe, config, groups, strategy)
        if draft.resumes:
            _refuse_other(draft.aside, plan.config)
        if epochs is None and data_file is not None:
            _note_few_updates(plan)
        if is_chief(strategy):
            with draft as folder:
                metrics = fill_run(folder, plan, strategy)
        else:
            metrics = take_part(plan, draft.aside if draft.resumes else None, strategy)
        with running(strategy):
            meet(strategy)
        return out, metrics
    except WorkerLost as error:
        raise Interrupted(str(error)) from error
    except KeyboardInterrupt:
        if not draft.resumable:
            raise
        flags = "--resume --force" if force and out.exists() else "--resume"
        raise Interrupted(
            f"interrupted; {draft.aside} is kept, go on with the same command and "
            f"{flags}"
        ) from None


def _refuse_other(folder: Path, config: dict[str, Any]) -> None:
    """Refuse to go on with a run that was started otherwise."""
    if not (folder / "config.json").exists():
        return  # killed before it began
    there, here = _identity(read_config(folder)), _identity(config)
    for name, new in here.items():
        old = there[name]
        if name == "updates" and None in (old, new):
            continue  # not known before the data are read
        if old != new:
            how = "another"
            if name in ("seed", "epochs", "updates"):
                how = f"{old}, not {new}"
            raise InputError(
                f"{folder} was started with other settings ({name}: {how}), so it "
                "cannot be resumed with these; choose another --out."
            )


def _identity(config: dict[str, Any]) -> dict[str, Any]:
    """What must be the same for a run to be gone on with, and for all workers."""
    return {
        # The same file in another place, or under another name, is the same.
        "recipe": config["recipe"]["sha256"],
        "data": [config["data"]["sha256"], config["data"].get("group")],
        "seed": config["seed"],
        "epochs": config.get("epochs"),
        "updates": config.get("updates"),
    }
