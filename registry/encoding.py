"""The octets of a file that a person exported, and the encoding that their spreadsheet chose.

Nothing is believed of a file's name; everything is seen in its content: gzip by its first octets, UTF-8 and UTF-16 by a byte order
mark. Without a mark the whole file is decoded once before it is used: as UTF-8, and if that fails as GB18030. GB18030 takes nearly
any octets and would turn Latin-1 into Chinese without an error, so it is believed only if most of what it yields are the everyday
characters of GB 2312.
"""

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from resolver.core.errors import ConfigError, FormatError

GZIP_MAGIC = b"\x1f\x8b"
UNREADABLE = (UnicodeDecodeError, EOFError, zlib.error, gzip.BadGzipFile)

_CHUNK_OCTETS = 1 << 20
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_WORKBOOKS = {
    b"PK\x03\x04": "an Excel workbook (.xlsx) or another zip archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook (.xls)",
}
_ASCII = re.compile("[\x00-\x7f]+")


def find_encoding(path: Path, named: str | None = None) -> str:
    """The name of the encoding under which the whole file can be decoded: `named` if there is one, or what is seen.

    Raises ConfigError if the file cannot be opened or no encoding has that name, FormatError if the octets are none of these.
    """
    if named is not None:
        encoding = _known(named)
        if line := _undecodable_line(path, encoding):
            raise FormatError(f"{path} line {line}: the octets are not {named}; leave --encoding out to have it detected")
        return encoding
    head = next(_chunks(path), b"")[:4]
    encoding = next((encoding for mark, encoding in _MARKS if head.startswith(mark)), "utf-8-sig")
    line = _undecodable_line(path, encoding)
    if line == 0:
        return encoding
    if encoding == "utf-8-sig" and _undecodable_line(path, "gb18030") == 0 and _looks_chinese(path):
        return "gb18030"
    raise FormatError(
        f"{path} line {line}: the octets are neither UTF-8 nor, by the look of them, GB18030; name the encoding with "
        "--encoding, for example cp1252 for a Western European Excel"
    )


def open_content(path: Path) -> tuple[IO[bytes], IO[bytes]]:
    """The opened file, and a stream of its content, unzipped where needed. Closing the first one is enough.

    Raises ConfigError if it cannot be opened, FormatError if it is a workbook.
    """
    try:
        if not path.is_file():
            raise ConfigError(f"{path} is not a file that can be read")
        raw = path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path} cannot be opened: {error.strerror}") from None
    magic = raw.read(4)
    raw.seek(0)
    if kind := _WORKBOOKS.get(magic):
        raw.close()
        raise FormatError(f"{path} is {kind}; save the sheet as 'CSV UTF-8' and import that")
    return raw, cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if magic.startswith(GZIP_MAGIC) else raw


def reason(error: Exception) -> str:
    """What one of UNREADABLE means to a person."""
    if isinstance(error, UnicodeDecodeError):
        return f"the octets are not {error.encoding}"
    return "the gzip data ends early" if isinstance(error, EOFError) else "the gzip data is damaged"


def _known(name: str) -> str:
    try:
        info = codecs.lookup(name)
        codecs.getincrementaldecoder(name)().decode(b"\n").count("\n")
    except (LookupError, TypeError, AttributeError, UnicodeError):
        raise ConfigError(f"there is no text encoding {name!r}; usual are utf-8, gb18030, utf-16 and cp1252") from None
    return "utf-8-sig" if info.name == "utf-8" else info.name


def _undecodable_line(path: Path, encoding: str) -> int:
    """The first line that is not in this encoding, or 0."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    try:
        for chunk in _chunks(path):
            line += decoder.decode(chunk).count("\n")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return line + error.object[: error.start].count(b"\n")
    return 0


def _looks_chinese(path: Path) -> bool:
    """Whether most characters beyond ASCII are among the 7,445 of GB 2312.

    In Latin-1 an accented letter mostly stands before an ASCII one, and such a pair is never one of these.
    """
    decoder = codecs.getincrementaldecoder("gb18030")()
    common = total = 0
    for chunk in _chunks(path):
        foreign = _ASCII.sub("", decoder.decode(chunk))
        total += len(foreign)
        common += len(foreign.encode("gb2312", "ignore")) // 2
    return 2 * common > total


def _chunks(path: Path) -> Iterator[bytes]:
    raw, stream = open_content(path)
    with raw:
        try:
            while chunk := stream.read(_CHUNK_OCTETS):
                yield chunk
        except UNREADABLE as error:
            raise FormatError(f"{path} cannot be unpacked: {reason(error)}; make or copy the file again") from None
