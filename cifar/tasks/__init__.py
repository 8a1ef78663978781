"""Tasks, one file each: head, targets, loss, metrics, and what outputs mean."""
