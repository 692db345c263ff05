"""What ends a command, or refuses a picture, without being a fault of the program.

    InputError(ValueError)   what the user gave cannot be used: one line, exit code 2
        UnreadablePicture    a picture cannot be read: it is refused, the others go on
        CannotStore          a format cannot hold a picture: likewise
        RefusedWeights       a weights file is damaged, or holds what it may not
    Failed                   what had begun cannot be finished: one line, exit code 1
    Stopped                  a signal ended the work; the text says how to go on: exit code 130

Everything else is a fault and shows its traceback, but for an `OSError` of the machine.
"""

import errno

# The disk is full, read-only or broken, or something is not permitted. Not ENOENT: what a user
# names is looked for before it is opened, so a file that is missing elsewhere is a fault.
MACHINE_ERRORS = {
    getattr(errno, name, None)  # not all on Windows
    for name in (
        *("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO"),
        *("EACCES", "EPERM", "ENAMETOOLONG", "EMFILE"),
    )
} - {None}


class InputError(ValueError):
    """The text says what was expected."""


class UnreadablePicture(InputError):
    pass


class CannotStore(InputError):
    pass


class RefusedWeights(InputError):
    pass


class Failed(Exception):
    pass


class Stopped(Exception):
    pass


def is_machine_error(error):
    """Whether an exception is of the machine."""
    return isinstance(error, OSError) and error.errno in MACHINE_ERRORS


def is_fault(error):
    """Whether an exception is of the program itself: not of its input, the machine or memory."""
    return not (isinstance(error, InputError | MemoryError) or is_machine_error(error))
