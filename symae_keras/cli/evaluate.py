"""`symae evaluate`, and the metrics and figures of all runs."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

import symae_keras as sk
from symae_keras._utils.arrays import swaps_codes
from symae_keras._utils.files import written_atomically
from symae_keras._utils.markers import write_listed
from symae_keras._utils.presets import preset_names
from symae_keras._utils.text import one_line
from symae_keras._utils.untrusted_files import parse_json, read_bounded
from symae_keras.cli._linear_reference import linear_mixed_model
from symae_keras.cli._options import (
    AxisChange,
    Group,
    Resampling,
    RunFolder,
    State,
    TrustedRecipe,
    import_backend,
)
from symae_keras.cli._run_folder import (
    Run,
    group_counts,
    load_run,
    recorded_data,
    refuse_few_held_out,
)
from symae_keras.cli._sources import (
    data_hash,
    find_groups,
    in_memory,
    padded_sample,
    read_groups,
    train_and_held_out,
)
from symae_keras.cli._tables import print_table
from symae_keras.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from symae_keras.cli._sources import Groups
    from symae_keras.data import GroupedData
    from symae_keras.evaluation import ColumnScore, Leakage
    from symae_keras.training import Recipe

_log = logging.getLogger("symae_keras")

#: Remedy for too few held-out groups.
FROM_DATA: Final = ", or give other groups with --data"
#: Largest estimated error that is called good.
_GOOD: Final = 0.15
#: Largest size of a file of scores.
_MOST_BYTES: Final = 1 << 20
#: Ratio of errors below which a linear mixed model is better. A linear backbone starts
#: at one, so that small differences are noise.
_CLEARLY: Final = 0.9


def evaluate(
    run: RunFolder,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Groups for the evaluation, written to metrics-NAME.json for "
            "NAME.npz.",
            show_default="the held-out part, written to metrics.json",
        ),
    ] = None,
    leakage: Annotated[
        bool,
        typer.Option(help="Probe the codes for true parameters, if they are known."),
    ] = True,
    state: State = None,
    group: Group = None,
    axis: AxisChange = None,
    recipe: TrustedRecipe = None,
) -> None:
    """Evaluate a trained run and write the metrics into its folder."""
    import_backend()
    found, known = load_run(run, recipe), None
    columns: dict[str, ColumnScore] = {}
    if data is not None:
        groups = groups_for(found, data, group, axis)
        columns = probe_state(found, groups, state, linear=None)
        metrics = measure(found.model, groups, str(data))
        known = trained_on(found, data, len(groups))
        metrics |= {"verdict": known} if known else {}
    else:
        train, held_out = both_parts(found)
        groups = held_out or padded_sample(train)
        refuse_state(found, groups, state)
        columns = probe_state(found, groups, state, linear=None)
        if found.recipe is None:
            _log.warning(
                "scores that the recipe computes are left out; give --recipe FILE to "
                "include them, if you trust it, because its code is executed"
            )
        metrics = measure_run(found.model, found.recipe, train, held_out)
    leaks = None
    if leakage and metrics["swaps_codes"]:
        leaks = _leakage(found.model, groups, bool(columns))
        if leaks is not None:
            metrics["leakage"] = dataclasses.asdict(leaks)
    if columns:
        named = {name: dataclasses.asdict(each) for name, each in columns.items()}
        metrics["columns"] = named
    file = run / "metrics.json" if data is None else _file_of_scores(run, data)
    write_listed(file, metrics)
    print_metrics(metrics)
    if leaks is not None:
        _print_leakage(leaks)
    if columns:
        _print_columns(columns)
    print(f"Written to {file}")
    command = None if known else next_command(run, found.config, metrics)
    if command:
        print(f"Next: {command}")


def _file_of_scores(run: Path, data: Path) -> Path:
    """Return the file for the scores of other data.

    Files of the same name in different folders get different numbers.
    """
    numbers = (f"-{number}" for number in itertools.count(2))
    files = (
        run / f"metrics-{data.stem}{end}.json" for end in itertools.chain([""], numbers)
    )
    return next(file for file in files if not file.exists() or _is_of(file, data))


def _is_of(file: Path, data: Path) -> bool:
    try:
        return bool(parse_json(read_bounded(file, _MOST_BYTES))["data"] == str(data))
    except (InputError, ValueError, LookupError, TypeError):
        return True  # not as it was written, so `write_listed` refuses to replace it


def refuse_state(run: Run, groups: GroupedData, names: list[str] | None) -> None:
    """Raise an error if columns cannot be probed on the held-out groups of a run."""
    from symae_keras.evaluation.columns import check_columns

    if names:
        # A wrong name is no reason to train again with more held-out groups.
        check_columns(groups, names)
        refuse_few_held_out(run.folder, "--state", FROM_DATA)


def probe_state(
    run: Run, groups: GroupedData, names: list[str] | None, linear: bool | None
) -> dict[str, ColumnScore]:
    """Probe the codes for the columns that the user names with --state.

    Raises:
        InputError: There is no such column, or it cannot be probed.
    """
    if not names:
        return {}
    if not swaps_codes(run.model):
        raise InputError(
            f"The model of {run.folder} is a {type(run.model).__name__}, a model of "
            "single instances, which has no code of the state; leave --state out."
        )
    with Console(stderr=True).status("Probing the codes"):
        return sk.evaluation.probe_columns(run.model, groups, names, linear)


def _leakage(model: Any, groups: GroupedData, probed: bool) -> Leakage | None:
    """Return the leakage, or `None` and a note if it cannot be measured.

    Measured groups have no true parameters; there is no note about this if columns of
    their own were probed instead.
    """
    if not groups.state:
        if not probed:
            _log.warning(
                "no leakage scores, because the data have no true parameters of the "
                "state; --state COLUMN probes the codes for a column of your data"
            )
        return None
    try:
        with Console(stderr=True).status("Probing the codes"):
            return sk.evaluation.leakage(model, groups)
    except InputError as error:
        _log.warning("no leakage scores: %s", error)
        return None


def _print_leakage(leaks: Leakage) -> None:
    print("Scores of probes, R2 of numbers or accuracy of labels, predicted from:")
    coherent = {**leaks.nuisance_from_coherent, **leaks.state_from_coherent}
    print_table(
        ("", "nuisance code", "coherent code", "chance"),
        [
            (name, leaks.state_from_nuisance.get(name), coherent[name], chance)
            for name, chance in leaks.chance.items()
        ],
    )


def _print_columns(columns: dict[str, ColumnScore]) -> None:
    print("Scores of cross-validated probes, predicted from:")
    print_table(
        ("", "score", "coherent code", "nuisance code", "chance"),
        [
            (name, each.score, each.coherent, each.nuisance, each.chance)
            for name, each in columns.items()
        ],
        n_texts=2,
    )


def print_metrics(metrics: dict[str, Any]) -> None:
    """Print the errors in the content of a metrics.json."""
    rows = {
        "reconstruction_error": "reconstruction error",
        "redatuming_error": "redatuming error",
        "mean_swap_error": "the same by linear mean swap",
        "estimated_redatuming_error": "redatuming error, estimate without truth",
        "estimated_mean_swap_error": "the same by linear mean swap",
        "estimated_mixed_model_error": "the same by linear mixed model",
    }
    print(
        f"{metrics['data']}, {metrics['groups']} groups with {metrics['instances']} "
        "instances:"
    )
    print_table(
        ("", "error / variance"),
        [(label, metrics[name]) for name, label in rows.items() if name in metrics],
    )
    if not metrics["swaps_codes"]:
        print("No redatuming error: this is a model of single instances.")
    if "verdict" in metrics:
        print(metrics["verdict"])
    elif metrics["swaps_codes"]:
        print("No redatuming error: fewer than two groups have several instances.")
    if metrics.get("detail_gain"):
        share = f"{100.0 * metrics['detail_gain']:.0f} %"
        print(
            f"Detail of the state: on. Virtual instances also contain {share} of the "
            "mean difference between the instances of a group and their "
            "reconstructions."
        )
    elif metrics["swaps_codes"]:
        print("Detail of the state: off. Virtual instances are decoded codes.")


def recipe_option(config: dict[str, Any], file: str) -> str:
    """Return the option that a command needs to load a run of a user's recipe."""
    # The recipe of symae tune only has settings, which are in model.keras, too.
    if config["recipe"]["source"] in preset_names() or "tuning" in config:
        return ""
    return f" --recipe {shlex.quote(file)}"


