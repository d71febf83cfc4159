"""Folders that are written aside, their markers and their locks."""

from __future__ import annotations

import json
import os
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


def make(out, text="1", **options):
    """Make a folder with two files of one text."""
    with Draft(out, CONTENTS, **options) as folder:
        (folder / "a.txt").write_text(text, encoding="utf-8")
        (folder / "inner").mkdir(exist_ok=True)
        (folder / "inner" / "b.png").write_text(text, encoding="utf-8")


def begin(out, **options):
    """Leave a run to resume."""
    with pytest.raises(KeyboardInterrupt), Draft(out, CONTENTS, **options) as folder:
        (folder / "a.txt").write_text("half", encoding="utf-8")
        (folder / STATE).parent.mkdir()
        (folder / STATE).write_text("1", encoding="utf-8")
        raise KeyboardInterrupt


def tree(folder):
    """All files below a folder with their text."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MARKER
    }


# === Draft ===


def test_draft_appears_when_complete(tmp_path):
    out = tmp_path / "deep" / "out"
    draft = Draft(out, CONTENTS)
    assert os.listdir(tmp_path) == []
    with draft as folder:
        assert not out.exists() and folder.name == "out.partial"
        (folder / "a.txt").write_text("1", encoding="utf-8")
    assert tree(out) == {"a.txt": "1"}
    assert sorted(os.listdir(out)) == [MARKER, "a.txt"]
    assert os.listdir(out.parent) == ["out"]


def test_draft_takes_an_empty_folder_and_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    make(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text(encoding="utf-8") == "1"
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]


def test_a_failed_draft_is_kept_only_with_a_state(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(RuntimeError), Draft(out, CONTENTS) as folder:
        (folder / "a.txt").write_text("1", encoding="utf-8")
        raise RuntimeError
    assert os.listdir(tmp_path) == []
    begin(out)
    assert os.listdir(tmp_path) == ["out.partial"]
    assert LOCK not in os.listdir(tmp_path / "out.partial")
    with pytest.raises(InputError, match=r"out\.partial .*--force .*--resume"):
        Draft(out, CONTENTS)
    with pytest.raises(InputError) as caught:
        Draft(out, CONTENTS, resume=None)
    assert "--resume" not in str(caught.value)

    draft = Draft(out, CONTENTS, resume=True)
    assert draft.resumes and not draft.complete
    with draft as folder:
        assert (folder / STATE).read_text(encoding="utf-8") == "1"
    assert tree(out) == {"a.txt": "half"}
    assert not Draft(out, CONTENTS, force=True).resumes


def test_force_discards_a_state(tmp_path):
    begin(tmp_path / "out")
    draft = Draft(tmp_path / "out", CONTENTS, force=True)
    assert not draft.resumes
    with draft as folder:
        assert os.listdir(folder / "..") == ["out.partial"]
        assert tree(folder) == {LOCK: (folder / LOCK).read_text(encoding="utf-8")}
    assert os.listdir(tmp_path) == ["out"]


def test_what_cannot_be_resumed_is_begun_again(tmp_path):
    """As after a kill before the first checkpoint: no flag is needed."""
    draft = Draft(tmp_path / "out", CONTENTS)
    with draft as folder:
        (folder / "a.txt").write_text("half", encoding="utf-8")
        shutil.copytree(folder, tmp_path / "killed")
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "killed").rename(tmp_path / "out.partial")
    make(tmp_path / "out")
    assert tree(tmp_path / "out") == {"a.txt": "1", "inner/b.png": "1"}
    assert os.listdir(tmp_path) == ["out"]


def test_what_was_being_written_is_cleared(tmp_path):
    begin(tmp_path / "out")
    inside = tmp_path / "out.partial" / "inner" / ".symae-0123456789abcdef"
    inside.mkdir(parents=True)
    (inside / "b.png").write_text("half", encoding="utf-8")
    with Draft(tmp_path / "out", CONTENTS, resume=True):
        pass
    assert tree(tmp_path / "out") == {"a.txt": "half"}


def test_a_failed_rename_brings_the_old_folder_back(tmp_path, monkeypatch):
    out = tmp_path / "out"
    make(out, "old")
    rename = os.rename

    def fail(source, target):
        if str(source).endswith(".partial"):
            raise OSError(1, "no")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(InputError, match="out cannot be written: no"):
        make(out, "new", force=True)
    assert tree(out) == {"a.txt": "old", "inner/b.png": "old"}
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("renames", [1, 2])
def test_a_kill_while_a_folder_is_put_in_place(tmp_path, renames, run_python):
    """The old folder comes back, or goes where the new one is in place."""
    out = tmp_path / "out"
    make(out, "old")
    code = f"""
