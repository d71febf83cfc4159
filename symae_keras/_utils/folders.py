"""Folders that are written under a temporary name and renamed when complete."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any, Final

from symae_keras._utils.files import (
    check_writable,
    disk_error,
    is_temporary,
    refuse_inputs,
    sync,
    temporary,
)
from symae_keras._utils.lock import FolderLock
from symae_keras._utils.markers import (
    MARKER,
    files_in,
    foreign_file,
    is_own,
    matches,
    read_marker,
    remove_folder,
    remove_own,
    write_marker,
)
from symae_keras.errors import InputError

_log = logging.getLogger("symae_keras")

#: The folder for the training state, until the output folder is complete.
CHECKPOINT: Final = "checkpoint"
STATE: Final = f"{CHECKPOINT}/state.npz"
#: Files in a complete folder.
_LAST: Final = ("model.keras", "manifest.json")


class Interrupted(Exception):
    """Raised if the user stops a run; the text says what is kept and how to resume."""


class Draft:
    """Folder written as `<out>.partial` and renamed to `<out>` when complete.

    The constructor only checks paths. Entering the object as a context makes the
    partial folder, or takes over an existing one, under a lock, so that only one
    process at a time writes to it. If the body fails, the partial folder is kept if it
    contains a state to resume from, and removed otherwise.

    A folder at `out` is replaced only if `force` is set and its marker lists all files
    in it, see `_utils.markers`. It stays until the new folder is complete. If a process
    was killed while replacing it, it is restored.

    Args:
        out: The folder to make.
        contents: Patterns of the files of such a folder, see `markers.matches`.
        resume: Resume from the partial folder. `None` if that is impossible.
        force: Replace the folder at `out`, and discard the partial folder.
        inputs: Files and folders that are read, which `out` must not touch.
        made_from: Short inputs and settings by name. They must be the same to resume,
            and for a complete folder to count as done.
        state: Patterns of the files to resume from.

    Raises:
        InputError: `out` cannot be made, is in use, or must not be replaced.
    """

    def __init__(
        self,
        out: str | PathLike[str],
        contents: tuple[str, ...],
        resume: bool | None = False,
        force: bool = False,
        inputs: Iterable[Path] = (),
        made_from: dict[str, Any] | None = None,
        state: tuple[str, ...] = (STATE,),
    ) -> None:
        self.out = Path(out)
        # Renaming a link would replace the link and not its target folder.
        self._place = Path(os.path.realpath(self.out))
        self._contents = (*contents, *state)
        self._state = state
        self._resume = resume
        self._force = force
        self._inputs = tuple(inputs)
        self._made_from = made_from
        if Path.cwd().is_relative_to(self._place):
            raise InputError(
                f"The output folder {out} is the current folder or contains it; choose "
                "a new folder inside it."
            )
        self._partial = self._place.with_name(self._place.name + ".partial")
        #: The partial folder, in the spelling of the user.
        self.partial = self._partial
        if not self.out.is_symlink():
            self.partial = self.out.with_name(self._partial.name)
        self._lock = FolderLock(self._partial, self.out)
        #: Whether there is a partial run to resume.
        self.resumes = False
        #: Whether `out` is complete and must not be changed.
        self.complete = False
        self._look()

    # === Checks ===

    def _look(self) -> None:
        """Check the existing folders, and raise if one of them prevents the run."""
        check_writable(self._place)
        for place in (self._place, self._partial):
            refuse_inputs(self.out, self._inputs, place)
        if not self._lock.held:
            self._lock.check_free()
            self._bring_back()
        in_use, left_over = _in_use(self._place), self.resumable
        ours = left_over or self._is_marked_aside()
        finished = in_use and any((self._place / each).is_file() for each in _LAST)
        self.complete = bool(self._resume) and finished
        self.complete &= not (left_over and self._force)
        self.resumes = bool(self._resume) and left_over
        if self.complete and left_over:
            raise InputError(
                f"{self.out} is complete, and {self.partial} is left over from a later "
                "run; give --resume and --force to finish that run and replace this "
                "folder, or remove one of them."
            )
        if self.complete:
            self._refuse_other(self._place)
            return
        flags = "give --force to replace it"
        if self._resume is False:
            flags += ", or --resume to resume it"
        if in_use and not self._force:
            raise InputError(
                f"{self.out} is not empty; choose another --out, or {flags}."
            )
        if left_over and not self._resume and not self._force:
            raise InputError(
                f"{self.partial} is left over from an interrupted run; {flags}."
            )
        if not ours and _is_there(self._partial):
            raise InputError(
                f"{self.partial} is there, but symae did not make it; symae needs this "
                "name for unfinished work, so move it away or choose another --out."
            )
        if in_use:
            self._refuse_foreign(self._place)
        if self.resumes:
            self._refuse_other(self._partial)
        elif ours:
            self._refuse_foreign(self._partial)

    def _bring_back(self) -> None:
        """Finish or undo a replacement during which a process was killed."""
        for folder in (self._partial, self._place):
            name = (read_marker(folder) or {}).get("replaces")
            if not isinstance(name, str) or not is_temporary(name):
                continue
            old = self._place.with_name(name)
            if read_marker(old) is None:
                continue
            if folder == self._place:
                self._remove(old)
            elif not os.path.lexists(self._place):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(old, self._place)

    def _is_marked_aside(self) -> bool:
        return not self._partial.is_symlink() and read_marker(self._partial) is not None

    @property
    def resumable(self) -> bool:
        """True if the partial folder contains a state to resume from.

        A partial folder without a marker, from version 0.1, contains nothing else.
        """
        if self._partial.is_symlink() or not self._partial.is_dir():
            return False
        names = [each for each in files_in(self._partial) if not is_own(each)]
        known = self._is_marked_aside() or all(
            matches(each, self._contents) for each in names
        )
        return known and any(matches(each, self._state) for each in names)

    def _refuse_foreign(self, folder: Path) -> None:
        """Refuse to replace a folder with files that symae did not write."""
        complete = folder == self._place
        name = folder if complete else self.partial
        if read_marker(folder) is None:
            held = next(files_in(folder), "folders only")
            raise InputError(
                f"{name} holds {held}, and no {MARKER} shows that symae wrote it "
                "(folders of version 0.1 have none), so --force does not replace it; "
                "move it away, remove it yourself or choose another --out."
            )
        found = foreign_file(folder, self._contents, complete)
        if found is not None:
            raise InputError(
                f"{name} holds {found}, so it is not replaced; move that file away or "
                "choose another --out."
            )

    def _refuse_other(self, folder: Path) -> None:
        """Reject a folder that was made from other inputs or settings."""
        if self._made_from is None:
            return
        there = (read_marker(folder) or {}).get("made_from")
        name = self.out if folder == self._place else self.partial
        if not isinstance(there, dict):
            _log.warning("%s does not record what it was made from", name)
            return
        for key, value in self._made_from.items():
            if there.get(key) != value:
                raise InputError(
                    f"{name} was made from other data or settings ({key}: "
                    f"{there.get(key)}, not {value}); give --force instead of "
                    "--resume to start over, or choose another --out."
                )

    # === Writing ===

    def __enter__(self) -> Path:
        """Make the partial folder, or take over the existing one."""
        looked_at = self._seen()
        try:
            self._place.parent.mkdir(parents=True, exist_ok=True)
            if _is_there(self._partial):
                self._lock.acquire()
            else:
                self._publish()
            # Another process may have changed the folder since the check.
            self._look()
            if self._seen() != looked_at:
                raise InputError(
                    f"{self.out} has changed since the command began; run it again."
                )
            if self.resumes:
                self._clear_temporary()
            else:
                remove_own(self._partial, self._contents)
            if not self._is_marked_aside():
                write_marker(self._partial, self._made_from)
        except BaseException as error:
            self._leave()
            reason = disk_error(error)
            if isinstance(error, OSError):
                reason = error.strerror or str(error)
            if reason is None:
                raise
            raise InputError(f"{self.out} cannot be made: {reason}.") from error
        return self._partial

    def _seen(self) -> tuple[bool, bool, int | None]:
        """Return the state of the folder that callers have relied on."""
        there = self._partial.stat().st_ino if self.resumes else None
        return self.complete, self.resumes, there

    def _publish(self) -> None:
        """Make the partial folder, locked and marked from the first moment."""
        folder = temporary(self._place.parent)
        folder.mkdir()
        lock = FolderLock(folder, self.out)
        try:
            lock.acquire()
            write_marker(folder, self._made_from)
            # Fails if there is anything but an empty folder: one process wins.
            os.rename(folder, self._partial)
        except BaseException as error:
            lock.release()
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError) and _is_there(self._partial):
                self._lock.check_free()
            raise
        lock.folder = self._partial
        self._lock = lock

    def _clear_temporary(self) -> None:
        """Remove unfinished files of a process that was killed."""
        for here, folders, _ in os.walk(self._partial):
            for name in filter(is_temporary, list(folders)):
                shutil.rmtree(Path(here, name), ignore_errors=True)
                folders.remove(name)

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Rename the complete folder to `out`, or remove useless files."""
        problem, reason = None, disk_error(error)
        try:
            if error is None:
                self._put_in_place()
        except InputError as failure:
            error, problem = failure, str(failure).rstrip(".")
        except OSError as failure:
            error, reason = failure, failure.strerror or str(failure)
        finally:
            kept = self._leave()
        if reason is not None:
            problem = f"{self.out} cannot be written: {reason}"
        if problem is not None:
            if kept:
                problem += f"; {self.partial} is kept, to be resumed with --resume"
            raise InputError(f"{problem}.") from error

    def _leave(self) -> bool:
        """Release the lock and leave the folder; return whether the folder is kept."""
        kept = self.resumable
        if self._lock.held and not kept:
            with contextlib.suppress(OSError):
                remove_own(self._partial, self._contents)
                remove_folder(self._partial)
        self._lock.release()
        return kept

    def _put_in_place(self) -> None:
        for here, _, names in os.walk(self._partial):
            for path in (*(Path(here, each) for each in names), Path(here)):
                if not path.is_symlink() and (path.is_file() or path.is_dir()):
                    sync(path)
        replaces = temporary(self._place.parent) if _in_use(self._place) else None
        name = None if replaces is None else replaces.name
        write_marker(self._partial, self._made_from, self._contents, name)
        if replaces is not None:
            # Checked again, because the run may have taken a long time.
            self._refuse_foreign(self._place)
            os.rename(self._place, replaces)
        try:
            os.rename(self._partial, self._place)
        except BaseException:
            if replaces is not None:
                os.rename(replaces, self._place)
            raise
        self._lock.folder = self._place
        sync(self._place.parent)
        # Kept until now, so that the run could be resumed after any error.
        with contextlib.suppress(OSError):
            os.unlink(self._place / STATE)
            os.rmdir(self._place / CHECKPOINT)
        if replaces is not None:
            self._remove(replaces)

    def _remove(self, folder: Path) -> None:
        """Remove a folder that has been replaced, except for files of others."""
        with contextlib.suppress(OSError):
            remove_own(folder)
            if remove_folder(folder):
                return
        _log.warning("%s is kept, because symae did not write all of it", folder)


def _is_there(path: Path) -> bool:
    """Return whether a path has content that renaming would not replace."""
    if path.is_dir() and not path.is_symlink():
        return any(path.iterdir())
    return os.path.lexists(path)


def _in_use(folder: Path) -> bool:
    """Return whether a folder exists and is not empty."""
    if not os.path.lexists(folder):
        return False
    if not folder.is_dir():
        raise InputError(f"{folder} exists and is not a folder; choose another --out.")
    return any(folder.iterdir())
