"""The benchmarks' own arithmetic: a figure is worth something only if answers are counted rightly and judged rightly."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks import data, report
from benchmarks.load import questions
from benchmarks.load.connections import handle_judge, http_judge, kept_open, one_each
from benchmarks.load.datagrams import DatagramLoad, Expected
from benchmarks.report import Row, at_least, at_most
from resolver.core.wire import bodies
from resolver.core.wire.dns import decode_query
from resolver.core.wire.handle import decode_message


@contextlib.contextmanager
def datagram_server(answer: Callable[[bytes], list[bytes]]) -> Iterator[tuple[str, int]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while (packet := server.recvfrom(2048))[0] != b"end":
                for reply in answer(packet[0]):
                    server.sendto(reply, packet[1])

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()
        server.sendto(b"end", server.getsockname())
        thread.join()


@contextlib.contextmanager
def stream_server(answer: bytes, octets: int, close: bool) -> Iterator[tuple[str, int]]:
    """Answers each request of `octets` octets on every connection, one connection after another or several at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk(peer: socket.socket) -> None:
            with peer:
                while len(peer.recv(octets, socket.MSG_WAITALL)) == octets:
                    peer.sendall(answer[:7])
                    peer.sendall(answer[7:])
                    if close:
                        return

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=talk, args=(server.accept()[0],)).start()

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_every_record_has_a_name_of_its_own_and_the_sizes_that_are_promised() -> None:
    assert len({data.digits(i) for i in range(200_000)}) == 200_000
    assert all(len(data.digits(i)) == 13 for i in (0, 1, 999_999, 1_000_000))
    assert [len(text) for _, _, text in data.texts(data.digits(5))] == [73, 30, 37]


def test_questions_are_what_the_doors_read() -> None:
    query = decode_query(questions.dns([b"ABC", b"test"], 7), 1232)
    assert (query.name, query.type) == (b"\3abc\4test\0", 16)
    message = decode_message(questions.handle(b"88.101.5/1", 9, (1, 2), (b"URL",)))
    request = bodies.decode_resolution_request(message.body)
    assert (message.op, request.name, request.indexes, request.types) == (1, b"88.101.5/1", (1, 2), (b"URL",))


def test_right_wrong_and_lost_answers_are_told_apart() -> None:
    def answer(packet: bytes) -> list[bytes]:
        number = int.from_bytes(packet[:2], "big")
        return [] if number % 10 == 0 else [packet[:2] + b"\x84" + (b"\x02" if number % 10 == 1 else b"\x00")]

    with datagram_server(answer) as address:
        load = DatagramLoad(address)
        turn = load.turn([questions.dns([b"a"], i) for i in range(500)], questions.dns_expected(), 60)
        load.close()
    assert (turn.answers, turn.wrong, turn.lost) == (400, 50, 50)


def test_an_answer_in_fragments_counts_once_and_only_when_it_is_whole() -> None:
    def answer(packet: bytes) -> list[bytes]:
        number = int.from_bytes(packet[8:12], "big")
        first = packet[:12] + bytes(4) + (944).to_bytes(4, "big") + bytes(7) + b"\1" + bytes(484)
        second = packet[:12] + b"\0\0\0\1" + (944).to_bytes(4, "big") + bytes(452)
        return [first] if number % 5 == 0 else [first, second]

    with datagram_server(answer) as address:
        load = DatagramLoad(address)
        expected = questions.handle_expected(load.ask(questions.handle(b"88/1", 1)))
        turn = load.turn([questions.handle(b"88/1", i) for i in range(100)], expected, 40)
        load.close()
    assert expected == Expected(code_at=27, code=1, fragments=2, number_at=15)
    assert turn.lost == 20


@pytest.mark.parametrize(("status", "right"), [(b"200", 50), (b"404", 0)])
def test_http_answers_are_counted_by_status(status: bytes, right: int) -> None:
    request = questions.http_get("/x")
    with stream_server(b"HTTP/1.1 " + status + b" X\r\nContent-Length: 5\r\n\r\nhello", len(request), close=False) as address:
        turn = kept_open(address, [request] * 50, http_judge(200), 4)
    assert (turn.answers, turn.wrong, turn.lost) == (right, 50 - right, 0)


def test_one_request_a_connection() -> None:
    request = questions.handle(b"88/1", 1)
    reply = request[:16] + (24).to_bytes(4, "big") + bytes(7) + b"\1" + bytes(16)
    with stream_server(reply, len(request), close=True) as address:
        turn = one_each(address, [request] * 30, handle_judge, 4)
    assert (turn.answers, turn.wrong, turn.lost) == (30, 0, 0)


def test_a_ratio_is_taken_within_each_turn() -> None:
    row = Row("x", "us", (10.0, 20.0, 40.0), at_least(0.4, "Knot"), (5.0, 8.0, 16.0))
    assert row.ratios == (0.5, 0.4, 0.4)
    assert row.met is True
    assert row._replace(target=at_least(0.45, "Knot")).met is False


def test_without_its_peer_a_row_is_neither_met_nor_missed() -> None:
    assert Row("x", "us", (10.0,), at_least(0.4, "Knot")).met is None
    assert Row("x", "us", (), at_most(5)).met is None


def test_the_table_shows_median_spread_and_verdict() -> None:
    lines = report.table([Row("rows", "us", (9.0, 11.0, 10.0), at_most(10)), Row("others", "records/s", (1234.0,), at_least(2000))])
    assert lines[2].split() == ["rows", "10.0", "(9.00..11.0)", "us", "<=", "10", "us", "yes"]
    assert lines[3].split() == ["others", "1,234", "records/s", ">=", "2,000", "records/s", "NO"]


def test_what_is_kept_names_machine_commit_and_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "RESULTS.md")
    for _ in range(2):
        report.keep([Row("rows", "us", (9.0,), at_most(10))], "python -m benchmarks.run --quick", ["a remark"])
    text = (tmp_path / "RESULTS.md").read_text("utf-8")
    assert text.count("\n## 20") == 2
    for fact in ("- processor: ", "- memory: ", "- system: Linux", "- commit: ", "- command: `python -m benchmarks.run --quick`"):
        assert text.count(fact) == 2
    assert "rows  9.00 us" in text
