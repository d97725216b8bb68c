"""The documents that cross a boundary: one JSON Schema (2020-12) each, and the OpenAPI description of the registry.

`documents/` has those of the registry's API, `node/` what a node answers over HTTP and the files that nodes and people exchange.
`openapi.json` refers to the registry's by file name, as all refer to each other. What is served is one file with them in it.
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
    description["components"]["schemas"] = _folder("documents")
    return description


def node() -> dict[str, Any]:
    """The schemas of what a node answers and of the files, by name. They may refer to the registry's."""
    return _folder("node")


def validator_schema(name: str) -> dict[str, Any]:
    """The schema of one document of either folder, whole: what it refers to is in its `$defs`."""
    text = json.dumps({"$ref": _COMPONENTS + name, "$defs": _folder("documents") | node()}).replace(_COMPONENTS, "#/$defs/")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _folder(name: str) -> dict[str, Any]:
    files = sorted((file for file in (_HERE / name).iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    schemas = {file.name.removesuffix(".json"): _bundled(json.loads(file.read_bytes())) for file in files}
    for schema in schemas.values():
        del schema["$schema"], schema["$id"]
    return schemas


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
