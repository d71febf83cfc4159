"""The page of `symae explore` in headless Chromium, compared with Keras."""

from __future__ import annotations

import base64
import json
import statistics
from pathlib import Path
from xml.etree import ElementTree

import keras
import numpy as np
import pytest
from browser import Browser

from symae_keras import cli, layers
from symae_keras.cli import explore
from symae_keras.cli._run_folder import load_run
from symae_keras.cli.evaluate import both_parts
from symae_keras.data import GroupedData, load, save
from symae_keras.evaluation import Bands
from symae_keras.models import SymAE

if keras.backend.backend() != "tensorflow":
    pytest.skip("models are exported with TensorFlow", allow_module_level=True)

# === Command ===


def test_refused(run_folder, altered, tmp_path, capsys) -> None:
    assert cli.main(["explore", str(run_folder), "--out", "page.pdf"]) == 2
    assert "must end in .html" in capsys.readouterr().err
    there = tmp_path / "page.html"
    there.write_text("mine", encoding="utf-8")
    assert cli.main(["explore", str(run_folder), "--out", str(there)]) == 2
    assert "give --force" in capsys.readouterr().err
    assert there.read_text(encoding="utf-8") == "mine"


def test_names_in_the_data_are_no_code() -> None:
    content = {"title": "<b>a", "groups": [{"id": "</script><script>alarm()"}]}
    page = explore._page(content)
    assert "<title>Codes of &lt;b&gt;a</title>" in page
    assert "</script><script>alarm" not in page
    # The page has the elements of the template and no others.
    assert page.count("<script") == page.count("</script>") == 4


def test_groups_of_several_instances_come_first() -> None:
    x = np.arange(60 * 3 * 4, dtype="float32").reshape(60, 3, 4)
    mask = np.ones((60, 3), bool)
    mask[:40, 1:] = False
    mask[50, 1] = False
    x[50, 0, 2] = np.nan
    found = explore._some(GroupedData(x, mask=mask))
    assert len(found) == 24
    assert [each["id"] for each in found[-20:]] == [str(k) for k in range(40, 60)]
    one = next(each for each in found if each["id"] == "50")
    assert one["instances"] == ["0", "2"]
    values = _floats(one["x"]).reshape(2, 4)
    np.testing.assert_array_equal(values, x[50, [0, 2]])


