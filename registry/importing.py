"""The import: a file's rows become registrations, each once, however often it is interrupted.

    file -> row -> plan -> line -> registry     (at most `import_window_rows` rows on the way)
                     | fault                |
                     v                      v result
                 error file <--------- settled, in file order -> journal

A row is *settled* when all is known of it: refused here, or answered by the registry, which answers after its durable commit. Rows
are settled in file order; only then are they counted, written to the error file and noted in the journal. So whatever ends this
program, the next run begins behind the last noted row, and sends again at most what was answered since. Registering the same once
more changes nothing, and so nothing is imported twice. When the stream to the registry breaks, what has no answer is sent again.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from registry.client import BusyError, Document, RegistryClient, refusal_of
from registry.error_file import ErrorFile
from registry.import_plan import ImportPlan
from registry.journal import Journal, Settled, fingerprint
from registry.rows import Fault, Row, RowFile
from resolver.core import limits
from resolver.core.errors import ConfigError, FormatError, StoreError, UnreachableError, WaymarkError

FIRST_CONTACT_SECONDS = 5.0  # a wrong address is told soon
FIRST_WAIT_SECONDS, WAIT_SECONDS_MOST = 0.1, 5.0  # between tries to reach a registry that was lost
PULSE_SECONDS = 0.1  # between two notes in the journal, and two reports
_BLOCK_LINES = 200  # sent at one go
_OUTCOMES = {"created": "registered", "replaced": "replaced", "unchanged": "unchanged"}


class ImportOptions(NamedTuple):
    """An import as it is asked for. `identifier`, `values` and `checks` are as typed (see `template` and `ImportPlan`)."""

    path: Path
    identifier: str
    values: tuple[str, ...]
    checks: tuple[str, ...] = ()
    registry: str = "http://127.0.0.1:8080"
    token: str = ""
    replace: bool = False
    errors: Path | None = None  # None: FILE.errors.csv
    journal: Path | None = None  # None: FILE.journal, if it can be written there
    encoding: str | None = None  # None: detected
    delimiter: str | None = None  # None: detected
    patience_seconds: float = 60.0  # how long a registry that was lost is waited for


class Progress(NamedTuple):
    """How an import stands. `fraction` is how much of the file is read, 0 to 1; `begun_at` what an earlier run had settled."""

    settled: Settled
    fraction: float
    begun_at: Settled
    seconds: float
    notice: str = ""  # something happened that a person should know

    @property
    def rows_per_second(self) -> float:
        return (self.settled.rows - self.begun_at.rows) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """An estimate: the rest of the file has rows of the same length, and they take as long. None while nothing is known."""
        if not self.rows_per_second or not self.fraction:
            return None
        return self.settled.rows * (1 / self.fraction - 1) / self.rows_per_second


class ImportSummary(NamedTuple):
    """How an import ended. Counts are of the whole file, those rows included that an earlier run had settled (`resumed_rows`)."""

    rows: int
    registered: int
    replaced: int
    unchanged: int
    rejected: int
    resumed_rows: int
    seconds: float
    errors: Path | None  # the error file, if a row was rejected


Report = Callable[[Progress], None]


async def run_import(options: ImportOptions, report: Report) -> ImportSummary:
    """Imports the whole file, calling `report` a few times a second.

    Raises ConfigError and FormatError for options or a file that cannot be used, before anything is sent; UnreachableError when the
    registry cannot be reached; RefusedError when it refuses the token or the request as such. What was settled until then is kept.
    """
    plan = ImportPlan.parse(options.identifier, options.values, options.checks, options.replace)
    with RowFile(options.path, options.encoding, options.delimiter) as file:
        plan.check_columns(file.columns)
        async with RegistryClient(options.registry, options.token) as client:
            return await _Import(options, plan, file, client, report).run()


class _Pending(NamedTuple):
    """A row on its way: sent as `line` and not yet answered, or refused here by `fault` while rows before it are not settled."""

    row: Row
    line: bytes
    fault: Fault | None


class _Import:
    def __init__(self, options: ImportOptions, plan: ImportPlan, file: RowFile, client: RegistryClient, report: Report) -> None:
        self._options, self._plan, self._file, self._client, self._report = options, plan, file, client, report
        path = options.path
        errors = options.errors or path.with_name(path.name + ".errors.csv")
        if errors.exists() and errors.samefile(path):
            raise ConfigError(f"the error file {errors} would overwrite the imported file; name another with --errors")
        self._errors = ErrorFile(errors, file.columns, file.delimiter)
        decisive = (options.identifier, options.values, options.checks, options.replace, options.registry, str(errors.absolute()),
                    file.encoding, file.delimiter)  # fmt: skip
        self._journal: Journal | None = Journal(
            options.journal or path.with_name(path.name + ".journal"), fingerprint(path, decisive)
        )
        self._begun_at = Settled()
        self._counts = dict.fromkeys(Settled._fields, 0)
        self._rows = iter(file)
        self._pending: deque[_Pending] = deque()
        self._room = asyncio.Event()
        self._all_read = False
        self._reached = False  # something listens at the registry's address
        self._broken: Exception | None = None  # what broke while lines were made, inside the sender
        self._begun = self._pulse = self._heard = time.monotonic()

    async def run(self) -> ImportSummary:
        self._take_up()
        try:
            await self._skip()
            self._heard = time.monotonic()
            await self._send_all()
            self._note()
        except StoreError:
            raise  # the error file may lack rows that are counted: the last journal stays as it is
        except BaseException:
            with suppress(WaymarkError):
                self._note()
                self._tell()
            raise
        finally:
            self._errors.close()
        if self._journal is not None:
            self._journal.remove()
        return self._summary()

    # ---- begin and end

    def _take_up(self) -> None:
        """Begins where an earlier run of the same import ended, if there was one."""
        assert self._journal is not None
        found = self._journal.read()
        if found is not None and self._errors.resume(found.error_octets):
            self._begun_at = found
            self._counts |= found._asdict()
            if found.rows:
                self._tell(f"taking up an earlier import behind row {found.rows:,}")
        else:
            self._errors.start()
        try:
            self._journal.write(self._settled)
        except ConfigError as error:
            if self._options.journal is not None:
                raise
            self._journal = None
            self._tell(f"{error}. Without one, an interrupted import begins again at the first row; nothing is imported twice")

    async def _skip(self) -> None:
        """Reads over the rows that were settled before."""
        for row in islice(self._rows, self._begun_at.rows):
            if row.number % 1000 == 0:
                await asyncio.sleep(0)

    @property
    def _settled(self) -> Settled:
        return Settled(**self._counts)

    def _note(self) -> None:
        """Puts down what is settled: first the refused rows, then the journal, which says how many they are."""
        self._counts["error_octets"] = self._errors.flush()
        if self._journal is not None:
            self._journal.write(self._settled)

    def _tell(self, notice: str = "") -> None:
        fraction = min(1.0, self._file.octets_read / max(1, self._file.octets))
        self._report(Progress(self._settled, fraction, self._begun_at, time.monotonic() - self._begun, notice))

    def _summary(self) -> ImportSummary:
        self._tell()
        settled = self._settled
        return ImportSummary(
            settled.rows, settled.registered, settled.replaced, settled.unchanged, settled.rejected, self._begun_at.rows,
            time.monotonic() - self._begun, self._errors.path if settled.rejected else None,
        )  # fmt: skip

    # ---- the stream

    async def _send_all(self) -> None:
        """Opens a stream, and another whenever one breaks, until every row is settled or patience ends."""
        wait = FIRST_WAIT_SECONDS
        while True:
            rows = self._counts["rows"]
            try:
                return await self._stream()
            except (UnreachableError, BusyError) as error:
                if self._broken is not None:
                    raise self._broken from None
                if self._counts["rows"] > rows:
                    wait = FIRST_WAIT_SECONDS
                patience = self._options.patience_seconds
                if not self._reached:
                    patience = min(FIRST_CONTACT_SECONDS, patience)
                waited = time.monotonic() - self._heard
                if waited + wait > patience:
                    raise UnreachableError(
                        f"{error}. Waited for {waited:.0f} s. {self._counts['rows']:,} rows are settled; start the registry and "
                        "give the same command again: it goes on there"
                    ) from None
                self._tell(f"{error}; trying again in {wait:.1f} s")
            await asyncio.sleep(wait)
            wait = min(2 * wait, WAIT_SECONDS_MOST)

    async def _stream(self) -> None:
        """One bulk request: first what has no answer yet, then the rest of the file. Raises UnreachableError if it ends early."""
        async with aclosing(self._client.bulk(self._lines())) as results:
            due = 1
            async for result in results:
                if result.get("line") != due:
                    raise UnreachableError(f"the registry answered line {result.get('line')!r} where line {due} was due")
                self._settle(result)
                due += 1
        if self._broken is not None:
            raise self._broken
        if self._pending or not self._all_read:
            raise UnreachableError("the registry ended the stream before it answered every line")

    async def _lines(self) -> AsyncIterator[bytes]:
        """Blocks of lines. It runs inside the HTTP client, which would take an exception for a broken line: so it is kept."""
        self._reached = True
        unanswered = [pending.line for pending in self._pending if pending.fault is None]
        if unanswered:
            yield b"".join(unanswered)
        try:
            while block := await self._block():
                yield block
        except Exception as error:
            self._broken = error
            raise

    async def _block(self) -> bytes:
        """The next lines, nothing at the end of the file. Waits while too many rows are on their way."""
        lines: list[bytes] = []
        while not lines and not self._all_read:
            while len(self._pending) >= limits.import_window_rows.default:
                self._room.clear()
                await self._room.wait()
            await asyncio.sleep(0)
            for _ in range(_BLOCK_LINES):
                row = next(self._rows, None)
                if row is None:
                    self._all_read = True
                    break
                made = self._plan.line(row)
                if isinstance(made, bytes):
                    self._pending.append(_Pending(row, made, None))
                    lines.append(made)
                else:
                    self._pending.append(_Pending(row, b"", made))
            self._settle_faults()
        return b"".join(lines)

    # ---- rows that are settled

    def _settle(self, result: Document) -> None:
        """Takes the registry's answer to the first row on its way. Raises UnreachableError if it is not an answer yet."""
        status, problem = result.get("status"), result.get("problem")
        if status == "unread" or not self._pending:
            raise UnreachableError(f"the registry stopped reading: {_detail(problem)}")
        if status in _OUTCOMES:
            self._count(_OUTCOMES[status])
        elif status == "rejected" and isinstance(problem, dict):
            refused = refusal_of(problem)
            if isinstance(refused, BusyError):
                raise UnreachableError(f"the registry cannot write now: {refused.detail}")
            row = self._pending[0].row
            self._reject(row, self._plan.fault_of_refusal(row, refused))
        else:
            raise FormatError(f"the registry answered with an unknown status {status!r}; is it newer than this program?")
        self._pending.popleft()
        self._settle_faults()
        self._room.set()

    def _settle_faults(self) -> None:
        """Rows that were refused here wait for those before them, and no longer."""
        while self._pending and (first := self._pending[0]).fault is not None:
            self._reject(first.row, first.fault)
            self._pending.popleft()

    def _reject(self, row: Row, fault: Fault) -> None:
        self._errors.write(row, fault)
        self._count("rejected")

    def _count(self, outcome: str) -> None:
        self._counts["rows"] += 1
        self._counts[outcome] += 1
        self._heard = time.monotonic()
        if self._heard - self._pulse >= PULSE_SECONDS:
            self._pulse = self._heard
            self._note()
            self._tell()


def _detail(problem: object) -> str:
    return refusal_of(problem).detail if isinstance(problem, dict) else "it answered more lines than it was sent"
