"""The losses that tasks can be trained with, one file for each task: a loss is one registered function.

A function asks by the names of its parameters for what it needs of that which the task offers.
"""
