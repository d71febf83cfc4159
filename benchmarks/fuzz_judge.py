"""Judgement of the outcome for a mutated file, for `fuzz.py`."""

from __future__ import annotations

import contextlib
import logging
import re
import resource
import shutil
import signal
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple

import fuzz_files
import fuzz_reference as reference
import numpy as np

from symae_keras.data import Shards, check, load
from symae_keras.errors import InputError

#: From the best to the worst.
OUTCOMES: Final = (
    "right",
    "said",
    "refused",
    "unseeable",
    "silent wrong",
    "bad sentence",
    "memory",
    "traceback",
    "hang",
    "crash",
)
#: Outcomes that must not happen.
BAD: Final = OUTCOMES[OUTCOMES.index("silent wrong") :]
_MEMORY: Final = re.compile(
    r"unable to allocate|cannot allocate|can't allocate|memory allocation failed|"
    r"memoryerror|out of memory|bad_alloc",
    re.IGNORECASE,
)


class Outcome(NamedTuple):
    """One of `OUTCOMES`, the mutation, and the message or finding."""

    name: str
    mutation: str
    detail: str


class Late(BaseException):
    """Timeout; not an `Exception`, because a reader could catch that."""


@contextlib.contextmanager
def bounded(seconds: float, n_bytes: int) -> Iterator[None]:
    """Limit the running time of the body and the additional memory."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Late

    before = signal.signal(signal.SIGALRM, ring)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with contextlib.suppress(OSError):  # available only on Linux
            pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
            limit = pages * resource.getpagesize() + n_bytes
            if hard in (resource.RLIM_INFINITY, -1) or limit < hard:
                resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Notes(logging.Handler):
    """Log handler that collects the messages of the package."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        self.told.append(record.getMessage())


@contextlib.contextmanager
def notes() -> Iterator[list[str]]:
    """Collect the notes of the package, and print no other messages."""
    log, handler = logging.getLogger("symae_keras"), Notes()
    log.addHandler(handler)
    propagate, log.propagate = log.propagate, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield handler.told
    finally:
        log.removeHandler(handler)
        log.propagate = propagate


def is_sentence(text: str) -> bool:
    """Return whether an error is one short line that ends with a full stop."""
    return "\n" not in text and text.endswith(".") and len(text) < 500


def names_memory(text: str) -> bool:
    """Return whether an error is an out-of-memory error."""
    return bool(_MEMORY.search(text))


def raised(error: BaseException) -> tuple[str, str]:
    """Return outcome and detail of an exception."""
    chain: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in chain:
        chain.append(each)
        each = each.__cause__ or each.__context__
    if any(isinstance(e, MemoryError) or names_memory(str(e)) for e in chain):
        return "memory", f"{error}"
    if isinstance(error, Late):
        return "hang", "timeout"
    if not isinstance(error, InputError):
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        return "traceback", f"{type(error).__name__} at {where}: {error}"
    return "refused" if is_sentence(str(error)) else "bad sentence", str(error)


def draw_of(seed: int, kind: str, case: int) -> np.random.Generator:
    """Return the random generator of one case."""
    return np.random.default_rng([seed, zlib.crc32(kind.encode()), case])


# === Data files ===


def read(path: Path) -> tuple[reference.Reading, list[str]]:
    """Read a file with the package; return the data and its notes without the path."""
    with notes() as told:
        data = load(path)
        data = data.load() if isinstance(data, Shards) else data
        check(data)
    found = reference.reading(data)
    return found, [note.replace(str(path), "") for note in told]


class Files:
    """Judge of one kind of data files.

    Args:
        kind: One of `fuzz_files.KINDS`.
        folder: Empty folder for the valid example and the mutated files.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = fuzz_files.KINDS[kind]
        self.folder = folder
        good = folder / "good"
        good.mkdir(parents=True)
        self.good = self.kind.write(good)
        self.truth = self.kind.read(self.good)
        self.notes: list[str] = []
        #: The error message of a valid example that is refused.
        self.refusal = ""
        try:
            found, self.notes = read(self.good)
        except InputError as error:
            if not self.kind.refusable:
                raise
            self.refusal = str(error)
        else:
            assert found == self.truth, f"the valid {kind} is misread"

    def __call__(self, seed: int, case: int) -> Outcome:
        """Mutate a copy of the valid example, and judge the result of reading it."""
        there = self.folder / "case"
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(self.folder / "good", there)
        path = there / self.good.relative_to(self.folder / "good")
        draw = draw_of(seed, self.kind.name, case)
        mutation = fuzz_files.mutate(draw, path, self.kind.mutations)
        return Outcome(*self._judge(path, mutation))

    def _judge(self, path: Path, mutation: str) -> tuple[str, str, str]:
        try:
            with bounded(20, 1 << 30):
                found, told = read(path)
        except (Exception, Late) as error:
            name, detail = raised(error)
            return name, mutation, detail
        if found == self.truth:
            return "right", mutation, ""
        new = [note for note in told if note not in self.notes]
        if new:
            return "said", mutation, " | ".join(new)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                said = self.kind.read(path)
        except reference.Seen as objection:
            return "silent wrong", mutation, f"a strict reader objects: {objection}"
        if said != found:
            return "silent wrong", mutation, "a strict reader reads something else"
        return "unseeable", mutation, ""


Judge = Callable[[int, int], Outcome]
