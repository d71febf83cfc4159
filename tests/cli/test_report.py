"""The report of a run: complete, self-contained, escaped, and safe for user files."""

from __future__ import annotations

import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from symae_keras import cli
from symae_keras._utils.markers import read_marker
from symae_keras.cli._html import Html, escape, is_sealed, page, section, table
from symae_keras.cli._report_sections import SECTIONS, _curve, _next
from symae_keras.cli._run_folder import AT_THE_START, CHOOSES_UPDATES
from symae_keras.cli.report import write_report
from symae_keras.data import GroupedData, save, simulate_exposures

ARCHIVE = Path(__file__).parents[1] / "golden" / "0.1.zip"
#: Elements without an end tag.
VOID = {"meta", "img", "br", "hr", "link", "input"}
TITLES = (
    "Data",
    "Training",
    "Error of virtual instances",
    "Content of the codes",
    "Replicates before and after",
    "Examples",
    "Next",
)


@pytest.fixture(autouse=True)
def _one_example(monkeypatch):
    """Draw one example per report; the run of the first test has all."""
    monkeypatch.setattr("symae_keras.cli._report_results._EXAMPLES", 1)


@pytest.fixture
def no_examples(monkeypatch):
    """Leave out the section that takes most of the time."""
    monkeypatch.setitem(SECTIONS, "examples", lambda material: None)


