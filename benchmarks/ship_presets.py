"""Train the recipes of zoo/ and write the results into their folders.

For each preset, the recipe is trained with several seeds and once in the quick form.
The run folders are kept, so a second call resumes an interrupted one. The weights of
seed 0 are stored in half precision, loaded again and evaluated again. Then config.json,
model.weights.h5, SHA256SUMS, metrics.json and the card are written into the folder of
the preset. All of their contents are generated.

    python benchmarks/ship_presets.py symae_exposures vae_exposures --seeds 3
    python benchmarks/ship_presets.py symae_tablets --data tablets_nir.npz
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import shutil
import tempfile
from pathlib import Path
from statistics import median

from symae_keras import zoo
from symae_keras._utils.files import AXIS_FILE, CHECKSUMS
from symae_keras._utils.presets import SAVED, preset_folder, preset_names
from symae_keras.cli._run_folder import Run, load_run
from symae_keras.cli.evaluate import both_parts, measure_run
from symae_keras.cli.zoo import metrics_of, run_preset, seconds_of
from symae_keras.zoo.cards import Measured, write_card
from symae_keras.zoo.recipes import about, load_recipe

#: Size limits of shipped files, in bytes.
MOST_EACH, MOST_TOGETHER = 3_000_000, 25_000_000


def ship(name: str, seeds: int, out: Path, data_file: Path | None) -> None:
    """Train one preset and fill its folder."""
    file = data_file if load_recipe(name).recipe.data is None else None
    folders = [run_preset(name, seed, False, out, file) for seed in range(seeds)]
    runs = [metrics_of(folder) for folder in folders]
    quick = metrics_of(run_preset(name, 0, True, out, file))
    run = load_run(folders[0])
    target = preset_folder(name)
    with tempfile.TemporaryDirectory() as scratch:
        saved = zoo.save_preset(
            run.model, Path(scratch) / name, half=True, data=both_parts(run)[0]
        )
        shipped = judge(run, saved)
        for each in (*SAVED, AXIS_FILE, CHECKSUMS):
            if not (saved / each).exists():
                continue
            shutil.copyfile(saved / each, target / each)
    measured = Measured(
        reference={k: [each[k] for each in runs] for k in runs[0]},
        quick=quick,
        shipped=shipped,
        seconds=median(seconds_of(folder) for folder in folders),
        parameters=sum(math.prod(v.shape) for v in run.model.trainable_variables),
        epochs=run.config["epochs"],
        environment=json.loads(
            (folders[0] / "environment.json").read_text(encoding="utf-8")
        ),
    )
    # Leave out the machine, which is of no use to others.
    kept = ("symae_keras", "keras", "tensorflow", "numpy", "backend", "python")
    environment = {k: measured.environment[k] for k in kept}
    measured = dataclasses.replace(measured, environment=environment)
    text = json.dumps(dataclasses.asdict(measured), indent=2) + "\n"
    (target / "metrics.json").write_text(text, encoding="utf-8")
    (target / "README.md").write_text(
        write_card(name, about(name), measured), encoding="utf-8"
    )
    print(f"{name}: {text}", flush=True)


def judge(run: Run, saved: Path) -> dict[str, float]:
    """Return the metrics of the shipped weights."""
    train, held_out = both_parts(run)
    recipe = load_recipe(run.config["recipe"]["name"]).recipe
    metrics = measure_run(zoo.load(saved), recipe, train, held_out)
    return {k: v for k, v in metrics.items() if isinstance(v, float)}


def check_sizes() -> None:
    """Refuse weights that are too large to be shipped."""
    sizes = {
        name: (preset_folder(name) / "model.weights.h5").stat().st_size
        for name in zoo.list()
    }
    print(f"{sum(sizes.values()) / 1e6:.1f} MB in {len(sizes)} presets")
    assert max(sizes.values()) <= MOST_EACH, sizes
    assert sum(sizes.values()) <= MOST_TOGETHER, sizes


def main() -> None:
    """Train the presets and write their folders."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="default: all")
    parser.add_argument("--seeds", type=int, default=3, help="default 3")
    parser.add_argument("--out", type=Path, default=Path("runs/zoo"))
    parser.add_argument("--data", type=Path, help="tablets_nir.npz")
    options = parser.parse_args()
    for name in options.names or preset_names():
        ship(name, options.seeds, options.out, options.data)
    check_sizes()


if __name__ == "__main__":
    main()
