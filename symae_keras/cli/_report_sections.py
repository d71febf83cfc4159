"""The sections of a report."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Callable
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import symae_keras as sk
from symae_keras._utils.arrays import in_batches, swaps_codes
from symae_keras._utils.presets import preset_names
from symae_keras.cli._html import (
    Html,
    commands,
    figure,
    join,
    section,
    table,
    tag,
)
from symae_keras.cli._run_folder import Run
from symae_keras.errors import InputError
from symae_keras.evaluation.replicates import (
    fill_bad_pixels,
    typical_nuisance,
    virtual_of_each,
)
from symae_keras.plotting.style import axis_and_labels, drawable

if TYPE_CHECKING:
    from symae_keras.data import GroupedData
    from symae_keras.evaluation import EstimatedRedatumingError

#: Numbers in the groups on which linear methods are compared.
_MOST_NUMBERS: Final = 20_000_000
#: Groups whose replicates are compared, and of these, groups that are drawn.
_REPLICATED: Final = 100
_DRAWN: Final = 8
_EXAMPLES: Final = 3
_MOST_COLUMNS: Final = 12
#: Columns that name rows; nothing is to be predicted from them.
_NAMES: Final = ("instance", "file")
_GRADES: Final = ("Very good", "Good", "Fair", "Poor")


@dataclasses.dataclass(frozen=True)
class Material:
    """What a report is made from."""

    run: Run
    name: str
    """Of the run folder, when it is in place."""
    metrics: dict[str, Any]
    """The content of metrics.json, or what was measured."""
    environment: dict[str, Any]
    train: GroupedData | None
    """Groups that were trained on, or a sample of them."""
    groups: GroupedData | None
    """Groups for the evaluation, `None` if the data are not there."""
    trained_on: bool
    """Whether the groups for the evaluation were trained on."""
    state: tuple[str, ...]
    """Columns that describe the state, as the user says."""
    linear: bool | None
    """Whether probes are linear; `None` lets the number of rows decide."""

    @property
    def swaps(self) -> bool:
        """Whether the model is one of groups."""
        return swaps_codes(self.run.model)

    @property
    def source(self) -> str:
        """The name of the data; no path, because reports are sent to others."""
        file = self.run.config["data"]["file"]
        return "of the recipe" if file is None else PurePath(file).name

    @property
    def part(self) -> str:
        """What the groups for the evaluation are called."""
        if self.trained_on:
            return "training groups"
        part = self.metrics.get("data")
        return "held-out groups" if part == "held-out part" else f"groups of {part}"

    def number(self, name: str) -> float | None:
        """Return a metric, `None` if it is not a finite number."""
        return _finite(self.metrics.get(name))

    @cached_property
    def replicated(self) -> GroupedData | None:
        """Groups of several instances, a few; `None` if there are fewer than two."""
        if self.groups is None or not self.swaps:
            return None
        several = np.flatnonzero(self.groups.counts > 1)[:_REPLICATED]
        return self.groups[several] if len(several) > 1 else None

    @cached_property
    def typical(self) -> tuple[Any, int, int]:
        """The common nuisance code of `replicated`, its group and its instance."""
        assert self.replicated is not None
        return typical_nuisance(self.run.model, self.replicated)


def _finite(value: object) -> float | None:
    """Return a number of a file that anybody may have written."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _percent(share: float | None) -> str:
    if share is None:
        return "\N{EN DASH}"
    return f"{100.0 * share:.{0 if share >= 0.1 else 1}f} %"


def _duration(seconds: float) -> str:
    if seconds < 90.0:
        return f"{seconds:.0f} s"
    minutes = seconds / 60.0
    return f"{minutes:.0f} min" if minutes < 90.0 else f"{minutes / 60.0:.1f} h"


# === Verdict ===


def heading(material: Material) -> Html:
    """Return the verdict in words, and the numbers that matter most."""
    grade, *sentences = _verdict(material)
    kind = grade.lower().replace(" ", "-") if grade in _GRADES else "unknown"
    said = (tag("p", each) for each in sentences)
    card = tag("div", tag("h2", grade), *said, class_=f"verdict {kind}")
    facts = (
        tag("div", tag("dt", name), tag("dd", value))
        for name, value in _facts(material).items()
    )
    return join((card, tag("dl", *facts, class_="facts")))


