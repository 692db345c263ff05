"""Keras, and the hardware that its backend computes on.

TensorFlow's C++ libraries write half a dozen lines about themselves when they load, among
them an alarming error where there is no GPU. They are kept from the terminal, unless
TF_CPP_MIN_LOG_LEVEL is set: `TF_CPP_MIN_LOG_LEVEL=0 python output.py` shows all of them.
"""

import contextlib
import functools
import os
import sys

from superres.runtime import hardware


@contextlib.contextmanager
def _quiet_libraries():
    """Sends what C++ code writes to standard error to nowhere; Python's errors still rise."""
    # 3 may also be what a process that started this one has set here.
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") != "3":
        yield
        return
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


@functools.cache
def _keras():
    try:
        with _quiet_libraries():
            import keras
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (ImportError, ValueError) as error:  # not installed; no such backend
        chosen = os.environ.get("KERAS_BACKEND", "tensorflow")
        hint = "pip install -r requirements.txt" + f" {chosen}" * (chosen != "tensorflow")
        print(f"Keras cannot load its backend {chosen!r}: {error}; {hint}", file=sys.stderr)
        raise SystemExit(2) from error
    return keras


class _Keras:
    """The module `keras`, which is loaded when it is first used: that takes seconds."""

    def __getattr__(self, name):
        return getattr(_keras(), name)


keras = _Keras()


def count_gpus():
    if keras.backend.backend() == "torch":  # Keras cannot list its devices
        import torch

        return torch.cuda.device_count()
    return sum(name.startswith("gpu") for name in keras.distribution.list_devices())


def has_gpu():
    """Whether the backend sees a GPU."""
    return count_gpus() > 0


def supports_dynamic_shapes():
    """Whether one compiled function serves pictures of every size: not so in XLA, so in JAX."""
    return keras.backend.backend() != "jax"


def wants_xla():
    """Whether compiling a training step with XLA pays: with JAX, and with TensorFlow on a GPU.

    On a processor TensorFlow's own kernels take 0.26 s for a training step of the small
    network in bfloat16, and XLA's 0.58 s. PyTorch has no XLA; what Keras would do in its
    place, `torch.compile`, costs more time per size of picture than it saves.
    """
    name = keras.backend.backend()
    return name == "jax" or (name == "tensorflow" and has_gpu())


def fastest_precision():
    """Keras's name of the dtype policy that is fastest here."""
    return "mixed_bfloat16" if has_fast_bfloat16() else "float32"


def has_fast_bfloat16():
    """Whether the network runs faster in bfloat16 than in float32 here.

    GPUs have it since NVIDIA's Ampere. Under JAX processors gain nothing: XLA's convolutions
    compute in float32 there.
    """
    name = keras.backend.backend()
    if not has_gpu():
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


def compiled(model):
    """Compiles a model for inference.

    Returns:
        Function from float32 (N, H, W, 3), and what else the model takes, to float32, all NumPy
        arrays. TensorFlow compiles it once for all sizes, JAX once for each size; PyTorch does
        not compile. It follows when the model's weights are changed.
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
        except Exception:  # some layers, as bilinear UpSampling2D, must know the size
            run = tf.function(call, autograph=False)
        return lambda *inputs: run(*inputs).numpy()
    if name == "jax":
        import jax
        import numpy as np

        run = jax.jit(
            lambda weights, rest, inputs: model.stateless_call(
                weights, rest, as_model_takes(inputs)
            )[0]
        )

        def call(*inputs):
            weights = [variable.value for variable in model.trainable_variables]
            rest = [variable.value for variable in model.non_trainable_variables]
            return np.asarray(run(weights, rest, inputs))

        return call
    import torch

    def call(*inputs):
        with torch.inference_mode():
            return keras.ops.convert_to_numpy(model(as_model_takes(inputs), training=False))

    return call


def describe():
    """Backend and device in words, for the first line of a command's output."""
    return f"{keras.backend.backend()} on {'GPU' if has_gpu() else 'CPU'}"
