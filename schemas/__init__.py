"""The documents that cross a boundary of the registry: one JSON Schema (2020-12) each in `documents/`, and the OpenAPI description.

`openapi.json` refers to the documents by file name, as they refer to each other. What is served is one file with all of them in it.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any

_HERE = files(__name__)
_COMPONENTS = "#/components/schemas/"


@cache
def openapi_octets() -> bytes:
    """The OpenAPI 3.1 description as it is served: whole, without references to other files."""
    return json.dumps(openapi(), ensure_ascii=False, separators=(",", ":")).encode()


def openapi() -> dict[str, Any]:
    """The description with the documents as its components."""
    description: dict[str, Any] = _bundled(_read("openapi.json"))
    schemas = {file.name.removesuffix(".json"): _bundled(json.loads(file.read_bytes())) for file in _documents()}
    for schema in schemas.values():
        del schema["$schema"], schema["$id"]
    description["components"]["schemas"] = schemas
    return description


def validator_schema(name: str) -> dict[str, Any]:
    """The schema of one document, whole: what it refers to is in its `$defs`."""
    description = openapi()["components"]["schemas"]
    text = json.dumps({"$ref": _COMPONENTS + name, "$defs": description}).replace(_COMPONENTS, "#/$defs/")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _documents() -> list[Any]:
    return sorted((file for file in (_HERE / "documents").iterdir() if file.name.endswith(".json")), key=lambda file: file.name)


def _read(name: str) -> Any:
    return json.loads((_HERE / name).read_bytes())


def _bundled(document: Any) -> Any:
    """`document` with every reference to a file turned into one to a component."""
    if isinstance(document, list):
        return [_bundled(item) for item in document]
    if not isinstance(document, dict):
        return document
    return {
        name: _COMPONENTS + item.rpartition("/")[2].removesuffix(".json")
        if name == "$ref" and not item.startswith("#")
        else _bundled(item)
        for name, item in document.items()
    }
