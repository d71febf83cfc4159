"""Green's functions by acoustic finite differences, cached per medium."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.special import hankel2

from symae_keras._utils.files import written_atomically
from symae_keras.data.groups import Array, Parameters

#: Grid spacing in km: 13 points per wavelength at 12 Hz in 2 km/s, 5 at 30 Hz.
SPACING: Final = 0.0125
#: Longest time step in s; fast media need shorter time steps.
TIME_STEP: Final = 0.0025
#: Time in s after which the wave has left the circle.
DURATION: Final = 1.0
#: Radius in km of the circle on which waves are recorded; outside, the medium is
#: homogeneous except for the tails of anomalies.
CIRCLE: Final = 0.7
N_CIRCLE: Final = 192
#: Largest angular order; orders from -80 to 80 are kept. At 30 Hz, orders above 66
#: decay.
N_ORDERS: Final = 80
#: Half the width of the grid in km, and the width of its absorbing layer.
HALF_WIDTH: Final = 1.4
ABSORBING: Final = 0.65
#: Largest damping in 1/s; damping grows with the third power of the depth in the layer.
DAMPING: Final = 45.0
#: Peak frequency in Hz of the propagated pulse, which is later divided out.
PULSE: Final = 14.0
#: Points per axis of the Lagrange interpolation between the grid and a position.
_POINTS: Final = 6
#: Rows of the grid that are advanced at once, so that they fit into the CPU cache.
_ROWS: Final = 40

#: State parameters of a medium, in the order of the arguments of `response`.
_PARAMETERS: Final = ("velocity", "position", "width", "strength")

_log = logging.getLogger("symae_keras")


def _between(position: Array) -> tuple[Array, Array]:
    """Return grid indices `(n, 36)` and weights for interpolation at positions."""
    place = (position + HALF_WIDTH) / SPACING
    first = np.floor(place).astype(int) - _POINTS // 2 + 1
    offset = place - first
    nodes = np.arange(_POINTS)
    weights = np.ones((*offset.shape, _POINTS))
    for node in nodes:
        for other in nodes[nodes != node]:
            weights[..., node] *= (offset - other) / (node - other)
    index = first[..., None] + nodes
    size = round(2.0 * HALF_WIDTH / SPACING) + 1
    flat = index[:, 1, :, None] * size + index[:, 0, None, :]
    weight = weights[:, 1, :, None] * weights[:, 0, None, :]
    return flat.reshape(len(place), -1), weight.reshape(len(place), -1)


def _propagate(
    speed: Array, damping: Array, receiver: Array, pulse: Array, time_step: float
) -> Array:
    """Simulate the pressure `(steps, circle)` of a pulse at a position.

    The scheme is of fourth order in space and second order in time; `response` corrects
    the error of the latter.
    """
    angle = 2.0 * np.pi * np.arange(N_CIRCLE) / N_CIRCLE
    circle = CIRCLE * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    seen, seen_weight = _between(circle)
    seen_weight = seen_weight.astype("float32")
    source, source_weight = _between(receiver[None])
    courant = (speed * (time_step / SPACING)) ** 2
    injected = source_weight[0] * courant.ravel()[source[0]]
    keep = ((1.0 - damping * time_step) / (1.0 + damping * time_step)).astype("float32")
    gain = (1.0 / (1.0 + damping * time_step)).astype("float32")
    injected = (injected * gain.ravel()[source[0]]).astype("float32")
    # p_next = gain (2 p + c^2 dt^2 laplacian) - keep p_before
    near = (gain * courant * (4.0 / 3.0)).astype("float32")[2:-2, 2:-2].copy()
    centre = (gain * (2.0 - 5.0 * courant)).astype("float32")[2:-2, 2:-2].copy()
    keep = keep[2:-2, 2:-2].copy()
    before = np.zeros(speed.shape, "float32")
    now = before.copy()
    rows = len(keep)
    sums, far = np.empty((2, _ROWS, keep.shape[1]), "float32")
    record = np.empty((len(pulse), N_CIRCLE), "float32")
    for step, size in enumerate(pulse.astype("float32")):
        for start in range(0, rows, _ROWS):
            count = min(_ROWS, rows - start)
            part = slice(start, start + count)
            block = now[start : start + count + 4]
            a, b = sums[:count], far[:count]
            np.add(block[1:-3, 2:-2], block[3:-1, 2:-2], out=a)
            a += block[2:-2, 1:-3]
            a += block[2:-2, 3:-1]
            np.add(block[:-4, 2:-2], block[4:, 2:-2], out=b)
            b += block[2:-2, :-4]
            b += block[2:-2, 4:]
            b *= np.float32(0.0625)
            a -= b
            a *= near[part]
            np.multiply(centre[part], block[2:-2, 2:-2], out=b)
            a += b
            past = before[start + 2 : start + count + 2, 2:-2]
            past *= keep[part]
            np.subtract(a, past, out=past)
        before.ravel()[source[0]] += injected * size
        now, before = before, now
        record[step] = np.einsum("ck,ck->c", now.ravel()[seen], seen_weight)
    return record


def response(
    frequency: Array,
    receivers: Array,
    velocity: float,
    position: Array,
    width: Array,
    strength: Array,
) -> Array:
    """Compute the angular orders of the waves from each receiver on the circle.

    Args:
        frequency: Frequencies in Hz, positive, `(f,)`.
        receivers: Positions in km, `(r, 2)`.
        velocity: Velocity of the background in km/s.
        position: Centres of anomalies in km, `(k, 2)`.
        width: Their standard deviations in km, `(k,)`.
        strength: Their relative slowness, `(k,)`.

    Returns:
        complex64 `(r, 2 N_ORDERS + 1, f)`.
    """
    size = round(2.0 * HALF_WIDTH / SPACING) + 1
    axis = SPACING * np.arange(size) - HALF_WIDTH
    slowness = np.ones((size, size))
    for (x, y), deviation, relative in zip(position, width, strength, strict=True):
        bell = np.exp(-0.5 * ((axis - x) / deviation) ** 2)
        slowness += (
            relative * np.exp(-0.5 * ((axis - y) / deviation) ** 2)[:, None] * bell
        )
    depth = np.clip(1.0 + (np.abs(axis) - HALF_WIDTH) / ABSORBING, 0.0, 1.0) ** 3
    damping = DAMPING * np.maximum(depth, depth[:, None])
    speed = velocity / slowness
    # 0.6 is the limit of stability.
    time_step = TIME_STEP / math.ceil(speed.max() * TIME_STEP / (0.6 * SPACING))
    times = time_step * np.arange(round(DURATION / time_step))
    scaled = (np.pi * PULSE * (times - 1.2 / PULSE)) ** 2
    pulse = (1.0 - 2.0 * scaled) * np.exp(-scaled)
    # A wave of this wavenumber has a different frequency on the grid: the fourth-order
    # stencil lowers it (averaged over directions), and the leapfrog scheme raises it.
    points = 2.0 * np.pi * frequency / velocity * SPACING
    discrete = frequency * np.sqrt(1.0 - points**4 / 144.0)
    discrete = np.arcsin(np.pi * discrete * time_step) / (np.pi * time_step)
    transform = np.exp(-2j * np.pi * times[:, None] * discrete)
    pulse_spectrum = pulse @ transform * np.exp(2j * np.pi * discrete * time_step)
    orders = np.empty((len(receivers), 2 * N_ORDERS + 1, len(frequency)), "complex64")
    keep = np.arange(-N_ORDERS, N_ORDERS + 1)
    for row, receiver in enumerate(receivers):
        record = _propagate(speed, damping, receiver, pulse, time_step)
        spectrum = record.T @ transform / pulse_spectrum
        orders[row] = np.fft.fft(spectrum, axis=0)[keep] / N_CIRCLE
    return orders


def outside(orders: Array, frequency: Array, velocity: float, source: Array) -> Array:
    """Compute Green's functions `(receivers, f)` of a source outside the circle.

    Outside the circle, waves are sums of outgoing cylindrical waves.
    """
    wave = 2.0 * np.pi * frequency / velocity
    order = np.arange(N_ORDERS + 1)[:, None]
    radius, angle = np.hypot(*source), np.arctan2(source[1], source[0])
    spread = hankel2(order, wave * radius) / hankel2(order, wave * CIRCLE)
    both = np.concatenate([spread[:0:-1], spread])
    both *= np.exp(1j * angle * np.arange(-N_ORDERS, N_ORDERS + 1))[:, None]
    found: Array = np.einsum("rmf,mf->rf", orders, both)
    return found


class Waves:
    """Green's functions by finite differences, computed once per medium.

    By reciprocity, one simulation per receiver serves all sources.

    Args:
        frequency: Frequencies in Hz, positive, `(f,)`.
        receivers: Positions in km, `(r, 2)`.
        folder: Folder for the responses of media, or `None` to keep them in memory.
    """

    def __init__(self, frequency: Array, receivers: Array, folder: Path | None) -> None:
        self.frequency = frequency
        self.receivers = receivers
        self.folder = folder
        self._kept: dict[str, Array] = {}

    def __call__(self, state: Parameters, source: Array) -> Array:
        """Return Green's functions `(n, r, f)`, as `_rays.green` does."""
        shape = (len(source), len(self.receivers), len(self.frequency))
        found = np.empty(shape, complex)
        media, medium = self._media(state)
        for number, parameters in enumerate(media):
            orders = self._response(parameters)
            for row in np.flatnonzero(medium == number):
                found[row] = outside(orders, self.frequency, parameters[0], source[row])
        return found

    def prepare(self, state: Parameters) -> None:
        """Compute the responses of media and log the progress."""
        media, _ = self._media(state)
        start = time.monotonic()
        for number, parameters in enumerate(media, start=1):
            self._response(parameters)
            each = (time.monotonic() - start) / number
            _log.info(
                "Waves through medium %d of %d: %.1f s per medium, %.0f s left.",
                *(number, len(media), each, each * (len(media) - number)),
            )

    def _media(self, state: Parameters) -> tuple[list[list[Any]], Array]:
        """Return the parameters of all media, and the medium number of each row."""
        columns = [
            state[name].reshape(len(state[name]), math.prod(state[name].shape[1:]))
            for name in _PARAMETERS
        ]
        _, first, medium = np.unique(
            np.hstack(columns), axis=0, return_index=True, return_inverse=True
        )
        media = [[state[name][row] for name in _PARAMETERS] for row in first]
        return media, medium.ravel()

    def _response(self, parameters: list[Any]) -> Array:
        settings = (SPACING, TIME_STEP, DURATION, HALF_WIDTH, ABSORBING, DAMPING)
        digest = hashlib.sha256(repr((settings, PULSE, CIRCLE, N_ORDERS)).encode())
        for each in (self.frequency, self.receivers, *parameters):
            digest.update(np.ascontiguousarray(each, "float64").tobytes())
        key = digest.hexdigest()[:32]
        if key in self._kept:
            return self._kept[key]
        path = None if self.folder is None else self.folder / f"waves-{key}.npy"
        if path is not None and path.exists():
            kept: Array = np.load(path, allow_pickle=False)
            return kept
        orders = response(self.frequency, self.receivers, *parameters)
        if path is None:
            self._kept[key] = orders
        else:
            with written_atomically(path) as partial:
                np.save(partial, orders)
        return orders
