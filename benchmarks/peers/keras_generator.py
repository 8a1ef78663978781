"""A plain Keras script with `ImageDataGenerator`, as tutorials have taught it for years."""

import keras
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from network import compiled_network
from shared import BATCH, EVALUATION_BATCH, parser, read, turn

options = parser().parse_args()
train, val = read(options.data, options.limit)

generator = ImageDataGenerator(
    rotation_range=15, width_shift_range=0.1, height_shift_range=0.1, horizontal_flip=True, fill_mode="nearest"
)
model = compiled_network()
model.fit(
    generator.flow(*train, batch_size=BATCH),
    validation_data=val,
    validation_batch_size=EVALUATION_BATCH,
    epochs=options.epochs,
    callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=turn)],
    verbose=2,
)
