"""Folders that are renamed when complete, their markers and their locks."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import symae_keras
from symae_keras._utils.folders import STATE, Draft
from symae_keras._utils.lock import LOCK, FolderLock, Holder
from symae_keras._utils.markers import (
    MARKER,
    check_replaceable,
    read_marker,
    write_listed,
)
from symae_keras.errors import InputError

CONTENTS = ("a*.txt", "inner/*.png")
NEVER = "which this command never writes"
NOT_OURS = "which symae did not write"
CHANGED = "which has changed since symae wrote it"


def write(path, text="mine"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def make(out, text="1", **options):
    """Make a folder with two files of the same text."""
    with Draft(out, CONTENTS, **options) as folder:
        write(folder / "a.txt", text)
        write(folder / "inner" / "b.png", text)


def begin(out, **options):
    """Leave an interrupted run that can be resumed."""
    with pytest.raises(KeyboardInterrupt), Draft(out, CONTENTS, **options) as folder:
        write(folder / "a.txt", "half")
        write(folder / STATE, "1")
        raise KeyboardInterrupt


def resume(out):
    """Finish an interrupted run."""
    with Draft(out, CONTENTS, resume=True):
        pass


def refused(out, *arguments, **options):
    """Return the message with which a draft is refused."""
    with pytest.raises(InputError) as caught:
        Draft(out, CONTENTS, *arguments, **options)
    return str(caught.value)


def tree(folder):
    """Return all files below a folder with their text."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MARKER
    }


def both(text):
    """Return the files that `make` writes."""
    return {"a.txt": text, "inner/b.png": text}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def old(out):
    """Make a complete folder."""
    make(out, "old")
    return out


@pytest.fixture
def partial(out):
    """Make the partial folder of an interrupted run."""
    begin(out)
    return out.with_name("out.partial")


# === Draft ===


def test_draft_appears_when_complete(tmp_path):
    out = tmp_path / "deep" / "out"
    draft = Draft(out, CONTENTS)
    assert os.listdir(tmp_path) == []
    with draft as folder:
        assert not out.exists() and folder.name == "out.partial"
        write(folder / "a.txt", "1")
    assert tree(out) == {"a.txt": "1"}
    assert sorted(os.listdir(out)) == [MARKER, "a.txt"]
    assert os.listdir(out.parent) == ["out"]


def test_draft_takes_an_empty_folder_and_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    make(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert tree(tmp_path / "real") == both("1")
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]


def test_a_failed_draft_is_kept_only_with_a_state(out):
    with pytest.raises(RuntimeError), Draft(out, CONTENTS) as folder:
        write(folder / "a.txt")
        raise RuntimeError
    assert os.listdir(out.parent) == []
    begin(out)
    assert os.listdir(out.parent) == ["out.partial"]
    assert LOCK not in os.listdir(out.with_name("out.partial"))
    assert re.search(r"out\.partial .*--force .*--resume", refused(out))
    assert "--resume" not in refused(out, resume=None)

    draft = Draft(out, CONTENTS, resume=True)
    assert draft.resumes and not draft.complete
    with draft as folder:
        assert (folder / STATE).read_text(encoding="utf-8") == "1"
    assert tree(out) == {"a.txt": "half"}
    assert not Draft(out, CONTENTS, force=True).resumes


def test_force_discards_a_state(out, partial):
    write(partial / ".symae-0123456789abcdef" / "b.png", "half")
    draft = Draft(out, CONTENTS, force=True)
    assert not draft.resumes
    with draft as folder:
        assert os.listdir(folder.parent) == ["out.partial"]
        assert sorted(os.listdir(folder)) == [MARKER, LOCK]
    assert os.listdir(out.parent) == ["out"]


def test_what_cannot_be_resumed_is_begun_again(out):
    """After a kill before the first checkpoint, no flag is needed."""
    killed = out.with_name("killed")
    with Draft(out, CONTENTS) as folder:
        write(folder / "a.txt", "half")
        shutil.copytree(folder, killed)
    shutil.rmtree(out)
    killed.rename(out.with_name("out.partial"))
    make(out)
    assert tree(out) == both("1")
    assert os.listdir(out.parent) == ["out"]


def test_what_was_being_written_is_cleared(out, partial):
    write(partial / "inner" / ".symae-0123456789abcdef" / "b.png", "half")
    resume(out)
    assert tree(out) == {"a.txt": "half"}