class Page(HTMLParser):
    """Parsed properties of a page: resources, headings, identifiers, and balance."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.resources: list[str] = []
        self.ids: list[str] = []
        self.headings: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name, attributes):
        known = dict(attributes)
        self.tags.append(name)
        self.resources += [
            value or ""
            for key, value in attributes
            if key in ("src", "href", "xlink:href", "srcset", "action", "data")
        ]
        if known.get("id"):
            self.ids.append(known["id"])
        if name in ("svg", "img"):
            self.images.append(known)
        if name in ("h1", "h2"):
            self.headings.append((name, ""))
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.handle_starttag(name, attributes)
        if name not in VOID:
            self.open.pop()

    def handle_endtag(self, name):
        assert self.open and self.open[-1] == name, (name, self.open)
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2"):
            name, text = self.headings[-1]
            self.headings[-1] = name, text + data

    @property
    def titles(self) -> list[str]:
        """Headings of the sections, after the verdict."""
        return [text for name, text in self.headings if name == "h2"][1:]


def check(path: Path) -> Page:
    """Parse a report and check the properties that all reports share."""
    found = Page(path)
    assert is_sealed(path)
    # Everything is inside: addresses are only anchors in the page and embedded images.
    for each in found.resources:
        assert each.startswith(("#", "data:image/png;base64,")), each[:80]
    assert "url(" not in re.sub(r"url\(#", "", found.text)
    assert "@import" not in found.text and "http" not in found.text
    assert not {"script", "link", "iframe", "object"} & {*found.tags}
    places = [each[1:] for each in found.resources if each.startswith("#")]
    assert {*places} <= {*found.ids}
    assert len(found.ids) == len({*found.ids})
    assert [name for name, _ in found.headings].count("h1") == 1
    for each in found.images:
        assert each.get("alt") or each.get("aria-label")
    assert "prefers-color-scheme: dark" in found.text and "@media print" in found.text
    return found


@pytest.mark.parametrize("simulated", [True, False])
def test_train_writes_a_report(simulated, run_folder, measured_run):
    folder = run_folder if simulated else measured_run
    found = check(folder / "report.html")
    expected = [title for title in TITLES if simulated or title != TITLES[3]]
    assert found.titles == expected
    assert ("true error" in found.text) == simulated
    assert folder.name in found.text and str(folder.parent) not in found.text
    assert "report.html" in read_marker(folder)["files"]
    # Two groups of a measured run were held out.
    # The data of the other run have no state to score, and are too few for bands.
    assert len(found.images) == 5 + 4 * simulated
    assert ("with a probability of 90 %, from" in found.text) == simulated
    assert ("group 0 under a nuisance of group 1" in found.text) == simulated


@pytest.mark.large
@pytest.mark.usefixtures("no_examples")
def test_report_again(succeeds, own_run, recipe, here):
    before = (own_run / "report.html").read_text(encoding="utf-8")
    done = succeeds("report", own_run, "--recipe", recipe)
    assert done == (0, f"{own_run / 'report.html'}: open it in a browser\n", "")
    after = check(own_run / "report.html").text
    verdict = re.compile(r'<div class="verdict.*?</div>', re.DOTALL)
    assert verdict.findall(after) == verdict.findall(before) != []
    # The report still counts as symae's own, so that --force replaces the run.
    train = ("train", recipe, "--epochs", 1, "--force", "--out", own_run)
    succeeds(*train)


def test_no_file_of_a_user_is_replaced(refuses, own_run, recipe, here):
    report = ("report", own_run, "--recipe", recipe)
    path = own_run / "report.html"
    path.write_text(path.read_text(encoding="utf-8") + "my note", encoding="utf-8")
    assert "not an unmodified report of symae" in refuses(*report)
    (here / "mine.html").write_text("<p>mine</p>", encoding="utf-8")
    (here / "link.html").symlink_to(path)
    for out in ("mine.html", "link.html"):
        assert "is not replaced; move it" in refuses(*report, "--out", out)
    assert "must end in .html" in refuses(*report, "--out", "report.pdf")


@pytest.mark.large
@pytest.mark.usefixtures("no_examples")
def test_an_older_report_is_replaced(succeeds, own_run, recipe, here):
    shutil.copy(own_run / "report.html", here / "other.html")
    succeeds("report", own_run, "--recipe", recipe, "--out", "other.html")
    check(here / "other.html")


@pytest.mark.large
def test_pipes_and_odd_numbers_of_a_stranger(succeeds, refuses, own_run, here):
    """Check that pipes do not block, and that non-finite values are not metrics."""
    for name in ("history.csv", "environment.json"):
        (own_run / name).unlink()
        os.mkfifo(own_run / name)
    text = '{"verdict": "<script>", "redatuming_error": "<b>", "estimated_low": [1]}'
    (own_run / "metrics.json").write_text(text, encoding="utf-8")
    succeeds("report", own_run, "--out", "r.html")
    found = check(here / "r.html")
    assert found.titles == ["Data", "Next"] and "<b>" not in found.text


def test_missing_run(refuses):
    assert "does not exist" in refuses("report", "none")


def test_text_of_a_user_is_escaped(succeeds, own_run, recipe, here):
    evil = "<script>alert(1)</script>"
    groups = simulate_exposures(30, 3, seed=4)
    save(
        GroupedData(
            groups.x,
            ids=np.array([f"{evil}{k}" for k in range(30)]),
            axis=groups.axis,
            axis_label=f"{evil} (nm)",
            group_metadata={evil: groups.state["abundance"]},
            instance_metadata={f"&{evil}": groups.nuisance["slope"]},
        ),
        "<b>.npz",
    )
    (own_run / "axis.json").unlink()
    command = ("report", own_run, "--data", "<b>.npz", "--out", "r.html")
    succeeds(*command, "--recipe", recipe, "--state", evil)
    found = check(here / "r.html")
    assert "<script" not in found.text and "&lt;script&gt;" in found.text
    assert "<b>" not in found.text
    assert "Content of the codes" in found.titles


def test_state_that_is_not_there(refuses, own_run, here):
    save(simulate_exposures(30, 3, seed=4), "a.npz")
    command = ("report", own_run, "--data", "a.npz", "--out", "r.html", "--state", "x")
    assert "The data have no column x" in refuses(*command)


@pytest.mark.large
def test_run_of_version_0_1(succeeds, refuses, here, tmp_path):
    """Its data were moved, so their sections need --data."""
    golden = tmp_path / "golden"
    shutil.unpack_archive(ARCHIVE, golden)
    run = golden / "run"
    done = succeeds("report", run)
    assert "the report has no sections that need data" in done.err
    assert "specify the data with --data" in done.err
    found = check(run / "report.html")
    assert found.titles == ["Data", "Training", "Next"]
    assert "No estimate" in found.text
    # Without a marker file, an unmodified report is still recognised.
    succeeds("report", run, "--data", golden / "data.npz")
    found = check(run / "report.html")
    assert found.titles == [each for each in TITLES if each != TITLES[3]]
    assert "No estimate" not in found.text and "groups of data.npz" in found.text
    (run / "report.html").write_text("mine", encoding="utf-8")
    assert "not an unmodified report" in refuses("report", run)


@pytest.mark.large
@pytest.mark.usefixtures("no_examples")
def test_all_groups_were_trained_on(succeeds, recipe, data_file, here):
    train = ("train", recipe, "--data", data_file, "--epochs", 1, "--held-out", 0)
    succeeds(*train, "--out", "run")
    succeeds("report", "run", "--recipe", recipe, "--out", "r.html")
    found = check(here / "r.html")
    assert "so the estimate is optimistic" in found.text
    assert "There is no validation loss." in found.text


@pytest.mark.large
def test_single_instances(altered, succeeds, here):
    recipe = altered(
        ("SymAE", "Autoencoder"),
        ("coherent_dim=3", "code_dim=4"),
        ("        nuisance_dim=2,\n", ""),
        ("n_states=110", "n_states=40"),
    )
    assert cli.main(["train", str(recipe), "--out", "run"]) == 0
    succeeds("report", "run", "--recipe", recipe, "--out", "r.html")
    found = check(here / "r.html")
    assert found.titles == ["Data", "Training", "Example", "Next"]
    assert "Reconstructions only" in found.text


@pytest.mark.large
def test_images(altered, succeeds, here):
    recipe = altered(
        ("simulate_exposures", "simulate_shapes"),
        ("n_states=110", "n_states=30"),
        ("encoder=DenseEncoder(8, units=(16,))", "encoder='dense'"),
    )
    assert cli.main(["train", str(recipe), "--out", "run"]) == 0
    succeeds("report", "run", "--recipe", recipe, "--out", "r.html")
    assert check(here / "r.html").titles[-2] == "Examples"


def test_a_report_that_fails_loses_no_model(
    succeeds, recipe, data_file, here, monkeypatch
):
    def fail(*_, **__):
        raise RuntimeError("no ink")

    monkeypatch.setattr("symae_keras.cli.report._page", fail)
    monkeypatch.setattr("symae_keras.cli.train.write_report", write_report)
    train = ("train", recipe, "--data", data_file, "--epochs", 1, "--out", "run")
    assert "no report: RuntimeError: no ink" in succeeds(*train).err
    assert (here / "run" / "model.keras").is_file()
    assert not (here / "run" / "report.html").exists()


@pytest.mark.large
@pytest.mark.usefixtures("no_examples")
def test_a_section_that_fails_is_left_out(succeeds, own_run, recipe, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no ink")

    monkeypatch.setattr("symae_keras.plotting.plot_estimates", fail)
    done = succeeds("report", own_run, "--recipe", recipe)
    assert "the report has no section errors: RuntimeError: no ink" in done.err
    assert "Error of virtual instances" not in check(own_run / "report.html").titles


@pytest.mark.large
@pytest.mark.usefixtures("no_examples")
def test_a_start_better_than_every_epoch_is_named(succeeds, here, monkeypatch):
    """Nothing is better for linear data than the linear model of training."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 1, 2)) @ rng.normal(size=(2, 12))
    x = x + rng.normal(size=(20, 3, 2)) @ rng.normal(size=(2, 12))
    save(GroupedData(x + 0.03 * rng.normal(size=x.shape)), "linear.npz")
    command = ("train", "symae_exposures", "--data", "linear.npz", "--updates", 4)
    monkeypatch.setattr("symae_keras.cli.train.write_report", write_report)
    done = succeeds(*command, "--out", "run")
    assert f"note: {AT_THE_START}" in done.err
    assert AT_THE_START in check(here / "run" / "report.html").text
    assert (
        keras.saving.load_model("run/model.keras", compile=False).backbone == "linear"
    )
    # Without held-out groups, no epoch is trained, so there is no history.
    done = succeeds(*command, "--held-out", 0, "--out", "all")
    assert f"note: {CHOOSES_UPDATES}" in done.err
    assert f"note: {AT_THE_START}" in done.err
    assert "no figure" not in done.err
    said = check(here / "all" / "report.html").text
    assert AT_THE_START in said and "linear mixed model" in said
    assert "<dt>Updates</dt><dd>0</dd>" in said
    assert not (here / "all" / "history.csv").exists()


