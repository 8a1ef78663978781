"""Training: experiment, loop, input pipeline, checkpoints."""
