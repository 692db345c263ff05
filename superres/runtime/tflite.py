"""LiteRT, called TensorFlow Lite before: a Keras model as a file for phones and small computers."""

import tempfile

from superres.runtime.backend import keras
from superres.runtime.errors import InputError


def as_tflite(model, quality=None):
    """Converts a model.

    Args:
        model: network from `lr` (N, H, W, 3), and perhaps `quality` (N, 1, 1, 1), to the enlarged
            pictures, all float32 in [0, 1].
        quality: built in instead of that input; `None`: not.

    Returns:
        Bytes of a .tflite file. Sizes are free; `enlarge` is its signature, from the inputs by
        their names to `sr`.

    Raises:
        InputError: Keras has another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError("TensorFlow makes .tflite files: expected KERAS_BACKEND=tensorflow")
    import tensorflow as tf

    sizes = {"lr": (None, None, None, 3), "quality": (None, 1, 1, 1)}
    names = [name for name in list(sizes)[: len(model.inputs)] if name == "lr" or quality is None]

    def enlarge(*inputs):
        told = [] if quality is None else [tf.fill((1, 1, 1, 1), quality)]
        inputs = [*inputs, *told]
        return {"sr": model(inputs[0] if len(inputs) == 1 else inputs, training=False)}

    archive = keras.export.ExportArchive()
    archive.track(model)
    specs = [tf.TensorSpec(sizes[name], tf.float32, name) for name in names]
    archive.add_endpoint("enlarge", enlarge, specs)
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        return tf.lite.TFLiteConverter.from_saved_model(folder, ["enlarge"]).convert()
