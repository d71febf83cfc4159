"""Compare models on simulated exposures or on the user's data."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from symae_keras._utils.files import check_writable, refuse_inputs, write_json
from symae_keras._utils.folders import Interrupted
from symae_keras.cli._run_folder import environment
from symae_keras.cli._sources import in_memory, read_groups, split_groups
from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.errors import InputError
from symae_keras.evaluation import Comparison, Sizes, compare
from symae_keras.evaluation.compare import check_models
from symae_keras.evaluation.comparison import refuse_other_folder
from symae_keras.evaluation.contenders import CONTENDERS, DEFAULT
from symae_keras.training import EPOCHS, MIN_UPDATES, Training, enough_epochs

#: Of 125 steps, in the quick form; the full form has 32.
QUICK_EPOCHS: Final = 8
_STATES: Final = 2000
_TEST_STATES: Final = {False: 1000, True: 300}
_TRAIN_FRACTION: Final = 0.8
_ENCODERS: Final = ("dense", "conv1d", "conv2d")


def compare_run(
    out: Path,
    data_file: Path | None = None,
    models: Sequence[str] | None = None,
    seeds: int | None = None,
    quick: bool = False,
    encoder: str = "dense",
    group: str | None = None,
) -> Comparison:
    """Train models on the same groups and keep table and figure in a folder.

    Args:
        out: The folder; an interrupted comparison in it is resumed.
        data_file: The user's data, of which 20 % of the groups are held out;
            `None` for simulated entangled exposures.
        models: Names of models, or only `"all"`; `None` for all grouped ones and
            references.
        seeds: Trainings of each model; `None` for 3, and 1 in the quick form.
        quick: Train for a quarter of the steps and judge by fewer groups.
        encoder: `"dense"`, `"conv1d"` or `"conv2d"`.
        group: What tells the group in the user's data, see `symae_keras.data.load`.

    Returns:
        The comparison.

    Raises:
        InputError: Something is unusable; no row of `out` is lost.
        Interrupted: The user stopped; the rows that were ready are kept.
    """
    models = list(DEFAULT if models is None else models)
    if models == ["all"]:
        models = list(CONTENDERS)
    check_models(models)
    if encoder not in _ENCODERS:
        raise InputError(
            f"--encoder must be one of {', '.join(_ENCODERS)}; received {encoder!r}."
        )
    check_writable(out)
    refuse_inputs(out, [data_file] if data_file else [])
    refuse_other_folder(out)
    groups, test = _data(data_file, group, quick)
    training = _training(groups, quick)
    with _Bar() as bar:
        try:
            result = compare(
                groups,
                test,
                models,
                seeds=seeds or (1 if quick else 3),
                training=training,
                sizes=Sizes(encoder=encoder),
                out=out,
                progress=bar.update,
            )
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted; the rows in {out} are kept, resume with the same command"
            ) from None
    write_json(out / "environment.json", environment())
    return result


def _training(groups: GroupedData, quick: bool) -> Training:
    """The same epochs for all models, and enough of them where data are small."""
    training = Training()
    steps = math.ceil(len(groups) / training.batch_size)
    least = MIN_UPDATES * QUICK_EPOCHS // EPOCHS if quick else MIN_UPDATES
    epochs = enough_epochs(steps, QUICK_EPOCHS if quick else EPOCHS, least)
    print(
        f"training groups: {len(groups)}; epochs x updates per epoch of grouped "
        f"models: {epochs:,} x {steps:,} = {epochs * steps:,} updates",
        file=sys.stderr,
        flush=True,
    )
    return dataclasses.replace(training, epochs=epochs)


def _data(
    file: Path | None, group: str | None, quick: bool
) -> tuple[GroupedData, GroupedData]:
    """Groups to train on, and others to judge by."""
    if file is None:
        test = simulate_exposures(_TEST_STATES[quick], 16, seed=1)
        return simulate_exposures(_STATES, 16, seed=100), test
    groups = in_memory(read_groups(file, group, min_instances=2), file)
    both = split_groups(groups, _TRAIN_FRACTION, 0, str(file))
    return in_memory(both[0], file), in_memory(both[1], file)


class _Bar:
    """A bar over the whole on a terminal; elsewhere a line a model."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self._console,
            speed_estimate_period=3600.0,
        )
        self._last = ""

    def __enter__(self) -> _Bar:
        if self._console.is_terminal:
            self._bar.start()
            self._bar.add_task("", total=1.0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def update(self, text: str, share: float) -> None:
        """Show what is being done and how far the whole is."""
        if self._console.is_terminal:
            self._bar.update(self._bar.task_ids[0], description=text, completed=share)
        elif text != self._last:
            print(f"{text} ({share:.0%} done)", file=sys.stderr, flush=True)
        self._last = text
