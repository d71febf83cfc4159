"""Shot gathers through a medium with anomalies, recorded on a ring of receivers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Final

import numpy as np

from symae_keras.data.groups import (
    Array,
    GroupedData,
    Parameters,
    check_counts,
    in_chunks,
)
from symae_keras.data.simulators import _rays
from symae_keras.data.simulators._waves import Waves
from symae_keras.errors import InputError

ENGINES: Final = ("rays", "waves")
#: Sampling interval in seconds.
SAMPLING: Final = 0.01
#: Largest frequency in Hz; less than 1e-4 of the energy of wavelets is above it.
HIGHEST: Final = 30.0
#: Radius in km of the ring of receivers, and of the disc with the anomaly centres.
RING: Final = 0.6
DISC: Final = 0.3
#: Velocity in km/s of the medium in which wavelets are defined, at a distance of 1 km.
REFERENCE: Final = 2.0
#: Bandwidth of a wavelet: standard deviation divided by frequency.
BANDWIDTH: Final = 1.0 / 3.0
#: Upper limit of the summed relative slowness of overlapping anomalies.
MAX_SLOWNESS: Final = 0.8
_ROWS_AT_ONCE: Final = 128

Green = Callable[[Parameters, Array], Array]


def _period(n_samples: int) -> int:
    """Return the period of traces in samples, in which scattered waves fade."""
    return max(128, -32 * (-(n_samples + 32) // 32))


def _frequencies(n_samples: int) -> Array:
    """Return the frequencies in Hz that wavelets contain, without 0."""
    every = np.fft.rfftfreq(_period(n_samples), SAMPLING)
    return every[(every > 0.0) & (every <= HIGHEST)]


def _wavelets(frequency: Array, nuisance: Parameters) -> Array:
    """Return the spectra `(n, f)` of sources, in the far field at 1 km."""
    rows = {name: values[:, None] for name, values in nuisance.items()}
    deviation = BANDWIDTH * rows["frequency"]
    bell = np.exp(-0.5 * ((frequency - rows["frequency"]) / deviation) ** 2)
    cycles = 2.0 * np.pi * frequency
    echo = rows["echo"] * np.exp(-1j * cycles * rows["echo_delay"])
    moment = np.exp(1j * (rows["phase"] - cycles * rows["origin_time"])) * (1.0 + echo)
    # The inverse of the two-dimensional far field, which removes half a derivative.
    far = np.sqrt(8.0 * np.pi * cycles / REFERENCE) * np.exp(0.25j * np.pi)
    spectra: Array = (
        rows["gain"] * bell / (2.0 * np.sqrt(2.0 * np.pi) * deviation) * moment * far
    )
    return spectra


def _render_rows(
    green: Green, n_samples: int, state: Parameters, nuisance: Parameters
) -> Array:
    angle, radius = nuisance["angle"], nuisance["radius"]
    source = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    field = green(state, source)
    spectra = _wavelets(_frequencies(n_samples), nuisance)
    spectrum = np.zeros((*field.shape[:2], _period(n_samples) // 2 + 1), complex)
    spectrum[..., 1 : 1 + spectra.shape[-1]] = field * spectra[:, None]
    traces = np.fft.irfft(spectrum, _period(n_samples))[..., :n_samples]
    return np.asarray(traces / SAMPLING)


def render_gathers(
    green: Green,
    shape: tuple[int, int],
    state: Parameters,
    nuisance: Parameters,
) -> Array:
    """Render noiseless gathers from parameters, in chunks of rows to limit memory.

    Args:
        green: Function of state `(n, ...)` and source positions `(n, 2)` in km that
            returns Green's functions `(n, receivers, frequencies)`.
        shape: Numbers of receivers and samples.
        state: See `simulate_gathers`; rows `(n, ...)`.
        nuisance: See `simulate_gathers`; rows `(n,)`.

    Returns:
        float32 array `(n, receivers, samples)`.
    """
    render = partial(_render_rows, green, shape[1])
    return in_chunks(render, shape, _ROWS_AT_ONCE, state, nuisance)


def _disc(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    radius = DISC * np.sqrt(rng.uniform(0.0, 1.0, shape))
    angle = rng.uniform(0.0, 2.0 * np.pi, shape)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def _draw_media(
    rng: np.random.Generator,
    n_states: int,
    n_anomalies: int,
    contrast: float,
    change: float,
) -> dict[str, Array]:
    """Draw media, followed by the same media after the change, if there is one."""
    shape = (n_states, n_anomalies)
    state = {
        "velocity": rng.uniform(1.98, 2.02, n_states),
        "position": _disc(rng, shape),
        "width": rng.uniform(0.08, 0.12, shape),
        "strength": rng.uniform(-contrast, contrast, shape),
    }
    if not change:
        return state
    new = {"position": _disc(rng, (n_states, 1)), "width": np.full((n_states, 1), 0.1)}
    for name, values in new.items():
        state[name] = np.concatenate([state[name], values], axis=1)
    both = {name: np.concatenate([values] * 2) for name, values in state.items()}
    before_and_after = np.repeat([0.0, change], n_states)[:, None]
    both["strength"] = np.concatenate([both["strength"], before_and_after], axis=1)
    return both


def _check(
    engine: str, shape: tuple[int, int], anomalies: tuple[int, float, float]
) -> None:
    n_receivers, n_samples = shape
    n_anomalies, contrast, change = anomalies
    if engine not in ENGINES:
        raise InputError(f"engine must be one of {ENGINES}; received {engine!r}.")
    if n_receivers < 1 or n_samples < 8:
        raise InputError(
            "n_receivers must be at least 1 and n_samples at least 8; "
            f"received {n_receivers} and {n_samples}."
        )
    if n_anomalies < 0 or not contrast >= 0.0:
        raise InputError(
            "n_anomalies and contrast must not be negative; "
            f"received {n_anomalies} and {contrast}."
        )
    total = n_anomalies * contrast + abs(change)
    if not total < MAX_SLOWNESS:
        raise InputError(
            "n_anomalies * contrast + abs(change) must be below "
            f"{MAX_SLOWNESS}, so that the velocity stays positive and finite where "
            f"anomalies overlap; received {total:.3g}."
        )


def simulate_gathers(
    n_states: int = 500,
    n_instances: int = 16,
    seed: int = 0,
    engine: str = "rays",
    n_receivers: int = 24,
    n_samples: int = 96,
    n_anomalies: int = 3,
    contrast: float = 0.16,
    change: float = 0.0,
    aperture: float = 360.0,
    noise: float = 0.015,
    cache: str | PathLike[str] | None = None,
) -> GroupedData:
    """Simulate shot gathers: waves from uncontrolled sources through a medium.

    A gather has one trace per receiver. Receivers are on a ring of radius 0.6 km around
    the medium, and sources are outside the ring, as in the time-lapse experiments of
    Bharadwaj, Li and Demanet (arXiv 2108.02537). Waves are acoustic and
    two-dimensional.

    - State of a medium: background `velocity ~ U(1.98, 2.02)` km/s, and Gaussian
      anomalies with centres `position` in a disc of radius 0.3 km, standard deviations
      `width ~ U(0.08, 0.12)` km, and relative slowness `strength ~ U(-contrast,
      contrast)`: the velocity is `velocity / (1 + sum of strength * bell)`.
    - Nuisance of a shot: the position of the source, `angle` in radians and
      `radius ~ U(0.8, 1)` km; a wavelet of `frequency ~ U(8, 12)` Hz with a Gaussian
      spectrum of standard deviation `frequency / 3` and a random `phase`, followed by
      an `echo ~ U(-0.6, 0.6)` after `echo_delay ~ U(0.05, 0.12)` s;
      `origin_time ~ U(-0.02, 0.02)` s; and `gain = exp(N(0, 0.2))`.
    - Noise: white Gaussian.

    Sample `i` is the time `0.01 i` s after the nominal origin time. A wavelet of gain 1
    has the amplitude 1 at a distance of 1 km.

    Two engines compute the waves. `"rays"` takes milliseconds per medium. It uses
    travel times, averaged over Fresnel zones, and waves that the anomalies scatter once
    (the Rytov approximation). `"waves"` takes seconds per medium. It uses finite
    differences of fourth order on a grid of 12.5 m and includes all scattering. The
    engines differ more if the anomalies delay waves more. For both engines, the
    instances of `virtual` are exact.

    With a `change`, each medium is surveyed twice. `groups[:n_states]` are baseline
    surveys, and `groups[n_states:]` are monitor surveys of the same media in the same
    order with different sources. Between the surveys, one more anomaly appears, with a
    width of 0.1 km and a relative slowness of `change`. It is the last entry of
    `position`, `width` and `strength`.

    Args:
        n_states: Number of media, at least 1.
        n_instances: Shots per survey, at least 1.
        seed: Seed of states, nuisances and noise.
        engine: `"rays"` (default) or `"waves"`.
        n_receivers: Receivers on the ring, at least 1.
        n_samples: Samples per trace, at least 8.
        n_anomalies: Anomalies per medium, not negative.
        contrast: Largest relative slowness of an anomaly, not negative.
        change: Relative slowness of the change: 0.05 slows waves down by 5 %. Defaults
            to 0, which simulates a single survey of each medium.
        aperture: Range of source angles in degrees, above 0 and at most 360.
        noise: Standard deviation of the noise; that of noiseless gathers is 0.27.
        cache: Folder for the results of `"waves"`, one file of about 1 MB per medium.
            An interrupted or repeated simulation reuses these files. By default, the
            results are kept in memory. The logger `symae_keras` reports the progress at
            level INFO.

    Returns:
        `GroupedData` with `x (groups, n_instances, n_receivers, n_samples)` float32,
        the true `state` and `nuisance` parameters, and exact `virtual` instances. There
        are `n_states` groups, or twice as many with a `change`. `group_metadata` has
        the number of the `medium`, and the `survey`, 0 or 1. `axis` is the angle of the
        receivers in degrees.

    Raises:
        InputError: An argument is out of its range, or `cache` is given for `"rays"`.

    Example:
    >>> groups = simulate_gathers(n_states=4, n_instances=3, seed=0)
    >>> groups.x.shape, groups.state["position"].shape
    ((4, 3, 24, 96), (4, 3, 2))
    >>> groups.virtual(state=0, group=1, instance=2).shape
    (24, 96)

    One background medium, before and after a perturbation of 5 %:
    >>> surveys = simulate_gathers(n_states=1, n_anomalies=0, change=0.05)
    >>> surveys.group_metadata["survey"]
    array([0, 1])
    """
    check_counts(n_states, n_instances)
    _check(engine, (n_receivers, n_samples), (n_anomalies, contrast, change))
    if not 0.0 < aperture <= 360.0:
        raise InputError(
            f"aperture must be above 0 and at most 360 degrees; received {aperture}."
        )
    if not 0.0 <= noise < np.inf:
        raise InputError(f"noise must be finite and not negative; received {noise}.")
    if cache is not None and engine != "waves":
        raise InputError(
            f"cache needs engine='waves'; received engine={engine!r}. Remove cache."
        )
    rng = np.random.default_rng(seed)
    state = _draw_media(rng, n_states, n_anomalies, contrast, change)
    n_groups = len(state["velocity"])
    shape = (n_groups, n_instances)
    half = np.radians(aperture) / 2.0
    nuisance = {
        "angle": rng.uniform(-half, half, shape),
        "radius": rng.uniform(0.8, 1.0, shape),
        "frequency": rng.uniform(8.0, 12.0, shape),
        "phase": rng.uniform(-np.pi, np.pi, shape),
        "echo": rng.uniform(-0.6, 0.6, shape),
        "echo_delay": rng.uniform(0.05, 0.12, shape),
        "origin_time": rng.uniform(-0.02, 0.02, shape),
        "gain": np.exp(rng.normal(0.0, 0.2, shape)),
    }
    ring = 2.0 * np.pi * np.arange(n_receivers) / n_receivers
    receivers = RING * np.stack([np.cos(ring), np.sin(ring)], axis=-1)
    green: Green = partial(_rays.green, _frequencies(n_samples), receivers)
    if engine == "waves":
        folder = None if cache is None else Path(cache)
        green = waves = Waves(_frequencies(n_samples), receivers, folder)
        waves.prepare(state)
    group, instance = np.indices(shape)
    clean = GroupedData(
        x=np.empty((*shape, n_receivers, n_samples), "float32"),
        state=state,
        nuisance=nuisance,
        group_metadata={
            "medium": np.arange(n_groups) % n_states,
            "survey": np.arange(n_groups) // n_states,
        },
        axis=np.degrees(ring),
        axis_label="receiver angle (degrees)",
        render=partial(render_gathers, green, (n_receivers, n_samples)),
    )
    white = rng.standard_normal(clean.x.shape, dtype="float32")
    clean.x[:] = clean.virtual(group, group, instance) + np.float32(noise) * white
    return clean
