"""The arrows of the project point down, and this test walks them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for package in ("resolver", "registry", "schemas") for path in (ROOT / package).rglob("*.py"))
NOT_IN_CORE = {
    "asyncio",
    "socket",
    "time",
    "random",
    "secrets",
    "os",
    "pathlib",
    "lmdb",
    "aiosqlite",
    "asyncpg",
    "aiohttp",
    "select",
}


def imports(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def starts(names: set[str], *heads: str) -> set[str]:
    return {name for name in names for head in heads if name == head or name.startswith(head + ".")}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_down(path: Path) -> None:
    place = path.relative_to(ROOT).parts
    names = imports(path)
    if place[0] == "resolver":
        assert not starts(names, "registry"), "the resolver does not know the registry"
    if place[:2] == ("resolver", "core"):
        assert not {name.split(".")[0] for name in names} & NOT_IN_CORE, "the core asks for nothing"
        above = starts(names, "resolver") - starts(names, "resolver.core") - {"resolver"}
        assert not above, "the core imports only the core"
    if place[:2] == ("resolver", "doors"):
        assert not starts(names, "resolver.server", "resolver.node", "resolver.cli"), "a door does not know its socket"
    if place[:2] == ("resolver", "server"):
        assert not starts(names, "resolver.table", "resolver.node", "resolver.resolution"), "a shell knows no data"
    if place != ("registry", "keys.py") and place[0] in ("resolver", "registry"):
        private = {name for name in names if name.endswith(("PrivateKey", "load_pem_private_key"))}
        assert not private, "private keys stay in registry/keys.py"


def test_nothing_is_named_for_nothing() -> None:
    vague = {"utils", "util", "common", "base", "manager", "helper", "helpers", "misc"}
    assert not [path for path in SOURCES if path.stem in vague]


def test_no_module_imports_itself_in_a_circle() -> None:
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in SOURCES}
    edges = {name: {target for target in imports(path) if target in modules and target != name} for name, path in modules.items()}
    finished: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in finished:
            for target in edges[name]:
                walk(target, (*trail, name))
            finished.add(name)

    for name in modules:
        walk(name, ())
