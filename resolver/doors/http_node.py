"""What a node says about itself: its start page, whether it lives and is ready, its figures."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from resolver.core.cache import AnswerCache
from resolver.core.errors import FormatError, StoreError
from resolver.core.identifier import Identifier
from resolver.desk import Desk
from resolver.doors.http_reply import TEXT, HttpReply, json_reply, reply
from resolver.doors.http_target import Target, quoted_path
from resolver.doors.pages import Reader, page, reader_of
from resolver.doors.pages.notice import EXAMPLE
from resolver.metrics import Collector

_PREFIXES_SHOWN = 24

Gauges = Callable[[], dict[str, float]]


class NodePages:
    def __init__(self, desk: Desk, cache: AnswerCache[bytes, HttpReply], gauges: Gauges) -> None:
        self._desk = desk
        self._cache = cache
        self._gauges = gauges
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(Collector(desk.metrics, self._figures))

    def start(self, target: Target, languages: str) -> HttpReply:
        """`GET /`, and what its form sends: `?identifier=` leads to the page of that identifier."""
        reader = reader_of(languages, target.first("lang"), "/")
        asked = (target.first("identifier") or "").strip()
        if asked:
            return _to_record(asked, reader)
        table = self._desk.table
        homed = sorted(home.prefix for home in table.homed()) if table is not None else []
        config = self._desk.config
        host = f"[{config.public_address}]" if ":" in config.public_address else config.public_address
        doors = (("Handle", f"{host}:{config.handle_port}"), ("DNS", f"{host}:{config.dns_port}"),
                 ("HTTP", f"http://{host}:{config.http_port}"))  # fmt: skip
        return page(
            200, "start.html", reader, node=config, homed=homed[:_PREFIXES_SHOWN], more=max(0, len(homed) - _PREFIXES_SHOWN),
            records=None if table is None else table.stat().records, doors=doors, example=EXAMPLE,
        )  # fmt: skip

    def healthy(self) -> HttpReply:
        """`GET /healthz`: the process turns its loop."""
        return reply(200, b"ok\n", TEXT, ("Cache-Control", "no-store"))

    def ready(self) -> HttpReply:
        """`GET /readyz`: 200 when questions can be answered, 503 with the reason when not."""
        config, table = self._desk.config, self._desk.table
        document: dict[str, object] = {"ready": True, "node": config.name, "role": config.role, "anchor": config.anchor.name}
        try:
            if table is not None:
                stat = table.stat()
                age = round(self._age(table.path / stat.generation), 3)
                document["table"] = {"serial": stat.serial, "records": stat.records, "homed": stat.homed, "age_seconds": age}
                if not stat.homed:
                    document |= {"ready": False, "reason": "the table homes no prefix yet; has its registry published?"}
        except (StoreError, OSError) as error:
            document |= {"ready": False, "reason": f"the answer table cannot be read: {error}"}
        return json_reply(200 if document["ready"] else 503, document, ("Cache-Control", "no-store"))

    def metrics(self) -> HttpReply:
        """`GET /metrics`, in the text format of Prometheus."""
        return reply(200, generate_latest(self._registry), CONTENT_TYPE_LATEST, ("Cache-Control", "no-store"))

    def _figures(self) -> dict[str, float]:
        figures = {"http_answer_cache_entries": float(len(self._cache)), "http_answer_cache_octets": float(self._cache.octets)}
        if self._desk.table is not None:
            stat = self._desk.table.stat()
            figures |= {
                "table_serial": float(stat.serial),
                "table_records": float(stat.records),
                "table_homed_prefixes": float(stat.homed),
                "table_octets": float(stat.octets),
                "table_age_seconds": self._age(self._desk.table.path / stat.generation),
            }
        return figures | self._gauges()

    def _age(self, generation: Path) -> float:
        """Seconds since the registry last wrote to this generation of the table."""
        return max(0.0, self._desk.clock() - (generation / "data.mdb").stat().st_mtime)


def _to_record(asked: str, reader: Reader) -> HttpReply:
    """To the page of what was typed, under its plain spelling if it has one."""
    with suppress(FormatError):  # what is no identifier goes to the page that says so
        asked = str(Identifier.parse_or_prefix(asked))
    language = f"&lang={reader.language}" if reader.chosen else ""
    return reply(303, b"", TEXT, ("Location", f"{quoted_path(asked)}?noredirect{language}"))
