"""The command `symae`: a module per command, with the job that it does."""

from symae_keras.cli.main import app, main

__all__ = ["app", "main"]
