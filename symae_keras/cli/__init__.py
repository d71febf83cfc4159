"""The command `symae`: one module per command."""

from symae_keras.cli.main import app, main

__all__ = ["app", "main"]