def group_option(name: str | None) -> str:
    """Return the option that a command needs to read data with a group column."""
    return "" if name is None else f" --group {shlex.quote(name)}"


def shown_path(path: str) -> str:
    """Return a path for messages: relative if it is in the current folder."""
    file, here = Path(path), Path.cwd()
    return str(file.relative_to(here) if here in file.parents else file)


def free_name() -> str:
    """Return an unused name for the folder of a tuned run: tuned, tuned2, ..."""
    names = itertools.chain(["tuned"], (f"tuned{n}" for n in itertools.count(2)))
    return next(name for name in names if not Path(name).exists())


def next_command(
    folder: Path, config: dict[str, Any], metrics: dict[str, Any]
) -> str | None:
    """Return the command that the verdict suggests, `None` without a verdict.

    Args:
        folder: The run folder.
        config: The content of its config.json.
        metrics: The content of a metrics.json.
    """
    error = metrics.get("estimated_redatuming_error")
    if error is None:
        return None
    file = shown_path(config["data"]["file"] or "my.csv")
    data, group = shlex.quote(file), config["data"].get("group")
    mixed = metrics.get("estimated_mixed_model_error", math.inf)
    linear = min(metrics["estimated_mean_swap_error"], mixed / _CLEARLY)
    if error > _GOOD or error > linear:
        if "tuning" in config:
            return f"symae compare --data {data}{group_option(group)}"
        return f"symae tune --data {data}{group_option(group)} --out {free_name()}"
    made = "virtual.csv" if len(config["instance_shape"]) == 1 else "virtual.npz"
    end = recipe_option(config, config["recipe"]["source"])
    return (
        f"symae redatum {shlex.quote(str(folder))} --coherent-from {data} "
        f"--nuisance-from reference{Path(made).suffix} --out {made}{end}"
    )


