"""From which state a training goes on, and what of its settings may have changed."""

from superres.runtime import processes
from superres.runtime.errors import InputError
from superres.training import checkpoint


def load(folder, name):
    """The newest state of a training, as `checkpoint.load_newest` returns it.

    Raises:
        InputError: all are damaged; or of several processes some have another one.
    """
    path, state = checkpoint.load_newest(folder, name)
    # Before anything is assigned to a model, which all processes have to do together.
    steps = processes.all_gather(state.step if state else 0)
    if len(set(steps)) > 1:
        raise InputError(
            f"the processes would go on from steps {steps}: expected the same; all need the "
            f"same files in {folder}"
        )
    return path, state


def compare(path, before, now, *, silently, aloud):
    """Compares the settings of a state with those chosen now.

    Args:
        path: of the state.
        before, now: dicts of settings, by name in lower case.
        silently: names of those with which a training goes on and nothing is said.
        aloud: names of those with which it goes on, and it is told.

    Returns:
        List of texts that tell of changes.

    Raises:
        InputError: others differ; all of them are named.
    """
    changed = [
        name
        for name, value in now.items()
        if name not in silently and (name not in before or before[name] != value)
    ]
    refused = [name for name in changed if name not in aloud]
    if unknown := [name.upper() for name in refused if name not in before]:
        raise InputError(
            f"{', '.join(unknown)}: {path} was saved before there was such a setting; take another "
            "NAME, or begin anew with --restart"
        )
    if refused:
        raise InputError(
            "; ".join(f"{n.upper()} = {now[n]!r}: expected {before[n]!r}" for n in refused)
            + f", as in the earlier run at {path}; set it so, take another NAME, or begin anew "
            "with --restart"
        )
    return [
        f"{name.upper()} was {before[name]!r} and is {now[name]!r} from here on" for name in changed
    ]