def test_a_failed_rename_brings_the_old_folder_back(old, monkeypatch):
    rename = os.rename

    def fail(source, target):
        if str(source).endswith(".partial"):
            raise OSError(1, "no")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(InputError, match="out cannot be written: no"):
        make(old, "new", force=True)
    assert tree(old) == both("old")
    assert os.listdir(old.parent) == ["out"]


@pytest.mark.parametrize("renames", [1, 2])
def test_a_kill_while_a_folder_is_put_in_place(old, renames, run_python):
    """The old folder is restored, or removed if the new one is in place."""
    code = f"""
import os, pathlib, signal, sys
from symae_keras._utils.folders import Draft
done, rename = [], os.rename
def counted(source, target):
    rename(source, target)
    done.append(source)
    # The first rename publishes the draft, under its lock.
    if len(done) == 1 + {renames}:
        os.kill(os.getpid(), signal.SIGKILL)
os.rename = counted
if os.fork() == 0:
    with Draft(sys.argv[1], {CONTENTS}, force=True) as folder:
        (folder / "a.txt").write_text("new")
os.wait()
"""
    run_python(code, old)
    assert len(os.listdir(old.parent)) == 2
    draft = Draft(old, CONTENTS, force=True)
    assert tree(old)["a.txt"] == ("old" if renames == 1 else "new")
    with draft as folder:
        write(folder / "a.txt", "newer")
    assert tree(old) == {"a.txt": "newer"}
    assert os.listdir(old.parent) == ["out"]


def test_a_full_disk_keeps_what_can_be_resumed(old):
    full = OSError(28, "No space left on device")
    with pytest.raises(InputError) as caught:
        with Draft(old, CONTENTS, force=True):
            raise full
    assert str(caught.value) == f"{old} cannot be written: No space left on device."
    assert os.listdir(old.parent) == ["out"]
    with pytest.raises(InputError, match=r"device; .*out\.partial is kept.*--resume"):
        with Draft(old, CONTENTS, force=True) as folder:
            write(folder / STATE, "1")
            raise RuntimeError("h5py: No space left on device") from full
    assert tree(old)["a.txt"] == "old"
    assert tree(old.with_name("out.partial")) == {STATE: "1"}


# === What --force replaces ===


def test_force_replaces_at_the_end_what_is_its_own(old):
    assert "not empty" in refused(old)
    with Draft(old, CONTENTS, force=True) as folder:
        write(folder / "a.txt", "new")
        assert tree(old) == both("old")
    assert tree(old) == {"a.txt": "new"}
    assert os.listdir(old.parent) == ["out"]


@pytest.mark.parametrize(
    ("name", "clause"),
    [
        ("notes.txt", NEVER),
        ("a2.txt", NOT_OURS),
        ("inner/c.png", NOT_OURS),
        ("inner/deep/c.png", NOT_OURS),
        ("deep/er/c.txt", NEVER),
        ("a.txt", CHANGED),
        ("inner/b.png", CHANGED),
    ],
)
def test_force_refuses_what_users_put_in(old, name, clause):
    write(old / name)
    before = tree(old)
    said = refused(old, force=True)
    assert f"{name}, {clause}" in said and "move that file away" in said
    assert tree(old) == before


def test_force_refuses_links_in_a_folder(old, tmp_path):
    write(tmp_path / "data" / "d.npz")
    (old / "inner" / "c.png").symlink_to(tmp_path / "data")
    assert f"c.png, {NOT_OURS}" in refused(old, force=True)
    (old / "inner" / "c.png").unlink()
    # The same bytes, but another file.
    (old / "a.txt").rename(tmp_path / "a.txt")
    (old / "a.txt").symlink_to("../a.txt")
    assert f"a.txt, {CHANGED}" in refused(old, force=True)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"format": "symae-folder"}'])
def test_force_refuses_a_folder_without_a_marker(old, text):
    """Folders of version 0.1 have no marker, but stay readable."""
    (old / MARKER).unlink()
    if text is not None:
        write(old / MARKER, text)
    assert re.search(r"no \.symae\.json shows .* yourself", refused(old, force=True))
    assert tree(old) == both("old")


def test_a_copied_folder_is_still_ours(old, tmp_path):
    shutil.copytree(old, tmp_path / "other")
    make(tmp_path / "other", "2", force=True)
    assert tree(tmp_path / "other")["a.txt"] == "2"
    assert tree(old)["a.txt"] == "old"


