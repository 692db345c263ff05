"""The rooms of the package depend on each other one way, and on no script."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

SCRIPTS = ("network", "train", "output", "evaluate", "utils")
# Each room may use those named here.
BELOW = {
    "runtime": set(),
    "images": {"runtime"},
    "dataset": {"runtime", "images"},
    "upscaling": {"runtime", "images"},
    "scoring": {"runtime", "images"},
    "preview": {"runtime", "images", "upscaling", "scoring"},
    "training": {"runtime", "images", "dataset", "upscaling", "scoring"},
}
ENGINES = {"tensorflow", "jax", "torch", "openvino"}
MODULES = sorted((ROOT / "superres").rglob("*.py"))
# What our own functions ask of each other; who breaks it has made a mistake, which shows.
CONTRACTS = [ROOT / "superres/scoring/metrics.py", ROOT / "superres/images/resize.py"]


def imported(path):
    """Names of all modules that a file imports, also inside of functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_rooms_use_only_those_below_them(path):
    room = path.relative_to(ROOT / "superres").parts[0]
    for name in imported(path):
        parts = name.split(".")
        assert parts[0] not in SCRIPTS, f"{name}: a script"
        assert parts[0] not in ENGINES or room == "runtime", f"{name}: only runtime/ names engines"
        if parts[0] == "superres" and len(parts) > 1:
            assert parts[1] in BELOW[room] | {room}, f"{name}: {room} is below it"


def test_scripts_import_one_another_one_way():
    """network.py and utils.py none; train.py both; the others utils.py."""
    for script in SCRIPTS:
        others = {name for name in imported(ROOT / f"{script}.py") if name in SCRIPTS}
        allowed = {"network": set(), "utils": set(), "train": {"network", "utils"}}
        assert not ENGINES.intersection(imported(ROOT / f"{script}.py")), script
        assert others <= allowed.get(script, {"utils"}), f"{script}.py imports {others}"


@pytest.mark.parametrize("script", ["superres.runtime.settings", "superres.runtime.command"])
def test_frame_and_settings_do_not_load_keras(script):
    code = f"import sys, {script}; sys.exit('keras' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_what_a_user_can_mend_is_an_input_error():
    """A `ValueError` would be shown as a fault of the program."""
    scripts = [path for place in (".", "data", "tools") for path in (ROOT / place).glob("*.py")]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in [*scripts, *MODULES]
        if path not in CONTRACTS
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "raise ValueError" in line
    ]
    assert not found, "\n".join(found)


def test_top_level_holds_the_scripts_and_nothing_else():
    assert {path.stem for path in Path(ROOT).glob("*.py")} == set(SCRIPTS)


# Lines at most, docstrings and blanks included: a budget, to be raised with a reason alone.
LINES = {
    "network.py": 175,
    "train.py": 340,
    "output.py": 265,
    "evaluate.py": 220,
    "utils.py": 330,
    "data": 85,
    "tools": 512,
    "superres/runtime": 1168,
    "superres/images": 1736,
    "superres/dataset": 610,
    "superres/upscaling": 2419,
    "superres/scoring": 1735,
    "superres/preview": 261,
    "superres/training": 1363,
}
MAX_FUNCTION_LINES, MAX_ARGUMENTS = 60, 7
SOURCES = [
    *ROOT.glob("*.py"),
    *(p for place in ("data", "tools") for p in (ROOT / place).glob("*.py")),
]
SOURCES += MODULES


def functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            names = [
                one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            ]
            yield node, [name for name in names if name not in ("self", "cls")]


@pytest.mark.parametrize("place", LINES)
def test_lines_stay_within_their_budget(place):
    files = [ROOT / place] if place.endswith(".py") else (ROOT / place).rglob("*.*")
    sources = [path for path in files if path.suffix in (".py", ".html")]
    lines = sum(len(path.read_text().splitlines()) for path in sources)
    assert lines <= LINES[place]


def test_functions_are_short_and_take_few_arguments():
    for path in SOURCES:
        for node, names in functions(path):
            place = f"{path.relative_to(ROOT)}: {node.name}"
            assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, place
            assert len(names) <= MAX_ARGUMENTS or node.name == "__init__", place


def test_a_namespace_of_settings_stays_in_the_work_of_its_script():
    """What travels from there are values, or tuples of a few of them."""
    for path in SOURCES:
        takers = {node.name for node, names in functions(path) if "config" in names}
        takers -= {"check", "fill_in_defaults", "prepare"} if path.parent == ROOT else set()
        if path.parent.name != "upscaling":  # where it is a network's config.json
            assert len(takers) <= (path not in MODULES), f"{path.relative_to(ROOT)}: {takers}"
