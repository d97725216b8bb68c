"""Any octets as an imported file: rows, or a refusal that a person can read. Nothing else comes out of the reader."""

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.import_plan import ImportPlan
from registry.rows import RowFile
from resolver.core.errors import WaymarkError

PLAN = ImportPlan.parse("88.101.5/{gtin}", ("NAME={name}",), ())
_MARKS = [b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b\x08", b"PK\x03\x04", b"gtin,name\n", b'{"gtin":']
_CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters='"\n,;'), max_size=12)

in_a_file = settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def outcome(path: Path) -> list[object]:
    """The lines and faults of all rows, or the refusal of the file."""
    try:
        with RowFile(path) as file:
            return [PLAN.line(row) for row in file]
    except WaymarkError as error:
        return [str(error)]


@in_a_file
@given(mark=st.sampled_from(_MARKS), rest=st.binary(max_size=400), zipped=st.booleans())
def test_any_octets_are_rows_or_a_refusal(path: Path, mark: bytes, rest: bytes, zipped: bool) -> None:
    path.write_bytes(gzip.compress(mark + rest, mtime=0) if zipped else mark + rest)
    assert all(outcome(path))


@in_a_file
@given(
    rows=st.lists(st.tuples(_CELLS, _CELLS), max_size=8), delimiter=st.sampled_from(",;\t|"), end=st.sampled_from(["\n", "\r\n"])
)
def test_what_a_spreadsheet_writes_is_read_back(path: Path, rows: list[tuple[str, str]], delimiter: str, end: str) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end)
    writer.writerows([("gtin", "name"), *rows])
    path.write_bytes(text.getvalue().encode("utf-8-sig"))
    with RowFile(path) as file:
        assert file.delimiter == delimiter
        assert [(row.cells["gtin"], row.cells["name"]) for row in file] == [tuple(row) for row in rows]
