import ast

import pytest

import evaluate
import network
import output
import train
from superres.runtime import settings
from support import ROOT

SCRIPTS = ("utils", "network", "output", "evaluate", "train")


@pytest.mark.parametrize("module", [network, output, evaluate, train])
def test_help_shows_every_setting_with_its_meaning(module, capsys):
    with pytest.raises(SystemExit) as stop:
        module.main(["--help"])
    assert stop.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    found = settings.read_block(module.__file__)
    assert found
    for setting in found:
        assert "--" + setting.name.lower().replace("_", "-") in shown
        assert setting.meaning in shown
        assert setting.heading in shown


def test_train_takes_the_settings_of_the_network_too(capsys):
    with pytest.raises(SystemExit):
        train.main(["--help"])
    shown = capsys.readouterr().out
    assert "--residual-blocks" in shown
    assert "--batch-size" in shown


@pytest.mark.parametrize(
    "words", [["--tile-size", "x"], ["--no-such-setting", "1"], ["--tile", "9"]]
)
def test_wrong_words_end_in_exit_code_2(words, capsys):
    with pytest.raises(SystemExit) as stop:
        output.main(words)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert words[0] in error
    assert error.count("\n") == 1


def script(tmp_path, text):
    """A file with a settings block, as if it were a script."""
    path = tmp_path / "script.py"
    path.write_text(f'"""A script."""\n{text}')
    return path


BLOCK = '# ---- settings\nCOUNT = 2 * 3  # how "many", # in all\nFLAG = False  # whether\n# ----\n'


def test_defaults_come_from_the_file_and_words_win(tmp_path):
    path = script(tmp_path, BLOCK)
    assert vars(settings.parse([path], [])) == {"count": 6, "flag": False}
    chosen = settings.parse([path], ["--count", "8", "--flag"])
    assert vars(chosen) == {"count": 8, "flag": True}


def test_positional_and_option_mean_the_same(tmp_path):
    path = script(tmp_path, BLOCK)
    assert settings.parse([path], ["--count", "8"], ("COUNT",)).count == 8


def test_decimal_is_taken_for_a_setting_that_is_whole_in_the_file(tmp_path):
    path = script(tmp_path, BLOCK)
    assert settings.parse([path], ["--count", "0.5"]).count == 0.5


def test_recipe_replaces_settings_and_the_command_line_goes_before_it(tmp_path):
    path = script(tmp_path, BLOCK.replace("FLAG", 'RECIPE = ""  # name\nFLAG'))
    recipes = {"big": {"count": 9, "flag": False}}

    def parse(*words):
        return settings.parse([path], list(words), recipes=recipes)

    before = parse()
    assert (parse("--recipe", "big").count, parse("--recipe", "big").flag) == (9, False)
    assert parse("--recipe", "big", "--count", "2").count == 2
    assert (parse().count, parse().flag) == (before.count, before.flag)
    with pytest.raises(ValueError, match="RECIPE = 'small': expected one of 'big'"):
        parse("--recipe", "small")
    script(tmp_path, BLOCK.replace("FLAG", 'RECIPE = "big"  # name\nFLAG'))
    assert parse().count == 9
    assert parse("--recipe", "").count == before.count


@pytest.mark.parametrize(("word", "meant"), [("--coutn", "--count"), ("--flags=1", "--flag")])
def test_word_that_is_nearly_a_setting(tmp_path, capsys, word, meant):
    path = script(tmp_path, BLOCK)
    with pytest.raises(SystemExit):
        settings.parse([path], [word, "3"])
    assert f"no such setting; did you mean {meant}?" in capsys.readouterr().err
    assert settings.parse([path], ["--no-flag", "--count", "3"]).count == 3


def test_meaning_is_the_whole_comment(tmp_path):
    assert settings.read_block(script(tmp_path, BLOCK)) == [
        ("COUNT", 6, 'how "many", # in all', ""),
        ("FLAG", False, "whether", ""),
    ]


def test_headings_are_those_of_the_help(tmp_path, capsys):
    path = script(tmp_path, BLOCK.replace("FLAG", "# what to do\nFLAG"))
    assert [setting.heading for setting in settings.read_block(path)] == ["", "what to do"]
    with pytest.raises(SystemExit):
        settings.parse([path], ["--help"])
    assert "what to do:\n  --flag" in capsys.readouterr().out


def test_value_may_be_computed_from_those_above(tmp_path):
    text = "# ----\nA = 20 * 50  # a\nB = A // 5  # b\n# ----\n"
    assert [setting.value for setting in settings.read_block(script(tmp_path, text))] == [1000, 200]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# ----\nCOUNT = 1\n# ----\n", "script.py: COUNT: expected a comment"),
        ("# ----\nA = open('x')  # a\n# ----\n", r"script.py: A = open\('x'\): name 'open' is not"),
        ("# ----\nA: int\n# ----\n", "script.py: A: expected a value"),
        ("A = 1  # a\n", "script.py: expected settings between two lines that begin with"),
    ],
)
def test_block_that_makes_no_sense_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        settings.read_block(script(tmp_path, text))


@pytest.mark.parametrize("value", [0, 1.0, "3", True, None])
def test_check_whole_refuses(value):
    with pytest.raises(ValueError, match=r"N = .*: expected a whole number of at least 1"):
        settings.check_whole("n", value, 1)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "1", True])
def test_check_number_refuses(value):
    with pytest.raises(ValueError, match=r"N = .*: expected a number above 0"):
        settings.check_number("n", value, above=0)


@pytest.mark.parametrize("value", ["", None, 3])
def test_check_text_refuses(value):
    with pytest.raises(ValueError, match=r"N = .*: expected text"):
        settings.check_text("n", value)


@pytest.mark.parametrize("value", [0, None, "no"])
def test_check_flag_refuses(value):
    with pytest.raises(ValueError, match=r"N = .*: expected True or False"):
        settings.check_flag("n", value)


@pytest.mark.parametrize("value", [2.0, "2", [2], None])
def test_check_choice_refuses(value):
    with pytest.raises(ValueError, match=r"N = .*: expected one of 2, 3"):
        settings.check_choice("n", value, (2, 3))


def imports(script):
    """Names of the modules that a script of the project imports."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / f"{script}.py").read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    return names


def test_imports_go_one_way_and_name_no_backend():
    for n, script_name in enumerate(SCRIPTS):
        assert not imports(script_name) & set(SCRIPTS[n + 1 :]), script_name
        assert not imports(script_name) & {"tensorflow", "jax", "torch"}, script_name
