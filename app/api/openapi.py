"""The OpenAPI document: what FastAPI writes, and everything in which that is wrong or too little for clients.

The corrections stand here and nowhere else. ``docs/openapi.json`` is this document; ``make openapi`` writes it anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.api.callers import PUBLIC, is_open, scope_needed
from app.api.problems import (
    MEDIA_TYPE,
    TYPE_PREFIX,
    InvalidKeyProblem,
    MissingScopeProblem,
    NeedsKeyProblem,
    NotFoundProblem,
    Problem,
    ProblemDocument,
    RateLimitedProblem,
    UnavailableProblem,
    all_problems,
    declared,
)
from app.api.sessions import COOKIE

METHODS: Final = ("get", "put", "post", "delete")

DESCRIPTION: Final = """\
Send a picture, get it back larger and sharp. One call for small pictures (`POST /v1/upscale`), jobs for large ones.

Every error is `application/problem+json` (RFC 9457) with a stable `code` to branch on and a sentence in `detail` that \
says what to change. Every answer carries `X-Request-Id`.
"""

TAGS: Final = {
    "pictures": "Enlarge a picture in one request.",
    "jobs": "Large pictures and many pictures: submit, follow, fetch, remove.",
    "uploads": "A place for a file that is too large for one request.",
    "models": "What can be asked for.",
    "evaluations": "Measure the models on a picture of your own.",
    "session": "How the page signs in; programs send their key with each request.",
    "service": "What is here, and what is taken at most.",
    "probes": "For whatever watches the process.",
}

HEADERS: Final[dict[str, Any]] = {
    "X-Request-Id": {
        "description": "The id that was sent as X-Request-Id, or a new one; quote it when you ask for help.",
        "schema": {"type": "string", "examples": ["6f1c2b"]},
    },
    "Retry-After": {
        "description": "Seconds until another attempt makes sense.",
        "schema": {"type": "integer", "minimum": 0, "examples": [5]},
    },
    "RateLimit": {
        "description": "With a key: what is left of its limits (`r`), and in how many seconds more is (`t`).",
        "schema": {"type": "string", "examples": ['"requests";r=598;t=31, "megapixels";r=1936;t=31']},
    },
    "RateLimit-Policy": {
        "description": "With a key: how much (`q`) it may use in how many seconds (`w`).",
        "schema": {"type": "string", "examples": ['"requests";q=600;w=60, "megapixels";q=2000;w=60']},
    },
}

_KEY_ANSWERS: Final[tuple[type[Problem], ...]] = (
    NeedsKeyProblem,
    InvalidKeyProblem,
    MissingScopeProblem,
    RateLimitedProblem,
    UnavailableProblem,
)


def describe(app: FastAPI) -> dict[str, Any]:
    """The document of this application."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=DESCRIPTION,
        license_info={"name": "Apache 2.0", "identifier": "Apache-2.0"},
        routes=app.routes,
        openapi_version="3.1.0",
    )
    used = {tag for _, _, operation in operations(document) for tag in operation["tags"]}
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items() if name in used]
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    # Declared under application/problem+json, which FastAPI's `model` cannot do.
    schemas["Problem"] = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    components["headers"] = HEADERS
    components["examples"] = _problem_examples()
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A key: `Authorization: Bearer ck_...`"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
        "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "What `POST /v1/session` set."},
    }
    for path, method, operation in operations(document):
        _drop_default_validation_error(operation)
        _add_access(path, method, operation)
        for parameter in operation.get("parameters", ()):
            _correct_parameter(parameter)
        if "206" in operation["responses"]:  # a part is of the same kind as the whole
            operation["responses"]["206"]["content"] = operation["responses"]["200"]["content"]
        for answer in operation["responses"].values():
            _correct_answer(answer, schemas)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    _binary_as_format(document)
    _link(document)
    return document


def _link(document: dict[str, Any]) -> None:
    """What one answer gives for the next call, so that programs can go from upload to job to result by themselves."""
    id_ = "$response.body#/id"
    by_id = {operation["operationId"]: operation for _, _, operation in operations(document)}

    def add(source: str, status: str, target: str, parameters: dict[str, str], body: Any = None) -> None:
        if source in by_id and target in by_id:
            link: dict[str, Any] = {"operationId": target, "parameters": parameters}
            if body is not None:
                link["requestBody"] = body
            by_id[source]["responses"][status].setdefault("links", {})[target] = link

    for target in ("uploads-put", "uploads-share", "uploads-delete"):
        add("uploads-create", "201", target, {"upload_id": id_})
    add("uploads-create", "201", "jobs-create", {}, {"source": {"upload_id": id_}})
    for source in ("jobs-create", "pictures-upscale"):
        for target in ("jobs-get", "jobs-events", "jobs-result", "jobs-share", "jobs-delete"):
            add(source, "202", target, {"job_id": id_})


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, method in capitals, operation) of all."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method.upper(), item[method]


