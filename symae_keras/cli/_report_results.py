"""Sections of a report with comparisons, probes and figures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import symae_keras as sk
from symae_keras._utils.arrays import in_batches
from symae_keras.cli._html import Html, figure, join, section, table, tag
from symae_keras.cli._linear_reference import linear_mixed_model
from symae_keras.cli._report_material import NAMES, Material, percent
from symae_keras.cli._run_folder import NEEDED
from symae_keras.errors import InputError
from symae_keras.evaluation.replicates import fill_bad_pixels, virtual_of_each
from symae_keras.plotting.style import axis_and_labels, drawable

if TYPE_CHECKING:
    from symae_keras.evaluation import ColumnScore, EstimatedRedatumingError

#: Maximum number of values in the groups for the comparison with linear methods.
_MOST_NUMBERS: Final = 20_000_000
_DRAWN: Final = 8
_EXAMPLES: Final = 3
#: Maximum number of groups for the calibration of bands.
_CALIBRATION: Final = 128
_MOST_COLUMNS: Final = 12


# === Errors ===


def errors(material: Material) -> Html | None:
    """Return the estimates of this model and of linear methods."""
    groups, model = material.groups, material.run.model
    if groups is None or not material.swaps:
        return None
    if material.number("estimated_redatuming_error") is None:
        return None
    own = f"this model ({type(model).__name__})"
    estimates = {own: _own_estimate(material)}
    truth = {own: material.number("redatuming_error")}
    size = max(groups.x[:1].size, 1)
    few = groups[: max(2, _MOST_NUMBERS // size)]
    for name, reference in _linear(material).items():
        try:
            estimates[name] = sk.evaluation.estimate_redatuming_error(reference, few)
        except InputError:
            continue
        known = groups.render is not None and len(few) > 1
        truth[name] = (
            float(sk.evaluation.redatuming_error(reference, few)) if known else None
        )
    there = {name: value for name, value in truth.items() if value is not None}
    headings = ["method", "estimate", "interval", "reconstruction"]
    headings += ["state in nuisance code x 2", "nuisance in coherent code x 2"]
    rows = []
    for name, each in estimates.items():
        low, high = map(percent, each.interval)
        parts = (each.reconstruction, each.state_in_nuisance, each.nuisance_in_state)
        factors = (1.0, 2.0, 2.0)
        cells = (percent(f * part) for f, part in zip(factors, parts, strict=True))
        row = [name, percent(each), f"{low} to {high}", *cells]
        rows.append([*row, percent(truth[name])] if there else row)
    heads = [*headings, "true error"] if there else headings
    best = min(estimates, key=lambda name: float(estimates[name]))
    caption = "Errors in percent of the variance of the data"
    drawn = sk.plotting.plot_estimates(estimates, there)
    alt = "; ".join(f"{name}: {percent(each)}" for name, each in estimates.items())
    return section(
        "Error of virtual instances",
        tag(
            "p",
            "The estimate needs no ground truth. It is the sum of three parts: the "
            "error of the reconstruction, twice the state that the nuisance code "
            "contains, and twice the nuisance that the coherent code contains. Linear "
            f"methods on the same {material.part} are the baseline. Smallest estimate: "
            f"{best}.{_without_detail(material)}",
        ),
        table(caption, heads, rows, marked=0),
        figure(
            drawn,
            "errors",
            f"Bars of the estimated errors. {alt}.",
            "Estimated redatuming errors and their parts.",
        ),
    )


def _without_detail(material: Material) -> str:
    """Return a sentence on the reconstruction error if it is not that of the table."""
    error = material.number("reconstruction_error")
    if error is None or not material.number("detail_gain"):
        return ""
    return (
        " The reconstruction of this model includes the detail of the state, which "
        f"virtual instances contain; without it, the error is {percent(error)}."
    )


def _own_estimate(material: Material) -> EstimatedRedatumingError:
    """Return the estimate in the metrics with its parts."""
    names = ("estimated_nuisance_in_state", "estimated_state_in_nuisance")
    interval = ("estimated_low", "estimated_high")
    total, *numbers = (
        material.number(name)
        for name in ("estimated_redatuming_error", *names, *interval)
    )
    if total is None or None in numbers:
        assert material.groups is not None
        return sk.evaluation.estimate_redatuming_error(
            material.run.model, material.groups
        )
    nuisance, state, low, high = (float(each or 0.0) for each in numbers)
    rest = total - 2.0 * (nuisance + state)
    return sk.evaluation.EstimatedRedatumingError(
        rest, nuisance, state, (low, high), 0.9
    )


def _linear(material: Material) -> dict[str, Any]:
    """Return fitted linear methods by name."""
    groups, train, model = material.groups, material.train, material.run.model
    assert groups is not None
    methods: dict[str, Any] = {"linear mean swap": sk.classical.MeanSwap().fit(groups)}
    if train is None:
        return methods
    mixed = linear_mixed_model(train)
    size = max(train.x[:1].size, 1)
    train = train[: max(2, _MOST_NUMBERS // size)]
    codes = in_batches(model.encode, groups.x[:1], _first(groups.model_mask))
    pixels = math.prod(groups.instance_shape)
    rows = int(train.counts.sum()) - len(train)
    sizes = (
        min(codes[0][0].size, len(train) - 1, pixels),
        min(codes[1][0, 0].size, rows, pixels),
    )
    if min(sizes) > 0:
        name = f"principal components ({sizes[0]} + {sizes[1]})"
        methods[name] = sk.classical.GroupedPCA(*sizes).fit(train)
    if mixed is not None:
        methods["linear mixed model"] = mixed
    return methods


def _first(mask: Any) -> Any:
    return None if mask is None else mask[:1]


# === Codes ===


def codes(material: Material) -> Html | None:
    """Return the predictions of probes from the codes."""
    groups, title = material.groups, "Content of the codes"
    if groups is None or not material.swaps:
        return None
    known = {
        **groups.state,
        **groups.group_metadata,
        **groups.nuisance,
        **groups.instance_metadata,
    }
    names = [name for name in known if name not in (*NAMES, *material.state)]
    if names and len(groups) < (least := NEEDED["--state"]):
        text = f"Probes of the codes need {least} groups; there are {len(groups)}."
        return section(title, tag("p", text))
    scores: dict[str, ColumnScore] = {}
    for name in (*material.state, *names[:_MOST_COLUMNS]):
        try:
            # Networks take seconds per column.
            linear = None if name in material.state else True
            scores |= sk.evaluation.probe_columns(
                material.run.model, groups, [name], linear
            )
        except InputError:
            continue
    if not scores:
        return None
    kinds = {
        **dict.fromkeys(groups.instance_metadata, "column of instances"),
        **dict.fromkeys(groups.group_metadata, "column of groups"),
        **dict.fromkeys(groups.nuisance, "true nuisance"),
        **dict.fromkeys((*groups.state, *material.state), "state"),
    }
    rows = [
        (
            name,
            kinds[name],
            {"R2": "R\N{SUPERSCRIPT TWO}"}.get(each.score, each.score),
            None if each.coherent is None else max(each.coherent, 0.0),
            max(each.nuisance, 0.0),
            each.chance,
        )
        for name, each in scores.items()
    ]
    left = len(names) - _MOST_COLUMNS
    how = "linear"
    if material.state:
        how += f"; for {', '.join(material.state)}, networks from 200 rows on"
    return section(
        title,
        tag(
            "p",
            "Probes predict each column from the codes of groups that they were not "
            f"trained on (five-fold cross-validation; probes are {how}). The state "
            "should be predictable from the coherent code and not from the nuisance "
            "code. For conditions of the measurement it is the other way round. A "
            "score at chance level means that this kind of probe finds no information."
            + (f" {left} more columns are left out." if left > 0 else ""),
        ),
        table(
            "Scores of probes, 1 is exact",
            ("column", "kind", "score", "coherent code", "nuisance code", "chance"),
            rows,
        ),
    )


# === Replicates and examples ===


def replicates(material: Material) -> Html | None:
    """Return the agreement of replicates before and after redatuming."""
    groups, model = material.replicated, material.run.model
    if groups is None:
        return None
    found = sk.evaluation.repeatability(model, groups)
    few = groups[:_DRAWN]
    code, _, _ = material.typical
    number = np.nonzero(few.present)[0]
    drawn = sk.plotting.plot_replicate_spread(
        fill_bad_pixels(few)[few.present],
        number,
        virtual_of_each(model, few, code),
        number,
    )
    rows = [
        ("one instance", percent(found.instances), percent(found.corrected)),
        ("half a group", percent(found.means), percent(found.virtual)),
    ]
    return section(
        "Replicates before and after",
        tag(
            "p",
            "All virtual instances here have one common nuisance, so that replicates "
            "of one group should agree. The repeatability is the share of the "
            "variance that is due to the group. A high value shows that replicates "
            "agree, not that they are correct: for this, see the estimate above.",
        ),
        table(
            f"Repeatability, from {len(groups)} groups",
            ("computed from", "as measured", "virtual"),
            rows,
        ),
        figure(
            drawn,
            "spread",
            f"Two scatter plots of {len(few)} groups in the plane of their largest "
            "differences: replicates as measured, and virtual instances. "
            f"Repeatability {rows[0][1]} before and {rows[0][2]} after.",
            f"Replicates of {len(few)} groups; one colour with one marker per group. "
            "Both panels have the same scale.",
        ),
    )


def examples(material: Material) -> Html | None:
    """Return figures of a few groups."""
    groups = material.groups
    if groups is None or len(groups.instance_shape) > 3:
        return None
    if not material.swaps:
        drawn = sk.plotting.plot_model_reconstruction(material.run.model, groups, 1)
        drawn.set_size_inches(4.6, drawn.get_figheight())
        caption = f"An instance of {groups.called(0)} and its reconstruction."
        return section("Example", figure(drawn, "example", caption, caption))
    if material.replicated is None:
        return None
    figures = [
        _example(material, number)
        for number in range(min(_EXAMPLES, len(material.replicated)))
    ]
    return section(
        "Examples",
        tag(
            "p",
            "Instances of a group as measured, their reconstructions, and virtual "
            "instances under one common nuisance, each computed from one instance.",
        ),
        tag("div", *figures, class_="figures"),
        _banded(material),
    )


def _banded(material: Material) -> Html | None:
    """Return swaps of the first groups, with bands calibrated on the other groups."""
    groups, model = material.groups, material.run.model
    assert groups is not None
    if material.trained_on or len(groups.instance_shape) != 1:
        return None
    shown, others = groups[: _EXAMPLES + 1], groups[_EXAMPLES + 1 :][:_CALIBRATION]
    try:
        bands = sk.evaluation.Bands.fit(model, others)
    except InputError:
        return None  # too few groups
    level = f"{100.0 * bands.level:.0f} %"
    # Separate figures, which are stacked on a narrow page.
    figures = []
    for n in range(min(_EXAMPLES, len(shown) - 1)):
        pair = shown[n : n + 2]
        drawn = sk.plotting.plot_model_redatuming(model, pair, 1, bands, n)
        caption = f"{pair.called(0, n)} under a nuisance of {pair.called(1, n)}"
        figures.append(figure(drawn, f"bands{n}", caption, caption))
    text = (
        "States of the first groups under nuisances of the next ones. The band "
        f"contains the whole true virtual instance with a probability of {level}, from "
        f"{bands.n_groups} other {material.part}."
    )
    return join((tag("p", text), tag("div", *figures, class_="figures")))


def _example(material: Material, number: int) -> Html:
    groups, model = material.replicated, material.run.model
    assert groups is not None
    group = groups[number]
    code, donor, place = material.typical
    x = np.where(group.good_pixels, group.x, np.nan) if group.masks == 2 else group.x
    made = in_batches(model.reconstruct, group.x, group.model_mask)
    arrays = (x[group.present], made[group.present])
    virtual = virtual_of_each(model, group, code)
    truth = None
    if groups.render is not None and len(groups.instance_shape) == 1:
        truth = groups.virtual(number, donor, place)
    raw, reconstructed, corrected = map(drawable, (*arrays, virtual))
    drawn = sk.plotting.plot_replicates(
        raw, reconstructed, corrected, truth, **axis_and_labels(groups)
    )
    called = group.called(0, number) if group.ids is None else f"group {group.ids[0]}"
    return figure(
        drawn,
        f"example{number}",
        f"{called}: {len(virtual)} instances as measured, reconstructed and virtual.",
        called,
    )
