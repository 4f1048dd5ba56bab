"""What the service says of itself fits what generators of clients need."""

from __future__ import annotations

from typing import Any

import pytest

from app.main import create_app
from app.settings import Settings

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
        "pictures-upscale",
        "models-list",
        "models-get",
        "probes-livez",
        "probes-readyz",
        "service-discover",
        "session-open",
        "session-close",
        "uploads-create",
        "uploads-put",
        "uploads-delete",
        "jobs-create",
        "jobs-list",
        "jobs-get",
        "jobs-delete",
        "jobs-events",
        "jobs-result",
    }
    for name, operation in found.items():
        assert name.split("-")[0] == operation["tags"][0]


def test_every_route_declares_its_problems(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        errors = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
        assert errors, name
        for answer in errors.values():
            assert answer["content"] == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            }, name
        if "503" in errors:
            assert "Retry-After" in errors["503"]["headers"], name
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
    assert set(content) == {"image/png", "image/jpeg", "image/webp", "image/avif", "image/tiff"}
    assert all(each == {"schema": {"type": "string", "format": "binary"}} for each in content.values())
    assert {int(status) for status in upscale["responses"]} == {
        200, 202, 400, 403, 408, 409, 413, 415, 421, 422, 429, 500, 503,
    }  # fmt: skip


def test_options_are_described(document: dict[str, Any]) -> None:
    parameters = {each["name"]: each for each in operations(document)["pictures-upscale"]["parameters"]}
    assert set(parameters) == {"model", "scale", "format", "quality", "metadata", "equalize_colors"}
    assert all(each["in"] == "query" and not each["required"] for each in parameters.values())
    assert all(each["description"] for each in parameters.values())
    assert parameters["scale"]["schema"]["enum"] == [2, 4]
    assert parameters["scale"]["schema"]["type"] == "integer"
