"""Devices, processes and shards of a distributed training."""
