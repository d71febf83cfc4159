"""Pictures for the model gallery: a diagram of every model, and reconstructions.

    python benchmarks/gallery.py --out docs/images/gallery
    python benchmarks/gallery.py --out docs/images/gallery --reconstructions

The first command draws the diagrams, in seconds. The second trains the autoencoders of
single instances on 3200 simulated images of shapes (24 x 24 pixels, codes of 16
numbers, dense networks, 800 steps of 64 images; the sparse code has 64 numbers of which
8 are active, and the vector-quantised code has 8 vectors). It prints their mean squared
errors on 800 new images, divided by the variance, and draws a few reconstructions.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from symae_keras.plotting.style import (
    COHERENT,
    NUISANCE,
    PAGE,
    VIRTUAL,
    finish,
    new_figure,
)

#: Edge colour by kind of box; boxes are filled with a tint of it.
COLOURS: Final = {
    "data": "#444444",
    "net": "#777777",
    "coherent": COHERENT,
    "nuisance": NUISANCE,
    "code": "#CC79A7",
    "term": "#E69F00",
    "out": VIRTUAL,
}
#: Distance of boxes and size of a box, in inches.
STEP: Final = (1.12, 0.62)
BOX: Final = (0.92, 0.44)


@dataclasses.dataclass(frozen=True)
class Box:
    """Box of a diagram.

    Args:
        text: Text in the box, one or two lines.
        kind: A key of `COLOURS`.
        column: Position from the left.
        row: Position from the top; halves are between rows.
    """

    text: str
    kind: str
    column: float
    row: float = 0.0


Edge = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Diagram:
    """Diagram of boxes and the arrows between them.

    Args:
        boxes: Boxes by name.
        edges: Arrows, from box to box.
        dashed: Arrows that are active only in training: losses and noise.
    """

    boxes: dict[str, Box]
    edges: Sequence[Edge]
    dashed: Sequence[Edge] = ()


def _chain(*names: str) -> list[Edge]:
    return list(zip(names[:-1], names[1:], strict=True))


def _single(
    code: str = "code",
    term: str | None = None,
    encoder: str = "encoder",
    decoder: str = "decoder",
    first: str | None = None,
) -> Diagram:
    """Return a chain for single instances, with a loss term below the code."""
    boxes = {"x": Box("x", "data", 0)}
    names = ["x"]
    if first is not None:
        boxes["first"] = Box(first, "term", 1)
        names.append("first")
    at = len(names)
    boxes |= {
        "encoder": Box(encoder, "net", at),
        "code": Box(code, "code", at + 1),
        "decoder": Box(decoder, "net", at + 2),
        "out": Box("recon-\nstruction", "out", at + 3),
    }
    names += ["encoder", "code", "decoder", "out"]
    dashed: list[Edge] = []
    if term is not None:
        boxes["term"] = Box(term, "term", at + 1, 1)
        dashed = [("term", "code")]
    return Diagram(boxes, _chain(*names), dashed)


def _grouped(
    pooling: str,
    coherent: str,
    nuisance: str,
    noise: str | None = None,
    conditional: bool = False,
    prior: str | None = None,
    drawn: bool = False,
) -> Diagram:
    """Return a grouped model, with the group branch above the instance branch."""
    last = 5.0 if noise is not None else 4.0
    boxes = {
        "x": Box("x[1] … x[T]", "data", 0, 0.5),
        "f": Box("f, each\ninstance", "net", 1, 0),
        "pool": Box(pooling, "net", 2, 0),
        "C": Box(coherent, "coherent", 3, 0),
        "h": Box("h, each\ninstance", "net", 1, 1),
        "N": Box(nuisance, "nuisance", 3, 1),
        "D": Box("decoder", "net", last, 0.5),
        "out": Box("recon-\nstruction", "out", last + 1, 0.5),
    }
    edges = [*_chain("x", "f", "pool", "C", "D", "out"), *_chain("x", "h", "N")]
    dashed: list[Edge] = []
    if noise is None:
        edges.append(("N", "D"))
    else:
        # Boxes that are active only in training, or the normalisation of the code.
        drawn_only = noise == "noise"
        boxes["noise"] = Box(noise, "term" if drawn_only else "nuisance", 4, 1)
        (dashed if drawn_only else edges).extend(_chain("N", "noise", "D"))
    if conditional:
        edges.append(("C", "N"))
    if prior is not None:
        boxes["prior"] = Box(prior, "term", 3, 2)
        dashed.append(("prior", "N"))
    if drawn:
        boxes["kl"] = Box("KL from\nN(0, 1)", "term", 3, -1)
        dashed.append(("kl", "C"))
    return Diagram(boxes, edges, dashed)


def _pixelwise(skip: str, depth: int = 3, branch: bool = False) -> Diagram:
    """Return a network from maps to maps, with a skip connection at each depth."""
    boxes = {"x": Box("x", "data", 0)}
    down = ["x"]
    up: list[str] = []
    across: list[Edge] = []
    for level in range(depth):
        name = "maps" if level == 0 else f"maps\n1/{2**level}"
        boxes[f"down{level}"] = Box(name, "net", 1 + 0.75 * level, level)
        down.append(f"down{level}")
        if level < depth - 1:
            boxes[f"up{level}"] = Box(name, "net", 4 - 0.75 * level, level)
            up.insert(0, f"up{level}")
            across.append((f"down{level}", f"up{level}"))
    boxes["skip"] = Box(skip, "term", 2.5, 0)
    boxes["out"] = Box("classes,\npixels", "out", 5, 0)
    edges = _chain(*down, *up, "out")
    dashed: list[Edge] = []
    for level, (left, right) in enumerate(across):
        if level == 0:
            dashed += [(left, "skip"), ("skip", right)]
        else:
            dashed.append((left, right))
    if branch:
        boxes["code"] = Box("code,\nsampled", "code", 3.6, depth - 1)
        boxes["branch"] = Box("decoder", "net", 4.6, depth - 1)
        boxes["again"] = Box("recon-\nstruction", "out", 5.6, depth - 1)
        dashed += _chain(f"down{depth - 1}", "code", "branch", "again")
    return Diagram(boxes, edges, dashed)


def _with_term(diagram: Diagram, text: str, row: float, end: str) -> Diagram:
    """Return a diagram with one more loss term, below or above its code."""
    box = Box(text, "term", diagram.boxes[end].column + 1.0, row)
    edges = [*diagram.dashed, ("term", end)]
    return Diagram({**diagram.boxes, "term": box}, diagram.edges, edges)


DIAGRAMS: Final[dict[str, Diagram]] = {
    "linear": _single("code = W x", encoder="matrix W", decoder="transpose\nof W"),
    "autoencoder": _single(),
    "sparse": _single("code, few\nactive", "L1, KL or\ntop k"),
    "denoising": _single(first="corruption"),
    "contractive": _single("code", "|d code / dx|\nis small"),
    "vae": _single("code ~\nN(m, v)", "KL from\nN(0, 1)"),
    "vqvae": _single("nearest\nvectors", "codebook"),
    "adversarial": _single("code", "discrimina-\ntor: N(0, 1)?"),
    "wasserstein": _single("code", "MMD from\nN(0, 1)"),
    "stellar": _single(
        "code",
        "KL, in one\nform of two",
        encoder="convolu-\ntions, by 2",
        decoder="mirror\nimage",
        first="over its\nmedian",
    ),
    "latent_mean_swap": Diagram(
        {
            "x": Box("x[1] … x[T]", "data", 0, 0.5),
            "encoder": Box("any encoder", "net", 1, 0.5),
            "codes": Box("codes\nz[1] … z[T]", "code", 2, 0.5),
            "C": Box("C, mean\nof z", "coherent", 3, 0),
            "N": Box("N[t] =\nz[t] - C", "nuisance", 3, 1),
            "D": Box("its decoder,\nof C + N", "net", 4, 0.5),
            "out": Box("recon-\nstruction", "out", 5, 0.5),
        },
        [*_chain("x", "encoder", "codes", "C", "D", "out"), *_chain("codes", "N", "D")],
    ),
    "symae": _grouped("pooling, g", "C", "N, given C", "noise", conditional=True),
    "symae_original": _grouped("pooling, g", "C", "N", "noise"),
    "symae_variational": _grouped(
        "pooling, g",
        "C ~ q(C | X)",
        "z, given C",
        "N = (z - m)\n/ s of prior",
        conditional=True,
        prior="KL from\np(z | C)",
        drawn=True,
    ),
    "mlvae": _grouped(
        "product of\nGaussians",
        "C, drawn\nonce",
        "N ~ q(N | x)",
        prior="KL from\nN(0, 1)",
        drawn=True,
    ),
    "gvae": _grouped(
        "averages of\nGaussians",
        "C, drawn\nonce",
        "N ~ q(N | x)",
        prior="KL from\nN(0, 1)",
        drawn=True,
    ),
    "ada_gvae": Diagram(
        {
            "x": Box("x[1] … x[T]", "data", 0, 0.5),
            "f": Box("f, each\ninstance", "net", 1, 0.5),
            "codes": Box("Gaussians\nof z[t]", "code", 2, 0.5),
            "C": Box("averages,\nleast KL", "coherent", 3, -0.1),
            "N": Box("the other\nnumbers", "nuisance", 3, 1.1),
            "D": Box("decoder,\nof drawn z[t]", "net", 4, 0.5),
            "out": Box("recon-\nstruction", "out", 5, 0.5),
            "kl": Box("KL from\nN(0, 1)", "term", 4, 1.7),
        },
        [*_chain("x", "f", "codes", "C", "D", "out"), *_chain("codes", "N", "D")],
        [("kl", "D")],
    ),
    "adversarial_gvae": _with_term(
        _grouped(
            "averages of\nGaussians",
            "C, drawn\nonce",
            "N ~ q(N | x)",
            prior="KL from\nN(0, 1)",
            drawn=True,
        ),
        "adversary:\nC of others",
        2,
        "N",
    ),
    "contrastive": _with_term(
        _grouped(
            "mean\ndirection", "C, gradient\nstopped", "N, given C", "noise", True
        ),
        "InfoNCE of\nhalves",
        -1,
        "pool",
    ),
    "neural_statistician": _grouped(
        "pooling",
        "C ~ q(C | X)",
        "z, given C",
        conditional=True,
        prior="KL from\np(z | C)",
        drawn=True,
    ),
    "tomographic": Diagram(
        {
            "x": Box("x[1] … x[T]", "data", 0, 0.5),
            "picks": Box("delays,\ngains", "net", 1, 0.5),
            "solve": Box("least\nsquares", "net", 2, 0),
            "C": Box("C: slowness", "coherent", 3, 0),
            "N": Box("N: source,\nwavelet", "nuisance", 3, 1),
            "D": Box("delay along\nrays", "net", 4, 0.5),
            "out": Box("recon-\nstruction", "out", 5, 0.5),
        },
        [
            *_chain("x", "picks", "solve", "C", "D", "out"),
            *_chain("picks", "N", "D"),
            ("C", "N"),
        ],
    ),
    "unet": _pixelwise("maps are\njoined"),
    "segnet": _pixelwise("positions\nof maxima"),
    "segresnet_vae": _pixelwise("maps are\nadded", branch=True),
}


def draw(diagram: Diagram) -> Figure:
    """Draw a diagram."""
    columns = [box.column for box in diagram.boxes.values()]
    rows = [box.row for box in diagram.boxes.values()]
    top = min(rows) * STEP[1]
    width = max(columns) * STEP[0] + BOX[0] + 0.1
    bottom = max(rows) * STEP[1] + BOX[1] + 0.1
    figure = new_figure(width, bottom - top)
    figure.set_layout_engine("none")
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    ax.set(xlim=(0.0, width), ylim=(bottom, top))
    ax.axis("off")
    for box in diagram.boxes.values():
        _draw_box(ax, box)
    for dashed, edges in ((False, diagram.edges), (True, diagram.dashed)):
        for start, end in edges:
            _draw_arrow(ax, diagram.boxes[start], diagram.boxes[end], dashed)
    return finish(figure)


def _centre(box: Box) -> np.ndarray[Any, Any]:
    corner = np.array([box.column * STEP[0], box.row * STEP[1]])
    return corner + 0.05 + np.array(BOX) / 2


def _draw_box(ax: Axes, box: Box) -> None:
    centre = _centre(box)
    colour = COLOURS[box.kind]
    corner = centre - np.array(BOX) / 2
    shape = FancyBboxPatch(
        (corner[0] + 0.03, corner[1] + 0.03),
        BOX[0] - 0.06,
        BOX[1] - 0.06,
        boxstyle="round,pad=0.03,rounding_size=0.08",
        facecolor=(*_rgb(colour), 0.15),
        edgecolor=colour,
        linewidth=1.2,
    )
    ax.add_patch(shape)
    x, y = centre
    ax.text(x, y, box.text, ha="center", va="center", linespacing=1.05)


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return red, green, blue


def _draw_arrow(ax: Axes, start: Box, end: Box, dashed: bool) -> None:
    """Draw an arrow from edge to edge, on the straight line between the centres."""
    a, b = _centre(start), _centre(end)
    half = np.array(BOX) / 2
    direction = b - a
    # The line leaves a box at the side that it meets first.
    with np.errstate(divide="ignore"):
        share = np.min(half / np.abs(direction))
    arrow = {
        "arrowstyle": "-|>",
        "color": "0.35",
        "linewidth": 1.0,
        "linestyle": (0, (3, 2)) if dashed else "-",
        "shrinkA": 1,
        "shrinkB": 1,
    }
    ax.annotate(
        "",
        xy=tuple(b - share * direction),
        xytext=tuple(a + share * direction),
        arrowprops=arrow,
    )


def reconstructions() -> Figure:
    """Train the autoencoders of single instances and draw their reconstructions."""
    # Imported here, because the diagrams do not need Keras.
    import keras

    from symae_keras import models
    from symae_keras.data import simulate_shapes
    from symae_keras.evaluation import relative_error
    from symae_keras.training import Training, normalization, train

    groups = simulate_shapes(n_states=400, n_instances=8, seed=0)
    test = simulate_shapes(n_states=100, n_instances=8, seed=1)
    shape = groups.instance_shape
    common: dict[str, Any] = {"normalization": normalization(groups), "seed": 0}
    sized = {**common, "code_dim": 16}
    made: dict[str, Callable[[], Any]] = {
        "LinearAutoencoder": lambda: models.LinearAutoencoder(shape, **sized),
        "Autoencoder": lambda: models.Autoencoder(shape, **sized),
        "SparseAutoencoder": lambda: models.SparseAutoencoder(
            shape, 64, sparsity="top_k", n_active=8, **common
        ),
        "DenoisingAutoencoder": lambda: models.DenoisingAutoencoder(shape, **sized),
        "ContractiveAutoencoder": lambda: models.ContractiveAutoencoder(shape, **sized),
        "VAE": lambda: models.VAE(shape, kl_weight=1e-3, **sized),
        "VQVAE": lambda: models.VQVAE(shape, **common),
        "AdversarialAutoencoder": lambda: models.AdversarialAutoencoder(shape, **sized),
        "WassersteinAutoencoder": lambda: models.WassersteinAutoencoder(shape, **sized),
    }
    x = test.x.reshape(-1, *shape)
    rows = [("data", x[::8][:8])]
    for name, make in made.items():
        keras.utils.set_random_seed(0)
        model = make()
        train(model, groups, Training(epochs=16, batch_size=64))
        found = np.asarray(model.reconstruct(x))
        error = relative_error(found, x)
        print(f"{name}: {error:.3f}", flush=True)
        rows.append((f"{name}, {error:.3f}", found[::8][:8]))
    figure = new_figure(PAGE, 0.62 * len(rows))
    grid: Any = figure.subplots(len(rows), 9, width_ratios=[3.2, *[1] * 8])
    low, high = float(x.min()), float(x.max())
    for axes, (name, images) in zip(grid, rows, strict=True):
        axes[0].axis("off")
        axes[0].text(1.0, 0.5, name, ha="right", va="center")
        for ax, image in zip(axes[1:], images, strict=True):
            ax.imshow(image.reshape(shape[:2]), cmap="gray", vmin=low, vmax=high)
            ax.set(xticks=[], yticks=[])
    return finish(figure)


def main() -> None:
    """Draw the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the pictures"
    )
    parser.add_argument(
        "--reconstructions", action="store_true", help="train, and draw reconstructions"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.reconstructions:
        reconstructions().savefig(options.out / "reconstructions.png")
        return
    for name, diagram in DIAGRAMS.items():
        draw(diagram).savefig(options.out / f"{name}.png")


if __name__ == "__main__":
    main()
