"""Applications on simulated exposures of stars, 256 pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pywt
import scipy.signal
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_curve
from uses_common import (
    Components,
    Data,
    LinearFilter,
    Result,
    apply,
    best,
    fit,
    flat,
    with_white_noise,
)

from symae_keras.data import GroupedData, simulate_exposures
from symae_keras.data.groups import Array
from symae_keras.data.simulators.exposures import AXIS
from symae_keras.evaluation import (
    AnomalyDetector,
    detection,
    probe_labels,
    rate_distortion,
    snr_gain,
)
from symae_keras.layers import GaussianCorruption
from symae_keras.models import VAE, Autoencoder, DenoisingAutoencoder
from symae_keras.training import normalization

CODE_DIM = 16
N_TRAIN, N_INSTANCES = 2000, 8
#: Standard deviation of the noise to remove; the continuum is about 1.
NOISE = 0.05
#: Depth and width of the line that normal spectra do not have.
DEPTH, WIDTH = 0.1, 0.01
#: Relative error at which bits are compared: three times that of the noise alone.
ERROR = 0.01


class Spectra(Data):
    """Data and models that several applications share, created when needed."""

    def __init__(self, scale: float) -> None:
        super().__init__(scale)
        self.groups = simulate_exposures(int(N_TRAIN * scale), N_INSTANCES, seed=0)
        self.x = flat(self.groups)
        self._autoencoder: Autoencoder | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of all models."""
        return {"normalization": normalization(self.groups), "seed": 0}

    @property
    def autoencoder(self) -> Autoencoder:
        """Train the plain autoencoder."""
        if self._autoencoder is None:
            model = Autoencoder((256,), CODE_DIM, **self.arguments())
            self._autoencoder = fit(model, self.x, self.epochs(12), batch_size=64)
        return self._autoencoder


def dimension_reduction(spectra: Spectra) -> list[Result]:
    """Predict the parameters of stars from codes by regression."""
    test = simulate_exposures(300, 4, seed=1)
    labelled = spectra.groups[:100]

    def labels(groups: GroupedData) -> dict[str, Array]:
        return {
            name: np.repeat(values, groups.n_instances, axis=0)
            for name, values in groups.state.items()
        }

    def score(encode: Any, linear: bool) -> float:
        codes = apply(encode, flat(labelled)), apply(encode, flat(test))
        scores = probe_labels(codes, (labels(labelled), labels(test)), linear=linear)
        return float(np.mean(list(scores.values())))

    pca = Components(spectra.x, CODE_DIM)
    return [
        Result(
            f"dimension reduction, 256 to {CODE_DIM} numbers",
            f"R2 of parameters of stars by {probe}",
            {"autoencoder": score(spectra.autoencoder.encode, linear)},
            {f"{CODE_DIM} principal components": score(pca.encode, linear)},
            higher_is_better=True,
        )
        for probe, linear in (("a perceptron", False), ("ridge regression", True))
    ]


def compression(spectra: Spectra) -> list[Result]:
    """Compare the bytes of rounded codes with the error."""
    vae = VAE((256,), CODE_DIM, kl_weight=1e-3, **spectra.arguments())
    fit(vae, spectra.x, spectra.epochs(12), batch_size=64)
    x = flat(simulate_exposures(500, 8, seed=1))
    ours = rate_distortion(vae.encode, vae.decode, x, np.geomspace(3.0, 0.1, 12))
    curves = {"VAE": ours}
    steps = np.geomspace(3.0, 0.05, 12)
    for n in (16, 32, 64):
        pca = Components(spectra.x, n)
        curves[f"PCA {n}"] = rate_distortion(pca.encode, pca.decode, x, steps)
    classical = {name: curve.bits_at(ERROR) for name, curve in curves.items()}
    bits = classical.pop("VAE")
    least = min(classical, key=lambda name: classical[name])
    return [
        Result(
            "compression of spectra",
            f"bits per spectrum at an error of {ERROR:g}",
            {"VAE": bits},
            {f"{least}, the best of 16, 32, 64": classical[least]},
            higher_is_better=False,
            drawn={"curves": curves, "error": ERROR},
        )
    ]


def _with_anomalies(n: int, seed: int) -> tuple[Array, Array]:
    """Return spectra, 10 % of which have an additional faint absorption line."""
    stars = simulate_exposures(n, 1, seed)
    rng = np.random.default_rng(seed)
    anomalous = rng.random(n) < 0.1
    centre = rng.uniform(-0.95, 0.95, (n, 1))
    line = DEPTH * np.exp(-0.5 * ((AXIS - centre) / WIDTH) ** 2)
    x = flat(stars)
    return np.where(anomalous[:, None], x * (1.0 - line), x).astype("float32"), (
        anomalous
    )


