"""What the service says of itself fits what generators of clients need."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from app.api import problems
from app.main import create_app
from app.settings import Settings

ROOT = Path(__file__).parents[3]
APP = ROOT / "app"
COMMITTED = ROOT / "docs" / "openapi.json"
METHODS = ("get", "post", "put", "delete", "patch")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings()).openapi()


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        operation["operationId"]: operation
        for path in document["paths"].values()
        for method, operation in path.items()
        if method in METHODS
    }


def test_it_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")


def test_operation_ids_are_tag_and_name(document: dict[str, Any]) -> None:
    found = operations(document)
    assert set(found) == {
        "evaluations-create",
        "jobs-share",
        "jobs-shared",
        "pictures-upscale",
        "models-list",
        "models-get",
        "probes-livez",
        "probes-readyz",
        "service-discover",
        "service-limits",
        "session-open",
        "session-close",
        "uploads-create",
        "uploads-put",
        "uploads-share",
        "uploads-delete",
        "jobs-create",
        "jobs-list",
        "jobs-get",
        "jobs-delete",
        "jobs-events",
        "jobs-result",
        "jobs-tiles",
        "jobs-tile",
    }
    for name, operation in found.items():
        assert name.split("-")[0] == operation["tags"][0]


def test_every_route_declares_its_problems(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        errors = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
        assert errors, name
        for answer in errors.values():
            assert list(answer["content"]) == ["application/problem+json"], name
            content = answer["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, name
            assert content["examples"], name
            for code, example in content["examples"].items():
                assert example == {"$ref": f"#/components/examples/{code}"}
                assert f"`{code}`" in answer["description"]
        for status in {"429", "503"} & set(errors):
            assert "Retry-After" in errors[status]["headers"], name
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert {"type", "title", "status", "code", "detail"} <= set(
        document["components"]["schemas"]["Problem"]["required"]
    )


def test_the_picture_is_described_as_binary_both_ways(document: dict[str, Any]) -> None:
    upscale = operations(document)["pictures-upscale"]
    schema = upscale["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert schema["properties"]["image"]["format"] == "binary"
    assert schema["required"] == ["image"]
    content = upscale["responses"]["200"]["content"]
    kinds = ("png", "jpeg", "webp", "avif", "tiff", "gif", "apng")
    assert set(content) == {f"image/{kind}" for kind in kinds}
    assert all(each == {"schema": {"type": "string", "format": "binary"}} for each in content.values())
    assert {int(status) for status in upscale["responses"]} == {
        200, 202, 400, 401, 403, 408, 409, 413, 415, 421, 422, 429, 500, 503,
    }  # fmt: skip


def test_options_are_described(document: dict[str, Any]) -> None:
    parameters = {each["name"]: each for each in operations(document)["pictures-upscale"]["parameters"]}
    own = {"model", "scale", "width", "height", "fit", "format", "quality", "metadata", "equalize_colors"}
    assert set(parameters) == own
    assert all(each["in"] == "query" and not each["required"] for each in parameters.values())
    assert all(each["description"] for each in parameters.values())
    scale = parameters["scale"]["schema"]
    assert (scale["type"], scale["minimum"], scale["maximum"], scale["default"]) == ("number", 1, 8, 4)


def test_the_committed_document_is_this_one(document: dict[str, Any]) -> None:
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))
    assert committed == json.loads(json.dumps(document)), "run `make openapi` and look at the difference"


def test_every_parameter_is_described_and_has_an_example_or_a_closed_set(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        for parameter in operation.get("parameters", []):
            where, schema = f"{name} {parameter['name']}", parameter["schema"]
            assert parameter["description"], where
            assert schema.get("enum") or schema.get("type") == "boolean" or schema.get("examples"), where
            assert "null" not in json.dumps(schema), where
            if schema.get("type") == "string" and "enum" not in schema:
                assert {"maxLength", "pattern", "format"} & set(schema), where
            if schema.get("type") in ("integer", "number") and "enum" not in schema:
                assert "minimum" in schema or "exclusiveMinimum" in schema, where
                assert "maximum" in schema, where


def test_every_field_of_every_document_is_described_by_itself_or_its_name(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        assert schema.get("description"), name


def test_examples_fit_their_schemas(document: dict[str, Any]) -> None:
    def check(schema: dict[str, Any], value: Any) -> None:
        # The references in it then point into the same document.
        whole = {**schema, "components": document["components"]}
        jsonschema_rs.validator_for(whole).validate(value)

    checked = 0
    for name, operation in operations(document).items():
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for body in bodies:
            content = body.get("content", {}).get("application/json")
            if content and "example" in content:
                check(content["schema"], content["example"])
                checked += 1
        successes = [answer for status, answer in operation["responses"].items() if status < "300"]
        assert successes, name
        for answer in successes:
            for media_type, content in answer.get("content", {}).items():
                assert media_type != "application/json" or "example" in content, name
    for example in document["components"]["examples"].values():
        check({"$ref": "#/components/schemas/Problem"}, example["value"])
    assert checked > 5


def test_every_code_that_is_raised_is_one_of_its_class() -> None:
    """Read in the source: a code that is missing in ``codes`` would be missing in the document."""
    kinds = {kind.__name__: kind for kind in problems.all_problems()}
    raised = 0
    for path in APP.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds:
                kind = kinds[node.func.id]
                for word in node.keywords:
                    if word.arg == "code" and isinstance(word.value, ast.Constant):
                        assert word.value.value in (kind.codes or (kind.code,)), f"{path.name}: {word.value.value}"
                        raised += 1
    assert raised > 10


def test_every_code_from_below_is_one_of_its_problem() -> None:
    of_error = {kind.__name__: problem for kind, problem in problems.PICTURE_PROBLEMS.items()}
    found = 0
    for path in APP.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in of_error):
                continue
            if len(node.args) > 1 and isinstance(node.args[0], ast.Constant):
                kind = of_error[node.func.id]
                assert node.args[0].value in (kind.codes or (kind.code,)), f"{path.name}: {node.args[0].value}"
                found += 1
    assert found > 10
