"""Launchers of jobs on a cluster."""
