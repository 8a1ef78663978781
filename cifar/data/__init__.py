"""Data sets, one file a family: each builder returns a `Dataset`."""
