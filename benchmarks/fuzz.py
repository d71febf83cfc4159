"""Fuzzing of all readers with mutated files.

Valid files of every reader, and every file of a run folder and of a preset, are mutated
at random: bits, blocks, lengths, headers, keys, types, cells, encodings. The outcome is
one of

- right: the file is read, and the values equal the original ones.
- said: other values are read, and a note in the log explains why.
- refused: the error message is one sentence.
- unseeable: other values are read, but the file is a well-formed file with these
  values: no reader can detect a flipped bit in a pixel without a checksum.
- silent wrong: other values are read, although the file contradicts itself.
- bad sentence: refused, but the message is not one line of less than 500 characters.
- memory: files of some kB allocate more than 1 GB; 3 GB for runs and presets.
- traceback, hang, crash.

The last six must not happen. Strict reference readers (see `fuzz_reference.py`) compare
everything that a file states twice, and thereby decide which cases are unseeable.

    python benchmarks/fuzz.py --total 2000
    python benchmarks/fuzz.py --only csv-wide --case 17 --seed 0 --keep there
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from common import write_json
from fuzz_files import KINDS
from fuzz_judge import BAD, OUTCOMES, Files, Judge, Outcome

#: Seconds after which a process is killed if its own alarm did not stop it.
_PATIENCE: Final = 150
Case = tuple[str, int]


def judge_of(kind: str, folder: Path, base: Path) -> Judge:
    """Return the judge for one kind of files.

    Args:
        kind: The name of the kind.
        folder: Folder for mutated files.
        base: The folder of the valid run and preset.
    """
    if kind in KINDS:
        return Files(kind, folder)
    from fuzz_runs import Runs

    return Runs(kind, folder, base)


def serve(connection: Any, base: Path, seed: int) -> None:
    """Judge cases that arrive through a connection, in a separate process."""
    judges: dict[str, Judge] = {}
    with tempfile.TemporaryDirectory() as temporary:
        while True:
            try:
                kind, case = connection.recv()
            except EOFError:
                return
            try:
                if kind not in judges:
                    judges[kind] = judge_of(kind, Path(temporary) / kind, base)
                connection.send(judges[kind](seed, case))
            except Exception as error:  # an error of this program, not of the package
                connection.send(f"{kind} {case}: {traceback.format_exc()}")
                raise SystemExit(1) from error


class Worker:
    """Process that judges cases, and is restarted after a crash or a hang."""

    def __init__(self, base: Path, seed: int) -> None:
        self._arguments = base, seed
        self._process: Any = None
        self._connection: Any = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=serve, args=(theirs, *self._arguments), daemon=True
        )
        self._process.start()
        theirs.close()

    def ask(self, case: Case) -> Outcome:
        """Judge a case and return its outcome."""
        if self._process is None:
            self._start()
        try:
            self._connection.send(case)
            if self._connection.poll(_PATIENCE):
                outcome: Outcome | str = self._connection.recv()
                if isinstance(outcome, str):
                    raise RuntimeError(outcome)
                return outcome
            name = "hang"
        except (EOFError, ConnectionError):
            name = "crash"
        self.close()
        return Outcome(name, "see --only, --case", "the process ended")

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._connection.close()
            self._process.kill()
            self._process.join()
            self._process = None


def run(cases: list[Case], base: Path, seed: int, jobs: int) -> dict[Case, Outcome]:
    """Judge all cases in some processes."""
    outcomes: dict[Case, Outcome] = {}
    waiting, lock = iter(cases), threading.Lock()
    failures: list[RuntimeError] = []

    def work() -> None:
        worker = Worker(base, seed)
        while True:
            with lock:
                case = next(waiting, None)
            if case is None:
                break
            try:
                outcomes[case] = worker.ask(case)
            except RuntimeError as error:
                failures.append(error)
                return
            if len(outcomes) % 100 == 0:
                print(f"{len(outcomes)} of {len(cases)}", file=sys.stderr, flush=True)
        worker.close()

    threads = [threading.Thread(target=work) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return {case: outcomes[case] for case in cases}


def planned(kinds: list[str], per_kind: int | None, total: int) -> Iterator[Case]:
    """Return all cases; slow ones (runs and presets) are a quarter as frequent."""
    shares = {kind: 1.0 if kind in KINDS else 0.25 for kind in kinds}
    for kind, share in shares.items():
        count = total * share / sum(shares.values()) if per_kind is None else per_kind
        for case in range(-int(-count // 1)):
            yield kind, case


def table(outcomes: dict[Case, Outcome]) -> list[dict[str, Any]]:
    """Return counts per kind, and their sums."""
    counts: dict[str, Counter[str]] = {}
    for (kind, _), outcome in outcomes.items():
        counts.setdefault(kind, Counter())[outcome.name] += 1
    counts["all"] = sum(counts.values(), Counter())
    return [
        {"kind": kind, "all": count.total(), **{name: count[name] for name in OUTCOMES}}
        for kind, count in counts.items()
    ]


def print_counts(rows: list[dict[str, Any]]) -> None:
    """Print the table, which is too wide for `print_table`."""
    first = max(len(row["kind"]) for row in rows)
    for row in ({key: key for key in rows[0]}, *rows):
        kind, *counts = (str(value or ".") for value in row.values())
        widths = [max(len(key), 5) for key in list(row)[1:]]
        cells = (f"{cell:>{width}}" for cell, width in zip(counts, widths, strict=True))
        print(f"{kind:{first}}", *cells, sep="  ")


def shown(text: str) -> str:
    """Return the beginning of a text, on one line and without control characters."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else "?" for c in line)[:300]


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--total", type=int, default=2000, help="default 2000")
    parser.add_argument("--per-kind", type=int, help="mutations of each kind instead")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--only", metavar="KIND", help="prefix of the kinds to run")
    parser.add_argument("--case", type=int, metavar="N", help="run one case in detail")
    parser.add_argument("--keep", type=Path, help="folder to keep the file of --case")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--list", metavar="OUTCOME", help="also list these cases")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        kinds = list(KINDS)
        if options.only is None or not any(k.startswith(options.only) for k in kinds):
            from fuzz_runs import make

            kinds += make(base)
        kinds = [kind for kind in kinds if kind.startswith(options.only or "")]
        if not kinds:
            parser.error(f"no kind begins with {options.only}")
        if options.case is not None:
            folder = options.keep or base / "case"
            shutil.rmtree(folder, ignore_errors=True)
            for line in judge_of(kinds[0], folder, base)(options.seed, options.case):
                print(line)
            return 0
        cases = list(planned(kinds, options.per_kind, options.total))
        outcomes = run(cases, base, options.seed, options.jobs)
    rows = table(outcomes)
    print_counts(rows)
    wrong = 0
    for (kind, case), outcome in outcomes.items():
        wrong += outcome.name in BAD
        if outcome.name in (*BAD, options.list):
            print(
                f"{outcome.name}: --only {kind} --case {case} --seed {options.seed}: "
                f"{shown(outcome.mutation)}: {shown(outcome.detail)}"
            )
    seconds = time.monotonic() - start
    print(
        f"{len(cases)} mutations in {seconds:.0f} s: {wrong} failures, "
        f"{rows[-1]['unseeable'] or 0} that no reader can detect."
    )
    if options.out:
        write_json(options.out, rows)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
