"""How many epochs a training of some minutes has."""

import math

from superres.runtime import processes
from superres.training.schedule import WARMUP_SHARE

MINUTES_SHARE = 0.95  # of MINUTES for steps; the rest for scoring, saving and what slows it
UNTIMED_STEPS, TIMED_SECONDS = 10, 20  # the first steps, which compile; those that are timed


def epochs_in(minutes, steps_per_epoch, *, step, seconds, step_seconds):
    """How many epochs a training of some minutes has.

    Args:
        minutes: of the training.
        steps_per_epoch: of an epoch.
        step: steps that are done.
        seconds: that they took.
        step_seconds: of a step from here on.
    """
    left = max(0.0, 60 * MINUTES_SHARE * minutes - seconds)
    return max(
        math.ceil(max(step, 1) / steps_per_epoch),
        int((step + left / step_seconds) / steps_per_epoch + 1e-6),
    )


def epochs_before_timing(chosen, state):
    """EPOCHS of a training for MINUTES, at its start.

    Args:
        chosen: the settings.
        state: `checkpoint.State` from which it goes on; it keeps the EPOCHS that it had, or has
            others for other MINUTES. `None`: so many that the warm-up is not shortened, until
            others follow from the first steps.
    """
    if state is None:
        return math.ceil(WARMUP_SHARE * chosen.warmup_steps / chosen.steps_per_epoch)
    if chosen.minutes == state.settings.get("minutes"):
        return state.settings["epochs"]
    seconds = sum(row["seconds"] for row in state.rows[-1:]) + state.epoch["seconds"]
    return epochs_in(
        chosen.minutes,
        chosen.steps_per_epoch,
        step=state.step,
        seconds=seconds,
        step_seconds=seconds / state.step,
    )


def epochs_by_timing(chosen, trainer, data, stop, log):
    """Takes the first steps, and returns the EPOCHS that follow from how long they took.

    They are a part of the warm-up, in which the learning rate does not depend on EPOCHS yet.

    Args:
        chosen: the settings.
        trainer: `Trainer`, which has not begun.
        data: `Dataset`.
        stop: `threading.Event`, as `Trainer.fit` takes it.
        log: `TrainingLog`, in which the steps are counted.
    """
    minutes, steps_per_epoch = chosen.minutes, chosen.steps_per_epoch
    most = min(chosen.warmup_steps, steps_per_epoch - 1)
    untimed = min(UNTIMED_STEPS, most // 2)
    # Several processes have to take the same number of steps.
    limit = TIMED_SECONDS if processes.index_and_count()[1] == 1 else math.inf
    first = trainer.fit(data.batches(0, untimed), untimed, stop)
    rest = trainer.fit(data.batches(untimed, most), most - untimed, stop, limit)
    for fitted in first, rest:
        log.count(fitted, 0.0)
    step_seconds = rest.seconds / rest.steps
    seconds = 2 * first.seconds + rest.seconds  # with the new schedule it is compiled once more
    epochs = epochs_in(
        minutes, steps_per_epoch, step=trainer.step, seconds=seconds, step_seconds=step_seconds
    )
    epochs = processes.all_gather(epochs)[0]
    expected = (seconds + step_seconds * (epochs * steps_per_epoch - trainer.step)) / 60
    is_far = abs(expected - minutes) > minutes / 5
    print(
        f"{step_seconds:.3g} seconds a step: EPOCHS = {epochs} of {steps_per_epoch} steps, about "
        f"{expected:.3g} minutes" + is_far * "; with fewer STEPS_PER_EPOCH it is nearer to MINUTES"
    )
    return epochs
