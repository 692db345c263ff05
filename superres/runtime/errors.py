"""Errors that are no fault of the program: they end a command, or refuse a picture.

    InputError(ValueError)   a wrong input; says what was expected: one line, exit code 2
        UnreadablePicture    a picture cannot be read: refused, the others go on
        CannotStore          a format cannot hold a picture: refused, the others go on
        RefusedWeights       a weights file is damaged, or could run code
    Failed                   the work cannot be finished: one line, exit code 1
    Stopped                  a signal ended the work; says how to resume: exit code 130

All others are faults and show a traceback, but for an `OSError` of the machine.
"""

import errno

# Of disks and permissions. Not ENOENT: a user's files are looked for before they are opened.
NAMES = "ENOSPC EDQUOT EFBIG EROFS EIO EACCES EPERM ENAMETOOLONG EMFILE"
MACHINE_ERRORS = {getattr(errno, name) for name in NAMES.split() if hasattr(errno, name)}


class InputError(ValueError):
    pass


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
    return isinstance(error, OSError) and error.errno in MACHINE_ERRORS


def is_fault(error):
    """Whether an exception comes from the program, not from input, machine or memory."""
    return not (isinstance(error, InputError | MemoryError) or is_machine_error(error))
