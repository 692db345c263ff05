"""A training: the compiled model, its whole state, and what happens between its steps."""

import math
import sys
import time

import numpy as np
from tqdm import tqdm

from superres.runtime import backend, processes
from superres.runtime.backend import keras
from superres.training import checkpoint
from superres.training.losses import LOSSES
from superres.training.optimizers import OPTIMIZERS

EPOCH_SUMS = ("loss", "seconds", "waited")  # over the part of an epoch that is done
UNTIMED_STEPS, TIMED_SECONDS = 10, 20  # of a timing: the first steps, which compile; the rest
READ_STEPS = 10  # of a timing, after which the device is waited for
MINUTES_SHARE = 0.95  # of MINUTES for steps; the rest for scoring, saving and what slows it
READ_SECONDS = 1.0  # between readings of the loss, for each of which a GPU has to wait
AGREEMENT_STEPS = 20  # after so many, several processes ask each other whether to stop


def training_model(model, *, loss, optimizer, learning_rate, clip_norm, averaging):
    """`model` with uint8 pixels in, compiled for `fit`: loss, optimizer, averaged weights.

    Args:
        model: network from float32 in [0, 1], as `network.edsr` builds it.
        loss: one of `LOSSES`.
        optimizer: one of `OPTIMIZERS`.
        learning_rate: number or Keras schedule.
        clip_norm: largest norm of the whole gradient.
        averaging: decay of the averaged weights, which the optimizer keeps; smaller at first.
    """
    # The crops travel to the device as uint8, a quarter of the bytes of float32.
    pixels = keras.Input((None, None, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255, dtype="float32")(pixels)
    training = keras.Model(pixels, model(scaled))
    training.compile(
        OPTIMIZERS[optimizer](
            learning_rate, global_clipnorm=clip_norm, use_ema=True, ema_momentum=averaging
        ),
        loss=LOSSES[loss],
        jit_compile=backend.wants_xla(),
    )
    training.optimizer.build(training.trainable_variables)
    return training


def averaged_weights(training):
    """The optimizer's moving averages of the weights, in the order of `get_weights()`."""
    current = training.get_weights()
    training.optimizer.finalize_variable_values(training.trainable_variables)
    averaged = training.get_weights()
    training.set_weights(current)
    return averaged


def state_arrays(training):
    """Weights and optimizer of a training, as a dict of NumPy arrays."""
    arrays = {f"model_{n}": array for n, array in enumerate(training.get_weights())}
    for n, variable in enumerate(training.optimizer.variables):
        arrays[f"optimizer_{n}"] = keras.ops.convert_to_numpy(variable)
    return arrays


def restore(training, arrays):
    """Puts what `state_arrays` returned into a training of the same settings.

    Raises:
        ValueError: it does not fit.
    """
    count = len(training.weights), len(training.optimizer.variables)
    names = [f"model_{n}" for n in range(count[0])] + [f"optimizer_{n}" for n in range(count[1])]
    if missing := [name for name in names if name not in arrays]:
        raise ValueError(f"{missing[0]} is missing in it; expected {len(names)} arrays")
    training.set_weights([arrays[name] for name in names[: count[0]]])
    for variable, name in zip(training.optimizer.variables, names[count[0] :], strict=True):
        variable.assign(arrays[name])


def use_weights(training, weights, step):
    """Goes on with a training of which the averaged weights are left, and nothing else.

    Args:
        training: compiled model.
        weights: list of arrays, as `get_weights()` of the network returns them.
        step: steps that they had; the learning rate goes on from there.

    Raises:
        ValueError: they are of another network.
    """
    if [w.shape for w in weights] != [tuple(w.shape) for w in training.weights]:
        raise ValueError("the weights are of another network")
    training.set_weights(weights)
    optimizer = training.optimizer
    averages = [v for v in optimizer.variables if v.path.endswith("_average")]
    for average, variable in zip(averages, training.trainable_variables, strict=True):
        # A copy: JAX gives away the memory of both in the next step.
        average.assign(keras.ops.convert_to_numpy(variable))
    optimizer.iterations.assign(step)


class Timing(keras.callbacks.CallbackList):
    """Ends `fit` when enough of its steps are timed.

    Args:
        training: compiled model.
        stream: `Stream` that `fit` takes its batches from.
        most: steps after which it ends in any case, at least 2.
        seconds: of timed steps after which it ends before; infinity for never.

    Attributes:
        steps: how many were taken.
        sums: dict of `EPOCH_SUMS` over them.
        step_seconds: of one step.
        compile_seconds: until the first steps were done.
        arrays: what `state_arrays` returns then. At its end `fit` replaces the weights by the
            averaged ones.
    """

    def __init__(self, training, stream, most, seconds=TIMED_SECONDS):
        super().__init__(model=training, add_history=True)
        self._stream, self._most, self._seconds = stream, most, seconds
        self._untimed = min(UNTIMED_STEPS, most // 2)
        self._began = self._timed_from = time.monotonic()
        self.steps, self.sums, self.arrays = 0, {}, {}
        self.step_seconds = self.compile_seconds = math.nan

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.steps % READ_STEPS and self.steps not in (self._untimed, self._most):
            return
        loss = float(keras.ops.convert_to_numpy(logs["loss"]))  # waits for the device
        now = time.monotonic()
        if self.steps <= self._untimed:
            self._timed_from = now
        elif self.steps >= self._most or now - self._timed_from > self._seconds:
            self.step_seconds = (now - self._timed_from) / (self.steps - self._untimed)
            self.compile_seconds = self._timed_from - self._began
            self.sums = {
                "loss": loss * self.steps,
                "seconds": now - self._began,
                "waited": self._stream.waited,
            }
            backend.bring_up_to_date(self.model)
            self.arrays = state_arrays(self.model)
            self.model.stop_training = True


def epochs_for(chosen, step, seconds, step_seconds):
    """EPOCHS such that a training takes MINUTES.

    Args:
        chosen: the settings.
        step: steps that are done.
        seconds: that they took.
        step_seconds: of a step from here on.
    """
    left = max(0.0, 60 * MINUTES_SHARE * chosen.minutes - seconds)
    return max(
        math.ceil(max(step, 1) / chosen.steps_per_epoch),
        int((step + left / step_seconds) / chosen.steps_per_epoch + 1e-6),
    )


class Run(keras.callbacks.CallbackList):
    """What happens between the steps of `fit`: the progress is shown, scored and saved.

    A `CallbackList` and no `Callback`: those get the loss as a number, for which a GPU would
    have to be waited for after every step.

    Args:
        chosen: the settings.
        training: compiled model.
        schedule: the learning rate's schedule.
        stop: `threading.Event`: where it is set, `fit` ends after the step.
        journal: `Journal` of the epochs that are done.
        stream: `Stream` that `fit` takes its batches from.
        beginning: `resume.Beginning`.
        process, process_count: its number, and how many there are; number 0 scores and saves.

    Attributes:
        step: steps that are done.
        unsaved: the error because of which the last state is not on disk, or `None`.
    """

    def __init__(
        self,
        chosen,
        training,
        schedule,
        stop,
        journal,
        stream,
        beginning,
        process=0,
        process_count=1,
    ):
        super().__init__(model=training, add_history=True)
        self.chosen = chosen
        self.schedule = schedule
        self.stop = stop
        self.journal = journal
        self.stream = stream
        self.step = beginning.step
        self.sums = beginning.sums
        self.beginning = beginning
        self._is_new = beginning.step == 0
        self.is_first, self.processes = process == 0, process_count
        self.unsaved = None
        self._unread = []  # (step, mean loss since `_began`), which wait on the device
        self._loss = math.nan
        self._words = {}
        self.bar = tqdm(
            desc="training",
            total=chosen.epochs * chosen.steps_per_epoch * chosen.batch_size,
            initial=self.step * chosen.batch_size,
            unit="crop",
            unit_scale=True,
            smoothing=0.05,
            # A log file does not need a line every second.
            mininterval=0.5 if sys.stderr is not None and sys.stderr.isatty() else 60,
        )

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._begin()

    def _begin(self):
        """Begins to count anew: at the start, and after each epoch."""
        self._began = self._read_at = self._saved_at = time.monotonic()
        self._began_step, self._waited_before = self.step, self.stream.waited

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        self._unread.append((self.step, logs["loss"]))
        now = time.monotonic()
        if now - self._read_at > READ_SECONDS:
            self._read()
            self._read_at = now
        is_last = self._is_to_stop()
        if self.step % self.chosen.steps_per_epoch == 0:
            self._end_epoch()
        elif is_last or now - self._saved_at > 60 * self.chosen.save_minutes:
            self._save()
        if is_last:
            self.model.stop_training = True

    def _is_to_stop(self):
        """Whether a signal has come; of several processes, to any: all stop after the same step."""
        if self.processes == 1:
            return self.stop.is_set()
        if self.step % AGREEMENT_STEPS:
            return False
        return any(processes.all_gather(int(self.stop.is_set())))

    def _read(self):
        """Looks at the losses that were not looked at yet; returns the mean since `_began`.

        Raises:
            FloatingPointError: one is not finite.
        """
        unread, self._unread = self._unread, []
        for step, loss in unread:
            self._loss = float(keras.ops.convert_to_numpy(loss))
            if not math.isfinite(self._loss):
                raise self._not_finite(f"the loss is {self._loss}", step)
        self.bar.set_postfix(self._words | {"loss": f"{self._loss:.4f}"}, refresh=False)
        self.bar.update(len(unread) * self.chosen.batch_size)
        return self._loss

    def _sums(self):
        """`EPOCH_SUMS` of what is done of the epoch."""
        return {
            "loss": self.sums["loss"] + self._read() * (self.step - self._began_step),
            "seconds": self.sums["seconds"] + time.monotonic() - self._began,
            "waited": self.sums["waited"] + self.stream.waited - self._waited_before,
        }

    def _end_epoch(self):
        """Scores the averaged weights, tells of it, saves, and begins the next epoch."""
        sums, rows = self._sums(), self.journal.rows
        backend.bring_up_to_date(self.model)
        weights = averaged_weights(self.model)
        self._check_finite(weights)
        if self.is_first:
            line = self.journal.end_epoch(
                self.step,
                weights,
                loss=round(sums["loss"] / self.chosen.steps_per_epoch, 7),
                learning_rate=float(self.schedule(self.step)),
                waited=min(1.0, sums["waited"] / sums["seconds"]),
                seconds=sums["seconds"] + (rows[-1]["seconds"] if rows else 0.0),
            )
            self.bar.write(line)
            self._words["psnr"] = f"{rows[-1]['psnr']:.2f}"
            self.bar.set_postfix(self._words | {"loss": f"{self._loss:.4f}"}, refresh=False)
        self.sums = dict.fromkeys(EPOCH_SUMS, 0.0)
        self.model.reset_metrics()
        self._begin()
        self._save()

    def _check_finite(self, arrays):
        if not all(np.isfinite(array).all() for array in arrays):
            raise self._not_finite("a weight is not finite", self.step)

    def _not_finite(self, what, step):
        return FloatingPointError(
            f"{what} at step {step:,}, at a learning rate of {float(self.schedule(step - 1)):.3g}; "
            "what was saved before is kept. Lower LEARNING_RATE, or look for the cause in the "
            "pictures, and run the same command again: it goes on from there"
        )

    def _save(self):
        """Saves what is new. Where the disk is full, the training goes on until the next time.

        Of several processes only the first saves. It must not assign to the model meanwhile:
        JAX would wait for the others to do the same.
        """
        self._saved_at = time.monotonic()
        if not self.is_first:
            return
        sums = self._sums() if self.step > self._began_step else self.sums
        backend.bring_up_to_date(self.model)
        arrays = state_arrays(self.model)
        self._check_finite(arrays.values())
        shown = self.journal.shown
        about = {
            "settings": vars(self.chosen),
            "step": self.step,
            "rows": self.journal.rows,
            "epoch": sums,
            "shown": sorted(shown),
            "in_turn": self.beginning.in_turn,
            "held_out": self.beginning.held_out,
            "validation": self.beginning.validation,
            "first_row": self.journal.first_row,
        }
        arrays |= {f"shown_{n}": crop for n, crop in shown.items()}
        try:
            # In this order: a run that goes on from a state does not write weights again that
            # were the best before it.
            self.journal.write_weights()
            checkpoint.save(
                self.journal.path.parent, self.chosen.name, self.step, arrays, about, self._is_new
            )
            self._is_new = False
            self.journal.write()
            self.unsaved = None
        except OSError as error:
            self.unsaved = error
            self.bar.write(
                f"could not save at step {self.step:,}: {error}; what was saved before is still "
                "there, and it is tried again at the next saving"
            )
