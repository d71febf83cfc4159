"""Files that are replaced when complete, full disks, and outputs that are inputs."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import h5py
import numpy as np
import pytest

from symae_keras._utils import files
from symae_keras._utils.files import (
    check_output,
    check_writable,
    disk_error,
    refuse_inputs,
    write_json,
    written_atomically,
)
from symae_keras.errors import InputError


@pytest.mark.parametrize(
    "error",
    [
        *(RuntimeError("no"), KeyError("not about the disk")),
        # A full disk is reported in one sentence.
        *(
            OSError(n, os.strerror(n))
            for n in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        ),
    ],
)
def test_what_fails_replaces_nothing(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")
    expected = InputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught, written_atomically(path) as partial:
        partial.write_text("half", encoding="utf-8")
        raise error
    if isinstance(error, OSError):
        assert str(caught.value) == f"{path} cannot be written: {error.strerror}."
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_succeeds_replaces_or_is_new(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")
    write_json(path, {"new": 1})
    assert json.loads(path.read_text(encoding="utf-8")) == {"new": 1}
    assert os.listdir(tmp_path) == ["a.txt"]
    with pytest.raises(InputError, match=r"a\.txt/b\.json cannot be written"):
        write_json(path / "b.json", {})
    write_json(tmp_path / "new" / "deep" / "c.json", 3)
    assert (tmp_path / "new" / "deep" / "c.json").read_text(encoding="utf-8") == "3\n"


def test_names_that_users_have_are_left_alone(tmp_path):
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("thesis", encoding="utf-8")
    (tmp_path / "a.txt.partial").symlink_to("thesis.txt")
    (tmp_path / "a.txt.tmp").write_text("mine", encoding="utf-8")
    # The temporary file has a name that nobody can take before.
    with written_atomically(tmp_path / "a.txt") as partial:
        assert stat.S_IMODE(partial.parent.stat().st_mode) == 0o700
        assert partial.name == "a.txt" and not os.path.lexists(partial)
        partial.write_text("new", encoding="utf-8")
    assert thesis.read_text(encoding="utf-8") == "thesis"
    names = ["a.txt", "a.txt.partial", "a.txt.tmp", "thesis.txt"]
    assert sorted(os.listdir(tmp_path)) == names
    assert files.temporary(tmp_path) != files.temporary(tmp_path)


def test_a_link_is_replaced_and_its_target_kept(tmp_path):
    (tmp_path / "thesis.txt").write_text("thesis", encoding="utf-8")
    (tmp_path / "a.json").symlink_to("thesis.txt")
    write_json(tmp_path / "a.json", 3)
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "thesis"
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == "3\n"


def test_the_mode_honours_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_json(tmp_path / "a.json", 3)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o640


def test_a_file_is_on_disk_before_it_is_renamed(tmp_path, monkeypatch):
    calls = []
    sync, replace = files.sync, os.replace
    monkeypatch.setattr(files, "sync", lambda p: (calls.append(p.name), sync(p)))
    monkeypatch.setattr(os, "replace", lambda *p: (calls.append("->"), replace(*p)))
    write_json(tmp_path / "a.json", 3)
    assert calls == ["a.json", "->", tmp_path.name]


# === Full disks ===


def test_full_disks_of_libraries():
    text = "Can't write (errno = 28, error message = 'No space left on device')"
    assert disk_error(RuntimeError(text)) == "No space left on device"
    try:
        try:
            raise OSError(errno.ENOSPC, "none")
        except OSError as error:
            raise ValueError("wrapped") from error
    except ValueError as error:
        assert disk_error(error) == "No space left on device"
    assert disk_error(ValueError("other")) is None and disk_error(None) is None


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_errors_of_a_real_full_device():
    with pytest.raises(OSError) as caught, open("/dev/full", "wb") as file:
        np.savez(file, x=np.zeros(100_000))
    assert disk_error(caught.value) == "No space left on device"
    with pytest.raises(Exception) as caught, h5py.File("/dev/full", "w") as file:
        file["x"] = np.zeros(100_000)
    assert disk_error(caught.value) == "No space left on device"


# === Outputs ===


def test_check_writable_makes_nothing(tmp_path, monkeypatch):
    check_writable(tmp_path / "new" / "deep" / "run")
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="file is not a folder"):
        check_writable(tmp_path / "file" / "deep" / "run")
    # The superuser may write everywhere, so the system's answer is simulated.
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(InputError, match="is not writable"):
        check_writable(tmp_path / "run")


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Make a file in a folder, a hard and a soft link to it, and a link to the folder.

    The folder above is the current one.
    """
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "d.npz").write_text("data", encoding="utf-8")
    (tmp_path / "soft.npz").symlink_to("data/d.npz")
    (tmp_path / "hard.npz").hardlink_to("data/d.npz")
    (tmp_path / "link").symlink_to("data")
    return folder


@pytest.mark.parametrize(
    ("out", "given"),
    [
        ("data/d.npz", "data/d.npz"),
        ("data/../data/./d.npz", "data/d.npz"),
        ("link/d.npz", "data/d.npz"),
        ("soft.npz", "data/d.npz"),
        ("data/d.npz", "soft.npz"),
        ("hard.npz", "data/d.npz"),
        ("data", "data/d.npz"),
        ("link", "data/d.npz"),
        (".", "data/d.npz"),
        ("data", "link/d.npz"),
        ("data/new", "data"),
        ("link/new/deep", "data"),
        ("data", "link"),
    ],
)
def test_an_input_is_never_an_output(data, out, given):
    with pytest.raises(InputError, match="choose another --out"):
        refuse_inputs(Path(out), [Path(given)])
    if not Path(out).is_dir():
        with pytest.raises(InputError, match="the input"):
            check_output(Path(out), True, [Path(given)])
    assert (data / "d.npz").read_text(encoding="utf-8") == "data"


@pytest.mark.parametrize("out", ["new", "data2", "data/e.npz", "link/deep/e.npz"])
def test_other_outputs_are_taken(data, out):
    refuse_inputs(Path(out), [Path("data/d.npz"), Path("missing.npz")])


def test_check_output_needs_force_for_a_broken_link(tmp_path):
    (tmp_path / "a.csv").symlink_to("missing.csv")
    with pytest.raises(InputError, match="give --force"):
        check_output(tmp_path / "a.csv", False, [])
    check_output(tmp_path / "a.csv", True, [])
