"""Safety of user files when commands are killed or the disk is full.

Each trial runs one command of `symae` in a folder with files of a user: inputs, and
files with names such as OUT.partial, OUT.lock and OUT.replaced. In every second trial
the output already exists and the command has `--force`. The command is killed (SIGKILL,
SIGTERM and SIGINT in turn) at a random moment between its start and its end. Then

- every file of the user must be unchanged,
- the output must be absent, unchanged, or complete,
- the command must complete when it is run again, with `--resume` if it supports that.

With `--full-disk` the disk is a small tmpfs instead, which needs permission to mount.
The command must stop with an error message of one sentence, and must complete once
there is space.

    python benchmarks/safety.py --kills 60
    python benchmarks/safety.py --full-disk
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from common import print_table, write_json

from symae_keras.data import Shards

Rows = list[dict[str, Any]]

SIGNALS: Final = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
#: Free space after the inputs, in KiB, that fills up early, midway and late.
SPACES: Final = (8, 48, 160, 400)
#: The old outputs have another seed or size than the new ones.
RECIPE: Final = '''"""A small SymAE."""

from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE
from symae_keras.training import Recipe, normalization


def model(groups, seed):
    return SymAE(
        groups.instance_shape,
        coherent_dim=4,
        nuisance_dim=4,
        encoder=DenseEncoder(16, units=(32,)),
        normalization=normalization(groups),
        seed=seed,
    )


RECIPE = Recipe(model=model, epochs=60, batch_size=8, instances=4)
'''

# === Commands ===


@dataclasses.dataclass(frozen=True)
class Command:
    """Command and its output.

    Attributes:
        arguments: Arguments of `symae`, without the output.
        out: The output.
        complete: Function that returns whether an output is complete.
        again: Arguments to add in order to resume.
        forced: Whether it has `--force`.
    """

    arguments: tuple[str, ...]
    out: str
    complete: Callable[[Path], bool]
    again: tuple[str, ...] = ()
    forced: bool = True


def is_run(out: Path) -> bool:
    """Return whether a run folder is complete."""
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    with zipfile.ZipFile(out / "model.keras") as model:
        whole = model.testzip() is None
    return whole and bool(metrics) and not (out / "checkpoint").exists()


def is_shards(out: Path) -> bool:
    """Return whether shards are complete."""
    Shards(out).verify()
    return True


def is_model(out: Path) -> bool:
    """Return whether an exported folder is complete."""
    names = ("saved_model.pb", "fingerprint.pb", "variables/variables.index")
    return all((out / each).stat().st_size > 0 for each in names)


def is_array(out: Path) -> bool:
    """Return whether a file of virtual instances is complete."""
    with np.load(out) as file:
        return bool(np.isfinite(file["x"]).all())


def is_comparison(out: Path) -> bool:
    """Return whether all rows are complete; there may be any number of them."""
    if not (out / "rows.csv").exists():
        return True
    with (out / "rows.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return all(None not in row.values() and len(row) == 9 for row in rows)


COMMANDS: Final = {
    "train": Command(
        ("train", "small.py", "--data", "d.npz"), "run", is_run, ("--resume",)
    ),
    "convert": Command(
        ("data", "convert", "big.npy", "--shard-mb", "1"),
        "shards",
        is_shards,
        ("--resume",),
    ),
    "compare": Command(
        (
            *("compare", "--data", "d.npz", "--models", "pca,mean_swap,symae"),
            *("--seeds", "1", "--quick"),
        ),
        "table",
        is_comparison,
        forced=False,
    ),
    "export": Command(("export", "made"), "model", is_model),
    "redatum": Command(
        (
            *("redatum", "made", "--coherent-from", "a.npz"),
            *("--nuisance-from", "b.npz"),
        ),
        "virtual.npz",
        is_array,
    ),
}


def symae(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the command line in a folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "symae_keras.cli", *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the command line in a folder; return the exit code and the last line."""
    process = symae(folder, *arguments)
    _, error = process.communicate()
    lines = error.strip().splitlines()
    if "Traceback" in error or "internal error" in error:
        return 99, lines[-1]
    return process.returncode, lines[-1] if lines else ""


