"""Build sdist and wheel and check them: `python tests/check_wheel.py FOLDER`.

The wheel is built from the sdist. It must be small, hold the weights and cards of all
presets, and no tutorial, test or data set; and it must work where nothing else of this
repository is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MOST_MB = 30
ROOT = Path(__file__).resolve().parents[1]
#: Files in the folder of a preset.
PRESET = {
    *("README.md", "config.json", "metadata.json", "metrics.json"),
    *("model.weights.h5", "recipe.py", "SHA256SUMS"),
}
SUFFIXES = {".py", ".typed", ".json", ".md", ".h5", ".html", ".js"}
#: A model and a page from files other than Python files.
SMOKE = """
import sys
from pathlib import Path
import symae_keras as sk
from symae_keras import cli
from symae_keras.cli import explore, report
assert Path(sk.__file__).is_relative_to(sys.argv[1]), sk.__file__
assert sk.__version__ == sys.argv[2], sk.__version__
stars = sk.data.simulate_exposures(n_states=2, n_instances=3, seed=0)
model = sk.zoo.load("symae_exposures")
virtual = model.redatum(coherent_from=stars[:1], nuisance_from=stars[1:])
assert virtual.shape == (1, 3, 256)
assert len(explore._page({"title": "smoke"})) > 4e6
assert cli.main(["zoo", "card", "vae_shapes"]) == 0
"""


def main(folder: str) -> None:
    """Build and check."""
    python = sys.executable
    build = [python, "-m", "build", "--sdist", "--outdir", folder, str(ROOT)]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    (sdist,) = Path(folder).glob("symae_keras-*.tar.gz")
    command = [python, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*command, "--wheel-dir", folder, str(sdist)], check=True)
    (wheel,) = Path(folder).glob("symae_keras-*.whl")
    presets = check_content(wheel)
    smoke(wheel)
    print(f"{sdist.name}; {wheel.name}: {size_of(wheel):.1f} MB, {presets} presets")


def size_of(file: Path) -> float:
    """Return the size of a file in megabytes."""
    return file.stat().st_size / 1e6


def check_content(wheel: Path) -> int:
    """Check size and names of the files in a wheel; return the number of presets."""
    size = size_of(wheel)
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
    return len(presets)


def smoke(wheel: Path) -> None:
    """Use a wheel in an empty folder, with its dependencies installed."""
    with tempfile.TemporaryDirectory() as folder:
        installed, work = Path(folder, "installed"), Path(folder, "work")
        work.mkdir()
        zipfile.ZipFile(wheel).extractall(installed)
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        version = wheel.name.split("-")[1]
        command = [sys.executable, "-c", SMOKE, str(installed), version]
        subprocess.run(
            command, check=True, cwd=work, env=environment, stdout=subprocess.DEVNULL
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
