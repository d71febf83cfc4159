"""Mutation of files of run folders and presets, for `fuzz.py`."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import fuzz_arrays
import fuzz_containers as containers
import fuzz_files
import fuzz_reference as reference
import numpy as np
from fuzz_judge import (
    OUTCOMES,
    Late,
    Outcome,
    bounded,
    draw_of,
    is_sentence,
    names_memory,
    notes,
    raised,
)
from fuzz_mutations import BINARY, TEXT, Mutation, png_chunks

from symae_keras import zoo
from symae_keras.cli import main

RECIPE: Final = '''"""A small recipe."""

from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE
from symae_keras.training import Recipe, normalization


def model(groups, seed):
    return SymAE(
        groups.instance_shape,
        coherent_dim=3,
        nuisance_dim=2,
        encoder=DenseEncoder(8, units=(8,)),
        normalization=normalization(groups),
        seed=seed,
    )


RECIPE = Recipe(model=model, epochs=2, batch_size=8, instances=4)
'''
#: Mutations by the end of the file name.
_MUTATIONS: Final[dict[str, tuple[Mutation, ...]]] = {
    ".keras": (*BINARY, *(containers.zip_members,) * 9),
    ".h5": (*BINARY, *BINARY, *(containers.hdf5_item,) * 5),
    ".json": (*(containers.json_entry,) * 12, *BINARY),
    ".png": (*BINARY, png_chunks),
    ".csv": TEXT,
    ".md": TEXT,
}
Result = dict[str, Any]


def make(base: Path) -> list[str]:
    """Train a small model once, and save it as a run folder and a preset.

    Args:
        base: An empty folder.

    Returns:
        The kinds of files to mutate: "run/" and "preset/" with the name of a file.
    """
    rng = np.random.default_rng(0)
    states, shape = rng.normal(size=(40, 1, 24)), np.linspace(-1, 1, 24)
    x = states + 0.3 * rng.normal(size=(40, 6, 1)) * shape
    np.savez(base / "data.npz", x=x.astype("float32"), axis=np.arange(24.0))
    np.savez(base / "a.npz", x=x[:2].astype("float32"), axis=np.arange(24.0))
    np.savez(base / "b.npz", x=x[2:4].astype("float32"), axis=np.arange(24.0))
    (base / "recipe.py").write_text(RECIPE, encoding="utf-8")
    out = base / "run"
    _call("train", base / "recipe.py", "--data", base / "data.npz", "--out", out)
    import keras

    model = keras.saving.load_model(out / "model.keras", compile=False)
    zoo.save_preset(model, base / "preset")
    (base / "preset" / "README.md").write_text("# A preset\n", encoding="utf-8")
    kinds = set()
    for file in (*base.glob("run/**/*"), *base.glob("preset/**/*")):
        if file.is_file():
            name = str(file.relative_to(base))
            kinds.add("run/figures" if name.startswith("run/figures") else name)
    return sorted(kinds)


class Refused(Exception):
    """The command line ended with an error message; `code` is its exit code."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def _call(*command: object) -> list[str]:
    """Run the command line in this process and return its notes.

    Raises:
        Refused: The exit code is not 0.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(each) for each in command])
    lines = [line for line in err.getvalue().splitlines() if line.startswith("symae: ")]
    told = [line for line in lines if line.startswith("symae: note: ")]
    if code:
        others = [line.removeprefix("symae: ") for line in lines if line not in told]
        raise Refused(code, "\n".join(others))
    return told


def _redatum(there: Path, base: Path) -> tuple[Result, list[str]]:
    """Compute virtual instances with the model of a run."""
    out = there.parent / "out.npz"
    out.unlink(missing_ok=True)
    files = ["--coherent-from", base / "a.npz", "--nuisance-from", base / "b.npz"]
    told = _call("redatum", there, *files, "--out", out)
    with np.load(out) as content:
        return dict(content), told


def _evaluate(there: Path, base: Path) -> tuple[Result, list[str]]:
    """Compute metrics of a run on a file."""
    told = _call("evaluate", there, "--data", base / "data.npz")
    text = (there / "metrics-data.json").read_text(encoding="utf-8")
    metrics = json.loads(text)
    return {k: np.asarray(v) for k, v in metrics.items() if k != "data"}, told


def _use_preset(there: Path, base: Path) -> tuple[Result, list[str]]:
    """Compute codes and reconstructions with a preset."""
    with np.load(base / "data.npz") as content:
        x = content["x"][:3]
    with notes() as told:
        model = zoo.load(there)
        coherent, nuisance = model.encode(x)
        again = model.decode(coherent, nuisance)
    arrays = {"coherent": coherent, "nuisance": nuisance, "again": again}
    return {name: np.asarray(value) for name, value in arrays.items()}, told


def _same(one: Result, other: Result) -> bool:
    return one.keys() == other.keys() and all(
        np.allclose(one[key], other[key], rtol=1e-6, atol=1e-6)
        if one[key].dtype.kind in "fc"
        else np.array_equal(one[key], other[key])
        for key in one
    )


def _well_formed(file: Path) -> None:
    """Check all checksums and sizes of a file.

    Raises:
        reference.Seen: Something does not agree.
    """
    content = file.read_bytes()
    inside = {file.name: content}
    if file.suffix == ".keras":
        inside = fuzz_arrays.zip_members(content)
    for name, body in inside.items():
        if name.endswith(".h5"):
            arrays = fuzz_arrays.hdf5_arrays(body, everything=True)
            for key, values in arrays.items():
                reference.need(values.dtype.kind in "fiub", f"{key} is not a number")
        elif name.endswith(".json"):
            try:
                json.loads(body)
            except (ValueError, RecursionError) as error:
                raise reference.Seen(str(error)) from None


class Runs:
    """Judge for mutated files of a run folder or preset.

    Args:
        kind: "run/" or "preset/" with the name of a file, as `make` returns it.
        folder: Folder for the mutated folders.
        base: Folder that `make` filled.
    """

    def __init__(self, kind: str, folder: Path, base: Path) -> None:
        self.kind, self.folder, self.base = kind, folder, base
        folder.mkdir(parents=True)
        self.good = base / kind.split("/")[0]
        self.uses: tuple[Callable[[Path, Path], tuple[Result, list[str]]], ...]
        self.uses = (_use_preset,)
        if kind.startswith("run/"):
            self.uses = (_redatum, _evaluate)
        there = self._copy()
        self.truth = [use(there, base) for use in self.uses]

    def _copy(self) -> Path:
        there = self.folder / self.good.name
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(self.good, there)
        return there

    def __call__(self, seed: int, case: int) -> Outcome:
        """Mutate a file of a copy, and judge the results of using the copy."""
        there = self._copy()
        target = self.folder / self.kind
        suffix = ".png" if target.is_dir() else target.suffix
        draw = draw_of(seed, self.kind, case)
        mutations = _MUTATIONS.get(suffix, BINARY)
        mutation = fuzz_files.mutate(draw, target, mutations)
        found = [
            self._judge(use, there, target, *truth)
            for use, truth in zip(self.uses, self.truth, strict=True)
        ]
        name, detail = max(found, key=lambda each: OUTCOMES.index(each[0]))
        return Outcome(name, mutation, detail)

    def _judge(
        self,
        use: Callable[[Path, Path], tuple[Result, list[str]]],
        there: Path,
        target: Path,
        truth: Result,
        notes_of_truth: list[str],
    ) -> tuple[str, str]:
        try:
            with warnings.catch_warnings(), bounded(120, 3 << 30):
                warnings.simplefilter("ignore")
                result, told = use(there, self.base)
        except Refused as error:
            text = str(error)
            if names_memory(text):
                return "memory", text
            if error.code != 2:
                return "traceback", text
            return "refused" if is_sentence(text) else "bad sentence", text
        except (Exception, Late) as error:
            return raised(error)
        if _same(result, truth):
            return "right", ""
        new = [note for note in told if note not in notes_of_truth]
        if new:
            return "said", " | ".join(new)
        try:
            if target.is_file():
                _well_formed(target)
        except reference.Seen as objection:
            return "silent wrong", f"a strict reader objects: {objection}"
        return "unseeable", ""