def _verdict(material: Material) -> list[str]:
    """Return a grade of one or two words, and sentences."""
    text = material.metrics.get("verdict")
    if not material.swaps:
        return [
            "Reconstructions only",
            "This is a model of single instances: it has no codes of groups to swap, "
            "so there is no redatuming error.",
        ]
    if not isinstance(text, str):
        return [
            "No estimate",
            "The redatuming error was not estimated, because the data are not there, "
            "or because fewer than two groups have several instances.",
        ]
    grade, colon, rest = text.partition(": ")
    if not colon or grade not in _GRADES:
        grade, rest = "Result", text
    sentences = [rest[:1].upper() + rest[1:]]
    true = material.number("redatuming_error")
    if true is not None:
        sentences.append(
            f"The data are simulated, so the true error is known: {_percent(true)}."
        )
    if material.groups is not None:
        sentences += [f"Note: {each}." for each in material.groups.describe().warnings]
        found = sk.evaluation.confounded_metadata(material.groups)
        if confounded := [name for name in found if name not in _NAMES]:
            sentences.append(
                f"Warning: {', '.join(confounded)}: differs between groups more than "
                "within them. If the instances depend on it, the true error is larger "
                "than the estimate."
            )
    return [grade, *sentences]


def _facts(material: Material) -> dict[str, str]:
    """Return the numbers that matter most by name."""
    facts = {}
    metrics, config = material.metrics, material.run.config
    if (error := material.number("estimated_redatuming_error")) is not None:
        facts["Redatuming error, estimate"] = _percent(error)
    low, high = map(material.number, ("estimated_low", "estimated_high"))
    if low is not None and high is not None:
        facts["90 % interval"] = f"{_percent(low)} to {_percent(high)}"
    for name, title in (
        ("redatuming_error", "Redatuming error, true"),
        ("reconstruction_error", "Reconstruction error"),
    ):
        if (value := material.number(name)) is not None:
            facts[title] = _percent(value)
    parts = config.get("groups")
    if isinstance(parts, dict):
        facts["Groups, trained + held out"] = (
            f"{parts.get('train')} + {parts.get('held_out')}"
        )
    elif "groups" in metrics:
        facts["Groups evaluated"] = str(metrics["groups"])
    if (updates := _finite(config.get("updates"))) is not None:
        facts["Updates"] = f"{updates:,.0f}"
    if (seconds := _seconds(material)) is not None:
        facts["Training time"] = _duration(seconds)
    return facts


def _seconds(material: Material) -> float | None:
    try:
        return _finite(float(material.environment["training_seconds"]))
    except (KeyError, TypeError, ValueError):
        return None


# === Data and training ===


def _data(material: Material) -> Html:
    config, groups = material.run.config, material.groups
    rows: list[tuple[str, str]] = [("source", material.source)]
    parts = config.get("groups")
    if isinstance(parts, dict):
        rows.append(("groups trained on", str(parts.get("train"))))
        rows.append(("groups held out", str(parts.get("held_out"))))
    shape = " x ".join(map(str, config["instance_shape"]))
    rows.append(("shape of an instance", shape))
    axis = material.run.axis
    if axis is None and groups is not None:
        axis = sk.data.Axis.of(groups)
    rows.append(("axis", "none" if axis is None else str(axis)))
    if groups is None:
        return section("Data", table("The data of the run", ("", ""), rows))
    found = groups.describe()
    sizes = f"{found.smallest} to {found.largest}, median {found.median:g}"
    if found.smallest == found.largest:
        sizes = str(found.largest)
    total = found.variance_between + found.variance_within
    share = found.variance_between / total if total > 0.0 else 0.0
    known = {
        "columns, the same within groups": groups.group_metadata,
        "columns of instances": groups.instance_metadata,
        "true state": groups.state,
        "true nuisances": groups.nuisance,
    }
    rows += [
        (f"{material.part}", str(found.n_groups)),
        ("instances of a group", sizes),
        ("missing pixels", f"{100.0 * found.missing_pixels:.1f} %"),
        ("variance between groups", f"{_percent(share)} of the total"),
        *((title, ", ".join(map(str, each))) for title, each in known.items() if each),
    ]
    content: list[Html] = [table("The data of the run", ("", ""), rows)]
    if shared := [k for k in groups.group_metadata if k not in material.state]:
        content.append(
            tag(
                "p",
                f"The same for all instances of a group: {', '.join(shared)}. If one "
                "of these columns is a condition of the measurement, such as the night "
                "or the instrument, its effect counts as state, and the estimate of "
                "the error is too low.",
            )
        )
    return section("Data", *content)