@pytest.mark.large
@pytest.mark.usefixtures("no_examples")
def test_the_chosen_number_of_updates_is_named(succeeds, here, recipe, monkeypatch):
    rng = np.random.default_rng(0)
    save(GroupedData(rng.normal(size=(14, 3, 32))), "noise.npz")
    monkeypatch.setattr("symae_keras.cli.train.write_report", write_report)
    monkeypatch.setattr("symae_keras.training.fit._enough_updates", lambda *_: 6)
    command = ("train", recipe, "--data", "noise.npz", "--updates", 40)
    done = succeeds(*command, "--held-out", 0, "--out", "run")
    assert f"note: {CHOOSES_UPDATES}" in done.err
    assert AT_THE_START not in done.err
    assert "note: trained with 6 updates\n" in done.err
    text = check(here / "run" / "report.html").text
    assert "6 updates of the weights" in text
    assert "held out, chose this number" in text


def test_the_best_epoch_has_its_updates():
    said = _curve([0.3, 0.1, 0.2, 0.2], 200)
    assert "lowest after epoch 2 of 4 (100 updates), and is 100 % higher" in said
    assert "better, with --updates 400." in _curve([0.3, 0.2], 200)


def test_suggested_commands_name_the_group_column():
    config = {
        "data": {"file": "/my/s.csv", "group": "sample"},
        "groups": {"train": 32, "held_out": 8},
        "recipe": {"source": "symae_exposures"},
    }
    material = SimpleNamespace(
        name="run", run=SimpleNamespace(config=config), source="s.csv", swaps=True
    )
    said = _next(material)
    assert "symae tune --data s.csv --group sample --out tuned" in said
    assert "symae compare --data s.csv --group sample<" in said
    assert "--state" not in said  # it needs 20 held-out groups
    config["groups"]["held_out"] = 20
    assert "symae evaluate run --state COLUMN" in _next(material)
    # A tuned run needs no recipe and no second search.
    config |= {"tuning": {}, "recipe": {"source": "/my/run/recipe.py"}}
    said = _next(material)
    assert "symae tune" not in said and "--recipe" not in said


