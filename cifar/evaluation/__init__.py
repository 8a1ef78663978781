"""Recorded runs evaluated again: on their own data, on other data, on corrupted images, and as an ensemble."""
