"""Training a network: the compiled step, the optimizer, the averaged weights."""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from superres.runtime import backend, devices
from superres.runtime.backend import keras
from superres.runtime.errors import InputError
from superres.training.losses import LOSSES
from superres.training.optimizers import OPTIMIZERS, inner_kernels

READ_SECONDS = 1.0  # between readings of the loss, for each of which a GPU has to wait
BATCHES_AHEAD = 8  # made while the device computes
AGREEMENT_STEPS = 20  # after each 20, several processes agree whether to stop
CONTINUE, TIME_IS_UP, STOPPED = range(3)  # reasons to end a `fit` early; CONTINUE: none


class FitResult(NamedTuple):
    steps: int
    loss: float  # mean over the steps
    seconds: float
    waited: float  # seconds of these without a batch


class Trainer:
    """Trains a network, as `network.build` makes it, in place.

    Args:
        loss: name in `LOSSES`, or a layer such as `PerceptualLoss`.
        optimizer: name in `OPTIMIZERS`.
        learning_rate: Keras schedule.
        clip_norm: limit of the global gradient norm.
        ema_decay: decay of the averaged weights; smaller at first.

    Attributes:
        step: steps done.
        is_stopped: whether a signal ended the last `fit`, in one of the processes.
    """

    def __init__(self, network, *, loss, optimizer, learning_rate, clip_norm, ema_decay):
        # The crops travel to the device as uint8, a quarter of the bytes of float32.
        pixels, hr = (keras.Input((None, None, 3), dtype="uint8") for _ in range(2))
        scaled = keras.layers.Rescaling(1 / 255, dtype="float32")
        self._conditions = sum(one.shape[-1] for one in network.inputs[1:])
        inputs, sr = [pixels], scaled(pixels)
        if self._conditions:
            inputs.append(keras.Input((1, 1, self._conditions), dtype="float32"))
            sr = network([sr, inputs[1]])
        else:
            sr = network(sr)
        output = sr
        self._is_layer, self._constants = not isinstance(loss, str), set()
        if self._is_layer:  # then the model's output is the loss itself
            inputs, output = [*inputs, hr], loss([sr, scaled(hr)])
            self._constants = set(map(id, loss.features.variables))
        self.model = keras.Model(inputs, output)
        self.model.compile(
            OPTIMIZERS[optimizer](
                learning_rate,
                inner_kernels(network),
                global_clipnorm=clip_norm,
                use_ema=True,
                ema_momentum=ema_decay,
            ),
            loss=(lambda hr, values: values) if self._is_layer else LOSSES[loss],
            jit_compile=backend.wants_xla(),
        )
        self.model.optimizer.build(self.model.trainable_variables)
        self.network, self.schedule = network, learning_rate
        self.step, self.is_stopped = 0, False

    def fit(self, make_batch, steps, stop, seconds=math.inf, on_steps=lambda steps, loss: None):
        """Trains for `steps`, or fewer, if `stop` is set or `seconds` are over: a `FitResult`.

        `make_batch(step)` returns ((lr, condition), hr), see `crops.cut_batch`. `on_steps` is
        called about once a second with the steps since the last call, and the loss.
        FloatingPointError: the loss is not finite.
        """
        hook = _Hook(self, stop, seconds, on_steps)
        steps = range(self.step, self.step + steps)
        batches = _Batches(make_batch, steps, self._conditions, self._is_layer)
        try:
            self.model.fit(batches, callbacks=hook, shuffle=False, verbose=0)
        finally:
            batches.close()
        self.is_stopped = hook.reason == STOPPED
        return FitResult(hook.steps, hook.read(), hook.seconds, batches.waited)

    def __str__(self):
        return f"{self.network.count_params():,} parameters, {backend.describe()}"

    def ema_weights(self):
        """The averaged weights, in the order of the network's `get_weights()`."""
        averages = (v for v in self.model.optimizer.variables if v.path.endswith("_average"))
        trained = map(id, self.model.trainable_variables)
        of = dict(zip(trained, averages, strict=True))
        return self._finite(of.get(id(weight), weight) for weight in self.network.weights)

    def arrays(self):
        """The whole state as a dict of NumPy arrays: weights, seeds of dropout, optimizer."""
        variables = self._variables()
        return dict(zip(variables, self._finite(variables.values()), strict=True))

    def _variables(self):
        """All variables, by the names of their arrays."""
        model = [v for v in self.model.variables if id(v) not in self._constants]
        kinds = {"model": model, "optimizer": self.model.optimizer.variables}
        return {f"{kind}_{n}": v for kind, group in kinds.items() for n, v in enumerate(group)}

    def restore(self, arrays, step):
        """Resumes from `arrays` after a step; InputError: they are of another network."""
        for name, variable in self._variables().items():
            if name not in arrays or arrays[name].shape != tuple(variable.shape):
                raise InputError(
                    f"the network differs from the earlier run's ({variable.path}); change "
                    "network.py back, take another NAME, or start over with --restart"
                )
            variable.assign(arrays[name])
        self.step = step

    def _finite(self, variables):
        """Arrays of variables; raises FloatingPointError where a number is not finite."""
        arrays = [keras.ops.convert_to_numpy(variable) for variable in variables]
        if not all(np.isfinite(array).all() for array in arrays):
            raise self.not_finite("a weight is not finite", self.step)
        return arrays

    def not_finite(self, what, step):
        return FloatingPointError(
            f"{what} at step {step:,}, at a learning rate of {float(self.schedule(step - 1)):.3g}; "
            "earlier saves are kept. Lower LEARNING_RATE, or look for the cause in the pictures, "
            "and run the command again: it resumes"
        )


