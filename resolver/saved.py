"""A saved record: a record and all that stands above it, as one JSON document that proves itself.

    {"identifier": "88.118.8/ABC",
     "chain": [{"handle": "88.118.8/ABC", "values": [...]}, {"handle": "0.NA/88.118.8", "values": [...]}, ...,
               {"handle": "0.0/0.0", "values": [...]}]}

Values are in the deployed JSON shape (`core.wire.json`), the signature value among them. To verify it takes the trust anchor and no
network: `trust.verify_chain(load(document), anchor.keys, now)`.
"""

from typing import Any

from resolver.core import limits
from resolver.core.errors import FormatError, LimitError
from resolver.core.identifier import Identifier
from resolver.core.record import Value
from resolver.core.walk import Resolution
from resolver.core.wire.json import value_from_json, value_to_json

_WRITTEN = "as `waymark resolve --save` writes it; a node's JSON or --json names the chain, but does not hold it"


def save(resolution: Resolution) -> dict[str, Any]:
    """The document of a resolution that was verified. Raises FormatError for one that was not: there is nothing to prove."""
    if not resolution.verdict.verified:
        raise FormatError(f"only a verified record can be saved; this one is not: {resolution.verdict.text}")
    links = [
        {
            "handle": link.identifier.canonical,
            "values": [value_to_json(value) for value in (*link.values, link.signature)],
        }
        for link in resolution.chain
    ]
    return {"identifier": links[0]["handle"], "chain": links}


def load(document: object) -> list[tuple[Identifier, tuple[Value, ...]]]:
    """The chain in a saved document, from the record up to the anchor; nothing of it is verified yet.

    Raises FormatError that names the place.
    """
    if not isinstance(document, dict) or not isinstance(document.get("chain"), list):
        raise FormatError(f'saved record: expected an object with "identifier" and "chain", {_WRITTEN}')
    links = document["chain"]
    if not 0 < len(links) <= limits.chain_records.default:
        raise LimitError(f"chain: {len(links)} records; from 1 to {limits.chain_records.default} are allowed")
    chain = [_read_link(link, f"chain[{number}]") for number, link in enumerate(links)]
    if document.get("identifier") != chain[0][0].canonical:
        raise FormatError(
            f"identifier: {document.get('identifier')!r:.80} is not that of the first record, {chain[0][0].canonical}"
        )
    return chain


def _read_link(link: object, place: str) -> tuple[Identifier, tuple[Value, ...]]:
    if not isinstance(link, dict) or not isinstance(link.get("handle"), str) or not isinstance(link.get("values"), list):
        raise FormatError(f'{place}: expected an object with a text "handle" and a list "values", {_WRITTEN}')
    if len(link["values"]) > limits.record_values.most:
        raise LimitError(f"{place}.values: {len(link['values'])} values; at most {limits.record_values.most} are allowed")
    try:
        identifier = Identifier.parse(link["handle"])
    except FormatError as error:
        raise FormatError(f"{place}.handle: {error}") from None
    values = tuple(value_from_json(value, f"{place}.values[{number}]") for number, value in enumerate(link["values"]))
    return identifier, values
