"""Whether a training may go on from a state: what of its settings may have changed."""

# Settings that have another name by now, and values that were built in before they were settings.
RENAMED = {"averaging": "ema_decay"}
BUILT_IN = {"optimizer": "adam", "decay_epochs": 0, "minutes": 0, "recipe": ""}


def compare(before, now, *, silently, aloud):
    """Compares the settings of a state with those chosen now.

    Args:
        before, now: dicts of settings, by name in lower case.
        silently: names of those with which a training goes on and nothing is said.
        aloud: names of those with which it goes on, and it is told.

    Returns:
        List of texts that tell of changes.

    Raises:
        ValueError: others differ; all of them are named.
    """
    before = BUILT_IN | {RENAMED.get(name, name): value for name, value in before.items()}
    changed = [
        name
        for name, value in now.items()
        if name not in silently and (name not in before or before[name] != value)
    ]
    refused = [name for name in changed if name not in aloud]
    if refused:
        raise ValueError(
            "; ".join(
                f"{name.upper()} = {now[name]!r}: expected {before.get(name, 'no such setting')!r}"
                for name in refused
            )
        )
    return [
        f"{name.upper()} was {before[name]!r} and is {now[name]!r} from here on" for name in changed
    ]
