"""The settings block of a script, also on its command line.

A script opens with a ruled block of settings, one a line, some with a heading above them:

    # data
    BATCH_SIZE = 16  # crops a step

`parse` turns each line into an option of the same name (`--batch-size 16`), with the
comment as its help and the value in the file as its default. So a setting can be edited
in the file or given for one run, and is written down in one place only.
"""

import argparse
import difflib
import importlib.util
import io
import math
import sys
import tokenize
from pathlib import Path
from typing import NamedTuple

from superres.runtime.errors import InputError

RULE = "# ----"


class Setting(NamedTuple):
    """A line of a settings block: its comment is the meaning; heading may be empty."""

    name: str
    value: object
    meaning: str
    heading: str


def block_of(module):
    """The `Setting`s of a script, an imported module; InputError: a setting has no comment."""
    path = Path(module.__file__)
    lines = path.read_text(encoding="utf-8").splitlines()
    rules = [n for n, line in enumerate(lines) if line.startswith(RULE)]
    if len(rules) < 2:
        raise InputError(f"{path}: expected settings between two lines that begin with {RULE!r}")
    block = "\n".join(lines[rules[0] + 1 : rules[1]]) + "\n"
    meanings, headings = {}, {}
    name = heading = ""
    for token in tokenize.generate_tokens(io.StringIO(block).readline):
        starts_line = token.start[1] == 0
        if token.type == tokenize.NAME and starts_line:
            name = token.string
            headings[name] = heading
        elif token.type == tokenize.COMMENT and starts_line:
            heading = token.string.lstrip("# ")
        elif token.type == tokenize.COMMENT and name:
            meanings[name] = token.string.lstrip("# ")
    if missing := [name for name in headings if not meanings.get(name)]:
        raise InputError(f"{path.name}: {missing[0]}: expected a comment on the setting's line")
    return [Setting(n, getattr(module, n), meanings[n], headings[n]) for n in headings]


def values_of(module):
    """The settings of a script as they are in its file: a dict, by name in lower case."""
    return {setting.name.lower(): setting.value for setting in block_of(module)}


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        """Ends the program with one line instead of the whole usage."""
        self.exit(2, f"{self.prog}: {message}; --help lists the settings\n")