def anomalies(spectra: Spectra) -> list[Result]:
    """Detect spectra with an additional line among normal ones."""
    normal = flat(simulate_exposures(2000, 1, seed=2))
    tried, known = _with_anomalies(2000, seed=3)
    x, anomalous = _with_anomalies(2000, seed=4)
    components = {n: Components(spectra.x, n) for n in (16, 32, 64, 128)}

    # Labelled anomalies of the same kind choose the number of components.
    def precision(n: int) -> float:
        detector = AnomalyDetector(components[n].reconstruct, normal)
        return detection(detector.score(tried), known).average_precision

    n, _ = best(components, precision)
    forest = IsolationForest(n_estimators=200, random_state=0).fit(spectra.x)
    ours = AnomalyDetector(spectra.autoencoder.reconstruct, normal)
    scores = {
        "autoencoder": ours.score(x),
        f"PCA error, {n} components": AnomalyDetector(
            components[n].reconstruct, normal
        ).score(x),
        "isolation forest": -forest.score_samples(x),
    }
    found = {name: detection(values, anomalous) for name, values in scores.items()}
    flagged = ours.p_values(x) <= 0.01
    print(
        f"p <= 0.01 flags {flagged[~anomalous].mean():.3f} of normal spectra and "
        f"{flagged[anomalous].mean():.3f} of anomalies"
    )
    curves = {name: roc_curve(anomalous, values)[:2] for name, values in scores.items()}
    return [
        Result(
            "anomalies, a faint line too many",
            title,
            {"autoencoder": getattr(found["autoencoder"], field)},
            {
                name: getattr(value, field)
                for name, value in found.items()
                if name != "autoencoder"
            },
            higher_is_better=True,
            drawn={"roc": curves},
        )
        for title, field in (
            ("area under ROC", "roc_auc"),
            ("average precision", "average_precision"),
        )
    ]


def _wavelets(x: Array, wavelet: str, factor: float) -> Array:
    """Apply soft thresholds, a multiple of the universal one (Donoho & Johnstone)."""
    first, *details = pywt.wavedec(x, wavelet, axis=-1)
    threshold = factor * NOISE * np.sqrt(2.0 * np.log(x.shape[-1]))
    kept = [pywt.threshold(each, threshold, "soft") for each in details]
    return np.asarray(pywt.waverec([first, *kept], wavelet, axis=-1))


def _wiener(x: Array, size: int) -> Array:
    return np.stack([scipy.signal.wiener(row, size, NOISE**2) for row in x])


def denoising(spectra: Spectra) -> list[Result]:
    """Remove white noise of 5 % of the continuum."""
    model = DenoisingAutoencoder(
        (256,), CODE_DIM, corruption=GaussianCorruption(NOISE), **spectra.arguments()
    )
    fit(model, spectra.x, spectra.epochs(8))
    stars = simulate_exposures(500, 1, seed=1)
    i = np.arange(len(stars))
    clean = stars.virtual(i, i, 0)
    noisy, tried_noisy = with_white_noise(NOISE, clean, spectra.x[:500])

    def tried(denoised: Array) -> float:
        return snr_gain(spectra.x[:500], tried_noisy, denoised)

    size, _ = best((3, 5, 7), lambda size: tried(_wiener(tried_noisy, size)))
    wavelet, _ = best(
        [(name, f) for name in ("db2", "sym4", "sym8") for f in (0.1, 0.2, 0.4, 0.8)],
        lambda setting: tried(_wavelets(tried_noisy, *setting)),
    )
    denoised = {
        "denoising autoencoder": apply(model.reconstruct, noisy),
        "Wiener filter": _wiener(noisy, size),
        f"wavelets {wavelet[0]}": _wavelets(noisy, *wavelet),
        "trained linear filter": LinearFilter(spectra.x, NOISE).denoise(noisy),
    }
    gains = {name: snr_gain(clean, noisy, each) for name, each in denoised.items()}
    return [
        Result(
            "denoising of spectra",
            "gain in dB",
            {"denoising autoencoder": gains.pop("denoising autoencoder")},
            gains,
            higher_is_better=True,
            drawn={
                "axis": AXIS,
                "clean": clean[0],
                "noisy": noisy[0],
                "denoised": denoised["denoising autoencoder"][0],
                "classical": denoised["Wiener filter"][0],
            },
        )
    ]


USES = {
    "dimension-reduction": dimension_reduction,
    "compression": compression,
    "anomalies": anomalies,
    "denoising": denoising,
}
