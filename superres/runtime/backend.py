"""Keras, and the hardware that its backend computes on.

TensorFlow's C++ libraries print half a dozen lines when they load, among them an alarming error
where there is no GPU. They are hidden unless TF_CPP_MIN_LOG_LEVEL is set: to 0, it shows all.
"""

import contextlib
import functools
import os
import sys

from superres.runtime import hardware


@contextlib.contextmanager
def _quiet_libraries():
    """Hides what C++ code writes to standard error."""
    stderr = None
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "3":  # perhaps by a parent process
        with contextlib.suppress(OSError):  # there may be no standard error
            stderr = os.dup(2)
    if stderr is None:
        yield
        return
    with open(os.devnull, "wb") as devnull:
        os.dup2(devnull.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


@functools.cache
def _keras():
    try:
        with _quiet_libraries():
            import keras
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (ImportError, ValueError) as error:  # not installed; no such backend
        name = os.environ.get("KERAS_BACKEND", "tensorflow")
        hint = "pip install -r requirements.txt" + f" {name}" * (name != "tensorflow")
        print(f"Keras cannot load its backend {name!r}: {error}; {hint}", file=sys.stderr)
        raise SystemExit(2) from error
    return keras


class _Keras:
    """The module `keras`, loaded at its first use, since that takes seconds."""

    def __getattr__(self, name):
        return getattr(_keras(), name)


keras = _Keras()


def count_gpus():
    if keras.backend.backend() == "torch":  # Keras cannot list its devices
        import torch

        return torch.cuda.device_count()
    return sum(name.startswith("gpu") for name in keras.distribution.list_devices())


def has_gpu():
    return count_gpus() > 0


def supports_dynamic_shapes():
    """Whether one compiled function serves pictures of every size: not with XLA, so JAX."""
    return keras.backend.backend() != "jax"


def wants_xla():
    """Whether XLA makes a training step faster: with JAX, and with TensorFlow on a GPU."""
    # TensorFlow takes 0.26 s without and 0.58 s with it on a processor, for a step of the small
    # network in bfloat16. With PyTorch `torch.compile` costs more time per size than it saves.
    name = keras.backend.backend()
    return name == "jax" or (name == "tensorflow" and has_gpu())


def fastest_precision():
    return "mixed_bfloat16" if has_fast_bfloat16() else "float32"


def has_fast_bfloat16():
    """Whether bfloat16 is faster than float32 here: on GPUs since NVIDIA's Ampere."""
    name = keras.backend.backend()
    if not has_gpu():  # XLA's convolutions compute in float32 on processors
        return name != "jax" and hardware.has_bfloat16()
    if name == "torch":
        import torch

        return torch.cuda.is_bf16_supported()
    if name == "jax":
        import jax

        return float(getattr(jax.devices()[0], "compute_capability", 0)) >= 8
    import tensorflow as tf

    gpu = tf.config.list_physical_devices("GPU")[0]
    return tf.config.experimental.get_device_details(gpu).get("compute_capability", (0,))[0] >= 8


def compile_model(model):
    """A model's function between float32 NumPy arrays, which follows changes of its weights.

    TensorFlow compiles it once for all sizes, JAX once for each size, PyTorch not at all.
    """

    def as_model_takes(inputs):
        return inputs[0] if len(inputs) == 1 else list(inputs)

    name = keras.backend.backend()
    if name == "tensorflow":
        import tensorflow as tf

        signature = [tf.TensorSpec((None, None, None, 3), tf.float32)]
        signature += [tf.TensorSpec(other.shape, tf.float32) for other in model.inputs[1:]]

        def call(*inputs):
            return model(as_model_takes(inputs), training=False)

        run = tf.function(call, input_signature=signature, autograph=False)
        try:
            run.get_concrete_function()
        except Exception:  # some layers, such as bilinear UpSampling2D, need the size
            run = tf.function(call, autograph=False)
        return lambda *inputs: run(*inputs).numpy()
    if name == "jax":
        import jax
        import numpy as np

        @jax.jit
        def run(weights, rest, inputs):
            return model.stateless_call(weights, rest, as_model_takes(inputs))[0]

        def call(*inputs):
            variables = model.trainable_variables, model.non_trainable_variables
            return np.asarray(run(*([one.value for one in some] for some in variables), inputs))

        return call
    import torch

    def call(*inputs):
        with torch.inference_mode():
            return keras.ops.convert_to_numpy(model(as_model_takes(inputs), training=False))

    return call


def describe():
    return f"{keras.backend.backend()} on {'GPU' if has_gpu() else 'CPU'}"