def test_what_came_during_the_work_is_kept(old):
    with pytest.raises(InputError, match=r"notes\.txt"):
        with Draft(old, CONTENTS, force=True) as folder:
            write(folder / "a.txt", "new")
            write(old / "notes.txt")
    assert tree(old) == {**both("old"), "notes.txt": "mine"}
    assert os.listdir(old.parent) == ["out"]
    # The state to resume from is still there.
    (old / "notes.txt").unlink()
    with pytest.raises(InputError, match=r"notes\.txt.*; .*out\.partial is kept"):
        with Draft(old, CONTENTS, force=True) as folder:
            write(folder / STATE, "1")
            write(old / "notes.txt")
    (old / "notes.txt").unlink()
    with Draft(old, CONTENTS, resume=True, force=True):
        pass
    assert tree(old) == {} and os.listdir(old.parent) == ["out"]


@pytest.mark.parametrize("kind", ["file", "broken link", "link", "folder"])
def test_users_things_under_names_of_ours(tmp_path, out, kind):
    partial = out.with_name("out.partial")
    write(tmp_path / "out.replaced")
    write(tmp_path / "out.lock")
    if kind == "file":
        write(partial)
    elif kind == "folder":
        write(partial / "a.txt")
    else:
        partial.symlink_to("missing" if kind == "broken link" else tmp_path)
    for options in ({}, {"force": True}, {"resume": True}):
        assert "out.partial is there, but symae" in refused(out, **options)
    assert os.path.lexists(partial)
    partial.rename(tmp_path / "moved")
    make(out, "old")
    make(out, "new", force=True)
    assert (tmp_path / "out.replaced").read_text(encoding="utf-8") == "mine"
    assert sorted(os.listdir(tmp_path)) == ["moved", "out", "out.lock", "out.replaced"]


def test_users_files_in_a_folder_aside(out, partial):
    write(partial / "notes.txt")
    assert "out.partial holds notes.txt" in refused(out, force=True)
    with Draft(out, CONTENTS, resume=True) as folder:
        write(folder / "a.txt", "1")
    assert tree(out) == {"a.txt": "1", "notes.txt": "mine"}
    assert "out holds notes.txt" in refused(out, force=True)


def test_a_folder_aside_of_version_0_1_is_resumed_but_not_discarded(out, partial):
    (partial / MARKER).unlink()
    assert "no .symae.json" in refused(out, force=True)
    resume(out)
    assert tree(out) == {"a.txt": "half"}
    make(out, "new", force=True)


def test_inputs_are_never_replaced(old):
    for given in (old / "a.txt", old, old.parent):
        assert "choose another --out" in refused(old, force=True, inputs=[given])
    assert "lies in the input" in refused(old / "new", inputs=[old])


# === What a folder was made from ===


def test_other_inputs_are_noticed(out, caplog):
    one = {"data": "one", "n": 1}
    begin(out, made_from=one)
    other = {"resume": True, "made_from": {"data": "two", "n": 1}}
    said = r"out\.partial was .* \(data: one, not two\)"
    assert re.search(said, refused(out, **other))
    with Draft(out, CONTENTS, True, made_from=one) as folder:
        write(folder / "manifest.json", "{}")
    assert Draft(out, CONTENTS, True, made_from=one).complete
    other["made_from"] = {"data": "one", "n": 2}
    assert re.search(r"out was .* \(n: 1, not 2\)", refused(out, **other))
    (out / MARKER).unlink()
    assert not caplog.records
    assert Draft(out, CONTENTS, **other).complete
    assert "does not record what it was made from" in caplog.text


# === Files added to a folder ===


def test_what_is_added_through_us_may_be_replaced(old):
    write_listed(old / "a-more.txt", 1)
    write_listed(old / "a-more.txt", 2)
    write_listed(old / "inner" / "c.png", 3)  # as in a folder of several runs
    assert set(read_marker(old)["files"]) == {
        *("a.txt", "a-more.txt", "inner/b.png", "inner/c.png"),
    }
    make(old, "new", force=True)
    assert tree(old) == both("new")


def test_what_a_user_added_is_not_replaced(old):
    mine = old / "a-mine.txt"
    write(mine)
    for check in (check_replaceable, lambda path: write_listed(path, 1)):
        with pytest.raises(InputError, match=r"a-mine\.txt is not as symae wrote it"):
            check(mine)
    assert mine.read_text(encoding="utf-8") == "mine"