def _training(material: Material) -> Html | None:
    from symae_keras.training.checkpoint import read_history

    history = material.run.folder / "history.csv"
    if not history.is_file():
        return None
    drawn = sk.plotting.plot_history(history)
    drawn.set_size_inches(4.6, 0.75 * drawn.get_figheight())
    config = material.run.config
    said = f"{len(read_history(history))} epochs"
    if (updates := _finite(config.get("updates"))) is not None:
        said += f", {updates:,.0f} updates of the weights"
    if (seconds := _seconds(material)) is not None:
        said += f", {_duration(seconds)}"
    losses = [_number(row.get("val_loss")) for row in read_history(history)]
    curve = _curve(losses)
    return section(
        "Training",
        tag("p", f"{said}. {curve}"),
        figure(
            drawn,
            "history",
            f"Learning curves over the epochs. {curve}",
            "Training and validation loss. Noise on the nuisance codes raises the "
            "training loss only.",
        ),
    )


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _curve(losses: list[float]) -> str:
    """Describe the validation loss."""
    known = np.array([each for each in losses if math.isfinite(each)])
    if len(known) < 2 or not known.min() > 0.0:
        return "There is no validation loss." if not len(known) else ""
    best = int(known.argmin())
    rise = known[-1] / known[best] - 1.0
    if rise > 0.05:
        return (
            f"The validation loss was lowest after {best + 1} of {len(known)} epochs, "
            f"and is {_percent(rise)} higher at the end."
        )
    tenth = max(1, len(known) // 10)
    if known[-tenth:].mean() < 0.97 * known[-2 * tenth : -tenth].mean():
        return (
            "The validation loss still fell at the end, so a longer training may be "
            "better."
        )
    return "The validation loss no longer changes at the end."


# === Errors ===


def _errors(material: Material) -> Html | None:
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
    headings = ["", "estimate", "interval", "reconstruction"]
    headings += ["state in nuisance code x 2", "nuisance in coherent code x 2"]
    rows = []
    for name, each in estimates.items():
        low, high = map(_percent, each.interval)
        parts = (each.reconstruction, each.state_in_nuisance, each.nuisance_in_state)
        factors = (1.0, 2.0, 2.0)
        cells = (_percent(f * part) for f, part in zip(factors, parts, strict=True))
        row = [name, _percent(each), f"{low} to {high}", *cells]
        rows.append([*row, _percent(truth[name])] if there else row)
    heads = [*headings, "true error"] if there else headings
    best = min(estimates, key=lambda name: float(estimates[name]))
    caption = "Errors in percent of the variance of the data"
    drawn = sk.plotting.plot_estimates(estimates, there)
    alt = "; ".join(f"{name}: {_percent(each)}" for name, each in estimates.items())
    return section(
        "Error of virtual instances",
        tag(
            "p",
            "The estimate needs no ground truth. It is the sum of three parts: the "
            "error of the reconstruction, twice the state that the nuisance code "
            "contains, and twice the nuisance that the coherent code contains. Linear "
            f"methods on the same {material.part} are the bar to pass. The smallest "
            f"estimate is that of {best}.",
        ),
        table(caption, heads, rows, marked=0),
        figure(
            drawn,
            "errors",
            f"Bars of the estimated errors. {alt}.",
            "Estimated redatuming errors and their parts.",
        ),
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
    return methods


def _first(mask: Any) -> Any:
    return None if mask is None else mask[:1]


# === Codes ===


def _codes(material: Material) -> Html | None:
    groups = material.groups
    if groups is None or not material.swaps:
        return None
    known = {
        **groups.state,
        **groups.group_metadata,
        **groups.nuisance,
        **groups.instance_metadata,
    }
    names = [name for name in known if name not in (*_NAMES, *material.state)]
    scores = {}
    for name in (*material.state, *names[:_MOST_COLUMNS]):
        try:
            scores |= sk.evaluation.probe_columns(
                material.run.model, groups, [name], material.linear
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
    how = "linear" if material.linear else "linear, or networks from 200 rows on"
    return section(
        "What the codes contain",
        tag(
            "p",
            "Probes predict each column from the codes of groups that they were not "
            f"trained on (five parts in turn; probes are {how}). The state should be "
            "predicted from the coherent code and not from the nuisance code; "
            "conditions of the measurement the other way round. A score at chance "
            "means that this kind of probe finds nothing."
            + (f" {left} more columns are left out." if left > 0 else ""),
        ),
        table(
            "Scores of probes, 1 is exact",
            ("", "kind", "score", "coherent code", "nuisance code", "chance"),
            rows,
        ),
    )


# === Replicates and examples ===


def _replicates(material: Material) -> Html | None:
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
        ("one instance", _percent(found.instances), _percent(found.corrected)),
        ("half a group", _percent(found.means), _percent(found.virtual)),
    ]
    return section(
        "Replicates before and after",
        tag(
            "p",
            "All virtual instances here have one common nuisance, so that replicates "
            "of one group should agree. The repeatability is the share of the "
            "variance that is due to the group. It says that replicates agree, not "
            "that they are right: the estimate above says that.",
        ),
        table(
            f"Repeatability, from {len(groups)} groups",
            ("made from", "as measured", "virtual"),
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


def _examples(material: Material) -> Html | None:
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
            "Instances of a group as they were measured, their reconstructions, and "
            "virtual instances under one common nuisance, each made from one instance.",
        ),
        tag("div", *figures, class_="figures"),
    )


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
    labels = axis_and_labels(groups)
    if len(groups.instance_shape) > 1:
        labels["axis"] = None if len(groups.instance_shape) == 3 else labels["axis"]
    drawn = sk.plotting.plot_replicates(
        *map(drawable, (*arrays, virtual)), truth=truth, **labels
    )
    called = group.called(0, number) if group.ids is None else f"group {group.ids[0]}"
    return figure(
        drawn,
        f"example{number}",
        f"{called}: {len(virtual)} instances as measured, reconstructed and virtual.",
        called,
    )


# === Next ===


def _next(material: Material) -> Html:
    run = shlex.quote(material.name)
    config = material.run.config
    file = config["data"]["file"]
    data = shlex.quote("my.csv" if file is None else material.source)
    end = ""
    if config["recipe"]["source"] not in preset_names():
        end = f" --recipe {shlex.quote(PurePath(config['recipe']['source']).name)}"
    steps = []
    if material.swaps:
        steps += [
            (
                "Correct your data: all groups under the nuisances of one group.",
                f"symae redatum {run} --coherent-from {data} --nuisance-from "
                f"reference.csv --out corrected.csv{end}",
            ),
            (
                "Write the code of each group, for a regression or a map.",
                f"symae encode {run} --data {data} --out codes.csv{end}",
            ),
            (
                "See whether another model suits the data better.",
                f"symae compare --data {data}",
            ),
            (
                "Probe the codes with networks, also for a column that you know.",
                f"symae report {run}{end} --state COLUMN",
            ),
        ]
    steps.append(
        (
            "Find instances that are unlike those of the training.",
            f"symae anomalies {run} --data new.csv --out strange.csv{end}",
        )
    )
    note = tag("p", "Give the commands in the folder that contains the run folder.")
    return section("Next", note, commands(*steps))


#: What makes the sections, by name; `None` leaves one out.
SECTIONS: Final[dict[str, Callable[[Material], Html | None]]] = {
    "data": _data,
    "training": _training,
    "errors": _errors,
    "codes": _codes,
    "replicates": _replicates,
    "examples": _examples,
    "next": _next,
}