def _floats(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


# === Browser ===


@pytest.fixture(scope="module")
def material(run_folder, recipe):
    """Return a run whose model has state detail, and its held-out groups."""
    run = load_run(run_folder, recipe)
    run.model.detail = np.linspace(0.0, 0.9, 256)
    return run, both_parts(run)[1]


@pytest.fixture(scope="module")
def page(material, tmp_path_factory, estimate_coarsely) -> Path:
    pytest.importorskip("tf2onnx")
    path = tmp_path_factory.mktemp("page") / "page.html"
    with pytest.MonkeyPatch.context() as patch:
        estimate_coarsely(patch)
        content = explore._content(*material, trained_on=False)
    path.write_text(explore._page(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(page):
    with Browser() as browser:
        browser.open(page)
        browser.value("explorer.ready")
        yield browser
        assert browser.problems() == []


def wait_for(browser: Browser, expression: str) -> None:
    frame = "await new Promise(requestAnimationFrame)"
    browser.value(f"(async () => {{ while (!({expression})) {frame}; }})()")


MADE = "[...explorer.state.made.%s]"


def close_to(received, expected) -> None:
    expected = np.asarray(expected)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(received, expected, rtol=0.0, atol=1e-4 * scale)


@pytest.mark.large
def test_swaps_and_bands_are_those_of_keras(browser, material) -> None:
    run, groups = material
    bands = Bands.fit(run.model, groups, 0.9)
    for a, b, place in ((0, 1, 0), (3, 2, 2), (5, 5, 1)):
        browser.value(f"explorer.choose('a', {a}, 0)")
        browser.value(f"explorer.choose('b', {b}, {place})")
        virtual = run.model.redatum(groups[a : a + 1], groups[b : b + 1])
        close_to(browser.value(MADE % "values"), virtual[0, place])
        lower, upper = bands.of(groups[a : a + 1], groups[b : b + 1])
        close_to(browser.value(MADE % "lower"), lower[0, place])
        close_to(browser.value(MADE % "upper"), upper[0, place])
    # States and nuisances must matter, otherwise the comparison would be meaningless.
    assert np.ptp(groups.x, axis=(0, 1)).max() > 0.1
    browser.value("explorer.choose('a', 0, 0)")
    before = browser.value(MADE % "values")
    browser.value("explorer.swap()")
    assert browser.value("explorer.state.b.group") == 0
    assert np.abs(np.subtract(browser.value(MADE % "values"), before)).max() > 0.01


@pytest.mark.large
def test_a_swap_takes_at_most_50_ms(browser) -> None:
    times = browser.value(
        """(async () => {
          const found = [];
          for (let k = 0; k < 30; k++) {
            const from = performance.now();
            await explorer.choose("b", k % explorer.groups.length, k % 3);
            found.push(performance.now() - from);
          }
          return found;
        })()"""
    )
    assert statistics.median(times) <= 50.0


@pytest.mark.large
def test_sliders_are_used_with_the_keyboard(browser, material) -> None:
    run, groups = material
    browser.value("explorer.choose('a', 1, 0)")
    browser.value("explorer.choose('b', 2, 0)")
    browser.value("document.querySelector('#coherent input').focus()")
    browser.press("ArrowRight", 39)
    browser.press("Tab", 9)
    focused = "document.activeElement.labels[0].textContent"
    assert browser.value(focused).startswith("Coherent")
    browser.value("new Promise((done) => setTimeout(done, 500))")
    assert "not from a measurement" in browser.value("said.textContent")
    coherent = np.array([browser.value("[...explorer.state.coherent]")], "float32")
    own, other = (run.model.encode(groups[k : k + 1]) for k in (1, 2))
    moved = np.abs(coherent - own.coherent)
    assert np.count_nonzero(moved > 1e-3) == 1
    nuisance = other.nuisance[:, :1]
    missed = (
        run.model.redatum(groups[1:2], groups[2:3])[0, 0]
        - (run.model.redatum(groups[1:2], groups[2:3], detail=False)[0, 0])
    )
    expected = run.model.decode(coherent, nuisance)[0, 0] + missed
    close_to(browser.value(MADE % "values"), expected)
    assert browser.value("explorer.state.made.lower") is None
    browser.value("reset.click()")
    browser.value("new Promise((done) => setTimeout(done, 300))")
    close_to(browser.value("[...explorer.state.coherent]"), own.coherent[0])


@pytest.mark.large
def test_all_controls_have_names(browser) -> None:
    unnamed = browser.value(
        """[...document.querySelectorAll("input, select, button")].filter((each) =>
          !(each.textContent && each.tagName === "BUTTON") && !each.labels?.length
        ).map((each) => each.outerHTML)"""
    )
    assert unnamed == []
    drawing = browser.value("document.querySelector('#plot svg').outerHTML")
    assert 'role="img"' in drawing and 'aria-labelledby="h-view said"' in drawing


@pytest.mark.large
def test_a_table_is_dropped(browser, material, tmp_path) -> None:
    run, groups = material
    x = groups.x[:2].copy()
    x[0, 1, 7] = np.nan
    few = GroupedData(x, ids=["one", "two"], axis=groups.axis, axis_label="x")
    save(few, tmp_path / "few.csv")
    text = json.dumps((tmp_path / "few.csv").read_text(encoding="utf-8"))
    first = browser.value("explorer.groups.length")
    browser.value(
        f"""(() => {{
          const files = new DataTransfer();
          files.items.add(new File([{text}], "few.csv"));
          const how = {{ dataTransfer: files, bubbles: true, cancelable: true }};
          document.getElementById("drop").dispatchEvent(new DragEvent("drop", how));
        }})()"""
    )
    added = "document.getElementById('added').textContent"
    wait_for(browser, added)
    assert browser.value(added).startswith("2 groups with 6 instances of few.csv")
    assert browser.value(f"explorer.groups[{first}].id") == "one (few.csv)"
    few = load(tmp_path / "few.csv")  # the gap is masked
    expected = run.model.encode(few)
    for k in range(2):
        codes = f"explorer.groups[{first + k}].codes"
        close_to(browser.value(f"[...{codes}.c]"), expected.coherent[k])
        nuisance = np.asarray(expected.nuisance[k]).reshape(-1)
        close_to(browser.value(f"[...{codes}.n]"), nuisance)
    browser.value("explorer.choose('b', 0, 0)")
    virtual = run.model.redatum(few[:1], groups[:1])
    close_to(browser.value(MADE % "values"), virtual[0, 0])


@pytest.mark.large
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: "", "The file is empty."),
        (lambda text: text.replace("0.5", "O.5", 1), "names are numbers"),
        (lambda text: text.replace("\n1,1,", "\n1,1,much", 1), "is not a number"),
        (lambda text: text.replace("\n1,1,", "\n1,", 1), "Row 5 has 257 cells"),
        (lambda text: text.replace("-1.0,", "-9.0,", 1), "is on the axis -9 to 1"),
    ],
)
def test_bad_tables_are_refused_with_a_sentence(
    browser, material, tmp_path, change, sentence
) -> None:
    groups = material[1]
    few = GroupedData(groups.x[:2], axis=groups.axis)
    save(few, tmp_path / "few.csv")
    text = change((tmp_path / "few.csv").read_text(encoding="utf-8"))
    (tmp_path / "bad.csv").write_text(text, encoding="utf-8")
    before = browser.value("explorer.groups.length")
    node = browser.send(
        "Runtime.evaluate", expression="document.getElementById('file')"
    )
    browser.value("document.getElementById('alarm').textContent = ''")
    browser.send(
        "DOM.setFileInputFiles",
        files=[str(tmp_path / "bad.csv")],
        objectId=node["result"]["objectId"],
    )
    alarm = "document.getElementById('alarm').textContent"
    wait_for(browser, alarm)
    assert sentence in browser.value(alarm)
    assert browser.value(alarm).startswith("bad.csv: ")
    assert browser.value("explorer.groups.length") == before


