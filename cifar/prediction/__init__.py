"""Predictions of a finished run's model for image files."""