# === Data of a run ===


def both_parts(run: Run) -> tuple[Groups, GroupedData | None]:
    """Return the training groups of a run, and its held-out groups.

    The latter are `None` if the run was trained on all groups.
    """
    config, file = run.config, recorded_data(run)
    if file is not None:
        if data_hash(file) != config["data"]["sha256"]:
            raise InputError(
                f"{file} has changed since {run.folder} was trained on it; restore "
                "it, or evaluate other data with --data."
            )
        groups = read_groups(file, config["data"].get("group"), min_instances=2)
    elif run.recipe is None:
        raise InputError(
            f"The data of {run.folder} come from its recipe, whose code is only "
            "executed if you name it; give --recipe FILE if you trust it. "
            "Commands that evaluate also accept other data, with --data FILE."
        )
    else:
        groups = find_groups(run.recipe, config)
    return train_and_held_out(groups, config, str(file or run.folder))


def groups_for(
    run: Run,
    file: Path,
    group: str | None = None,
    resampling: Resampling | None = None,
) -> GroupedData:
    """Read groups from a file, with the shape and axis of the model's training data.

    Args:
        run: The run with the model.
        file: The file.
        group: The column or key of the ids.
        resampling: Method of resampling to the axis of the run; with `None`, groups on
            another axis are an error.

    Raises:
        InputError: The file cannot be used, or has instances of another shape or on
            another axis.
    """
    group = group or run.config["data"].get("group")
    groups = in_memory(read_groups(file, group), file)
    if resampling is not None:
        groups = _resampled(run, groups, file, resampling)
    expected = tuple(run.config["instance_shape"])
    same = groups.instance_shape == expected
    # A different axis is more informative than a different number of pixels.
    spectra = groups.axis is not None and groups.instance_shape[1:] == expected[1:]
    if run.axis is not None and (same or spectra):
        run.axis.check(groups, str(file), str(run.folder))
    if not same:
        raise InputError(
            f"{file} has instances of shape {groups.instance_shape}, but the model "
            f"of {run.folder} takes {expected}."
        )
    return groups


