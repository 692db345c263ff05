"""The learning rate of each step."""

from superres.runtime.backend import keras

MAX_WARMUP_SHARE = 0.1  # of all steps


def learning_rates(peak, *, total_steps, warmup_steps, decay_steps):
    """A Keras schedule: linear warm-up from 0 to `peak`, in at most a tenth of all steps.

    Then either a linear decay to 0 in the last `decay_steps`, or, if these are 0, a cosine.
    """
    longest = int(total_steps * MAX_WARMUP_SHARE)
    if warmup_steps > longest:
        print(
            f"warm-up shortened from {warmup_steps} to {longest} steps, a tenth of {total_steps:,}"
        )
        warmup_steps = longest
    if decay_steps > total_steps:
        print(f"decay shortened from {decay_steps:,} to {total_steps:,} steps, the whole run")
        decay_steps = total_steps
    if decay_steps:
        from superres.training.optimizers import (
            HoldAndDecay,
        )  # here, since importing it loads Keras

        return HoldAndDecay(
            peak, warmup_steps=warmup_steps, decay_steps=decay_steps, total_steps=total_steps
        )
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=total_steps - warmup_steps,
        warmup_target=peak,
        warmup_steps=warmup_steps,
    )