def number(text):
    """Whole number or decimal: a setting that is 1 in the file may be 0.5 on the command line."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def parse(scripts, arguments=None, positional=(), several=(), presets=None):
    """The settings of scripts, given their names and a command line, as an `argparse.Namespace`.

    `positional` names settings that need no option, `several` those that take several words.
    `presets` gets the dict of the settings on the command line, which it may change, and returns
    defaults for others.
    """
    modules = [sys.modules[name] for name in scripts]
    parser = _Parser(
        prog=Path(modules[-1].__file__).name,
        description=modules[-1].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found = [setting for module in modules for setting in block_of(module)]
    groups = {heading: parser.add_argument_group(heading) for _, _, _, heading in found if heading}
    for setting in found:
        is_several = setting.name in several
        _add(groups.get(setting.heading, parser), setting, is_several)
        if setting.name in positional:
            parser.add_argument(
                setting.name.lower(),
                nargs="*" if is_several else "?",
                default=argparse.SUPPRESS,
                metavar=setting.name,
                help=f"same as --{setting.name.lower()}",
            )
    arguments = sys.argv[1:] if arguments is None else arguments
    # Options may stand between the positionals; argparse does not allow it beside a --.
    is_plain = "--" in arguments
    parse_all = parser.parse_known_args if is_plain else parser.parse_known_intermixed_args
    given, unknown = parse_all(arguments)
    if unknown:
        close = difflib.get_close_matches(
            unknown[0].split("=")[0], parser._option_string_actions, 1
        )
        hint = f"no such setting; did you mean {close[0]}?" if close else "not expected"
        parser.error(f"{unknown[0]}: {hint}")
    # A positional and its option share one name, and argparse would let the default of
    # the one overwrite the value of the other: hence SUPPRESS, and the defaults here.
    defaults = {setting.name.lower(): setting.value for setting in found}
    preset = presets(vars(given)) if presets else {}
    preset = {name: value for name, value in preset.items() if name in defaults}
    return argparse.Namespace(**defaults | preset | vars(given))


def _add(parser, setting, is_several):
    """Adds the option of a setting to a parser, or to a group of it."""
    key = setting.name.lower()
    options = {
        "dest": key,
        "default": argparse.SUPPRESS,
        # argparse formats help texts with %.
        "help": f"{setting.meaning} (default: {setting.value!r})".replace("%", "%%"),
    }
    if isinstance(setting.value, bool):
        options["action"] = argparse.BooleanOptionalAction
    elif isinstance(setting.value, int | float):
        options |= {"type": number, "metavar": "NUMBER"}
    else:
        options |= {"type": str, "metavar": "TEXT"} | ({"nargs": "+"} if is_several else {})
    parser.add_argument("--" + key.replace("_", "-"), **options)


def changed(module, values):
    """Those of the settings, by name in lower case, that differ from those in their file."""
    own = values_of(module)
    return {name: value for name, value in values.items() if value != own[name]}


def words(values):
    """Words of a command line for settings, by name in lower case."""
    for name, value in values.items():
        option = name.replace("_", "-")
        yield f"--no-{option}" if value is False else f"--{option}"
        if not isinstance(value, bool):
            yield from map(str, value if isinstance(value, list) else [value])


def check_installed(package, what, hint=""):
    """Raises InputError where `package`, which enlarging can do without, is missing."""
    if not importlib.util.find_spec(package):
        raise InputError(f"{what}: needs {package}: pip install -r requirements.txt{hint}")


def check_whole(name, value, minimum, at_most=math.inf):
    """Raises InputError unless `value` of `name` is a whole number in [minimum, at_most]."""
    if not _is_number(value) or isinstance(value, float) or not minimum <= value <= at_most:
        limit = f"of at least {minimum}" if math.isinf(at_most) else f"from {minimum} to {at_most}"
        raise InputError(f"{name.upper()} = {value!r}: expected a whole number {limit}")


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_number(name, value, above, at_most=math.inf):
    """Raises InputError unless `value` of `name` is a number in (above, at_most]."""
    if not _is_number(value) or not above < value <= at_most or math.isinf(value):
        limit = "" if math.isinf(at_most) else f" and at most {at_most}"
        raise InputError(f"{name.upper()} = {value!r}: expected a number above {above}{limit}")


def check_within(name, value, minimum, maximum):
    """Raises InputError unless `value` of `name` is a number in [minimum, maximum]."""
    if not _is_number(value) or not minimum <= value <= maximum:
        expected = f"expected a number from {minimum} to {maximum}"
        raise InputError(f"{name.upper()} = {value!r}: {expected}")


def check_text(name, value, may_be_empty=False):
    """Raises InputError unless `value` of `name` is text, such as a path."""
    if not isinstance(value, str) or not (value or may_be_empty):
        raise InputError(f"{name.upper()} = {value!r}: expected text")


def check_texts(name, value, may_be_empty=False):
    """One text or several as a list; raises InputError at anything else."""
    values = [value] if isinstance(value, str) else value
    values = [text for text in values if text] if may_be_empty else values
    is_texts = isinstance(values, list | tuple) and all(isinstance(v, str) and v for v in values)
    if not is_texts or not (values or may_be_empty):
        raise InputError(f"{name.upper()} = {value!r}: expected text, or a list of texts")
    return list(values)


def check_flag(name, value):
    """Raises InputError unless `value` of `name` is True or False."""
    if not isinstance(value, bool):
        raise InputError(f"{name.upper()} = {value!r}: expected True or False")


def check_choice(name, value, choices):
    """Raises InputError unless `value` of `name` is one of `choices`, of the same type."""
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        expected = ", ".join(repr(choice) for choice in choices)
        raise InputError(f"{name.upper()} = {value!r}: expected one of {expected}")
