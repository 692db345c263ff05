"""How the learning rate goes over the steps of a training."""

from superres.runtime.backend import keras

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
        from superres.training.optimizers import HoldAndDecay  # here, since it loads Keras

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
