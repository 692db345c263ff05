import sys

import pytest

import evaluate
import network
import output
import train
from superres.runtime import settings


@pytest.mark.parametrize("module", [network, output, evaluate, train])
def test_help_shows_every_setting_with_its_meaning(module, capsys):
    with pytest.raises(SystemExit) as stop:
        module.main(["--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    found = settings.block_of(module)
    assert found
    for setting in found + (settings.block_of(network) if module is train else []):
        assert "--" + setting.name.lower().replace("_", "-") in text
        assert setting.meaning in text
        assert setting.heading in text


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


BLOCK = '# ---- settings\nCOUNT = 2 * 3  # how "many", # in all\nFLAG = False  # whether\n# ----\n'


def test_defaults_come_from_the_module_and_words_win(make_script):
    name = make_script(BLOCK)
    assert vars(settings.parse([name], [])) == {"count": 6, "flag": False}
    assert vars(settings.parse([name], ["--count", "8", "--flag"])) == {"count": 8, "flag": True}
    sys.modules[name].COUNT = 7
    assert settings.parse([name], []).count == 7
    assert settings.parse([name], ["--count", "0.5"]).count == 0.5
    assert settings.parse([name], ["--count", "8"], ("COUNT",)).count == 8


def test_setting_of_several_words(make_script):
    name = make_script('# ----\nPLACE = "a"  # where\nMORE = ""  # what else\n# ----\n')

    def parse(*words):
        return vars(settings.parse([name], list(words), ("PLACE",), ("PLACE", "MORE")))

    assert parse() == {"place": "a", "more": ""}
    assert parse("b", "c", "--more", "d", "e") == {"place": ["b", "c"], "more": ["d", "e"]}
    assert parse("--place", "b") == {"place": ["b"], "more": ""}


def test_presets_replace_values_of_the_file_and_words_win(make_script):
    name = make_script(BLOCK)

    def parse(*words):
        seen.clear()
        return settings.parse([name], list(words), presets=lambda given: seen.update(given) or big)

    seen, big = {}, {"count": 9, "not a setting": 1}
    assert vars(parse("--flag")) == {"count": 9, "flag": True}
    assert seen == {"flag": True}
    assert parse("--count", "2").count == 2


@pytest.mark.parametrize(("word", "meant"), [("--coutn", "--count"), ("--flags=1", "--flag")])
def test_word_that_is_nearly_a_setting(make_script, capsys, word, meant):
    name = make_script(BLOCK)
    with pytest.raises(SystemExit):
        settings.parse([name], [word, "3"])
    assert f"no such setting; did you mean {meant}?" in capsys.readouterr().err
    assert settings.parse([name], ["--no-flag", "--count", "3"]).count == 3


def test_meaning_is_the_whole_comment_and_headings_are_those_of_the_help(make_script, capsys):
    name = make_script(BLOCK.replace("FLAG", "# what to do\nFLAG"))
    assert settings.block_of(sys.modules[name]) == [
        ("COUNT", 6, 'how "many", # in all', ""),
        ("FLAG", False, "whether", "what to do"),
    ]
    with pytest.raises(SystemExit):
        settings.parse([name], ["--help"])
    assert "what to do:\n  --flag" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# ----\nCOUNT = 1\n# ----\n", "script.py: COUNT: expected a comment"),
        ("A = 1  # a\n", "script.py: expected settings between two lines that begin with"),
    ],
)
def test_block_that_makes_no_sense_is_refused(make_script, text, message):
    with pytest.raises(ValueError, match=message):
        settings.block_of(sys.modules[make_script(text)])


@pytest.mark.parametrize(
    ("check", "arguments", "expected", "values"),
    [
        ("whole", [1], "a whole number of at least 1", [0, 1.0, "3", True, None]),
        ("number", [0], "a number above 0", [0, -1, float("nan"), float("inf"), "1", True]),
        ("text", [], "text", ["", None, 3]),
        ("flag", [], "True or False", [0, None, "no"]),
        ("choice", [(2, 3)], "one of 2, 3", [2.0, "2", [2], None]),
    ],
)
def test_check_refuses(check, arguments, expected, values):
    for value in values:
        with pytest.raises(ValueError, match=f"N = .*: expected {expected}"):
            getattr(settings, f"check_{check}")("n", value, *arguments)
