"""Catalogue of the zoo, with one picture, one sentence and the scores per preset."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from symae_keras.zoo.cards import read_about

ROOT = Path(__file__).resolve().parents[1]
PICTURES = "images/zoo"
#: Placeholder for the catalogue in docs/zoo.md.
MARK = "<!-- catalogue -->"
#: Names of the scores in this order; each preset shows at most two.
SCORES = {
    "redatuming_error": "redatuming error",
    "transfer_error": "transfer error",
    "class_from_coherent": "class from coherent code",
    "snr_gain_db": "gain, dB",
    "temperature_r2": "R² of temperature",
    "reconstruction_error": "reconstruction error",
}


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Insert the catalogue into the page of the zoo."""
    if page.file.src_uri != "zoo.md":
        return markdown
    return markdown.replace(MARK, catalogue(ROOT / "zoo", ROOT / "docs" / PICTURES))


def catalogue(zoo: Path, pictures: Path) -> str:
    """Return all presets as HTML elements of a grid."""
    found = [entry(each.parent, pictures) for each in sorted(zoo.glob("*/recipe.py"))]
    return "\n".join(['<div class="presets">', *found, "</div>"])


def entry(folder: Path, pictures: Path) -> str:
    """Return the HTML element of one preset."""
    name = folder.name
    docstring = (folder / "recipe.py").read_text(encoding="utf-8").split('"""')[1]
    title = read_about(docstring).title.rstrip(".")
    measured = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    shipped = measured["shipped"]
    known = [key for key in SCORES if key in shipped][:2]
    scores = [f"{SCORES[key]} {shipped[key]:.3g}" for key in known]
    if len(scores) == 2 and "mean_swap_error" in shipped:
        scores[0] += f" (mean swap {shipped['mean_swap_error']:.3g})"
    picture = pictures / f"{name}.png"
    image = f'<img src="{PICTURES}/{name}.png" alt="{alt(name)}" loading="lazy">'
    return "\n".join(
        [
            f'<div id="{name}"><h3>{name}</h3>',
            image if picture.exists() else "",
            f"<p>{html.escape(title)}.</p>",
            f"<p>{html.escape('; '.join(scores))}; "
            f"{measured['parameters']:,} parameters.</p></div>",
        ]
    )


def alt(name: str) -> str:
    """Return the alternative text of a picture, for screen readers."""
    if name.startswith(("symae", "gvae", "mlvae")):
        return "A, B, and the state of A under the nuisance of B"
    return "Instances and the outputs of the model for them"
