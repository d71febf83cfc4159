"""Docstrings of recipes, metrics of presets, and cards that combine both."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from symae_keras.errors import InputError

#: Fields in the docstring of a preset's recipe, in this order.
FIELDS: Final = ("Command", "Cost", "Expect", "Data", "Use", "Limits", "Cite")
LICENCE: Final = "Apache-2.0, code and weights"
_FIELD: Final = re.compile(r"^([A-Z][a-z]+):[ \t]+(.*)$")
_RANGE: Final = re.compile(r"(\w+) ([-\d.]+) to ([-\d.]+)")


@dataclasses.dataclass(frozen=True)
class About:
    """Content of a recipe's docstring.

    Attributes:
        title: Its first line.
        fields: The texts after `Command:`, `Cost:` and so on, by name.
    """

    title: str
    fields: Mapping[str, str]

    @property
    def expected(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest value of each metric in `Expect:`."""
        ranges = _RANGE.findall(self.fields.get("Expect", ""))
        return {name: (float(low), float(high)) for name, low, high in ranges}


def read_about(docstring: str) -> About:
    """Read the docstring of a recipe.

    A field starts without indentation, with its name and a colon; its further lines are
    indented.

    Example:
    >>> about = read_about('''Stars.
    ...
    ... Command: symae train stars
    ... Expect:  redatuming_error 0.02 to 0.04,
    ...          on new stars
    ... ''')
    >>> about.title, about.fields["Command"], about.expected
    ('Stars.', 'symae train stars', {'redatuming_error': (0.02, 0.04)})
    """
    title, _, rest = docstring.strip().partition("\n")
    fields: dict[str, str] = {}
    name = None
    for line in rest.splitlines():
        found = _FIELD.match(line)
        if found:
            name, fields[found[1]] = found[1], found[2].strip()
        elif not line.startswith(" "):
            name = None
        elif name is not None:
            fields[name] += " " + line.strip()
    return About(title.strip(), fields)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """Content of a preset's metrics.json.

    Attributes:
        reference: Metrics of runs of the recipe, one value per seed, by name.
        quick: Metrics in quick mode, for the first seed.
        shipped: Metrics of the shipped weights on the held-out groups of their run.
        seconds: Median training time.
        parameters: Number of trainable parameters.
        epochs: Number of epochs.
        environment: Versions and platform.
    """

    reference: Mapping[str, list[float]]
    quick: Mapping[str, float]
    shipped: Mapping[str, float]
    seconds: float
    parameters: int
    epochs: int
    environment: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> Measured:
        """Read the metrics from the folder of a preset.

        Raises:
            InputError: The file is missing or cannot be used.
        """
        path = folder / "metrics.json"
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            names = [field.name for field in dataclasses.fields(cls)]
            return cls(**{name: content[name] for name in names})
        except FileNotFoundError:
            raise InputError(f"{folder} has no metrics.json to compare with.") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} cannot be read: {error}.") from None


def spread(values: list[float]) -> str:
    """Return the median, with the lowest and highest of several values.

    Example:
    >>> spread([0.0311, 0.0298, 0.0302]), spread([0.5])
    ('0.0302 [0.0298, 0.0311]', '0.5')
    """
    middle = sorted(values)[(len(values) - 1) // 2]
    if len(values) == 1:
        return f"{middle:.3g}"
    return f"{middle:.3g} [{min(values):.3g}, {max(values):.3g}]"


def write_card(name: str, about: About, measured: Measured) -> str:
    """Return the model card of a preset, in Markdown."""
    rows = [
        f"| {metric} | {measured.shipped[metric]:.3g} | {spread(values)} |"
        for metric, values in measured.reference.items()
    ]
    fields = about.fields
    seeds = len(next(iter(measured.reference.values())))
    runs = "one run" if seeds == 1 else f"{seeds} runs"
    versions = ", ".join(
        f"{package} {measured.environment[package]}"
        for package in ("keras", "tensorflow", "symae_keras")
    )
    return f"""---
library_name: keras
license: apache-2.0
tags: [symae_keras, autoencoder, disentanglement]
---

# {name}

{about.title}

```python
import symae_keras as sk

model = sk.zoo.load("{name}")
```

- **Data.** {fields["Data"]}
- **Intended use.** {fields["Use"]}
- **Limits.** {fields["Limits"]}
- **Licence.** {LICENCE}.
- **Cite.** {fields["Cite"]}

| metric on held-out data | these weights | {runs} of the recipe |
| --- | ---: | ---: |
{chr(10).join(rows)}

{measured.parameters:,} parameters, {measured.epochs} epochs,
{measured.seconds / 60:.1f} minutes on a shared CPU ({versions}).
`symae train {name}` trains it again; `symae zoo reproduce {name}` compares.
"""
