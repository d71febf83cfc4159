"""Export of models to files that can be served without this package and without Keras.

    export_model(model, "redatum.onnx", format="onnx", endpoint="redatum")

writes one method of a model, without training noise, in float32, for any number of
groups and of instances. See docs/serving.md.
"""

from symae_keras.export.model import (
    ENDPOINTS,
    FORMATS,
    TOLERANCE,
    Exported,
    Specs,
    check_endpoint,
    check_target,
    export_model,
)

__all__ = [
    "ENDPOINTS",
    "FORMATS",
    "TOLERANCE",
    "Exported",
    "Specs",
    "check_endpoint",
    "check_target",
    "export_model",
]


def __dir__() -> list[str]:
    return sorted(__all__)
