"""Builds the wheel and looks at what is in it: `python tests/check_wheel.py FOLDER`.

It must be small, hold the weights and cards of all presets, and no tutorial, test or
data set.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

MOST_MB = 30
ROOT = Path(__file__).resolve().parents[1]
#: What a preset's folder holds.
PRESET = {
    *("README.md", "config.json", "metadata.json", "metrics.json"),
    *("model.weights.h5", "recipe.py", "SHA256SUMS"),
}
SUFFIXES = {".py", ".typed", ".json", ".md", ".h5", ".html", ".js"}


def main(folder: str) -> None:
    """Build and check."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*command, "--wheel-dir", folder, str(ROOT)], check=True)
    (wheel,) = Path(folder).glob("symae_keras-*.whl")
    size = wheel.stat().st_size / 1e6
    assert size < MOST_MB, f"{wheel.name} has {size:.1f} MB"
    names = [Path(name) for name in zipfile.ZipFile(wheel).namelist()]
    ours = [name for name in names if name.parts[0] == "symae_keras"]
    others = {name.parts[0] for name in names} - {"symae_keras"}
    assert all(name.endswith(".dist-info") for name in others), others
    own = [n for n in ours if "_vendor" not in n.parts]
    strange = [str(n) for n in own if n.suffix not in SUFFIXES and n.name not in PRESET]
    strange += [str(n) for n in ours if {"tests", "tutorials"} & set(n.parts)]
    assert not strange, strange
    zoo = [name for name in ours if name.parts[1] == "_zoo" and len(name.parts) == 4]
    presets = {name.parts[2] for name in zoo}
    assert presets == {path.parent.name for path in ROOT.glob("zoo/*/recipe.py")}
    for preset in presets:
        held = {name.name for name in zoo if name.parts[2] == preset}
        assert held - {"axis.json"} == PRESET, f"{preset} holds {held ^ PRESET}"
    print(f"{wheel.name}: {size:.1f} MB, {len(presets)} presets")


if __name__ == "__main__":
    main(*sys.argv[1:])
