"""What every file of the project keeps to, whoever writes it."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES_MAX = 450
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b|NotImplemented" + r"Error|pragma: no " + r"cover")


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "--", *patterns], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


def test_nothing_is_left_unfinished() -> None:
    sources = tracked("*.py", "*.sql", "*.sh", "Makefile", ".ci/*", "*.md", "*.html", "*.toml")
    assert len(sources) > 50
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not found


def test_modules_stay_readable_in_one_sitting() -> None:
    long = {
        str(path.relative_to(ROOT)): lines for path in tracked("*.py") if (lines := path.read_text("utf-8").count("\n")) > LINES_MAX
    }
    assert not long


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in tracked("resolver/*.py", "registry/*.py", "schemas/*.py", "benchmarks/*.py", "tests/*.py")
        if (text := path.read_text("utf-8").lstrip()) and not text.startswith(('"""', 'r"""'))
    ]
    assert not silent


def test_data_that_others_made_keeps_its_notice() -> None:
    for path in tracked("*.csv", "*.csv.gz"):
        notice = path.parent / "NOTICE.md"
        assert notice.exists(), f"{path} has no NOTICE.md beside it"
        assert "Open Database License" in notice.read_text("utf-8")