def _resampled(
    run: Run, groups: GroupedData, file: Path, resampling: Resampling
) -> GroupedData:
    """Return groups, resampled to the axis of a run."""
    if run.axis is None:
        raise InputError(
            f"{run.folder} was trained on data without an axis, so data cannot be "
            "resampled to it; leave out --axis, or train on data with an axis."
        )
    try:
        return sk.data.resample(groups, run.axis, resampling is Resampling.FLUX)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


def trained_on(run: Run, file: Path, n_groups: int) -> str | None:
    """Return a sentence if a file is the training data of a run, otherwise `None`.

    It replaces the verdict, which is only valid for groups that are new to the model.
    """
    if data_hash(file) != run.config["data"]["sha256"]:
        return None
    counts = group_counts(run.config)
    n_train, n_held_out = counts or ("most", 1)
    text = (
        f"No verdict: {n_train} of these {n_groups} groups were used for training, so "
        "the errors are too low"
    )
    if n_held_out:
        text += "; without --data, the held-out groups are evaluated"
    return f"{text}."


# === Metrics and figures ===


def measure(
    model: Any, groups: GroupedData, what: str = "held-out part"
) -> dict[str, Any]:
    """Return errors of a model on groups, relative to their variance.

    Models that swap codes have an estimate of the redatuming error and a verdict. Only
    simulated groups have a ground truth and so `redatuming_error` and
    `mean_swap_error`.
    """
    metrics: dict[str, Any] = {
        "data": what,
        "groups": len(groups),
        "instances": int(groups.present.sum()),
        "swaps_codes": swaps_codes(model),
    }
    known = groups.render is not None and len(groups) > 1
    if known and metrics["swaps_codes"]:
        error = sk.evaluation.redatuming_error(model, groups)
        metrics["reconstruction_error"] = error.reconstruction
        metrics["redatuming_error"] = float(error)
        metrics["mean_swap_error"] = error.mean_swap
    else:
        metrics["reconstruction_error"] = sk.evaluation.reconstruction_error(
            model, groups
        )
    if metrics["swaps_codes"]:
        metrics |= _estimates(model, groups)
        metrics["detail_gain"] = _detail_gain(model, groups)
    return metrics


def _detail_gain(model: Any, groups: GroupedData) -> float:
    """Return the mean gain of the state detail in groups of mean size."""
    from symae_keras.models._detail import gain

    reliability = getattr(model, "detail", None)
    if reliability is None:
        return 0.0
    return float(gain(reliability, groups.counts.mean()).mean())


def _estimates(model: Any, groups: GroupedData) -> dict[str, Any]:
    """Return estimates without ground truth, or nothing if groups are too small."""
    try:
        estimate = sk.evaluation.estimate_redatuming_error(model, groups)
        reference = sk.classical.MeanSwap().fit(groups)
        linear = float(sk.evaluation.estimate_redatuming_error(reference, groups))
    except InputError as error:
        _log.warning("no estimate of the redatuming error: %s", error)
        return {}
    return {
        "estimated_redatuming_error": float(estimate),
        "estimated_low": estimate.interval[0],
        "estimated_high": estimate.interval[1],
        "estimated_nuisance_in_state": estimate.nuisance_in_state,
        "estimated_state_in_nuisance": estimate.state_in_nuisance,
        "estimated_noise": estimate.noise,
        "estimated_mean_swap_error": linear,
        "verdict": estimate.verdict(linear),
    }