@pytest.mark.large
def test_pictures_and_values_are_downloaded(browser) -> None:
    browser.value("explorer.choose('a', 0, 0)")
    root = ElementTree.fromstring(browser.value("explorer.drawing()"))
    assert root.tag.endswith("svg") and "var(" not in ElementTree.tostring(
        root, "unicode"
    )
    assert browser.value("explorer.picture().then((blob) => blob.size)") > 10_000
    lines = browser.value("explorer.table()").splitlines()
    assert lines[0] == "pixel,virtual,a,b,lower,upper" and len(lines) == 257


@pytest.mark.large
@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_all_of_it(page, dark) -> None:
    with Browser(390, 844, dark) as phone:
        phone.open(page)
        phone.value("explorer.ready")
        assert phone.value("document.documentElement.scrollWidth") == 390
        colours = {
            phone.value(f"getComputedStyle(document.body).{each}")
            for each in ("color", "backgroundColor")
        }
        assert len(colours) == 2
        assert phone.problems() == []


@pytest.mark.large
def test_images(tmp_path, material, rng) -> None:
    pytest.importorskip("tf2onnx")
    encoder = layers.DenseEncoder(4, units=(8,))
    model = SymAE((6, 5, 1), 2, 2, encoder=encoder, seed=0)
    groups = GroupedData(rng.uniform(size=(12, 3, 6, 5, 1)).astype("float32"))
    run = type(material[0])(tmp_path, material[0].config, model)
    path = tmp_path / "images.html"
    content = explore._content(run, groups, trained_on=True)
    path.write_text(explore._page(content), encoding="utf-8")
    with Browser() as browser:
        browser.open(path)
        browser.value("explorer.ready")
        assert browser.value("document.querySelectorAll('canvas').length") == 3
        virtual = model.redatum(groups[:1], groups[1:2])
        received = browser.value(MADE % "values")
        close_to(received, np.reshape(virtual[0, 0], -1))
        assert browser.value("document.getElementById('own').hidden")
        assert browser.value("explorer.state.made.lower") is None
        assert browser.problems() == []
