"""LiteRT, called TensorFlow Lite before: a Keras model as a file for phones and small computers."""

import tempfile

from superres.runtime.backend import keras
from superres.runtime.errors import InputError


def as_tflite(model, name, condition=None):
    """Converts a model.

    Args:
        model: network from `lr` (N, H, W, 3), and perhaps a condition (N, 1, 1, 1 or 3), to the
            enlarged pictures, all float32.
        name: of that second input.
        condition: float32 (1,) or (3,), built in instead of it; `None`: not.

    Returns:
        Bytes of a .tflite file. Sizes are free; `enlarge` is its signature, from the inputs by
        their names to `sr`.

    Raises:
        InputError: Keras has another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError("TensorFlow makes .tflite files: expected KERAS_BACKEND=tensorflow")
    import tensorflow as tf

    specs = [tf.TensorSpec((None, None, None, 3), tf.float32, "lr")]
    if condition is None:
        specs += [tf.TensorSpec(one.shape, tf.float32, name) for one in model.inputs[1:]]

    def enlarge(*inputs):
        built_in = [] if condition is None else [tf.reshape(condition, (1, 1, 1, -1))]
        inputs = [*inputs, *built_in]
        return {"sr": model(inputs[0] if len(inputs) == 1 else inputs, training=False)}

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("enlarge", enlarge, specs)
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        return tf.lite.TFLiteConverter.from_saved_model(folder, ["enlarge"]).convert()
