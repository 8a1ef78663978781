"""Launchers of jobs: on this machine, and on a cluster."""
