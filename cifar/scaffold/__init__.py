"""Starts of your own parts: a model, a data set, …, with its settings and its test."""
