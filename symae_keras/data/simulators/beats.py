"""Heartbeats of patients from a published dynamical model of electrocardiograms."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from symae_keras.data.groups import (
    Array,
    GroupedData,
    Parameters,
    check_counts,
    in_chunks,
)
from symae_keras.errors import InputError

#: Sizes, widths (rad) and angles (rad) of the waves P, Q, R, S, T (published model).
SIZES: Final = np.array([1.2, -5.0, 30.0, -7.5, 0.75])
WIDTHS: Final = np.array([0.25, 0.1, 0.1, 0.1, 0.4])
ANGLES: Final = np.array([-1 / 3, -1 / 12, 0.0, 1 / 12, 1 / 2]) * np.pi
#: Standard deviation over patients of log sizes, log widths, and angles in rad.
SIZE_SPREAD: Final = 0.25
WIDTH_SPREAD: Final = 0.12
ANGLE_SPREAD: Final = np.array([0.1, 0.02, 0.0, 0.02, 0.12])
#: mV per model unit: the R wave of the published patient reaches 1.2 mV at 60 bpm.
MILLIVOLT: Final = 29.0
#: Factors for an ectopic beat (premature ventricular contraction).
ECTOPIC_SIZES: Final = np.array([0.0, 0.0, 0.2, 1.0, -2.0])
ECTOPIC_WIDTHS: Final = np.array([1.0, 1.0, 2.5, 2.0, 1.0])
#: Samples per second.
RATE: Final = 250.0
#: Seconds from the first sample to the R wave.
BEFORE: Final = 0.28
#: Phases per beat at which the driving term is sampled, and number of harmonics.
_PHASES: Final = 512
_HARMONICS: Final = 120
_ROWS_AT_ONCE: Final = 512


def _render_rows(n_samples: int, state: Parameters, nuisance: Parameters) -> Array:
    row = {name: values[:, None] for name, values in nuisance.items()}
    ectopic = row["ectopic"] > 0.5
    size = state["size"] * np.where(ectopic, ECTOPIC_SIZES, 1.0)
    # As in the authors' program, waves fill more of the beat at higher rates. Widths
    # and the angles of Q and S grow with the square root of the rate, the angles of P
    # and T with its fourth root.
    stretch = np.sqrt(row["heart_rate"] / 60.0)
    width = state["width"] * stretch * np.where(ectopic, ECTOPIC_WIDTHS, 1.0)
    place = np.sqrt(stretch) ** np.array([1.0, 0.0, 0.0, 0.0, 1.0])
    angle = state["angle"] * place * stretch ** np.array([0.0, 1.0, 1.0, 1.0, 0.0])

    phase = 2.0 * np.pi * np.arange(_PHASES) / _PHASES
    drive = np.zeros((len(size), _PHASES))
    for wave in range(5):
        away = phase - angle[:, wave, None] + np.pi
        away = away % (2.0 * np.pi) - np.pi
        bell = np.exp(-0.5 * (away / width[:, wave, None]) ** 2)
        drive -= size[:, wave, None] * away * bell
    # dz/dt = drive - (z - z0) has the periodic solution drive_k / (1 + i k omega).
    order = np.arange(1, _HARMONICS + 1)
    omega = 2.0 * np.pi * row["heart_rate"] / 60.0
    harmonics = np.fft.rfft(drive)[:, 1 : _HARMONICS + 1] / _PHASES
    harmonics = harmonics / (1.0 + 1j * order * omega)

    time = np.arange(n_samples) / RATE - BEFORE - row["delay"]
    turn = np.exp(1j * omega * time)
    beat = np.zeros(turn.shape)
    power = np.ones_like(turn)
    for number in range(_HARMONICS):
        power = power * turn
        beat += 2.0 * (harmonics[:, number, None] * power).real
    # Respiration moves z0; the equation responds as a first-order filter.
    breath = 2.0 * np.pi * row["respiration_rate"]
    moved = np.exp(1j * (breath * time + row["respiration_phase"])) / (1 + 1j * breath)
    baseline = row["offset"] + row["slope"] * time + row["respiration"] * moved.real
    return np.asarray(row["gain"] * MILLIVOLT * beat + baseline)


def render_beats(n_samples: int, state: Parameters, nuisance: Parameters) -> Array:
    """Render noiseless beats from parameters, in chunks of rows to limit memory.

    Args:
        n_samples: Samples per beat.
        state: `size`, `width`, `angle`, each `(n, 5)`.
        nuisance: See `simulate_beats`; rows `(n,)`.

    Returns:
        float32 array `(n, n_samples)` in mV.
    """
    render = partial(_render_rows, n_samples)
    return in_chunks(render, (n_samples,), _ROWS_AT_ONCE, state, nuisance)


def simulate_beats(
    n_states: int = 500,
    n_instances: int = 16,
    seed: int = 0,
    n_samples: int = 200,
    ectopic: float = 0.0,
    noise: float = 0.02,
) -> GroupedData:
    """Simulate electrocardiograms of single heartbeats of patients.

    An instance is one beat of `n_samples` samples at 250 Hz, in mV, with the R wave
    about 0.28 s after the first sample. The shape is that of ECGSYN (McSharry,
    Clifford, Tarassenko and Smith 2003, doi 10.1109/TBME.2003.808805): `dz/dt = -sum of
    size d exp(-d^2 / (2 width^2)) - (z - z0)`, where `d = omega t - angle` is the
    distance in phase from each of the waves P, Q, R, S, T. The equation is solved
    exactly for a heart with a constant rate.

    - State of a patient: `size`, `width` (rad) and `angle` (rad) of the five waves.
      Sizes and widths are those of the paper times `exp(N(0, 0.25))` and
      `exp(N(0, 0.12))`; angles are those of the paper plus `N(0, 0.1)` for P,
      `N(0, 0.12)` for T, `N(0, 0.02)` for Q and S, and 0 for R.
    - Nuisance of a beat: `heart_rate ~ U(55, 100)` per minute, which changes widths and
      angles as in the authors' program; `gain = exp(N(0, 0.15))` of the electrodes;
      baseline `offset ~ N(0, 0.1)` mV and `slope ~ N(0, 0.1)` mV/s;
      `respiration ~ U(0, 0.2)` mV with `respiration_rate ~ U(0.2, 0.33)` Hz and a
      random `respiration_phase`; `delay ~ U(-0.02, 0.02)` s of the R wave; and
      `ectopic`, which is 1 for a beat that starts in a ventricle: P and Q are missing,
      R and S are broad, and T is inverted.
    - Noise: white Gaussian.

    Args:
        n_states: Number of patients, at least 1.
        n_instances: Beats per patient, at least 1.
        seed: Seed of states, nuisances and noise.
        n_samples: Samples per beat, at least 8. Defaults to 200, which is 0.8 s.
        ectopic: Share of ectopic beats, from 0 (default) to 1.
        noise: Standard deviation of the noise in mV, not negative.

    Returns:
        `GroupedData` with `x (n_states, n_instances, n_samples)` float32 in mV, the
        true `state` and `nuisance` parameters, and exact `virtual` instances. `axis` is
        the time in s, with 0 at the R wave without delay, and
        `instance_metadata["ectopic"]` is True for ectopic beats.

    Raises:
        InputError: An argument is out of range.

    Example:
    >>> beats = simulate_beats(n_states=4, n_instances=3, seed=0)
    >>> beats.x.shape, beats.state["size"].shape
    ((4, 3, 200), (4, 5))
    >>> beats.virtual(state=0, group=1, instance=2).shape
    (200,)
    """
    check_counts(n_states, n_instances)
    if n_samples < 8:
        raise InputError(f"n_samples must be at least 8; received {n_samples}.")
    if not 0.0 <= ectopic <= 1.0:
        raise InputError(f"ectopic must be a number from 0 to 1; received {ectopic}.")
    if not 0.0 <= noise < np.inf:
        raise InputError(f"noise must be finite and not negative; received {noise}.")
    rng = np.random.default_rng(seed)
    waves = (n_states, 5)
    state = {
        "size": SIZES * np.exp(rng.normal(0.0, SIZE_SPREAD, waves)),
        "width": WIDTHS * np.exp(rng.normal(0.0, WIDTH_SPREAD, waves)),
        "angle": ANGLES + ANGLE_SPREAD * rng.normal(size=waves),
    }
    shape = (n_states, n_instances)
    nuisance = {
        "heart_rate": rng.uniform(55.0, 100.0, shape),
        "gain": np.exp(rng.normal(0.0, 0.15, shape)),
        "offset": rng.normal(0.0, 0.1, shape),
        "slope": rng.normal(0.0, 0.1, shape),
        "respiration": rng.uniform(0.0, 0.2, shape),
        "respiration_rate": rng.uniform(0.2, 0.33, shape),
        "respiration_phase": rng.uniform(-np.pi, np.pi, shape),
        "delay": rng.uniform(-0.02, 0.02, shape),
        "ectopic": (rng.uniform(size=shape) < ectopic).astype(float),
    }
    group, instance = np.indices(shape)
    clean = GroupedData(
        x=np.empty((*shape, n_samples), "float32"),
        state=state,
        nuisance=nuisance,
        instance_metadata={"ectopic": nuisance["ectopic"] > 0.5},
        axis=np.arange(n_samples) / RATE - BEFORE,
        axis_label="time (s)",
        render=partial(render_beats, n_samples),
    )
    white = rng.standard_normal(clean.x.shape, dtype="float32")
    clean.x[:] = clean.virtual(group, group, instance) + np.float32(noise) * white
    return clean
