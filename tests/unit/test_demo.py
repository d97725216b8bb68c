"""The demo's manners apart from the tree that it starts: what it says of a process that ends, and in which language."""

import asyncio
import inspect
import re
from pathlib import Path

import pytest

from registry import demo, demo_words
from registry.demo import Running, run_demo, stay_up
from registry.demo_words import Words, column
from resolver.core.errors import ConfigError


async def test_a_process_that_ends_is_told_of_and_the_others_stay(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "words", Words({"LANG": "en"}))
    running = [
        Running(f"waymark serve {name}", await asyncio.create_subprocess_exec("sleep", "60")) for name in ("a.toml", "b.toml")
    ]
    stop = asyncio.Event()
    staying = asyncio.create_task(stay_up(running, stop))
    try:
        running[0].process.kill()
        said = ""
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if said := capsys.readouterr().out:
                break
        assert "`waymark serve a.toml` ended with status -9" in said
        assert "b.toml" not in said
        assert not staying.done()
        stop.set()
        async with asyncio.timeout(10):
            await staying
        assert running[1].process.returncode is None, "who stops the demo stops them, not this"
    finally:
        running[1].process.kill()
        await running[1].process.wait()


def test_a_start_that_was_cut_short_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "88").mkdir()
    (tmp_path / "88" / "node.toml").touch()
    with pytest.raises(ConfigError, match="first start was cut short; remove that directory, or choose another"):
        run_demo(tmp_path, once=True)


def test_every_text_is_there_in_both_languages_and_is_used() -> None:
    quoted = set(re.findall(r"""["']([a-z-]+)["']""", inspect.getsource(demo)))
    assert demo_words._WORDS.keys() <= quoted, "a text that nobody says"
    assert set(re.findall(r"""words\(["']([a-z-]+)["']""", inspect.getsource(demo))) <= demo_words._WORDS.keys()
    for name, (chinese, english) in demo_words._WORDS.items():
        assert sorted(re.findall(r"{(\w+)", chinese)) == sorted(re.findall(r"{(\w+)", english)), name
        assert re.search("[\u4e00-\u9fff]", chinese), name
        assert english.isascii(), name


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "Import"),
        ({"LANG": "zh_CN.UTF-8"}, "导入"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "Import"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_TW"}, "导入"),
        ({"LANG": "zh", "LC_ALL": ""}, "导入"),
    ],
)
def test_the_language_is_the_users(environment: dict[str, str], said: str) -> None:
    assert Words(environment)("import") == said


def test_a_chinese_character_takes_two_columns() -> None:
    assert column("导入", 6) == "导入  "
    assert column("Import", 6) == "Import"
