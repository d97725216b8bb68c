"""What an import makes of a row: the line that registers it, or the fault that refuses it. Pure: the same row, the same outcome.

A row is refused here, before anything is sent, if its code fails a check (`--check gtin=gs1`), if its identifier is empty or breaks
a rule, or if none of its values is left. A value one of whose columns is empty is left out.
"""

import json
import re
from typing import Any, NamedTuple

from registry.client import RefusedError
from registry.rows import Fault, Row
from registry.template import Template, ValueTemplate, check_column
from resolver.core import codes
from resolver.core.codes import CodeError
from resolver.core.errors import ConfigError, FormatError, IdentifierError
from resolver.core.identifier import Identifier

_encoded = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_VALUE_PLACE = re.compile(r"values\[([0-9]{1,4})\]")
_ABOUT_THE_IDENTIFIER = frozenset(("exists", "gone", "name-taken", "not-homed", "forbidden", "bad-identifier"))


class Check(NamedTuple):
    """A column, and the code system to which its cells must belong."""

    column: str
    system: str


class ImportPlan(NamedTuple):
    """What the command line says of every row. `replaces`: differing records are replaced instead of refused."""

    identifier: Template
    values: tuple[ValueTemplate, ...]
    checks: tuple[Check, ...] = ()
    replaces: bool = False

    @classmethod
    def parse(cls, identifier: str, values: tuple[str, ...], checks: tuple[str, ...], replaces: bool = False) -> "ImportPlan":
        """Reads the options as they were typed. Raises ConfigError that names the option and what it must look like."""
        template = Template(identifier)
        if not template.columns:
            raise ConfigError(f"--identifier {identifier!r} names no column: all rows would be one identifier; write {{column}}")
        parsed = tuple(ValueTemplate.parse(value, place) for place, value in enumerate(values, 1))
        if not parsed:
            raise ConfigError("at least one --value is needed, for example --value 'URL={image_url}'")
        indexes = [value.index for value in parsed]
        for place, index in enumerate(indexes):
            if index in indexes[:place]:
                raise ConfigError(
                    f"--value {values[place]!r}: another value has index {index} already; write INDEX:TYPE=… to choose"
                )
        return cls(template, parsed, tuple(map(_check, checks)), replaces)

    def check_columns(self, columns: tuple[str, ...]) -> None:
        """Raises ConfigError for a column that is named somewhere and not in the file."""
        self.identifier.check(columns)
        for value in self.values:
            value.data.check(columns)
        for check in self.checks:
            check_column(check.column, [*columns], "--check")

    def line(self, row: Row) -> bytes | Fault:
        """The line of a bulk request that registers this row, or why there is none."""
        if row.fault is not None:
            return row.fault
        cells = row.cells
        for column, system in self.checks:
            code = cells.get(column, "").strip()
            if code or column in self.identifier.columns:
                try:
                    codes.check(system, code)
                except CodeError as error:
                    return Fault(column, str(error), error.expected)
        name = self.identifier.fill(cells)
        if name is None:
            return Fault(self._empty_column(row), "the cell is empty, and the identifier needs it", "a code")
        try:
            identifier = Identifier.parse(name)
        except IdentifierError as error:
            return Fault(", ".join(self.identifier.columns), str(error), error.suggestion or "an identifier that keeps this rule")
        values = self.values_of(row)
        if not values:
            empty = dict.fromkeys(column for value in self.values for column in value.data.columns)
            return Fault(", ".join(empty), "all cells of which values are made are empty", "at least one value")
        document: dict[str, Any] = {"identifier": str(identifier), "values": values}
        if self.replaces:
            document["action"] = "replace"
        try:
            return _encoded(document).encode() + b"\n"
        except UnicodeEncodeError as error:
            broken = error.object[error.start]
            return Fault("", f"the row has half of a surrogate pair, {broken!a}", "whole Unicode characters")

    def values_of(self, row: Row) -> list[dict[str, Any]]:
        """The values of a row, those apart that are left out."""
        return [value for template in self.values if (value := template.fill(row.cells)) is not None]

    def fault_of_refusal(self, row: Row, refused: RefusedError) -> Fault:
        """What the registry said of a row's line, in terms of the row."""
        found = _VALUE_PLACE.match(refused.place)
        kept = [template for template in self.values if template.data.fill(row.cells) is not None]
        if found and int(found[1]) < len(kept):
            column = ", ".join(kept[int(found[1])].data.columns)
        else:
            column = ", ".join(self.identifier.columns) if refused.kind in _ABOUT_THE_IDENTIFIER else ""
        expected = refused.next_step
        if refused.kind == "exists":
            expected = "the values that are registered; or import with --replace to replace them"
        return Fault(column, refused.detail, expected)

    def _empty_column(self, row: Row) -> str:
        return next(column for column in self.identifier.columns if not row.cells.get(column, "").strip())


def _check(text: str) -> Check:
    column, equals, system = text.rpartition("=")
    if not equals or not column:
        raise ConfigError(f"--check {text!r} must be COLUMN=SYSTEM, for example gtin=gs1")
    try:
        codes.system_named(system)
    except FormatError as error:
        raise ConfigError(f"--check {text!r}: {error}") from None
    return Check(column, system)
