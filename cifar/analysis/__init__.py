"""Comparison of recorded runs: settings, results, cost, significance tests, and the images on which they differ."""
