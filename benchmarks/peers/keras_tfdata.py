"""A plain Keras script with `tf.data` and Keras's preprocessing layers."""

import keras
import tensorflow as tf
from network import compiled_network
from shared import BATCH, EVALUATION_BATCH, parser, read, turn

options = parser().parse_args()
train, val = read(options.data, options.limit)

augment = keras.Sequential(
    [
        keras.layers.RandomRotation(15 / 360, fill_mode="nearest"),
        keras.layers.RandomTranslation(0.1, 0.1, fill_mode="nearest"),
        keras.layers.RandomFlip("horizontal"),
    ]
)
train_batches = (
    tf.data.Dataset.from_tensor_slices(train)
    .cache()
    .shuffle(len(train[0]))
    .batch(BATCH)
    .map(lambda images, labels: (augment(images, training=True), labels), num_parallel_calls=tf.data.AUTOTUNE)
    .prefetch(tf.data.AUTOTUNE)
)
val_batches = tf.data.Dataset.from_tensor_slices(val).batch(EVALUATION_BATCH).cache().prefetch(tf.data.AUTOTUNE)

if options.bfloat16:
    keras.config.set_dtype_policy("mixed_bfloat16")
model = compiled_network()
model.fit(
    train_batches,
    validation_data=val_batches,
    epochs=options.epochs,
    callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=turn)],
    verbose=2,
)
