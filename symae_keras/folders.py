"""Files and folders that are written aside and put in place when complete."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from symae_keras.errors import InputError

#: Where a folder keeps a state to go on from until it is complete.
CHECKPOINT: Final = "checkpoint"
#: What is there in a folder that is complete.
_LAST: Final = ("model.keras", "manifest.json")


class Interrupted(Exception):
    """The user stopped a run; the text says what is left and how to go on."""


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the place of `path` if nothing fails.

    Args:
        path: The file to make or replace.

    Raises:
        InputError: The file cannot be written.

    Example:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "numbers.txt"
    >>> with written_aside(path) as aside:
    ...     _ = aside.write_text("1 2 3")
    >>> path.read_text()
    '1 2 3'
    """
    aside = path.with_name(path.name + ".partial")
    try:
        yield aside
        os.replace(aside, path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink()


def write_json(path: Path, content: Any) -> None:
    """Write JSON with indentation, in one step."""
    with written_aside(path) as aside:
        aside.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Content of a JSON file, `None` where there is none that can be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def check_writable(path: Path) -> None:
    """Refuse a path that cannot be made, without making anything.

    Raises:
        InputError: A parent is a file or is closed to us.
    """
    parent = Path(os.path.realpath(path)).parent
    while not os.path.lexists(parent):
        parent = parent.parent
    if not parent.is_dir():
        raise InputError(f"{path} cannot be made, because {parent} is not a folder.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be made, because {parent} is not writable.")


def check_output(out: Path, force: bool, read: Iterable[Path]) -> None:
    """Refuse a file to write that is there already, cannot be made, or is read.

    Args:
        out: The file.
        force: Whether one that is there may be replaced.
        read: Files that are read before it is written.

    Raises:
        InputError: It is one of these.
    """
    if out.exists() and (out.is_dir() or not force):
        hint = "it is a folder" if out.is_dir() else "give --force to replace it"
        raise InputError(f"{out} exists; choose another --out, or {hint}.")
    check_writable(out)
    for file in read:
        if out.exists() and file.exists() and out.samefile(file):
            raise InputError(f"--out is {file}, which is read; choose another --out.")


class Draft:
    """A folder written aside, in `<out>.partial`, and put in place when complete.

    Making one only looks; entering it as a context makes the folder aside. If the
    body fails, the folder aside is kept where it holds a checkpoint to go on from, and
    removed otherwise.

    Args:
        out: The folder to make.
        contents: Patterns of what such a folder holds. Nothing else is ever replaced.
        resume: Go on from what is aside. `None` where that is impossible.
        force: Replace what is at `out` and aside.

    Raises:
        InputError: `out` cannot be made, or is in use and may not be replaced.
    """

    def __init__(
        self,
        out: str | PathLike[str],
        contents: tuple[str, ...],
        resume: bool | None = False,
        force: bool = False,
    ) -> None:
        self.out = Path(out)
        # Renaming a link would replace the link, not the folder it stands for.
        self._place = Path(os.path.realpath(self.out))
        self._contents = contents
        if Path.cwd().is_relative_to(self._place):
            raise InputError(
                f"The output folder {out} is the current folder or holds it; name a "
                "new folder in it."
            )
        self._aside = self._place.with_name(self._place.name + ".partial")
        self._old = self._place.with_name(self._place.name + ".replaced")
        #: The folder aside, spelt as the user would.
        self.aside = self._aside
        if not self.out.is_symlink():
            self.aside = self.out.with_name(self._aside.name)
        check_writable(self._place)
        if os.path.lexists(self._old):
            raise InputError(
                f"{self._old} is left over from a replaced folder; move it away."
            )
        in_use, left_over = _in_use(self._place), _in_use(self._aside)
        finished = in_use and any((self._place / each).is_file() for each in _LAST)
        #: Whether `out` is complete and to be left as it is.
        self.complete = bool(resume) and finished and not (left_over and force)
        #: Whether there is a run aside to go on with.
        self.resumes = bool(resume) and left_over
        if self.complete and left_over:
            raise InputError(
                f"{out} is complete, and {self.aside} is left over from a later run; "
                "give --resume and --force to finish that and replace this, or remove "
                "one of them."
            )
        if self.complete:
            return
        flags = "give --force to replace it"
        if resume is False:
            flags += ", or --resume to go on with it"
        if in_use and not force:
            raise InputError(f"{out} is not empty; choose another --out, or {flags}.")
        if left_over and not resume and not force:
            raise InputError(
                f"{self.aside} is left over from an interrupted run; {flags}."
            )
        for folder in (self._place, self._aside):
            if _in_use(folder) and not (folder == self._aside and resume):
                self._refuse_foreign(folder)

    def _refuse_foreign(self, folder: Path) -> None:
        for entry in sorted(os.listdir(folder)):
            if not any(fnmatch.fnmatch(entry, each) for each in self._contents):
                raise InputError(
                    f"{folder} holds {entry}, which this command never writes, so "
                    "--force will not delete it; move it away or choose another --out."
                )

    @property
    def resumable(self) -> bool:
        """Whether the folder aside holds a state to go on from."""
        return _in_use(self._aside / CHECKPOINT)

    def __enter__(self) -> Path:
        """Make the folder aside, or find it if the run resumes."""
        try:
            if not self.resumes and _in_use(self._aside):
                shutil.rmtree(self._aside)
            self._aside.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{self.out} cannot be made: {error.strerror or error}."
            ) from error
        return self._aside

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Put the folder in place, or clear what is of no use."""
        if error is None:
            self._put_in_place()
        elif not self.resumable:
            shutil.rmtree(self._aside, ignore_errors=True)

    def _put_in_place(self) -> None:
        if self._place.is_dir():
            # Empty, or of our own making and forced.
            os.rename(self._place, self._old)
        try:
            os.rename(self._aside, self._place)
        except OSError:
            with contextlib.suppress(OSError):
                os.rename(self._old, self._place)
            raise
        shutil.rmtree(self._old, ignore_errors=True)


def _in_use(folder: Path) -> bool:
    """Whether a folder is there with something in it."""
    if not os.path.lexists(folder):
        return False
    if not folder.is_dir():
        raise InputError(f"{folder} exists and is not a folder; choose another --out.")
    return any(folder.iterdir())
