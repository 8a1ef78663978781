"""Data sets, one file per family; each builder returns a `Dataset`."""
