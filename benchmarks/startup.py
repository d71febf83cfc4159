"""Processor time of `symae train` on a small table, compared with another version.

The table has 30 groups of 4 spectra of 200 pixels. Each version is a folder of sources.
Both train for 2,000 updates in separate processes, in turn, with one thread. Version
0.1 needs 1,000 epochs for that; this version does so by default.
A ratio is the time of this version over that of the other one: the median over turns,
with the lowest and the highest.

    git worktree add ../version-0.1 23f46ab
    python benchmarks/startup.py --other ../version-0.1 --other-epochs 1000
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from common import print_table, write_json

HERE: Final = Path(__file__).resolve().parents[1]
GROUPS: Final = (30, 4, 200)


def write_table(path: Path) -> None:
    """Write spectra of three peaks, each spectrum with its own baseline, as CSV."""
    rng = np.random.default_rng(0)
    axis = np.linspace(0.0, 1.0, GROUPS[2])
    peaks = np.exp(-(((axis - np.array([[0.25], [0.5], [0.8]])) / 0.05) ** 2))
    heights = rng.uniform(0.5, 1.5, (GROUPS[0], 1, 3))
    slopes = rng.normal(0.0, 0.2, (*GROUPS[:2], 1))
    x = heights @ peaks + slopes * axis + rng.normal(0.0, 0.01, GROUPS)
    names = np.repeat(np.arange(GROUPS[0]), GROUPS[1])
    lines = [",".join(["group", *(f"{value:.5f}" for value in axis)])]
    for name, row in zip(names, x.reshape(-1, GROUPS[2]), strict=True):
        lines.append(",".join([f"s{name}", *(f"{value:.5f}" for value in row)]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def seconds(sources: Path, folder: Path, epochs: int | None) -> float:
    """Return the processor time of a training with the sources of a version."""
    command = [sys.executable, "-m", "symae_keras.cli", "train", "symae_exposures"]
    out = tempfile.mkdtemp(dir=folder)  # one version does not overwrite another's run
    command += ["--data", str(folder / "table.csv"), "--out", out]
    if epochs is not None:
        command += ["--epochs", str(epochs)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1")
    environment = {**os.environ, **threads, "PYTHONPATH": str(sources)}
    process = subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed with {sources}.")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--other", type=Path, help="sources of another version")
    parser.add_argument("--other-epochs", type=int, help="epochs of the other version")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", help="JSON file for the results")
    options = parser.parse_args()
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_table(folder / "table.csv")
        for _ in range(options.turns):
            ours.append(seconds(HERE, folder, None))
            if options.other is not None:
                other = options.other.resolve()
                theirs.append(seconds(other, folder, options.other_epochs))
    row = {"this version, CPU (s)": float(np.median(ours))}
    if theirs:
        ratios = np.divide(ours, theirs)
        row["other version, CPU (s)"] = float(np.median(theirs))
        row["ratio"] = float(np.median(ratios))
        row["lowest"], row["highest"] = float(ratios.min()), float(ratios.max())
    print_table([row], list(row))
    if options.out:
        write_json(options.out, row)


if __name__ == "__main__":
    main()
