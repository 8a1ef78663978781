"""Products of square matrices, COUNT a turn: python matmul.py tensorflow|torch float32|bfloat16 SIZE COUNT."""

import sys

from shared import turn

library, dtype, size, count = sys.argv[1:]
shape = [int(size), int(size)]
if library == "torch":
    import torch

    a, multiply = torch.randn(shape).to(getattr(torch, dtype)), torch.mm
else:
    import tensorflow as tf

    a, multiply = tf.cast(tf.random.normal(shape), dtype), tf.function(tf.linalg.matmul)

while True:
    turn()
    for _ in range(int(count)):
        product = multiply(a, a)
    float(product[0, 0])  # waits for it
