"""The parts of a bulk stream: cutting lines, the window between reading and answering, unpacking within bounds."""

import asyncio
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.body import PIECE_OCTETS, Gunzip
from registry.bulk import Line, LineSplitter, Window
from registry.problems import Problem, Refusal

LINE = Line(1, Problem("bad-json", "x"))
MOST = 10


def cut(text: bytes, sizes: list[int]) -> list[bytes | None]:
    """The lines of `text`, fed in pieces of these sizes and then the rest."""
    splitter, at = LineSplitter(MOST), 0
    lines: list[bytes | None] = []
    for size in [*sizes, len(text)]:
        lines += splitter.feed(text[at : at + size])
        at += size
    return [*lines, *splitter.last()]


@given(st.lists(st.binary(max_size=14).map(lambda b: b.replace(b"\n", b"")), max_size=20), st.lists(st.integers(0, 9), max_size=40))
def test_lines_are_the_same_however_they_arrive(lines: list[bytes], sizes: list[int]) -> None:
    expected = [line if len(line) <= MOST else None for line in lines]
    assert cut(b"".join(line + b"\n" for line in lines), sizes) == expected


def test_a_last_line_needs_no_line_feed() -> None:
    assert cut(b"a\nb", []) == [b"a", b"b"]
    assert cut(b"a\n", []) == [b"a"]
    assert cut(b"", []) == []
    assert cut(b"\n\n", []) == [b"", b""]
    assert cut(b"a\n" + b"x" * 11, [5]) == [b"a", None]


def test_a_line_that_never_ends_is_not_held() -> None:
    splitter = LineSplitter(MOST)
    for _ in range(1000):
        assert not list(splitter.feed(b"x" * 1000))
        assert len(splitter._begun) <= MOST
    assert list(splitter.feed(b"\nnext\n")) == [None, b"next"]


async def test_a_window_is_taken_as_soon_as_there_is_a_line() -> None:
    window = Window(lines=3, octets=100)
    taking = asyncio.create_task(window.take())
    await asyncio.sleep(0)
    assert not taking.done()
    window.put(LINE, 1)
    assert await taking == [LINE]


async def test_a_full_window_is_waited_for_by_either_bound() -> None:
    for window, octets in ((Window(lines=2, octets=100), 1), (Window(lines=100, octets=100), 50)):
        window.put(LINE, octets)
        assert not window.full
        window.put(LINE, octets)
        assert window.full
        waiting = asyncio.create_task(window.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        assert len(await window.take()) == 2
        await asyncio.wait_for(waiting, 5)
        assert not window.full


async def test_an_ended_window_gives_what_it_has_and_then_nothing() -> None:
    window = Window(lines=3, octets=100)
    window.put(LINE, 1)
    window.end()
    assert await window.take() == [LINE]
    assert await window.take() == []


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.lists(st.integers(1, 50), max_size=30))
def test_gzip_is_unpacked_however_it_arrives(members: list[bytes], sizes: list[int]) -> None:
    packed, unpacked, at, out = b"".join(map(gzip.compress, members)), Gunzip(expansion=100), 0, b""
    for size in [*sizes, len(packed)]:
        out += b"".join(unpacked.pieces(packed[at : at + size]))
        at += size
    unpacked.check_end()
    assert out == b"".join(members)


def test_pieces_are_bounded_whatever_they_expand_to() -> None:
    text = bytes(range(256)) * 4096
    pieces = list(Gunzip(expansion=1032).pieces(gzip.compress(text)))
    assert b"".join(pieces) == text
    assert max(map(len, pieces)) <= PIECE_OCTETS


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = gzip.compress(bytes(100_000_000))
    pieces = Gunzip(expansion=100).pieces(bomb[:20_000])
    out: list[int] = []
    with pytest.raises(Refusal, match="more than 100 times"):
        out.extend(map(len, pieces))
    assert sum(out) <= PIECE_OCTETS + 20_000 * 100


@pytest.mark.parametrize("octets", [b"x", b"\x1f\x8b\x08\x00junk that is not deflate", zlib.compress(b"zlib, not gzip")])
def test_what_is_not_gzip_is_refused(octets: bytes) -> None:
    def unpack() -> None:
        unpacked = Gunzip(expansion=100)
        list(unpacked.pieces(octets))
        unpacked.check_end()

    with pytest.raises(Refusal) as refused:
        unpack()
    assert refused.value.problem.kind == "bad-encoding"
