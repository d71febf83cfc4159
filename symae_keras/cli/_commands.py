"""Commands that train, judge and use models."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from symae_keras.cli._options import (
    Data,
    Force,
    Group,
    RunFolder,
    Seed,
    TrustedRecipe,
    import_backend,
)
from symae_keras.zoo.recipes import preset_names


def demo(
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Train for under a minute, to a lower quality."),
    ] = False,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder to make.")
    ] = Path("symae_demo"),
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Train SymAE on simulated stellar exposures and compare it with the limit."""
    cost = "under a minute" if quick else "about two minutes"
    print(f"Training two SymAEs on simulated spectra of stars, {cost}.", flush=True)
    start = time.monotonic()
    import_backend()
    from symae_keras.cli._tables import print_demo
    from symae_keras.cli.demo import PRESETS, run_demo

    metrics = run_demo(out, quick, seed, force)
    print_demo(metrics)
    if quick:
        print(
            f"Quick form: only {metrics['epochs']} epochs, so the errors are larger "
            "than those of the full demo."
        )
    print(f"Done in {time.monotonic() - start:.0f} s.")
    for name in PRESETS:
        print(f"{out / name}: model.keras, metrics.json and figures/*.png")
    print("Next, with your own data: symae train symae_exposures --data my.npz")


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="PRESET|recipe.py",
            help=f"A preset ({', '.join(preset_names())}) or the path of a recipe.",
        ),
    ],
    data: Data = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The run folder to make.", show_default="runs/NAME"
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Passes over the data.",
            show_default="the recipe's; with --data and a preset at least 2000 updates",
        ),
    ] = None,
    group: Group = None,
    seed: Seed = 0,
    strategy: Annotated[
        str,
        typer.Option(
            help="none, mirrored (the GPUs of this machine), multiworker (machines "
            "named by TF_CONFIG or srun) or auto."
        ),
    ] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.")
    ] = False,
    force: Force = False,
) -> None:
    """Train a recipe on four fifths of the states and judge it on the rest."""
    import_backend()
    from symae_keras.cli._tables import print_metrics
    from symae_keras.cli.train import train_run

    folder, metrics = train_run(
        recipe, data, out, epochs, seed, resume, force, group, strategy
    )
    if metrics is None:
        print(f"{folder} is complete already.")
        return
    print_metrics(metrics)
    print(f"{folder}: model.keras, metrics.json and figures/*.png")


def evaluate(
    run: RunFolder,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Groups to judge by, written to metrics-NAME.json for NAME.npz.",
            show_default="the held-out part, written to metrics.json",
        ),
    ] = None,
    leakage: Annotated[
        bool,
        typer.Option(
            help="Probe the codes for true parameters, where these are known."
        ),
    ] = True,
    group: Group = None,
    recipe: TrustedRecipe = None,
) -> None:
    """Judge a trained run and write the metrics into its folder."""
    import_backend()
    from symae_keras.cli._tables import print_leakage, print_metrics
    from symae_keras.cli.evaluate import evaluate_run

    file, metrics, leaks = evaluate_run(run, data, leakage, group, recipe)
    print_metrics(metrics)
    if leaks is not None:
        print_leakage(leaks)
    print(f"Written to {file}")


def redatum(
    run: RunFolder,
    coherent_from: Annotated[
        Path, typer.Option(metavar="A", help="Groups whose states are shown.")
    ],
    nuisance_from: Annotated[
        Path,
        typer.Option(
            metavar="B",
            help="Groups whose nuisances they are shown under; as many, or one group "
            "in either file.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The .npz or .csv file to write.")
    ],
    group: Group = None,
    force: Force = False,
    recipe: TrustedRecipe = None,
) -> None:
    """Make virtual instances: the states of A under the nuisances of B."""
    import_backend()
    from symae_keras.cli.redatum import redatum_files

    virtual = redatum_files(
        run, coherent_from, nuisance_from, out, force, group, recipe
    )
    print(f"{out}: x {virtual.x.shape}")


def anomalies(
    run: RunFolder,
    data: Annotated[
        Path, typer.Option(metavar="FILE", help="Groups to look for anomalies in.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="CSV", help="The table to write, strangest first.")
    ],
    group: Group = None,
    force: Force = False,
    recipe: TrustedRecipe = None,
) -> None:
    """Find instances that a run reconstructs worse than those it held out."""
    import_backend()
    from symae_keras.cli.anomalies import find_anomalies

    found = find_anomalies(run, data, out, force, group, recipe)
    rare = int((found.p_value <= 0.01).sum())
    print(
        f"{rare} of {len(found.p_value)} instances have p <= 0.01, where chance would "
        f"make it {0.01 * len(found.p_value):.1f}; {found.n_normal} held-out instances "
        "tell what is normal."
    )
    print(f"{out}: group, instance, score and p_value, strangest first")


def compare_models(
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Grouped data; a fifth of the groups is held out to judge by.",
            show_default="simulated exposures",
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="Names of models, or all.",
            show_default="all grouped models and references",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, help="Trainings of each model.", show_default="3, or 1 with --quick"
        ),
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="Networks of all models: dense, conv1d or conv2d.")
    ] = "dense",
    quick: Annotated[
        bool,
        typer.Option("--quick", help="A quarter of the steps, in a few minutes."),
    ] = False,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="The folder to make, or to go on in after a stop."
        ),
    ] = Path("symae_compare"),
    group: Group = None,
) -> None:
    """Train models on the same data and put them into one table and one figure."""
    import_backend()
    from symae_keras.cli._tables import print_comparison
    from symae_keras.cli.compare import compare_run

    names = None if models is None else [each.strip() for each in models.split(",")]
    print_comparison(compare_run(out, data, names, seeds, quick, encoder, group))
    print(f"{out}: comparison.md, comparison.csv, rows.csv and the figure")