def _compare_with_mixed_model(
    metrics: dict[str, Any], train: GroupedData, groups: GroupedData
) -> None:
    """Add the estimate of a linear mixed model, and say so if it is clearly better."""
    from symae_keras.evaluation.estimate import NOT_BETTER, _percent

    own = metrics.get("estimated_redatuming_error")
    if own is None or (mixed := linear_mixed_model(train)) is None:
        return
    linear = float(sk.evaluation.estimate_redatuming_error(mixed, groups))
    metrics["estimated_mixed_model_error"] = linear
    if linear < _CLEARLY * own:
        _, said = metrics["verdict"].split(": ", 1)
        metrics["verdict"] = (
            f"{NOT_BETTER}: {said} A linear mixed model is better: "
            f"{_percent(linear)} %."
        )


def measure_run(
    model: Any, recipe: Recipe | None, train: Groups, held_out: GroupedData | None
) -> dict[str, Any]:
    """Return errors on the held-out groups, and the scores of the recipe.

    If training groups are in shards, the recipe receives a sample. If no groups were
    held out, the errors are those of training groups, and there are no scores of the
    recipe.
    """
    known = padded_sample(train)
    if held_out is None:
        metrics = measure(model, known, "training groups")
        _compare_with_mixed_model(metrics, known, known)
        if "verdict" in metrics:
            metrics["verdict"] += (
                " These are training groups, so the estimate is optimistic."
            )
        return metrics
    metrics = measure(model, held_out)
    _compare_with_mixed_model(metrics, known, held_out)
    if recipe is not None and recipe.score is not None:
        try:
            metrics |= recipe.score(model, known, held_out)
        except Exception as error:
            # An error in a score must not discard the trained model.
            _log.warning("no scores of the recipe: %s", one_line(error))
    return metrics


def write_figures(
    folder: Path, model: Any, groups: GroupedData, history: Path
) -> list[Path]:
    """Write learning curves, outputs of the model, and a map of known states.

    For grouped models, the outputs are virtual instances, otherwise reconstructions. If
    a figure cannot be drawn, it is left out with a warning of the logger
    `"symae_keras"`, so that the trained model is not lost. Return the written files.
    """
    folder.mkdir(exist_ok=True)
    swaps = swaps_codes(model)
    drawable = len(groups.instance_shape) <= 3
    drawings: dict[str, Callable[[], Figure | None]] = {}
    if history.exists():  # a linear backbone may be best without training
        drawings["history"] = lambda: sk.plotting.plot_history(history)
    if drawable and swaps and len(groups) > 1:
        drawings["redatuming"] = lambda: sk.plotting.plot_model_redatuming(
            model, groups
        )
    elif drawable and not swaps:
        drawings["reconstruction"] = lambda: sk.plotting.plot_model_reconstruction(
            model, groups
        )
    if groups.state:
        drawings["codes"] = lambda: _codes(model, groups)
    written = []
    for name, draw in drawings.items():
        path = folder / f"{name}.png"
        try:
            figure = draw()
            if figure is None:
                continue
            with written_atomically(path) as partial:
                figure.savefig(partial, dpi=150)
        # Matplotlib may raise any error, due to labels, fonts or the disk.
        except Exception as error:
            _log.warning("no figure %s: %s", name, one_line(error))
        else:
            written.append(path)
    return written


def _codes(model: Any, groups: GroupedData) -> Figure | None:
    """Draw codes of the state, coloured by its first true parameter."""
    scalars = [name for name, value in groups.state.items() if value.ndim == 1]
    name = scalars[0] if scalars else next(iter(groups.state))
    value = groups.state[name].reshape(len(groups), -1)[:, 0]
    label = name if scalars else f"{name}[0]"
    in_batches = sk.evaluation.in_batches
    if swaps_codes(model):
        coherent, _ = in_batches(model.encode, groups.x, groups.model_mask)
        return sk.plotting.plot_codes(coherent, value, label)
    codes = in_batches(model.encode, *groups.first_instances())
    if getattr(codes, "ndim", None) != 2:
        return None  # maps, such as those of a U-Net, cannot be drawn as points
    return sk.plotting.plot_codes(codes, value, label, code_name="code")
