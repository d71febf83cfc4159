"""`symae train`: train a recipe into a run folder."""

from __future__ import annotations

import dataclasses
import logging
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

import symae_keras as sk
from symae_keras._utils.arrays import swaps_codes
from symae_keras._utils.files import write_json
from symae_keras._utils.folders import STATE, Draft, Interrupted
from symae_keras._utils.presets import preset_names
from symae_keras.cli._options import Force, Group, Seed, import_backend
from symae_keras.cli._progress import ProgressDisplay
from symae_keras.cli._run_folder import (
    AT_THE_START,
    CHOOSES_UPDATES,
    RUN_CONTENTS,
    Run,
    environment,
    file_hash,
    read_config,
)
from symae_keras.cli._sources import (
    data_hash,
    few_groups,
    find_groups,
    padded_sample,
    train_and_held_out,
)
from symae_keras.cli.evaluate import (
    measure_run,
    next_command,
    print_metrics,
    shown_path,
    write_figures,
)
from symae_keras.cli.report import write_report
from symae_keras.errors import InputError
from symae_keras.zoo.recipes import call_recipe, load_recipe, recipe_file, recipe_hash

if TYPE_CHECKING:
    from symae_keras.cli._sources import Groups
    from symae_keras.data import GroupedData
    from symae_keras.training import Budget, Recipe

_log = logging.getLogger("symae_keras")
HELD_OUT: Final = 0.2
#: Settings of presets with Muon that are those of `Training()` for your data: large
#: batches and falling noise are for thousands of groups (docs/training.md).
_OF_MUON: Final = ("optimizer", "learning_rate", "batch_size", "final_noise")


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="PRESET|recipe.py",
            help=f"A preset ({', '.join(preset_names())}) or the path of a recipe.",
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Your data, instead of the recipe's: .npz, .npy, .csv, HDF5, FITS, a "
            "folder of spectra, images or shards.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The output run folder.", show_default="runs/NAME"
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Passes over the data; with few groups, each is only a few updates "
            "of the weights, so use --updates.",
            show_default="the recipe's; with --data and a preset, at least 2000 "
            "updates",
        ),
    ] = None,
    updates: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of updates of the weights, instead of --epochs.",
            show_default="see --epochs",
        ),
    ] = None,
    held_out: Annotated[
        float,
        typer.Option(
            metavar="FRACTION",
            help="Share of the states for the evaluation. With 0, all states are used "
            "for training, for example if unlabelled samples are to be predicted; the "
            "error is then estimated on training groups.",
        ),
    ] = HELD_OUT,
    group: Group = None,
    seed: Seed = 0,
    strategy: Annotated[
        str,
        typer.Option(
            help="none, mirrored (the GPUs of this machine), multiworker (machines "
            "from TF_CONFIG or srun) or auto."
        ),
    ] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted run.")
    ] = False,
    force: Force = False,
) -> None:
    """Train a recipe, and evaluate it on held-out states."""
    import_backend()
    folder, metrics = train_run(
        recipe,
        data,
        out,
        epochs,
        seed,
        resume,
        force,
        group,
        strategy,
        held_out,
        updates,
    )
    if metrics is None:
        print(f"{folder} is already complete.")
        return
    print_metrics(metrics)
    print(f"{folder}: model.keras, metrics.json, report.html and figures/*.png")
    if command := next_command(folder, read_config(folder), metrics):
        print(f"Next: {command}")


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
    held_out: float = HELD_OUT,
    updates: int | None = None,
) -> tuple[Path, dict[str, Any] | None]:
    """Train a recipe into a run folder.

    The arguments are those of `symae train`. With several workers, the chief writes the
    run folder, and all workers must be able to read it.

    Returns:
        The run folder and the metrics, `None` if the run was already complete.

    Raises:
        InputError: The recipe, the data or the folder cannot be used; in this case,
            nothing has been written.
        Interrupted: The user stopped the training.
    """
    recipe, config = run_config(
        source, data_file, seed, epochs, group, held_out, updates
    )
    out = out or Path("runs") / config["recipe"]["name"]
    inputs = [recipe_file(source), *([data_file] if data_file else [])]
    draft = Draft(out, RUN_CONTENTS, resume, force, inputs)
    if draft.complete:
        _refuse_other(out, config)
        return out, None
    if draft.resumes:
        _refuse_other(draft.partial, config)
    # All workers read the folder before the chief writes into it.
    strategy = sk.distribute.make_strategy(strategy_name)
    state = draft.partial / STATE
    kept = file_hash(state) if draft.resumes and state.is_file() else None
    try:
        sk.distribute.check_same(
            f"{_identity(config)} {kept}", "settings or checkpoint", strategy
        )
        with sk.distribute.running(strategy):
            groups = find_groups(recipe, _with_shown_path(config))
            plan = make_plan(recipe, config, groups, strategy)
        if draft.resumes:
            _refuse_other(draft.partial, plan.config)
        if updates is None and data_file is not None:
            _note_few_updates(plan, epochs is not None)
        if sk.distribute.is_chief(strategy):
            with draft as folder:
                metrics = fill_run(folder, plan, strategy)
        else:
            metrics = take_part(
                plan, draft.partial if draft.resumes else None, strategy
            )
        with sk.distribute.running(strategy):
            sk.distribute.meet(strategy)
        return out, metrics
    except sk.distribute.WorkerLost as error:
        raise Interrupted(str(error)) from error
    except KeyboardInterrupt:
        if not draft.resumable:
            raise
        flags = "--resume --force" if force and out.exists() else "--resume"
        raise Interrupted(
            f"interrupted; {draft.partial} is kept, resume with the same command and "
            f"{flags}"
        ) from None


