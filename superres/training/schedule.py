"""The learning rate over the steps of a training."""

from superres.runtime.backend import keras

WARMUP_SHARE = 10  # the learning rate rises over at most a tenth of all steps


def learning_rates(peak, *, total_steps, warmup_steps, decay_steps):
    """The learning rate of every step, as a Keras schedule.

    Args:
        peak: the largest.
        total_steps: of the training, at whose end it is 0.
        warmup_steps: of linear rise from 0; at most a tenth of all.
        decay_steps: of linear fall at the end; 0: a cosine from the warm-up on.
    """
    longest = total_steps // WARMUP_SHARE
    if warmup_steps > longest:
        print(
            f"warm-up shortened from {warmup_steps} to {longest} steps, a tenth of {total_steps:,}"
        )
        warmup_steps = longest
    if decay_steps > total_steps:
        print(f"decay shortened from {decay_steps:,} to {total_steps:,} steps, the whole training")
        decay_steps = total_steps
    if decay_steps:
        from superres.training.optimizers import HoldAndDecay  # here, since it loads Keras

        return HoldAndDecay(
            peak, warmup_steps=warmup_steps, decay_steps=decay_steps, total_steps=total_steps
        )
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=total_steps - warmup_steps,
        warmup_target=peak,
        warmup_steps=warmup_steps,
    )