def make_inputs(folder: Path) -> None:
    """Write the user's inputs into a folder and train a run there."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 1, 24)) + 0.3 * rng.normal(size=(60, 6, 1))
    x = (x + 0.01 * rng.normal(size=(60, 6, 24))).astype("float32")
    np.savez(folder / "d.npz", x=x)
    np.savez(folder / "a.npz", x=x[:20])
    np.savez(folder / "b.npz", x=x[20:40])
    # 33 MB, in files of 1 MiB.
    np.save(folder / "big.npy", rng.normal(size=(8000, 2, 512)).astype("float32"))
    (folder / "small.py").write_text(RECIPE, encoding="utf-8")
    code, said = run(folder, "train", "small.py", "--data", "d.npz", "--out", "made")
    if code:
        raise RuntimeError(said)


def prepare(place: Path, inputs: Path, command: Command) -> None:
    """Fill a folder with a user's inputs and with files whose names may collide."""
    for each in ("d.npz", "a.npz", "b.npz", "big.npy", "small.py"):
        shutil.copy(inputs / each, place)
    shutil.copytree(inputs / "made", place / "made")
    out = command.out
    for name in ("thesis.txt", f"{out}.lock", f"{out}.replaced", f".{out}.tmp"):
        (place / name).write_text(f"mine: {name}", encoding="utf-8")
    if "." in out:  # symae keeps unfinished work in a folder of this name
        (place / f"{out}.partial").symlink_to("thesis.txt")