def _with_shown_path(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config whose path of the data is as short as in the command."""
    file = config["data"]["file"]
    if file is None:
        return config
    return {**config, "data": {**config["data"], "file": shown_path(file)}}


@dataclasses.dataclass(frozen=True)
class Plan:
    """A validated run that is ready for training, with an uncompiled model."""

    title: str
    """For the progress bar."""
    recipe: Recipe
    """Recipe, with the number of epochs."""
    config: dict[str, Any]
    budget: Budget
    train: Groups
    held_out: GroupedData | None
    """`None` if all groups are used for training."""
    model: Any


def run_config(
    source: str,
    data_file: Path | None,
    seed: int,
    epochs: int | None = None,
    group: str | None = None,
    held_out: float = HELD_OUT,
    updates: int | None = None,
) -> tuple[Recipe, dict[str, Any]]:
    """Return a recipe and the config of a run, as far as known without the data.

    Raises:
        InputError: The recipe or the file cannot be used.
    """
    if not 0.0 <= held_out < 1.0:
        raise InputError(
            f"--held-out must be 0 or a fraction below 1; received {held_out}."
        )
    if epochs is not None and updates is not None:
        raise InputError(
            "--epochs and --updates both set the length; give one of them."
        )
    recipe, _, name = load_recipe(source)
    if updates is not None:
        recipe = dataclasses.replace(recipe, epochs=1, min_updates=updates)
    elif epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=epochs, min_updates=0)
    preset = source in preset_names()
    # Presets are tuned to their own data; other data may be 100 times smaller. The
    # author of a recipe knows the size of its data.
    if preset and data_file and recipe.optimizer == "muon":
        plain = sk.training.Training()
        changes: Any = {name: getattr(plain, name) for name in _OF_MUON}
        recipe = dataclasses.replace(recipe, **changes)
    enough = recipe.epochs is None or (epochs is None and preset and data_file)
    least = recipe.min_updates
    if least is None:
        least = sk.training.MIN_UPDATES if enough else 0
    recipe = dataclasses.replace(recipe, epochs=recipe.epochs or sk.training.EPOCHS)
    file = recipe_file(source)
    data: dict[str, Any] = {"file": None, "sha256": None, "group": group}
    if data_file is not None:
        data["file"] = str(data_file.resolve())
        data["sha256"] = data_hash(data_file)
    return recipe, {
        "symae_keras": sk.__version__,
        "recipe": {
            "name": name,
            "source": source if preset else str(file),
            "sha256": recipe_hash(source),
        },
        "data": data,
        "seed": seed,
        "epochs": recipe.epochs,
        "min_updates": least,
        "batch_size": recipe.batch_size,
        "instances": recipe.instances,
        "learning_rate": recipe.learning_rate,
        "clip_norm": recipe.clip_norm,
        "kl_annealing": recipe.kl_annealing,
        "weight_decay": recipe.weight_decay,
        "optimizer": recipe.optimizer,
        "final_noise": recipe.final_noise,
        "train_fraction": round(1.0 - held_out, 12),
    }


def make_plan(
    recipe: Recipe, config: dict[str, Any], groups: Groups, strategy: Any = None
) -> Plan:
    """Split the groups, build the model, and determine the number of epochs.

    Raises:
        InputError: The groups cannot be split or do not suit the recipe.
    """
    import keras

    name, seed = config["recipe"]["name"], config["seed"]
    file = config["data"]["file"]
    source = shown_path(file) if file else f"the data of the recipe {name}"
    fit, held_out = usable_parts(groups, config["train_fraction"], seed, source)
    keras.utils.set_random_seed(seed)
    shape = groups.instance_shape
    what = f"model() on instances of shape {shape}"
    model = call_recipe(name, what, recipe.model, fit, seed)
    for method in ("encode", "reconstruct"):
        if not hasattr(model, method):
            raise InputError(
                f"model() of the recipe {name} must return a model with the methods "
                "encode and reconstruct, and redatum for groups; received a "
                f"{type(model).__name__} without {method}."
            )
    recipe = dataclasses.replace(recipe, min_updates=config["min_updates"])
    budget = sk.training.Budget.of(fit, recipe, strategy, single=not swaps_codes(model))
    recipe = dataclasses.replace(recipe, epochs=budget.epochs)
    config = {
        **config,
        "updates": budget.updates,
        "instance_shape": list(shape),
        "groups": {"train": len(fit), "held_out": len(held_out or ())},
    }
    return Plan(name, recipe, config, budget, fit, held_out, model)


def usable_parts(
    groups: Groups, fraction: float, seed: int, source: str
) -> tuple[Groups, GroupedData | None]:
    """Split groups into a training part and a held-out part, and check both.

    Raises:
        InputError: The groups cannot be split, or a part is unusable for training.
    """
    config = {"train_fraction": fraction, "seed": seed}
    fit, held_out = train_and_held_out(groups, config, source)
    for part, title in ((fit, "for training"), (held_out, "held out")):
        if part is not None:
            what = f"{source}: the {len(part)} groups {title}"
            _refuse_range(sk.training.data_variance(part), what)
    return fit, held_out


def _note_few_updates(plan: Plan, given: bool) -> None:
    updates, least = plan.config["updates"], sk.training.MIN_UPDATES
    if updates < least:
        epochs = f"--epochs {plan.recipe.epochs} makes"
        if not given:
            epochs = f"the recipe has {plan.recipe.epochs} epochs, which are"
        _log.warning(
            "%s only %d updates of the weights, but small data need about %d; give "
            "--updates %d",
            epochs,
            updates,
            least,
            least,
        )


def _refuse_range(variance: float, what: str) -> None:
    """Raise an error for values without variance, or outside the range of float32."""
    from symae_keras.data.check import refuse_range

    if not variance > 0.0:
        raise InputError(f"{what} cannot be learned from: all instances are identical.")
    refuse_range(math.sqrt(variance), what)


def fill_run(folder: Path, plan: Plan, strategy: Any = None) -> dict[str, Any]:
    """Train as planned, from a checkpoint if there is one, and write the run folder.

    The checkpoint stays in the folder; the caller removes it when the folder is at its
    final path. `strategy` is the strategy under which the model was created.

    Returns:
        The metrics.
    """
    import keras

    from symae_keras.training.best_weights import AT_START
    from symae_keras.training.checkpoint import HistoryFile

    write_json(folder / "config.json", plan.config)
    axis = sk.data.Axis.of(plan.train)
    if axis is not None:
        axis.write(folder)
    write_json(folder / "environment.json", environment())
    history = folder / "history.csv"
    epochs = plan.recipe.epochs or sk.training.EPOCHS
    print(f"{plan.title}: {plan.budget}", file=sys.stderr, flush=True)
    if few := few_groups(sum(plan.config["groups"].values())):
        _log.warning("%s", few)
    if plan.held_out is None and plan.budget.is_chosen and strategy is None:
        print(f"note: {CHOOSES_UPDATES}", file=sys.stderr, flush=True)
    start = time.perf_counter()
    with ProgressDisplay(plan.title, epochs) as progress:
        # The history is written before the state from which a run is resumed.
        callbacks = [
            HistoryFile(history),
            sk.training.Checkpoint(folder / STATE),
            keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda epoch, logs: progress.start(epoch),
                on_epoch_end=lambda epoch, logs: progress.update(
                    epoch + 1, _epoch_text(epoch + 1, epochs, logs)
                ),
            ),
        ]
        done = _fit(plan, callbacks, strategy)
    # For a resumed run, the seconds since it was resumed.
    took = {"training_seconds": f"{time.perf_counter() - start:.1f}"}
    took["updates"] = str(done.updates)
    if done.best_epoch is not None:
        took["best_epoch"] = str(done.best_epoch)
    if done.best_epoch == AT_START:
        print(f"note: {AT_THE_START}", file=sys.stderr)
    elif done.updates != plan.budget.updates:
        print(f"note: trained with {done.updates:,} updates", file=sys.stderr)
    write_json(folder / "environment.json", environment() | took)
    plan.model.save(folder / "model.keras")
    metrics = measure_run(plan.model, plan.recipe, plan.train, plan.held_out)
    write_json(folder / "metrics.json", metrics)
    evaluated = plan.held_out or padded_sample(plan.train)
    write_figures(folder / "figures", plan.model, evaluated, history)
    write_report(
        folder,
        Run(folder, plan.config, plan.model, axis, plan.recipe),
        (plan.train, plan.held_out),
        metrics,
    )
    return metrics


def _epoch_text(epoch: int, epochs: int, logs: dict[str, Any]) -> str:
    losses = ", ".join(f"{k} {v:.4f}" for k, v in logs.items() if k.endswith("loss"))
    return f"epoch {epoch}/{epochs}: {losses}"


def take_part(plan: Plan, partial: Path | None, strategy: Any) -> dict[str, Any]:
    """Do the work of all workers except the chief: everything except writing.

    They resume from the draft folder, if there is one, and receive the chief's metrics.
    """
    state = []
    if partial is not None:
        state = [sk.training.Checkpoint(partial / STATE, writes=False)]
    _fit(plan, state, strategy)
    return measure_run(plan.model, plan.recipe, plan.train, plan.held_out)


def _fit(plan: Plan, callbacks: list[Any], strategy: Any) -> Any:
    """Train and return the history."""
    # Only this call is in the scope of the strategy: each variable created there is
    # sent to all workers, which must then create it, too.
    with sk.distribute.running(strategy):
        return sk.training.train(
            plan.model,
            plan.train,
            plan.recipe,
            plan.config["seed"],
            validation=plan.held_out,
            callbacks=callbacks,
            strategy=strategy,
        )


def _refuse_other(folder: Path, config: dict[str, Any]) -> None:
    """Raise an error if the run was started with other settings."""
    if not (folder / "config.json").exists():
        return  # killed before it started
    there, here = _identity(read_config(folder)), _identity(config)
    for name, new in here.items():
        old = there[name]
        if name.endswith("updates") and None in (old, new):
            continue  # unknown until the data are read, or to an earlier version
        if old != new:
            how = "another"
            if name not in ("recipe", "data"):
                how = f"{old}, not {new}"
            raise InputError(
                f"{folder} was started with other settings ({name}: {how}), so it "
                "cannot be resumed with these; choose another --out."
            )


def _identity(config: dict[str, Any]) -> dict[str, Any]:
    """Return settings that must be the same in a resumed run, and for all workers."""
    return {
        # The same file under another path or name counts as the same.
        "recipe": config["recipe"]["sha256"],
        "data": [config["data"]["sha256"], config["data"].get("group")],
        "seed": config["seed"],
        "min_updates": config.get("min_updates"),
        "epochs": config.get("epochs"),
        "updates": config.get("updates"),
        "train_fraction": config["train_fraction"],
    }
