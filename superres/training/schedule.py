"""How the learning rate goes over the steps of a training."""

from superres.runtime.backend import keras

ops = keras.ops

WARMUP_SHARE = 10  # the learning rate rises over at most a tenth of all steps


def warmup_within(warmup_steps, total_steps):
    """`warmup_steps`, or where these are more than a tenth of all steps, that tenth."""
    return min(warmup_steps, total_steps // WARMUP_SHARE)


def learning_rates(peak, *, total_steps, warmup_steps, decay_steps):
    """The learning rate of every step, as a Keras schedule.

    Args:
        peak: the largest.
        total_steps: of the training, at whose end it is 0.
        warmup_steps: in which it rises from 0; at most a tenth of all.
        decay_steps: at the end, in which it falls in a straight line, while before it is held;
            0: it falls by a cosine from the warm-up on.
    """
    warmup_steps = warmup_within(warmup_steps, total_steps)
    if decay_steps:
        return HoldAndDecay(
            peak,
            warmup_steps=warmup_steps,
            decay_steps=min(decay_steps, total_steps),
            total_steps=total_steps,
        )
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=total_steps - warmup_steps,
        warmup_target=peak,
        warmup_steps=warmup_steps,
    )


class HoldAndDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises to its peak, is held, and falls to 0 in a straight line.

    While it is held, nothing depends on when the run will end.

    Args:
        peak: the learning rate that is held.
        warmup_steps: in which it rises from 0.
        decay_steps: at the end, in which it falls.
        total_steps: of the run.
    """

    def __init__(self, peak, *, warmup_steps, decay_steps, total_steps):
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.decay_steps = decay_steps
        self.total_steps = total_steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        risen = step / max(1, self.warmup_steps)
        left = (self.total_steps - step) / self.decay_steps
        return self.peak * ops.clip(ops.minimum(risen, left), 0.0, 1.0)

    def get_config(self):
        return vars(self)
