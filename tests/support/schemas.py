"""Documents against their schemas, and what a schema is worth: it refuses what is not like them."""

from collections.abc import Iterator
from typing import Any

from tests.support.api import validator


def check(name: str, document: Any) -> None:
    """Fails unless the schema has this document and refuses it with any change."""
    validator(name).validate(document)
    assert [changed for changed in changes(document) if validator(name).is_valid(changed)] == []


def changes(document: Any) -> Iterator[Any]:
    """The document with one member more, or with another thing in the place of one, at each depth."""
    if isinstance(document, list):
        for number, item in enumerate(document[:3]):
            yield from ([*document[:number], changed, *document[number + 1 :]] for changed in changes(item))
    elif isinstance(document, dict):
        yield document | {"strange": 1}
        for name, content in document.items():
            if name != "value":  # of a value's data: any JSON, by its format
                yield document | {name: {"strange": 1}}
                yield from (document | {name: changed} for changed in changes(content))
