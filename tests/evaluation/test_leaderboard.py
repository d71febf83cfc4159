"""Leaderboards: ranking, order of verdicts, and content of tables."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest

from symae_keras.data import GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation import (
    CONTENDERS,
    Comparison,
    Leaderboard,
    LeaderboardEntry,
    Row,
    Sizes,
    compare,
)


def row(model, error=None, estimated=None, reconstruction=0.1, seed=0):
    known = error, estimated, None, None, None
    return Row(model, seed, 1000, 0.1, reconstruction, *known, seconds=12.0)


def entry(title, *rows, **arguments):
    return LeaderboardEntry(title, Comparison(rows), **arguments)


WON = entry("Won", row("symae", 0.1), row("symae_original", 0.5), row("vae", 0.2))
LOST = entry(
    "Lost",
    *(row("symae", 0.1 + seed / 10, seed=seed) for seed in range(3)),
    *(row("vae", 0.05 + seed / 20, seed=seed) for seed in range(3)),
    row("pca", 0.02, reconstruction=0.9),
)
UNDECIDED = entry("No SymAE", row("vae", 0.2), row("pca", 0.1))


def test_models_are_ranked_by_the_truth_else_by_the_estimate() -> None:
    """Rank never by reconstruction; models with non-finite errors have no rank."""
    assert LOST.ranking == ["pca", "vae", "symae"]
    known = row("vae", 0.3, 0.01, 0.01), row("symae", 0.2, 0.5, 0.5)
    assert entry("", *known).ranking == ["symae", "vae"]
    measured = row("vae", None, 0.4, 0.01), row("symae", None, 0.5, 0.001)
    assert entry("", *measured).ranking == ["vae", "symae"]
    broken = entry("", row("symae", math.nan), row("vae", 0.5), row("pca", math.inf))
    assert broken.ranking == ["vae"] and broken.rank("symae") is None
    assert [line[3] for line in broken.table()[1]] == ["0.5000", *["not finite"] * 2]
    tied = entry("", row("symae", 0.2), row("vae", 0.1), row("pca", 0.1))
    assert [tied.rank(m) for m in ("vae", "pca", "symae")] == [1, 1, 3]
    # A peer with the same error does not count as better.
    assert not entry("", row("symae", 0.2), row("vae", 0.2)).ahead


def test_a_model_that_hides_the_state_has_no_rank_without_ground_truth() -> None:
    """Its estimate can be far too low; with ground truth, it is ranked like others."""
    peers = row("symae", None, 0.2), row("adversarial_gvae", None, 0.1)
    measured = entry("", *peers)
    assert measured.ranking == ["symae"] and measured.comparison.leader == "symae"
    last = measured.table()[1][-1]
    assert last[0] == "Adversarial GVAE" and last[2:4] == ["-", "0.1000"]
    (note,) = measured.missing
    assert note.startswith("Adversarial GVAE: not ranked, because it hides the state")
    known = entry("", row("symae", 0.2, 0.2), row("adversarial_gvae", 0.1, 0.1))
    assert known.ranking == ["adversarial_gvae", "symae"] and known.missing == []


def test_losses_are_said_first() -> None:
    board = Leaderboard({"won": WON, "none": UNDECIDED, "lost": LOST})
    assert (board.losses, board.wins, board.undecided) == (["lost"], ["won"], ["none"])
    assert board.headline == "A peer beats SymAE on 1 of 2 sets"
    lost, won, none = board.verdicts()
    assert lost == (
        "Lost: PCA of means and deviations has 0.0200, SymAE (conditional, Gaussian) "
        "has 0.2000, 10.00 times as much. 2 of 2 peers have a lower error than SymAE."
    )
    assert won == (
        "Won: SymAE (conditional, Gaussian) has 0.1000, VAE has 0.2000, 2.00 times as "
        "much."
    )
    assert none == "No SymAE: not decided, because no SymAE was measured."
    text = board.to_markdown()
    places = [text.index(each) for each in (board.headline, lost, won, "## All sets")]
    assert places == sorted(places)


def test_ranges_that_overlap_are_said() -> None:
    rows = [row("vae", e, seed=s) for s, e in enumerate((0.1, 0.2, 0.31))]
    rows += [row("symae", e, seed=s) for s, e in enumerate((0.3, 0.4, 0.5))]
    assert entry("", *rows).verdict.endswith("The ranges over seeds overlap.")
    rows[2] = row("vae", 0.29, seed=2)
    assert "overlap" not in entry("", *rows).verdict


def test_the_mean_rank_is_over_all_sets() -> None:
    board = Leaderboard({"won": WON, "lost": LOST})
    assert board.mean_rank("symae") == 2.0 and board.mean_rank("vae") == 2.0
    # A model that is on one set only.
    assert board.mean_rank("pca") is None and board.mean_rank("symae_original") is None
    assert board.models[:2] == ["symae", "vae"]
    headings, lines = board.table()
    assert headings == ["model", "family", "mean rank", "Won", "Lost"]
    assert lines[1] == ["VAE", "single instance", "2.0", "0.2000", lines[1][4]]
    assert lines[1][4] == "0.1000 [0.0500-0.1500]"


def test_tables_have_spread_cost_and_settings() -> None:
    headings, lines = LOST.table()
    cells = dict(zip(headings, lines[1], strict=True))
    assert cells["model"] == "VAE" and cells["settings"] == "kl_weight=0.001"
    assert cells["redatuming error"] == "0.1000 [0.0500-0.1500]"
    assert (cells["times SymAE"], cells["seeds"]) == ("0.50", "3")
    assert (cells["parameters"], cells["s / training"]) == ("1,000", "12.00")
    failed = entry("F", row("vae", 0.1), failures={"vae": "seed 2", "emsc": "images"})
    text = Leaderboard({"f": failed}).to_markdown()
    assert "- VAE: some seeds failed. seed 2.\n" in text
    assert "- Extended scatter correction: not compared. images.\n" in text
    read = csv.DictReader(io.StringIO(Leaderboard({"a": LOST, "b": WON}).to_csv()))
    read = list(read)
    assert [(r["set"], r["model"], r["rank"]) for r in read] == [
        *(("a", m, str(1 + n)) for n, m in enumerate(("pca", "vae", "symae"))),
        *(("b", m, str(1 + n)) for n, m in enumerate(("symae", "vae"))),
        ("b", "symae_original", "3"),
    ]
    assert float(read[1]["redatuming_highest"]) == pytest.approx(0.15)
    assert float(read[1]["seconds_median"]) == 12.0


def test_the_estimate_is_named_where_it_ranks() -> None:
    measured = entry("M", row("vae", None, 0.4), row("symae", None, 0.5))
    assert Leaderboard({"m": measured}).table()[0][-1] == "M, estimated"
    assert measured.table()[0][3] == "redatuming error, estimated"


def test_a_model_that_fails_is_left_out_with_its_reason(rng) -> None:
    images = GroupedData(rng.normal(size=(12, 3, 4, 4, 1)))
    failures: dict[str, str] = {}
    models = ["emsc", "mean_swap"]
    result = compare(images, images, models, failures=failures)
    assert result.models == ["mean_swap"] and list(failures) == ["emsc"]
    assert "A polynomial needs instances of the shape (pixels,)" in failures["emsc"]
    assert result.rows[0].seconds > 0.0
    with pytest.raises(InputError, match="A polynomial needs"):
        compare(images, images, models)
    assert compare(images, images, ["emsc"], failures={}).rows == ()


def test_settings_are_those_that_the_model_gets(rng) -> None:
    groups = GroupedData(rng.normal(size=(12, 3, 16)))
    assert CONTENDERS["symae"].settings_text == "defaults"
    for name, known in CONTENDERS.items():
        if not known.settings:
            continue
        model = known.build(groups, Sizes(coherent_dim=2, nuisance_dim=2), 0)
        config = getattr(model, "autoencoder", model).get_config()
        for key, value in known.settings.items():
            assert config[key] == value, name
            assert f"{key}={value}" in known.settings_text


def test_classical_contenders_swap_codes(rng) -> None:
    x = rng.normal(size=(12, 1, 16)) + 0.1 * rng.normal(size=(12, 3, 16))
    groups = GroupedData(x)
    for name, known in CONTENDERS.items():
        if known.family != "classical":
            continue
        model = known.build(groups, Sizes(coherent_dim=2, nuisance_dim=2), 0)
        model.fit(groups)
        virtual = model.redatum(groups.x[:4], groups.x[4:8])
        assert virtual.shape == (4, 3, 16) and np.isfinite(virtual).all(), name
