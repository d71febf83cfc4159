"""Detection of five kinds of new data, and the rate of false alarms.

A detector is calibrated on held-out stars of the exposures benchmark. Other stars are
tested without changes and with five kinds of changes, each in a strong and a weak form:

- new nuisance: water between 1.5 and 3 (2); in training it is between 0 and 1.5
- new state: abundances between 1 and 2 (1.5); in training they are between 0.1 and 1
- wavelength shift: all instances moved by 1 (0.5) pixels, telluric lines included
- gain: all instances multiplied by 1.2 (1.1)
- wrong grouping: 1 instance of 16 comes from another star; weak: 1 of 16 from a star
  that differs in abundances only by at most 0.3

The table shows the area under the ROC curve for the p-values of groups and, for wrong
grouping, of instances; the fraction of changed groups with p <= 0.05; and the fraction
of these for which the detector reports the right reason. False alarms are averaged over
several draws of calibration groups.

    python benchmarks/new_data.py --out new_data.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from common import print_table, write_json

import symae_keras as sk
from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.data.simulators.exposures import (
    ENTANGLED_SLOPE,
    N_PIXELS,
    SNR,
    render_exposures,
)
from symae_keras.evaluation import NewData, detection

T: Final = 16
LEVELS: Final = (0.01, 0.05, 0.1)
#: Number of fine pixels per pixel, for shifts.
_FINE: Final = 10


def exposures(
    state: Any, nuisance: Any, seed: int, shift: float = 0.0, gain: float = 1.0
) -> GroupedData:
    """Simulate noisy exposures of given parameters, with a shift and a gain."""
    n, t = nuisance["water"].shape
    each = {name: np.repeat(values, t, axis=0) for name, values in state.items()}
    flat = {name: values.reshape(n * t) for name, values in nuisance.items()}
    fine = (N_PIXELS - 1) * _FINE + 1
    x = render_exposures(ENTANGLED_SLOPE, each, flat, n_pixels=fine)
    places = _FINE * np.arange(N_PIXELS) - round(_FINE * shift)
    x = x[:, places.clip(0, fine - 1)].reshape(n, t, N_PIXELS)
    noise = np.random.default_rng(seed).standard_normal(x.shape, dtype="float32") / SNR
    return GroupedData((gain * (x + noise)).astype("float32"))


def changed(kind: str, strong: bool, n: int, seed: int) -> GroupedData:
    """Return groups with one kind of change."""
    groups = simulate_exposures(n, T, seed)
    rng = np.random.default_rng(seed + 1)
    state, nuisance = dict(groups.state), dict(groups.nuisance)
    if kind == "nuisance":
        nuisance["water"] = rng.uniform(1.5, 3.0 if strong else 2.0, (n, T))
    elif kind == "state":
        state["abundance"] = rng.uniform(1.0, 2.0 if strong else 1.5, (n, 4))
    elif kind == "shift":
        return exposures(state, nuisance, seed, shift=1.0 if strong else 0.5)
    elif kind == "gain":
        return exposures(state, nuisance, seed, gain=1.2 if strong else 1.1)
    elif kind == "grouping":
        other = {name: np.roll(values, 1, axis=0) for name, values in state.items()}
        if not strong:
            near = state["abundance"] + rng.uniform(-0.3, 0.3, (n, 4))
            other = {**state, "abundance": near.clip(0.1, 1.0)}
        x = exposures(state, nuisance, seed).x
        x[:, 0] = exposures(other, nuisance, seed).x[:, 0]
        return GroupedData(x)
    return exposures(state, nuisance, seed)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="symae_exposures")
    parser.add_argument("--calibration", type=int, default=500, help="default 500")
    parser.add_argument("--groups", type=int, default=300, help="default 300")
    parser.add_argument("--draws", type=int, default=10, help="default 10")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    model = sk.zoo.load(options.preset)

    alarms: list[dict[str, float]] = []
    for draw in range(options.draws):
        held_out = simulate_exposures(options.calibration, T, 1000 + draw)
        detector = NewData.fit(model, held_out)
        normal = detector.check(exposures_as_ever(options.groups, 2000 + draw))
        row = {f"groups <= {a}": float(np.mean(normal.group_p <= a)) for a in LEVELS}
        row |= {
            f"instances <= {a}": float(np.mean(normal.instance_p <= a)) for a in LEVELS
        }
        alarms.append(row)
        print(json.dumps(row), flush=True)
    mean_alarms = {name: float(np.mean([row[name] for row in alarms])) for name in row}
    print_table([mean_alarms], list(mean_alarms))

    table: list[dict[str, Any]] = []
    for kind in ("nuisance", "state", "shift", "gain", "grouping"):
        for strong in (True, False):
            check = detector.check(changed(kind, strong, options.groups, 3000))
            found = check.group_p <= 0.05
            p = np.concatenate([normal.group_p, check.group_p])
            new = np.repeat([False, True], [len(normal.group_p), len(check.group_p)])
            line: dict[str, Any] = {
                "new": kind,
                "form": "strong" if strong else "weak",
                "AUROC of groups": detection(-p, new).roc_auc,
                "found at 0.05": float(found.mean()),
                "right reason": float(np.mean(check.group_reason[found] == kind)),
            }
            if kind == "grouping":
                p = np.concatenate([normal.instance_p.ravel(), check.instance_p[:, 0]])
                new = np.arange(len(p)) >= normal.instance_p.size
                line["AUROC of instances"] = detection(-p, new).roc_auc
            table.append(line)
            print(json.dumps(line), flush=True)
    columns = list(dict.fromkeys(name for line in table for name in line))
    print_table(table, columns)
    if options.out:
        write_json(options.out, {"false alarms": mean_alarms, "detection": table})


def exposures_as_ever(n: int, seed: int) -> GroupedData:
    """Return groups without changes."""
    return dataclasses.replace(simulate_exposures(n, T, seed), render=None)


if __name__ == "__main__":
    main()
