"""What ends a command, or refuses a picture, without being a fault of the program.

    InputError(ValueError)    what the user gave cannot be used: one line, exit code 2
        UnreadablePicture     a picture cannot be read: it is refused, others go on
        CannotStore           a format cannot hold a picture: likewise
        RefusedWeights        a weights file is damaged, or holds what it may not
    Failed                    what had begun cannot be finished: one line, exit code 1
    Stopped                   a signal ended the work: exit code 130

Any other exception is a fault and shows its traceback; only an `OSError` of `MACHINE_ERRORS`
says something of the machine and not of the program.
"""

import errno

# The disk is full, read-only or broken, or something is not permitted. Not ENOENT: what a user
# names is looked for before it is opened, so a file that is missing elsewhere is a fault.
MACHINE_ERRORS = frozenset(
    getattr(errno, name)
    for name in (
        *("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO"),
        *("EACCES", "EPERM", "ENAMETOOLONG", "EMFILE"),
    )
    if hasattr(errno, name)  # not all on Windows
)


class InputError(ValueError):
    """What the user gave cannot be used; the text says what was expected."""


class UnreadablePicture(InputError):
    """A file that is no picture, a damaged one or one of an unsupported kind."""


class CannotStore(InputError):
    """A picture that a file format cannot hold."""


class RefusedWeights(InputError):
    """A weights file that is damaged, or holds what it may not."""


class Failed(Exception):
    """What had begun cannot go on, or its end could not be saved."""


class Stopped(Exception):
    """A signal has ended the work before its end; the text says how to go on."""


def is_machine_error(error):
    """Whether an exception is of the machine: disk full, not permitted and the like."""
    return isinstance(error, OSError) and error.errno in MACHINE_ERRORS


def is_fault(error):
    """Whether an exception is of the program itself: not of its input, the machine or memory."""
    return not (isinstance(error, InputError | MemoryError) or is_machine_error(error))