import os, pathlib, signal, sys
from symae_keras._utils.folders import Draft
done, rename = [], os.rename
def counted(source, target):
    rename(source, target)
    done.append(source)
    # The first one puts the draft aside, under its lock.
    if len(done) == 1 + {renames}:
        os.kill(os.getpid(), signal.SIGKILL)
os.rename = counted
if os.fork() == 0:
    with Draft(sys.argv[1], {CONTENTS}, force=True) as folder:
        (folder / "a.txt").write_text("new")
os.wait()
"""
    run_python(code, out)
    assert len(os.listdir(tmp_path)) == 2
    draft = Draft(out, CONTENTS, force=True)
    assert (out / "a.txt").read_text(encoding="utf-8") == (
        "old" if renames == 1 else "new"
    )
    with draft as folder:
        (folder / "a.txt").write_text("newer", encoding="utf-8")
    assert tree(out) == {"a.txt": "newer"}
    assert os.listdir(tmp_path) == ["out"]


def test_a_full_disk_keeps_what_can_be_resumed(tmp_path):
    out = tmp_path / "out"
    make(out, "old")
    full = OSError(28, "No space left on device")
    with pytest.raises(InputError) as caught:
        with Draft(out, CONTENTS, force=True):
            raise full
    assert str(caught.value) == f"{out} cannot be written: No space left on device."
    assert os.listdir(tmp_path) == ["out"]
    with pytest.raises(InputError, match=r"device; .*out\.partial is kept.*--resume"):
        with Draft(out, CONTENTS, force=True) as folder:
            (folder / STATE).parent.mkdir()
            (folder / STATE).write_text("1", encoding="utf-8")
            raise RuntimeError("h5py: No space left on device") from full
    assert tree(out)["a.txt"] == "old"
    assert tree(tmp_path / "out.partial") == {STATE: "1"}


# === What --force replaces ===


def test_force_replaces_at_the_end_what_is_its_own(tmp_path):
    out = tmp_path / "out"
    make(out, "old")
    with pytest.raises(InputError, match="not empty"):
        Draft(out, CONTENTS)
    with Draft(out, CONTENTS, force=True) as folder:
        (folder / "a.txt").write_text("new", encoding="utf-8")
        assert tree(out) == {"a.txt": "old", "inner/b.png": "old"}
    assert tree(out) == {"a.txt": "new"}
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("name", "clause"),
    [
        ("notes.txt", "notes.txt, which this command never writes"),
        ("a2.txt", "a2.txt, which symae did not write"),
        ("inner/c.png", "inner/c.png, which symae did not write"),
        ("inner/deep/c.png", "inner/deep/c.png, which symae did not write"),
        ("deep/er/c.txt", "deep/er/c.txt, which this command never writes"),
        ("a.txt", "a.txt, which has changed since symae wrote it"),
        ("inner/b.png", "inner/b.png, which has changed since symae wrote it"),
    ],
)
def test_force_refuses_what_users_put_in(tmp_path, name, clause):
    out = tmp_path / "out"
    make(out)
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_text("mine", encoding="utf-8")
    before = tree(out)
    with pytest.raises(InputError) as caught:
        Draft(out, CONTENTS, force=True)
    assert clause in str(caught.value) and "move that file away" in str(caught.value)
    assert tree(out) == before


def test_force_refuses_links_in_a_folder(tmp_path):
    make(tmp_path / "out")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "d.npz").write_text("data", encoding="utf-8")
    (tmp_path / "out" / "inner" / "c.png").symlink_to(tmp_path / "data")
    with pytest.raises(InputError, match=r"c\.png, which symae did not write"):
        Draft(tmp_path / "out", CONTENTS, force=True)
    (tmp_path / "out" / "inner" / "c.png").unlink()
    # The same bytes, but not the file.
    (tmp_path / "out" / "a.txt").rename(tmp_path / "a.txt")
    (tmp_path / "out" / "a.txt").symlink_to("../a.txt")
    with pytest.raises(InputError, match=r"a\.txt, which has changed"):
        Draft(tmp_path / "out", CONTENTS, force=True)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"format": "symae-folder"}'])
def test_force_refuses_a_folder_without_a_marker(tmp_path, text):
    """Folders of version 0.1 have none, and stay readable."""
    out = tmp_path / "out"
    make(out)
    (out / MARKER).unlink()
    if text is not None:
        (out / MARKER).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"no \.symae\.json shows .* yourself"):
        Draft(out, CONTENTS, force=True)
    assert tree(out) == {"a.txt": "1", "inner/b.png": "1"}


def test_a_copied_folder_is_still_ours(tmp_path):
    make(tmp_path / "one", "1")
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    make(tmp_path / "other", "2", force=True)
    assert tree(tmp_path / "other")["a.txt"] == "2"
    assert tree(tmp_path / "one")["a.txt"] == "1"


def test_what_came_during_the_work_is_kept(tmp_path):
    out = tmp_path / "out"
    make(out, "old")
    with pytest.raises(InputError, match=r"notes\.txt"):
        with Draft(out, CONTENTS, force=True) as folder:
            (folder / "a.txt").write_text("new", encoding="utf-8")
            (out / "notes.txt").write_text("mine", encoding="utf-8")
    assert tree(out) == {"a.txt": "old", "inner/b.png": "old", "notes.txt": "mine"}
    assert os.listdir(tmp_path) == ["out"]
    # What can be resumed is not lost for that.
    (out / "notes.txt").unlink()
    with pytest.raises(InputError, match=r"notes\.txt.*; .*out\.partial is kept"):
        with Draft(out, CONTENTS, force=True) as folder:
            (folder / STATE).parent.mkdir()
            (folder / STATE).write_text("1", encoding="utf-8")
            (out / "notes.txt").write_text("mine", encoding="utf-8")
    (out / "notes.txt").unlink()
    with Draft(out, CONTENTS, resume=True, force=True):
        pass
    assert tree(out) == {} and os.listdir(tmp_path) == ["out"]


def test_users_things_under_names_of_ours(tmp_path):
    out, aside = tmp_path / "out", tmp_path / "out.partial"
    (tmp_path / "out.replaced").write_text("mine", encoding="utf-8")
    (tmp_path / "out.lock").write_text("mine", encoding="utf-8")
    for make_it in (
        lambda: aside.write_text("mine", encoding="utf-8"),
        lambda: aside.symlink_to("missing"),
        lambda: aside.symlink_to(tmp_path),
        lambda: (aside.mkdir(), (aside / "a.txt").write_text("mine", encoding="utf-8")),
    ):
        make_it()
        for options in ({}, {"force": True}, {"resume": True}):
            with pytest.raises(InputError, match=r"out\.partial is there, but symae"):
                Draft(out, CONTENTS, **options)
        assert os.path.lexists(aside)
        shutil.rmtree(aside) if aside.is_dir() and not aside.is_symlink() else (
            aside.unlink()
        )
    make(out, "old")
    make(out, "new", force=True)
    assert (tmp_path / "out.replaced").read_text(encoding="utf-8") == "mine"
    assert sorted(os.listdir(tmp_path)) == ["out", "out.lock", "out.replaced"]


def test_users_files_in_a_folder_aside(tmp_path):
    out = tmp_path / "out"
    begin(out)
    (tmp_path / "out.partial" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"out\.partial holds notes\.txt"):
        Draft(out, CONTENTS, force=True)
    with Draft(out, CONTENTS, resume=True) as folder:
        (folder / "a.txt").write_text("1", encoding="utf-8")
    assert tree(out) == {"a.txt": "1", "notes.txt": "mine"}
    with pytest.raises(InputError, match=r"out holds notes\.txt"):
        Draft(out, CONTENTS, force=True)


def test_a_folder_aside_of_version_0_1_is_resumed_but_not_discarded(tmp_path):
    out = tmp_path / "out"
    begin(out)
    (tmp_path / "out.partial" / MARKER).unlink()
    with pytest.raises(InputError, match=r"no \.symae\.json"):
        Draft(out, CONTENTS, force=True)
    with Draft(out, CONTENTS, resume=True):
        pass
    assert tree(out) == {"a.txt": "half"}
    make(out, "new", force=True)


def test_inputs_are_never_replaced(tmp_path):
    out = tmp_path / "out"
    make(out)
    for given in (out / "a.txt", out, tmp_path):
        with pytest.raises(InputError, match="choose another --out"):
            Draft(out, CONTENTS, force=True, inputs=[given])
    with pytest.raises(InputError, match="lies in the input"):
        Draft(out / "new", CONTENTS, inputs=[out])


# === What a folder was made from ===


def test_other_inputs_are_noticed(tmp_path, caplog):
    out = tmp_path / "out"
    begin(out, made_from={"data": "one", "n": 1})
    with pytest.raises(InputError, match=r"out\.partial was .* \(data: one, not two\)"):
        Draft(out, CONTENTS, resume=True, made_from={"data": "two", "n": 1})
    with Draft(out, CONTENTS, True, made_from={"data": "one", "n": 1}) as folder:
        (folder / "manifest.json").write_text("{}", encoding="utf-8")
    assert Draft(out, CONTENTS, True, made_from={"data": "one", "n": 1}).complete
    with pytest.raises(InputError, match=r"out was .* \(n: 1, not 2\)"):
        Draft(out, CONTENTS, True, made_from={"data": "one", "n": 2})
    (out / MARKER).unlink()
    assert not caplog.records
    assert Draft(out, CONTENTS, True, made_from={"data": "two"}).complete
    assert "does not record what it was made from" in caplog.text


# === Files added to a folder ===


def test_what_is_added_through_us_may_be_replaced(tmp_path):
    out = tmp_path / "out"
    make(out)
    write_listed(out / "a-more.txt", 1)
    write_listed(out / "a-more.txt", 2)
    write_listed(out / "inner" / "c.png", 3)  # as in a folder of several runs
    assert set(read_marker(out)["files"]) == {
        *("a.txt", "a-more.txt", "inner/b.png", "inner/c.png"),
    }
    make(out, "new", force=True)
    assert tree(out) == {"a.txt": "new", "inner/b.png": "new"}


def test_what_a_user_added_is_not_replaced(tmp_path):
    out = tmp_path / "out"
    make(out)
    (out / "a-mine.txt").write_text("mine", encoding="utf-8")
    for write in (check_replaceable, lambda path: write_listed(path, 1)):
        with pytest.raises(InputError, match=r"a-mine\.txt is not as symae wrote it"):
            write(out / "a-mine.txt")
    assert (out / "a-mine.txt").read_text(encoding="utf-8") == "mine"


def test_a_folder_inside_of_ours_is_another(tmp_path):
    make(tmp_path / "out")
    (tmp_path / "out" / "old").mkdir()
    write_listed(tmp_path / "out" / "old" / "a.txt", 1)
    assert "old/a.txt" not in read_marker(tmp_path / "out")["files"]


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
def start():
    """Start a process that works in a folder, to be killed at the end."""
    root = str(Path(symae_keras.__file__).parents[1])
    processes = []

    def run(out, at=0.0, *flags):
        command = [sys.executable, "-c", HOLD, str(out), str(at), *map(repr, flags)]
        process = subprocess.Popen(
            command,
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


@pytest.mark.parametrize("flags", [(False, False), (False, True), (True, False)])
def test_a_second_process_is_refused_whatever_the_flag(tmp_path, start, flags):
    first = start(tmp_path / "out")
    assert first.stdout.readline() == "working\n"
    with pytest.raises(InputError) as caught:
        Draft(tmp_path / "out", CONTENTS, *flags)
    host = Holder.here().host
    assert f"in use: process {first.pid} on {host} is running" in str(caught.value)
    assert first.poll() is None
    # Killed, it holds nothing any more.
    first.kill()
    first.wait()
    assert LOCK in os.listdir(tmp_path / "out.partial")
    assert Draft(tmp_path / "out", CONTENTS, resume=True).resumes
    with Draft(tmp_path / "out", CONTENTS, resume=True):
        pass
    assert tree(tmp_path / "out") == {"a.txt": "1"}


@pytest.mark.parametrize("left_over", [False, True])
def test_of_processes_that_start_at_once_one_wins(tmp_path, start, left_over):
    out = tmp_path / "out"
    flags = (False, True)
    if left_over:  # a killed run, which all take over
        first = start(out)
        first.stdout.readline()
        first.kill()
        first.wait()
        flags = (True, False)
    at = time.time() + 2.0
    processes = [start(out, at, *flags) for _ in range(6)]
    said = [each.stdout.readline() for each in processes]
    assert said.count("working\n") == 1
    winner = processes[said.index("working\n")]
    for line in said:
        assert line == "working\n" or "out is in use: " in line
    assert winner.poll() is None
    # Nothing of those who lost is left.
    assert os.listdir(tmp_path) == ["out.partial"]


@pytest.mark.large
def test_a_terminated_process_leaves_no_lock(tmp_path, start):
    process = start(tmp_path / "out")
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.wait()
    assert sorted(os.listdir(tmp_path / "out.partial")) == [
        *(MARKER, "a.txt", "checkpoint"),
    ]


def test_a_lock_of_another_host_names_the_file(tmp_path):
    begin(tmp_path / "out")
    lock = tmp_path / "out.partial" / LOCK
    lock.write_text(
        json.dumps({"pid": 7, "host": "far.away", "started": "1"}), encoding="utf-8"
    )
    for options in ({}, {"force": True}, {"resume": True}):
        with pytest.raises(InputError) as caught:
            Draft(tmp_path / "out", CONTENTS, **options)
        assert "in use: process 7 on far.away" in str(caught.value)
        assert f"remove {lock}" in str(caught.value)
    lock.unlink()
    with Draft(tmp_path / "out", CONTENTS, resume=True):
        pass


def test_a_lock_without_flock_goes_by_process_and_start(tmp_path, monkeypatch):
    """As on file systems that have none."""

    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("symae_keras._utils.lock.fcntl.flock", none)
    begin(tmp_path / "out")
    lock = tmp_path / "out.partial" / LOCK
    parent = Holder(os.getppid(), Holder.here().host, "")
    parent = parent._replace(started=_start_of(parent.pid))
    lock.write_text(json.dumps(parent._asdict()), encoding="utf-8")
    with pytest.raises(InputError, match=f"in use: process {parent.pid} on"):
        Draft(tmp_path / "out", CONTENTS, resume=True)
    # Another process of the same number.
    lock.write_text(
        json.dumps(parent._replace(started="before")._asdict()), encoding="utf-8"
    )
    with Draft(tmp_path / "out", CONTENTS, resume=True):
        pass


def _start_of(pid):
    return (
        Path(f"/proc/{pid}/stat")
        .read_text(encoding="utf-8")
        .rpartition(")")[2]
        .split()[19]
    )


def test_a_lock_is_no_way_into_other_files(tmp_path):
    (tmp_path / "thesis.txt").write_text("thesis", encoding="utf-8")
    (tmp_path / LOCK).symlink_to("thesis.txt")
    with pytest.raises(OSError):
        FolderLock(tmp_path, tmp_path).acquire()
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "thesis"
