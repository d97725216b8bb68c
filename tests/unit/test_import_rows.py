"""Files as people export them: encodings, delimiters, quoting, gzip, NDJSON, and every way in which they are broken."""

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from registry.rows import Row, RowFile
from resolver.core import limits
from resolver.core.errors import ConfigError, CorruptError, FormatError

CHINESE = "gtin,品名\n6901234567892,电源模块\n"


def read(path: Path, content: bytes, encoding: str | None = None, delimiter: str | None = None) -> tuple[RowFile, list[Row]]:
    path.write_bytes(content)
    with RowFile(path, encoding, delimiter) as file:
        return file, list(file)


def cells(path: Path, content: bytes) -> list[dict[str, str]]:
    return [row.cells for row in read(path, content)[1]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


# ---- encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030", "gbk"])
@pytest.mark.parametrize("zipped", [False, True])
def test_an_encoding_is_seen_in_the_content(path: Path, encoding: str, zipped: bool) -> None:
    content = CHINESE.encode(encoding)
    file, rows = read(path, gzip.compress(content) if zipped else content)
    assert file.columns == ("gtin", "品名")
    assert rows == [Row(1, 2, {"gtin": "6901234567892", "品名": "电源模块"})]
    assert ("gzipped" in file.description) == zipped


def test_the_whole_file_is_looked_at_before_it_is_called_utf_8(path: Path) -> None:
    """The first character that is not ASCII may come late."""
    content = b"gtin,name\n" + b"1,x\n" * 280_000 + "2,电源模块\n".encode("gb18030")
    file, rows = read(path, content)
    assert file.encoding == "gb18030"
    assert rows[-1].cells["name"] == "电源模块"


def test_latin_1_is_not_taken_for_chinese(path: Path) -> None:
    """Octets of Latin-1 are valid GB18030 most of the time: 'é' before a letter is one Chinese character."""
    french = "gtin,nom\n1,Crème légère\n2,Bûche\n3,Gâteau\n".encode("cp1252")
    french.decode("gb18030")
    with pytest.raises(FormatError, match=r"line 2: the octets are neither UTF-8 nor.*--encoding, for example cp1252"):
        read(path, french)
    assert next(row.cells["nom"] for row in read(path, french, encoding="cp1252")[1]) == "Crème légère"


def test_a_wrong_encoding_is_told_before_a_row_is_read(path: Path) -> None:
    with pytest.raises(FormatError, match=r"line 1: the octets are not utf-8; leave --encoding out"):
        read(path, CHINESE.encode("gb18030"), encoding="utf-8")
    with pytest.raises(ConfigError, match="no text encoding 'klingon'; usual are utf-8, gb18030"):
        read(path, CHINESE.encode(), encoding="klingon")
    with pytest.raises(ConfigError, match="no text encoding 'base64'"):
        read(path, CHINESE.encode(), encoding="base64")


@pytest.mark.parametrize(("magic", "kind"), [(b"PK\x03\x04", r"\.xlsx"), (b"\xd0\xcf\x11\xe0", r"\.xls")])
def test_a_workbook_is_recognised_and_the_way_out_told(path: Path, magic: bytes, kind: str) -> None:
    with pytest.raises(FormatError, match=kind + ".*save the sheet as 'CSV UTF-8'"):
        read(path, magic + bytes(100))


@pytest.mark.parametrize("damage", [lambda z: z[:-9], lambda z: z[:20] + b"\xff\xff\xff\xff" + z[24:]])
def test_a_damaged_gzip_file_is_refused_before_a_row_is_read(path: Path, damage: object) -> None:
    assert callable(damage)
    zipped = gzip.compress(b"gtin,name\n" + b"".join(b"%d,x\n" % number for number in range(1000)))
    with pytest.raises(FormatError, match="cannot be unpacked: the gzip data"):
        read(path, damage(zipped))


def test_a_file_that_changes_while_it_is_read_is_told(path: Path) -> None:
    path.write_bytes(b"gtin,name\n" + b"1,x\n" * 100_000)
    with RowFile(path) as file:
        rows = iter(file)
        next(rows)
        path.write_bytes(b"\xff\xff\xff\n" * 100_000)
        with pytest.raises(CorruptError, match=r"cannot be read behind line \d+: the octets are not utf-8"):
            list(rows)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for wrong in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ConfigError, match="is not a file that can be read"):
            RowFile(wrong)


# ---- CSV


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_seen_in_the_header(path: Path, delimiter: str) -> None:
    content = f'gtin{delimiter}"name, or; so"{delimiter}x\n1{delimiter}"a{delimiter}b"{delimiter}\n'.encode()
    file, rows = read(path, content)
    assert file.delimiter == delimiter
    assert rows[0].cells == {"gtin": "1", "name, or; so": f"a{delimiter}b", "x": ""}


def test_a_delimiter_may_be_named(path: Path) -> None:
    assert read(path, b"a,b:c\n1,2:3\n", delimiter=":")[1][0].cells == {"a,b": "1,2", "c": "3"}
    with pytest.raises(ConfigError, match="one character other than a quote"):
        read(path, b"a\n1\n", delimiter='"')


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_any_line_end_and_blank_lines(path: Path, end: bytes) -> None:
    rows = read(path, end.join([b"", b"gtin,name", b"1,x", b"", b"2,y", b"3,z"]))[1]
    assert [(row.number, row.line, row.cells["gtin"]) for row in rows] == [(1, 3, "1"), (2, 5, "2"), (3, 6, "3")]


