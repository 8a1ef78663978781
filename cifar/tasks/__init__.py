"""Tasks: head, targets, loss, metrics, decoding and evaluation of each kind of prediction."""
