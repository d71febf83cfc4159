"""Simulated groups with known ground truth."""