class _Batches(keras.utils.PyDataset):
    """The batches of one `fit`, which a thread makes ahead.

    TensorFlow never releases what was passed to `fit`, so `close` drops all batches.
    """

    def __init__(self, make, steps, conditions, with_hr=False):
        super().__init__()
        self._make, self._steps, self._conditions = make, steps, conditions
        self._with_hr = with_hr  # among the inputs
        self._worker, self._futures, self.waited = ThreadPoolExecutor(1), {}, 0.0

    @property
    def num_batches(self):
        return len(self._steps)

    def __getitem__(self, index):
        step = self._steps[index]
        for ahead in self._steps[index : index + BATCHES_AHEAD]:
            if ahead not in self._futures:
                self._futures[ahead] = self._worker.submit(self._make, ahead)
        self._futures.pop(step - 2, None)  # not step - 1: Keras asks for the first two twice
        began = time.perf_counter()
        (lr, condition), hr = self._futures[step].result()
        self.waited += time.perf_counter() - began
        inputs = [lr] + [condition[..., : self._conditions]] * bool(self._conditions)
        inputs += [hr] * self._with_hr
        return (tuple(inputs) if len(inputs) > 1 else lr), hr

    def close(self):
        """Ends the thread."""
        self._worker.shutdown(cancel_futures=True)
        self._make, self._futures = None, {}


class _Hook(keras.callbacks.CallbackList):
    """Counts the steps of a `fit`, and ends it.

    A `Callback` would get the loss as a number, and wait for the GPU after every step.
    """

    def __init__(self, trainer, stop, seconds, on_steps):
        super().__init__(model=trainer.model, add_history=True)
        self.trainer, self.stop, self.max_seconds, self.on_steps = trainer, stop, seconds, on_steps
        self.steps, self.seconds, self.reason = 0, 0.0, CONTINUE
        self._unread = []  # mean losses since the beginning, still on the device
        self._loss = math.nan

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._began = self._read_at = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        self.trainer.step += 1
        self.steps += 1
        self._unread.append(logs["loss"])
        now = time.monotonic()
        self.seconds = now - self._began
        if now - self._read_at > READ_SECONDS:
            self.read()
            self._read_at = now
        self.reason = self._reason_to_end()
        if self.reason != CONTINUE:
            self.model.stop_training = True

    def _reason_to_end(self):
        """The largest reason among all processes, so that they end after the same step."""
        late = TIME_IS_UP if self.seconds > self.max_seconds else CONTINUE
        own = STOPPED if self.stop.is_set() else late
        if devices.index_and_count()[1] == 1:
            return own
        if self.trainer.step % AGREEMENT_STEPS:
            return CONTINUE
        return max(devices.all_gather(own))

    def read(self):
        """Reads the losses that are still on the device; returns the mean since the beginning."""
        unread, self._unread = self._unread, []
        for step, loss in enumerate(unread, self.trainer.step - len(unread) + 1):
            self._loss = float(keras.ops.convert_to_numpy(loss))
            if not math.isfinite(self._loss):
                raise self.trainer.not_finite(f"the loss is {self._loss}", step)
        self.on_steps(len(unread), self._loss)
        return self._loss