def test_a_folder_inside_of_ours_is_another(old):
    (old / "more").mkdir()
    write_listed(old / "more" / "a.txt", 1)
    assert "more/a.txt" not in read_marker(old)["files"]


# === Locks ===

HOLD = """
import sys, time
from symae_keras.errors import InputError
from symae_keras._utils.folders import Draft
while time.time() < float(sys.argv[2]):
    pass
try:
    with Draft(sys.argv[1], ("a*.txt",), *map(eval, sys.argv[3:])) as folder:
        (folder / "a.txt").write_text("1")
        (folder / "checkpoint").mkdir(exist_ok=True)
        (folder / "checkpoint" / "state.npz").write_text("1")
        print("working", flush=True)
        time.sleep(60)
except InputError as error:
    print(error, flush=True)
"""


@pytest.fixture
def start(out):
    """Start a process that works in a folder, and kill it at the end."""
    root = str(Path(symae_keras.__file__).parents[1])
    processes = []

    def run(at=0.0, *flags):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(out), str(at), *map(repr, flags)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": root},
        )
        processes.append(process)
        return process

    yield run
    for each in processes:
        each.kill()
        each.communicate()


@pytest.fixture
def first(start):
    """Start a process that holds the lock."""
    process = start()
    assert process.stdout.readline() == "working\n"
    return process


@pytest.mark.parametrize("flags", [(False, False), (False, True), (True, False)])
def test_a_second_process_is_refused_whatever_the_flag(out, first, flags):
    said = f"in use: process {first.pid} on {Holder.here().host} is running"
    assert said in refused(out, *flags)
    assert first.poll() is None
    # After a kill, it no longer holds the lock.
    first.kill()
    first.wait()
    assert LOCK in os.listdir(out.with_name("out.partial"))
    assert Draft(out, CONTENTS, resume=True).resumes
    resume(out)
    assert tree(out) == {"a.txt": "1"}


@pytest.mark.parametrize("left_over", [False, True])
def test_of_processes_that_start_at_once_one_wins(tmp_path, start, left_over):
    flags = (False, True)
    if left_over:  # of a killed run, which all processes try to take over
        killed = start()
        killed.stdout.readline()
        killed.kill()
        killed.wait()
        flags = (True, False)
    at = time.time() + 2.0
    processes = [start(at, *flags) for _ in range(6)]
    said = [each.stdout.readline() for each in processes]
    assert said.count("working\n") == 1
    winner = processes[said.index("working\n")]
    for line in said:
        assert line == "working\n" or "out is in use: " in line
    assert winner.poll() is None
    # The losing processes leave nothing behind.
    assert os.listdir(tmp_path) == ["out.partial"]


@pytest.mark.large
def test_a_terminated_process_leaves_no_lock(tmp_path, first):
    first.send_signal(signal.SIGINT)
    first.wait()
    assert sorted(os.listdir(tmp_path / "out.partial")) == [
        *(MARKER, "a.txt", "checkpoint"),
    ]


def sign(partial, holder):
    """Leave the lock of a process."""
    write(partial / LOCK, json.dumps(holder._asdict()))
    return partial / LOCK


def test_a_lock_of_another_host_names_the_file(out, partial):
    lock = sign(partial, Holder(7, "far.away", "1"))
    for options in ({}, {"force": True}, {"resume": True}):
        said = refused(out, **options)
        assert "in use: process 7 on far.away" in said and f"remove {lock}" in said
    lock.unlink()
    resume(out)


def test_a_lock_without_flock_goes_by_process_and_start(out, partial, monkeypatch):
    """Simulate a file system without flock."""

    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("symae_keras._utils.lock.fcntl.flock", none)
    parent = os.getppid()
    stat = Path(f"/proc/{parent}/stat").read_text(encoding="utf-8")
    started = stat.rpartition(")")[2].split()[19]
    sign(partial, Holder(parent, Holder.here().host, started))
    assert f"in use: process {parent} on" in refused(out, resume=True)
    # Another process with the same number.
    sign(partial, Holder(parent, Holder.here().host, "before"))
    resume(out)


def test_a_lock_is_no_way_into_other_files(tmp_path):
    write(tmp_path / "thesis.txt")
    (tmp_path / LOCK).symlink_to("thesis.txt")
    with pytest.raises(OSError):
        FolderLock(tmp_path, tmp_path).acquire()
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "mine"