def fingerprint(folder: Path, out: str | None = None) -> dict[str, str]:
    """Return checksums of all files except those that the command creates."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        first = name.parts[0]
        made = out is not None and first in (out, f"{out}.partial")
        made = made and not path.is_symlink()
        if path.is_file() and not made and not first.startswith(".symae-"):
            found[str(name)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def is_complete(command: Command, out: Path) -> bool:
    """Return whether an output is complete; unreadable outputs are not."""
    try:
        return command.complete(out)
    except Exception as error:
        print(f"{out}: {error!r}", flush=True)
        return False


def left_in_place(command: Command, place: Path, old: dict[str, str]) -> str:
    """Return the state of the output: none, old, new or partial."""
    out = place / command.out
    if not out.exists():
        return "lost" if old else "nothing"
    now = fingerprint(out) if out.is_dir() else {"": str(out.read_bytes())}
    if now == old:
        return "old"
    return "complete" if is_complete(command, out) else "half-written"


def make_old(command: Command, place: Path) -> dict[str, str]:
    """Create an earlier output and return its checksums."""
    code, said = run(place, *command.arguments, "--out", command.out)
    if code:
        raise RuntimeError(said)
    out = place / command.out
    return fingerprint(out) if out.is_dir() else {"": str(out.read_bytes())}


def finish(command: Command, place: Path, forced: bool, left: str) -> str:
    """Run a command again, as a user would, and return the problem, if any."""
    flags = list(command.again)
    if forced:
        flags.append("--force")
    arguments = (*command.arguments, "--out", command.out)
    code, said = run(place, *arguments, *flags)
    if code == 2 and left == "complete" and not command.again:
        code = 0  # it had ended, and says so
    if code:
        return f"exit {code}: {said}"
    if not is_complete(command, place / command.out):
        return "the output is not complete"
    unfinished = [each.name for each in place.glob(f"{command.out}.partial")]
    if unfinished and "." not in command.out:
        return f"{unfinished[0]} remains"
    return ""


# === Kills ===


def kill(
    name: str, number: int, place: Path, inputs: Path, share: float, seconds: float
) -> dict[str, Any]:
    """Kill a command after a fraction of its running time, and run it again."""
    command, how = COMMANDS[name], SIGNALS[number % len(SIGNALS)]
    prepare(place, inputs, command)
    forced = command.forced and number // len(SIGNALS) % 2 == 1
    old = make_old(command, place) if forced else {}
    before = fingerprint(place, command.out)
    flags = ("--force",) if forced else ()
    process = symae(place, *command.arguments, "--out", command.out, *flags)
    time.sleep(share * seconds)
    ended = process.poll() is not None
    process.send_signal(how)
    _, said = process.communicate()
    left = left_in_place(command, place, old)
    untouched = fingerprint(place, command.out) == before
    temporary = sum(each.name.startswith(".symae-") for each in place.iterdir())
    wrong = finish(command, place, forced, left)
    untouched &= fingerprint(place, command.out) == before
    return {
        "command": name,
        "signal": None if ended else how.name,
        "after": f"{share:.0%}",
        "forced": forced,
        "output then": left,
        "temporary folders": temporary,
        "user's files": "unchanged" if untouched else "CHANGED",
        "traceback": "Traceback" in said and how is not signal.SIGKILL,
        "given again": wrong or "completes",
    }


def all_kills(count: int, seed: int, inputs: Path, folder: Path) -> Rows:
    """Kill each command in turn."""
    draw = random.Random(seed)
    rows: Rows = []
    seconds = {}
    for name, command in COMMANDS.items():
        place = folder / f"time-{name}"
        place.mkdir()
        prepare(place, inputs, command)
        start = time.monotonic()
        make_old(command, place)
        seconds[name] = time.monotonic() - start
        shutil.rmtree(place)
    print({name: f"{each:.1f} s" for name, each in seconds.items()}, flush=True)
    names = list(COMMANDS)
    for n in range(count):
        # Each command receives each signal.
        name, number = names[n % len(names)], n // len(names)
        # Every second one after the start, because imports take most of that time.
        share = draw.uniform(0.5 * (n % 2), 1.0)
        while len(rows) == n:
            place = folder / "trial"
            place.mkdir()
            row = kill(name, number, place, inputs, share, seconds[name])
            shutil.rmtree(place)
            if row["signal"] is None:  # it was faster than before, so try once more
                share *= 0.9
                continue
            rows.append(row)
            print(row, flush=True)
    return rows


# === Full disks ===


def mount(place: Path, size: str, remount: bool = False) -> bool:
    """Mount or resize a tmpfs; return whether that is permitted."""
    options = f"remount,size={size}" if remount else f"size={size}"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    return subprocess.run(command, capture_output=True).returncode == 0


def fill(name: str, space: int, forced: bool, place: Path, inputs: Path) -> Any:
    """Run a command until the disk fills up, then again with more space."""
    command = COMMANDS[name]
    prepare(place, inputs, command)
    old = make_old(command, place) if forced else {}
    before = fingerprint(place, command.out)
    used = shutil.disk_usage(place).used // 1024
    mount(place, f"{used + space}k", remount=True)
    flags = ("--force",) if forced else ()
    code, said = run(place, *command.arguments, "--out", command.out, *flags)
    left = left_in_place(command, place, old)
    untouched = fingerprint(place, command.out) == before
    mount(place, "256m", remount=True)
    temporary = sum(each.name.startswith(".symae-") for each in place.iterdir())
    wrong = finish(command, place, forced, left)
    untouched &= fingerprint(place, command.out) == before
    sentence = code == 0 or (code in (1, 2) and said.startswith("symae: "))
    return {
        "command": name,
        "KiB free": space,
        "forced": forced,
        "exit": code,
        "said": "one sentence" if sentence else f"OTHER: {said}",
        "output then": left,
        "temporary folders": temporary,
        "user's files": "unchanged" if untouched else "CHANGED",
        "given again": wrong or "completes",
    }


def all_full_disks(inputs: Path, folder: Path) -> Rows:
    """Run each command on disks that fill up early and late."""
    rows: Rows = []
    for name, command in COMMANDS.items():
        for n, space in enumerate(SPACES):
            place = folder / f"disk-{name}-{space}"
            place.mkdir()
            if not mount(place, "256m"):
                print("skipped: mounting a tmpfs is not permitted here")
                return rows
            try:
                forced = command.forced and n % 2 == 1
                rows.append(fill(name, space, forced, place, inputs))
            finally:
                subprocess.run(["umount", str(place)], check=True)
            print(rows[-1], flush=True)
    return rows


def is_bad(row: dict[str, Any]) -> bool:
    """Return whether a trial failed."""
    return (
        row["output then"] in ("half-written", "lost")
        or row["user's files"] != "unchanged"
        or row["given again"] != "completes"
        or row.get("traceback", False)
        or row.get("said", "one sentence") != "one sentence"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=0, help="number of trials")
    parser.add_argument("--full-disk", action="store_true", help="on a small tmpfs")
    parser.add_argument("--seed", type=int, default=0, help="of the times, default 0")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    # Background jobs of a shell ignore this signal, and the commands would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rows: Rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        inputs = folder / "inputs"
        inputs.mkdir()
        make_inputs(inputs)
        if options.kills:
            rows += all_kills(options.kills, options.seed, inputs, folder)
        if options.full_disk:
            rows += all_full_disks(inputs, folder)
    if not rows:
        return
    table = []
    for name in COMMANDS:
        own = [row for row in rows if row["command"] == name]
        table.append(
            {
                "command": name,
                "trials": len(own),
                **{
                    left: sum(row["output then"] == left for row in own)
                    for left in ("nothing", "old", "complete", "half-written", "lost")
                },
                "user's files changed": sum(
                    row["user's files"] != "unchanged" for row in own
                ),
                "given again: fails": sum(
                    row["given again"] != "completes" for row in own
                ),
                "wrong": sum(map(is_bad, own)),
            }
        )
    print_table(table, list(table[0]))
    if options.out:
        write_json(options.out, rows)
    sys.exit(any(map(is_bad, rows)))


if __name__ == "__main__":
    main()
