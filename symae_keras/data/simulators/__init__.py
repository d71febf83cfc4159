"""Simulated groups whose truth is known."""
