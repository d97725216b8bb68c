"""The description of the API is true: it has every route and no other, every kind of problem, and examples of the right shape."""

import re
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

import registry
import schemas
from registry.api import OPEN, ROUTES, make_app
from registry.documents import delegation_from_json, to_octets, token_from_json, write_from_json, write_from_line
from registry.problems import KINDS
from registry.service import Service
from resolver.core.identifier import Identifier
from tests.support.api import resolved, validator
from tests.support.registry import registry_config

OPENAPI = schemas.openapi()
DOCUMENTS: dict[str, dict[str, Any]] = OPENAPI["components"]["schemas"]
OPERATIONS = {(method.upper(), path): op for path, ops in OPENAPI["paths"].items() for method, op in ops.items()}
ABC = Identifier.parse("88.118.8/ABC")


def test_it_is_valid_openapi() -> None:
    validate(OPENAPI)


def test_it_has_every_route_and_no_other(tmp_path: Path) -> None:
    assert OPERATIONS.keys() == {(route.method, route.path) for route in ROUTES}
    app = make_app(Mock(Service), registry_config(tmp_path))
    served = {
        (route.method, route.resource.canonical) for route in app.router.routes() if route.resource and route.method != "HEAD"
    }
    assert served == OPERATIONS.keys()


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_it_says_who_may_come_in(route: Any) -> None:
    operation = OPERATIONS[route.method, route.path]
    assert (operation.get("security") == []) == (route.access == OPEN)
    assert ("401" in operation["responses"]) == (route.access != OPEN)
    named = {resolved(p)["name"] for p in operation["parameters"] if resolved(p)["in"] == "path"}
    assert named == set(re.findall(r"{(\w+)}", route.path))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_document_has_examples_that_fit(name: str) -> None:
    Draft202012Validator.check_schema(schemas.validator_schema(name))
    assert DOCUMENTS[name]["examples"]
    for example in DOCUMENTS[name]["examples"]:
        validator(name).validate(example)


def test_each_problem_reply_has_an_example_with_a_kind_that_there_is() -> None:
    for name, reply in OPENAPI["components"]["responses"].items():
        example = reply["content"]["application/problem+json"]["example"]
        validator("problem").validate(example)
        kind = KINDS[example["type"].removeprefix("/v1/problems/")]
        assert (example["title"], example["status"], example["next"]) == (kind.title, kind.status, kind.next), name
        described = set(re.findall(r"[a-z]+(?:-[a-z]+)+", reply["description"]))
        assert all(KINDS[word].status == kind.status for word in described & KINDS.keys()), name


def test_documents_that_come_in_are_read_as_their_examples_show() -> None:
    for example in DOCUMENTS["registration"]["examples"]:
        assert write_from_json(example, "register").identifier == ABC
    for example in DOCUMENTS["replacement"]["examples"]:
        assert write_from_json(example, "replace", ABC).values
    for example in DOCUMENTS["patch"]["examples"]:
        assert write_from_json(example, "patch", ABC).remove == (3,)
    assert [write_from_line(to_octets(example)).action for example in DOCUMENTS["bulk-line"]["examples"]] == ["register", "delete"]
    assert [delegation_from_json(example).site is None for example in DOCUMENTS["delegation"]["examples"]] == [True, False]
    assert token_from_json(DOCUMENTS["token-request"]["examples"][0]) == ("line-3", "registrant", ("88.118.8",))


def test_every_code_of_a_rejection_is_a_kind_of_problem() -> None:
    """`problems` shows a rejection under its code, so a code without a kind could not be answered."""
    sources = "".join(path.read_text() for path in Path(registry.__file__ or "").parent.glob("*.py"))
    codes = set(re.findall(r'Rejected\(\s*"([a-z-]+)"', sources))
    assert len(codes) >= 8
    assert codes <= KINDS.keys()
    for code, status in re.findall(r'Rejected\(\s*"([a-z-]+)"[^()]*?, (4\d\d)[,)]', sources):
        assert KINDS[code].status == int(status), code
