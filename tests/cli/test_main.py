"""Common parts of the command line: help, exit codes, notes, and imports."""

from __future__ import annotations

import errno
import json
import logging

import pytest

import symae_keras
from symae_keras._utils.folders import Interrupted
from symae_keras._utils.text import one_line
from symae_keras.cli._progress import ProgressDisplay
from symae_keras.errors import InputError


def test_importing_the_command_line_imports_nothing_heavy(run_python):
    code = (
        "import json, sys; from symae_keras.cli import main;"
        "main(['--help']); main(['train', '--help']); main(['data', '--help']);"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    imported = json.loads(run_python(code).splitlines()[-1])
    heavy = {"keras", "tensorflow", "numpy", "matplotlib", "sklearn", "scipy", "h5py"}
    assert not heavy & set(imported)


def test_version_and_help(symae):
    handlers = list(logging.getLogger("symae_keras").handlers)
    assert symae("--version") == (0, f"symae_keras {symae_keras.__version__}\n", "")
    assert logging.getLogger("symae_keras").handlers == handlers
    bare, asked = symae(), symae("--help")
    assert bare == asked
    assert asked.code == 0 and not asked.err
    for command in ("demo", "train", "evaluate", "redatum"):
        assert command in asked.out
        text = symae(command, "--help")
        assert text.code == 0 and "--help" in text.out and not text.err
        # A flag takes no value.
        assert "bool" not in text.out
    assert "bool" not in asked.out + symae("data", "convert", "--help").out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["tran"], ("No such command 'tran'", "; see symae --help.")),
        (["train"], ("argument 'PRESET|recipe.py'", "; see symae train --help.")),
        (["data", "limit", "a", "--x"], ("--x", "; see symae data limit --help.")),
    ],
)
def test_usage_errors_are_one_line(symae, args, words):
    code, out, err = symae(*args)
    assert (code, out) == (2, "")
    assert err.startswith("symae: ") and err.count("\n") == 1
    assert all(word in err for word in words)


@pytest.fixture
def failing_demo(monkeypatch):
    """Return a function that makes `symae demo` fail with a given error."""

    def fail_with(error: BaseException) -> None:
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr("symae_keras.cli.demo.import_backend", fail)

    return fail_with


def test_other_errors_are_one_line_with_a_hint(symae, failing_demo):
    failing_demo(LookupError("the disk\nis full."))
    sentence = (
        "symae: internal error: LookupError: the disk is full; for the traceback, "
        "add --debug\n"
    )
    assert symae("demo")[::2] == (1, sentence)
    # The traceback comes first, for any position of the option.
    for args in (["--debug", "demo"], ["demo", "--debug"]):
        code, _, err = symae(*args)
        assert code == 1 and err.startswith("Traceback")
        assert "LookupError: the disk\nis full." in err and err.endswith(sentence)


def test_an_interruption_is_one_line(symae, failing_demo):
    failing_demo(KeyboardInterrupt())
    assert symae("demo")[::2] == (1, "symae: interrupted\n")
    failing_demo(Interrupted("interrupted; go on with --resume"))
    assert symae("demo")[::2] == (1, "symae: interrupted; go on with --resume\n")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (MemoryError(), 1, "not enough memory for these data; use fewer groups"),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "x" * 9),
            2,
            "xxxxxxxxx: File name too long; choose another file or folder.",
        ),
        (OSError(errno.EIO, "Input/output error", "d.npz"), 1, "d.npz: Input/output"),
    ],
)
def test_errors_of_the_machine_are_sentences(symae, failing_demo, error, code, words):
    failing_demo(error)
    found, _, err = symae("demo")
    assert found == code and words in err and "internal error" not in err


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        ("numpy", "KERAS_BACKEND is numpy, which cannot train; set it to one of"),
        ("jax", "KERAS_BACKEND is jax, which cannot be imported (import of jax halted"),
    ],
)
def test_a_backend_that_cannot_be_used(run_python, tmp_path, backend, words):
    code = """
import sys
from symae_keras import cli
sys.modules["jax"] = None
sys.stderr = sys.stdout
print(cli.main(["train", "symae_exposures", "--out", sys.argv[1]]))
"""
    out = tmp_path / "run"
    sentence, code = run_python(code, out, backend=backend).strip().splitlines()
    assert sentence.startswith(f"symae: {words}") and code == "2"
    assert "unset it to use TensorFlow" in sentence and not out.exists()


@pytest.mark.large
def test_an_ascii_locale(run_python, tmp_path, monkeypatch):
    """Read and show names of any language in any locale."""
    for name, value in (("LC_ALL", "C"), ("PYTHONUTF8", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONCOERCECLOCALE", "0")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    table = tmp_path / "t.csv"
    rows = ["group,500,501", "Šárka,1,2", "Šárka,2,", "Ülo,3,x"]
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    code = """
import sys
from symae_keras import cli, zoo
sys.stderr = sys.stdout
print(cli.main(["data", "describe", sys.argv[1]]))
print(len(zoo.card("symae_exposures")) > 100)
"""
    lines = run_python(code, table).splitlines()
    assert "line 4, column 501" in lines[0] and lines[1:] == ["2", "True"]


def test_one_line():
    assert one_line(ValueError("first\n  line.\n\nCall arguments: ...")) == (
        "ValueError: first line"
    )
    assert one_line(InputError("A sentence.")) == "A sentence"
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_over_a_resumed_run(terminal, monkeypatch, capsys):
    monkeypatch.delenv("NO_COLOR", raising=False)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    with ProgressDisplay("tiny [x]", 20) as progress:
        for epoch in range(5, 20):
            progress.start(epoch)
            progress.update(epoch + 1, f"epoch {epoch + 1}/20: val_loss [0.25]")
    out, err = capsys.readouterr()
    assert out == ""
    if terminal:
        assert "tiny [x]" in err and "epoch 20/20: val_loss [0.25]" in err
    else:
        lines = err.splitlines()
        assert lines[0] == "tiny [x]: epoch 6/20: val_loss [0.25]"
        # One line per 10 % of the epochs.
        assert [line.split("/")[0].split()[-1] for line in lines] == [
            *("6", "8", "10", "12", "14", "16", "18", "20"),
        ]


def test_progress_estimates_the_remaining_time_once(monkeypatch, capsys):
    """Start at the second piece of work, because the first one compiles the model."""
    clock = iter([0.0, 1.0, 11.0, 13.0])
    monkeypatch.setattr("symae_keras.cli._progress.monotonic", lambda: next(clock))
    with ProgressDisplay("tiny", 100) as progress:
        for done in (1, 2, 11, 12, 100):
            progress.update(done, f"{done} done")
    lines = [line for line in capsys.readouterr().err.splitlines() if "about" in line]
    # Ten pieces in 11 s leave 89.
    assert lines == ["tiny: about 2 min left"]