# === Pages ===


def test_escaping():
    assert escape("a & \"b\" 'c'") == "a &amp; &quot;b&quot; &#x27;c&#x27;"
    assert escape(Html("<p>")) == "<p>"
    assert escape("\udcff") == "\\udcff"  # a byte of a file name
    assert "None" not in section("Examples", Html("<p>"), None)


def test_a_seal_breaks(tmp_path):
    path = tmp_path / "r.html"
    assert not is_sealed(path)
    text = page("<t>", "$title", Html("<p>$body</p>"), "", "1")
    assert "&lt;t&gt;" in text and "<p>$body</p>" in text and "$title" in text
    path.write_text(text, encoding="utf-8")
    assert is_sealed(path)
    path.write_text(text.replace("<p>", "<p> "), encoding="utf-8")
    assert not is_sealed(path)


def test_tables():
    """Numeric columns are right-aligned; names that a user chose are text."""
    rows = [("<a>", "1 %", 0.5, "x"), ("b", "\N{EN DASH}", None, "2")]
    made = table("c", ("", "share", "score", "kind"), rows, marked=1)
    right = '<td class="number">'
    assert '<th scope="row">&lt;a&gt;</th>' in made
    assert f"{right}1 %</td>{right}0.50</td><td>x</td>" in made
    assert f'<tr class="this"><th scope="row">b</th>{right}\N{EN DASH}</td>' in made
    assert '<th scope="col" class="number">score</th>' in made
    assert 'aria-label="c"' in made
    plain = table("c", (), [("a", "1")])
    assert "thead" not in plain and "number" not in plain