def _problem_examples() -> dict[str, Any]:
    examples: dict[str, Any] = {}
    for kind in all_problems():
        for code in kind.codes or (kind.code,):
            examples.setdefault(
                code,
                {
                    "summary": kind.title,
                    "value": {
                        "type": TYPE_PREFIX + code,
                        "title": kind.title,
                        "status": kind.status,
                        "code": code,
                        "detail": kind.title + ".",
                        "request_id": "6f1c2b",
                    },
                },
            )
    return dict(sorted(examples.items()))


def _drop_default_validation_error(operation: dict[str, Any]) -> None:
    """FastAPI adds a 422 of its own to every route with a parameter: those that can happen are declared."""
    if "application/json" in operation["responses"].get("422", {}).get("content", {}):
        del operation["responses"]["422"]


def _add_access(path: str, method: str, operation: dict[str, Any]) -> None:
    """What the layer in front of all routes answers, which no route knows of."""
    if is_open(path):
        return
    keyless: dict[str, Any] = {}
    operation["security"] = [keyless, {"bearer": []}, {"header": []}, {"session": []}]
    if path not in PUBLIC:
        operation["description"] = (
            operation.get("description", "")
            + f"\n\nWhere keys are on, a key with the scope `{scope_needed(method, path)}`."
        ).strip()
    kinds: tuple[type[Problem], ...] = (*_KEY_ANSWERS, NotFoundProblem) if "{" in path else _KEY_ANSWERS
    for kind in kinds:
        if path in PUBLIC and kind in (NeedsKeyProblem, MissingScopeProblem):
            continue
        status = str(kind.status)
        present = operation["responses"].get(status)
        added = declared([kind])
        if present is None:
            operation["responses"][status] = added
            continue
        examples = present["content"][MEDIA_TYPE].setdefault("examples", {})
        examples |= added["content"][MEDIA_TYPE]["examples"]
        codes = ", ".join(f"`{code}`" for code in examples)
        titles = dict.fromkeys(present["description"].split(". Codes:")[0].rstrip(".").split("; "))
        titles[kind.title] = None
        present["description"] = f"{'; '.join(titles)}. Codes: {codes}."
    operation["responses"] = dict(sorted(operation["responses"].items()))
    for status, answer in operation["responses"].items():
        if int(status) != 401:
            headers = answer.setdefault("headers", {})
            for name in ("RateLimit", "RateLimit-Policy"):
                headers[name] = {"$ref": f"#/components/headers/{name}"}


def _correct_parameter(parameter: dict[str, Any]) -> None:
    """A parameter that is not given is absent: null cannot be written into an address."""
    schema = parameter["schema"]
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        del schema["anyOf"]
        schema |= kinds[0]
    if schema.get("default", "") is None:
        del schema["default"]
    schema.pop("title", None)
    schema.pop("description", None)  # stands at the parameter itself


def _correct_answer(answer: dict[str, Any], schemas: dict[str, Any]) -> None:
    answer.setdefault("headers", {})["X-Request-Id"] = {"$ref": "#/components/headers/X-Request-Id"}
    if answer["description"] == "Successful Response":
        answer["description"] = "Done."
    for media_type, content in answer.get("content", {}).items():
        if media_type == "application/json" and "example" not in content and "examples" not in content:
            content["example"] = example_of(content["schema"], schemas)


def example_of(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """A value that fits the schema, made of the examples, defaults and constants in it."""
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rsplit("/", 1)[1]], schemas)
    told = [*schema.get("examples", ()), *schema.get("enum", ())]
    told += [schema[kind] for kind in ("const", "default") if kind in schema]
    if told:
        return told[0]
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], schemas)
    if "properties" in schema:
        return {name: example_of(inner, schemas) for name, inner in schema["properties"].items()}
    return _plain_example(schema, schemas)


def _plain_example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    kind = schema.get("type")
    if kind == "array":
        return [example_of(schema["items"], schemas)]
    if kind == "string":
        return "2026-11-25T01:02:03.456Z" if schema.get("format") == "date-time" else "text"
    plain = {"integer": schema.get("minimum", 1), "number": schema.get("minimum", 1.0), "boolean": True, "object": {}}
    return plain.get(str(kind))


def _binary_as_format(node: Any) -> None:
    """Bytes as ``format: binary``: FastAPI writes contentMediaType, which generators take for text."""
    if isinstance(node, dict):
        if node.get("type") == "string" and "contentMediaType" in node:
            del node["contentMediaType"]
            node["format"] = "binary"
        for value in node.values():
            _binary_as_format(value)
    elif isinstance(node, list):
        for value in node:
            _binary_as_format(value)