def test_a_cell_may_have_lines_quotes_and_spaces(path: Path) -> None:
    rows = read(path, b'gtin,name\n1,"two\nlines, one ""quoted"""\n2, x \n')[1]
    assert [(row.line, row.cells["name"]) for row in rows] == [(2, 'two\nlines, one "quoted"'), (4, " x ")]


def test_a_row_of_another_width_is_a_fault(path: Path) -> None:
    rows = read(path, b"gtin,name\n1,a,b\n2\n3,c\n")[1]
    assert [row.fault and row.fault.problem for row in rows] == [
        "the row has 3 columns, the header has 2", "the row has 1 columns, the header has 2", None,
    ]  # fmt: skip
    assert rows[0].cells == {"gtin": "1", "name": "a"}


def test_an_unclosed_quote_costs_one_row_only(path: Path) -> None:
    content = b'gtin,name\n1,"good"\n2,"open\n3,"good"\n4,good\n5,"open to the end\n6,good\n'
    rows = read(path, content)[1]
    assert [(row.line, row.fault is None) for row in rows] == [(2, True), (3, False), (4, True), (5, True), (6, False), (7, True)]
    assert rows[1].fault is not None
    assert "cannot be read" in rows[1].fault.problem
    assert [row.cells["gtin"] for row in rows if row.fault is None] == ["1", "3", "4", "6"]


def test_a_row_without_end_costs_one_row_only_and_no_memory(path: Path) -> None:
    most = limits.import_row_characters.default
    long = b"2," + b"x" * (40 * most) + b"\n"
    open_quote = b'3,"y\n' + (b"filler " * 150 + b"\n") * 1000
    path.write_bytes(b"gtin,name\n1,a\n" + long + open_quote + b"4,b\n")
    tracemalloc.start()
    with RowFile(path) as file:
        rows = [(row.line, row.cells.get("gtin", "")[:1], row.fault and row.fault.problem[:60]) for row in file]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows[:2] == [(2, "1", None), (3, "", "the row cannot be read: it passes 262144 characters (line 3)")]
    assert rows[2][0] == 4
    assert rows[2][2] is not None
    assert rows[-1] == (1005, "4", None)
    assert peak < 20 * most


def test_a_file_of_nothing_but_open_quotes_ends(path: Path) -> None:
    """Each broken row is read again from its second line; that must not go on for ever."""
    rows = read(path, b"a,b\n" + b'x","\n' * 20_000)[1]
    assert all(row.fault for row in rows)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"\n\n \n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"gtin,name,gtin\n1,2,3\n", "two columns are called 'gtin'"),
        (b'"gtin,name\n1,2\n', "the first row must have the column names, but cannot be read"),
        (b"," * 5000 + b"\n", "5001 columns; at most 4096"),
        (b"x" * 300_000 + b"\n", "passes 262144 characters"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused(path: Path, content: bytes, told: str) -> None:
    with pytest.raises(FormatError, match=told):
        read(path, content)


def test_columns_without_a_name_get_one(path: Path) -> None:
    assert read(path, b"gtin,,\n1,2,3\n")[1][0].cells == {"gtin": "1", "column 2": "2", "column 3": "3"}


# ---- NDJSON


def test_ndjson_is_seen_by_its_first_brace(path: Path) -> None:
    lines = [{"gtin": "0001", "name": "电源"}, {"gtin": 4006381333931, "price": 1.50, "old": True, "tags": ["a"], "none": None}]
    file, rows = read(path, "\n".join(json.dumps(line, ensure_ascii=False) for line in lines).encode())
    assert file.columns == ("gtin", "name", "price", "old", "tags", "none")
    assert rows[1].cells == {"gtin": "4006381333931", "price": "1.5", "old": "true", "tags": '["a"]', "none": ""}


def test_numbers_keep_their_spelling(path: Path) -> None:
    assert cells(path, b'{"a": 1.50, "b": 1e3, "c": 12345678901234567890123, "d": NaN}') == [
        {"a": "1.50", "b": "1e3", "c": "12345678901234567890123", "d": "NaN"}
    ]


def test_a_broken_line_is_a_fault_and_stops_nothing(path: Path) -> None:
    content = b'{"a":"1"}\n{"a":\n[1]\n' + b"[" * 100_000 + b"\n" + b'{"a":"' + b"x" * 300_000 + b'"}\n\n{"a":"2"}\n'
    rows = read(path, content)[1]
    faults = [row.fault.problem if row.fault else "" for row in rows]
    assert [row.line for row in rows] == [1, 2, 3, 4, 5, 7]
    assert faults[0] == faults[5] == ""
    assert "not JSON: Expecting value at character" in faults[1]
    assert "not an object" in faults[2]
    assert "nested too deep" in faults[3]
    assert "passes 262144 characters" in faults[4]
    assert rows[5].cells == {"a": "2"}
