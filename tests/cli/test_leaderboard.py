"""`symae compare --sets`: output, resuming, and invalid arguments."""

from __future__ import annotations

import csv
import os
import re
import sys

import numpy as np
import pytest

from symae_keras.cli import compare
from symae_keras.cli._html import is_sealed
from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.evaluation import SETS, DataSet
from symae_keras.training import MIN_UPDATES, Training

FILES = ["leaderboard.csv", "leaderboard.html", "leaderboard.md"]


@pytest.fixture
def two_sets(monkeypatch) -> None:
    """Use a simulated set, and a measured set of images, which some methods reject."""
    stars = simulate_exposures(n_states=60, n_instances=3, seed=0)
    rng = np.random.default_rng(0)
    state, noise = rng.normal(size=(30, 1, 4, 4, 1)), rng.normal(size=(30, 3, 4, 4, 1))
    images = GroupedData(state + 0.1 * noise)

    def load(quick, groups):
        return groups[: len(groups) // 2], groups[len(groups) // 2 :]

    for name, groups in (("exposures", stars), ("shapes", images)):
        title = f"Tiny <{name}>"
        one = DataSet(
            title=title,
            about="For a test.",
            load=lambda quick, groups=groups: load(quick, groups),
        )
        monkeypatch.setitem(SETS, name, one)
    monkeypatch.setattr(compare, "_shortened", lambda _: Training(epochs=1))


COMMAND = ("compare", "--quick", "--sets", "exposures, shapes", "--out", "board")


@pytest.mark.large
def test_a_leaderboard(succeeds, two_sets, here) -> None:
    done = succeeds(*COMMAND, "--models", "symae,pca,mean_swap,emsc")
    assert sorted(os.listdir("board")) == [
        *(".symae.json", "environment.json", "exposures"),
        *(*FILES, "shapes"),
    ]
    assert "rows.csv" in os.listdir("board/exposures")
    assert "exposures: SymAE (conditional, Gaussian), seed 0, 1 of 4" in done.err
    assert "shapes: Extended scatter correction: not compared. A poly" in done.err
    page = (here / "board" / "leaderboard.html").read_text(encoding="utf-8")
    assert is_sealed(here / "board" / "leaderboard.html")
    # Verdicts come before all tables, and the page loads nothing.
    verdict = re.search(r"\n(A peer beats SymAE on \d of 2 sets)\.\n", done.out)
    assert page.index(verdict[1]) < page.index("<table")
    assert not re.search(r'(src|href)="(?!data:|#)', page) and "@import" not in page
    assert "Tiny &lt;exposures&gt;" in page and "Tiny <" not in page
    assert page.count("<table>") == 3 and page.count("<svg") == 2
    assert "Extended scatter correction: not compared." in page
    text = (here / "board" / "leaderboard.md").read_text(encoding="utf-8")
    for line in done.out.splitlines():
        if line.startswith("Tiny <"):
            assert f"- {line}\n" in text
    with (here / "board" / "leaderboard.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["set"] for row in rows] == ["exposures"] * 4 + ["shapes"] * 3
    assert {row["ranked_by"] for row in rows[4:]} == {"estimated"}
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "1", "2", "3"]


@pytest.mark.large
def test_a_leaderboard_is_resumed_and_grows(
    succeeds, symae, two_sets, here, monkeypatch
) -> None:
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    module = sys.modules["symae_keras.evaluation.compare"]
    with monkeypatch.context() as patch:
        patch.setattr(module, "train", interrupt)
        code, _, err = symae(*COMMAND, "--models", "pca,symae")
    assert code == 1 and "kept, resume with the same command" in err
    assert os.listdir("board/exposures") and "leaderboard.md" not in os.listdir("board")
    before = (here / "board" / "exposures" / "rows.csv").read_text(encoding="utf-8")
    done = succeeds(*COMMAND, "--models", "pca")
    assert "exposures: " not in done.err and "shapes: PCA" in done.err
    assert (here / "board/exposures/rows.csv").read_text(encoding="utf-8") == before
    done = succeeds(*COMMAND, "--models", "pca,mean_swap")
    assert "shapes: Linear mean swap, seed 0, 1 of 1" in done.err
    assert "No set has both SymAE and a peer." in done.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sets", "exposure"], "did you mean exposures?"),
        (["--sets", "small,small"], "small was named twice"),
        (["--sets", "tablets"], "The set tablets needs --tablets: the spectra"),
        (["--sets", "bags", "--bags", "nowhere"], "no file or folder nowhere"),
        (["--sets", "small", "--bags", "mine"], "--sets does not include bags"),
        (
            ["--sets", "small", "--data", "d.npz"],
            "--sets cannot be combined with --data",
        ),
        (["--tablets", "mine/t.npz"], "--tablets requires --sets"),
        (["--sets", "small", "--out", "mine"], "contains no leaderboard to resume"),
        (["--sets", "small,tablets", "--tablets", "mine/t.npz"], "t.npz"),
    ],
)
def test_a_leaderboard_refuses(refuses, here, arguments, sentence) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "t.npz").write_bytes(b"no archive")
    if "--out" not in arguments:
        arguments = [*arguments, "--out", "board"]
    assert sentence in refuses("compare", "--models", "pca", *arguments)


@pytest.mark.parametrize(
    ("whole", "updates"),
    [(Training(), 500), (Training(epochs=100), 0), (Training(min_updates=2400), 600)],
)
def test_the_quick_form_has_a_quarter_of_the_steps(whole, updates) -> None:
    assert MIN_UPDATES == 2000
    short = compare._shortened(whole)
    assert (short.epochs, short.min_updates) == ((whole.epochs or 32) // 4, updates)
    assert short.learning_rate == whole.learning_rate


@pytest.mark.large
def test_a_comparison_and_a_leaderboard_have_folders_of_their_own(
    succeeds, refuses, two_sets, here
) -> None:
    succeeds(*COMMAND, "--models", "pca")
    one = ("compare", "--quick", "--models", "pca", "--out", "board")
    assert "contains no comparison to resume" in refuses(*one)


def test_one_comparison_leaves_out_what_does_not_support_its_data(
    succeeds, symae, here
) -> None:
    x = np.random.default_rng(0).normal(size=(40, 3, 4, 4, 1))
    np.savez("images.npz", x=x.astype("float32"))
    one = ("compare", "--quick", "--data", "images.npz", "--out")
    done = succeeds(*one, "both", "--models", "emsc,mean_swap")
    assert "Extended scatter correction is left out: A polynomial needs" in done.err
    assert "Linear mean swap has the lowest estimated error" in done.out
    code, out, err = symae(*one, "none", "--models", "emsc")
    assert (code, out) == (2, "") and "symae: A polynomial needs instances" in err


def test_the_help_names_all_sets(succeeds) -> None:
    text = succeeds("compare", "--help").out
    # Remove the frame around options, which breaks lines.
    assert ", ".join(SETS) in " ".join(re.sub("[^a-z,. ]", " ", text).split())
