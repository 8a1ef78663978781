"""Layers and blocks that models and tasks share."""
