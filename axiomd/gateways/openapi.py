"""The OpenAPI description of the API, made from the table of routes and the models that serve it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from axiomd.gateways.problem import ProblemBody
from axiomd.gateways.routes import Asked, Route

ANY_ROUTE = {
    404: "there is no such thing",
    421: "the Host header names neither an address, nor localhost, nor http.host, and there is no token",
    429: "too many requests",
    500: "axiomd can't answer as things are, or has a bug: its log says more",
    503: "the database can't be reached, or this daemon doesn't have what is asked for now",
    504: "no answer in time",
}
WITH_PARAMETERS = {400: "a parameter is unknown, stands twice or is out of range"}
WITH_BODY = {
    400: "the body isn't JSON, or not of this shape",
    408: "the body took too long to arrive",
    413: "the body is too large",
}
WITH_TOKEN = {401: "the token is missing or wrong", 403: "no token is configured: this is off"}


def description(routes: Sequence[Route]) -> dict[str, Any]:
    """Give the description, OpenAPI 3.1."""
    schemas, definitions = models_json_schema(_models(routes), ref_template="#/components/schemas/{model}")
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.at, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "axiomd",
            "version": version("axiomd"),
            "description": "What axiomd sees and did, and what it can be asked to do. docs/http.md says more.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "http.token_file"}},
        },
    }


def _models(routes: Sequence[Route]) -> list[tuple[type[BaseModel], JsonSchemaMode]]:
    answers: Literal["serialization"] = "serialization"
    models: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(ProblemBody, answers): None}
    for route in routes:
        if route.answers:
            models[route.answers, answers] = None
        if route.body:
            models[route.body, "validation"] = None
    return list(models)


def _operation(route: Route, schemas: dict[Any, Any]) -> dict[str, Any]:
    problem = {"application/json": {"schema": schemas[ProblemBody, "serialization"]}}
    answered = schemas[route.answers, "serialization"] if route.answers else {"type": "object"}
    parameters = [
        *_parameters(route.path, "path"),
        *_parameters(route.query, "query"),
        *_parameters(route.headers, "header"),
    ]
    codes = dict(ANY_ROUTE)
    if parameters:
        codes |= WITH_PARAMETERS
    if route.body:
        codes |= WITH_BODY
    if route.changes:
        codes |= WITH_TOKEN
    for code, when in route.problems.items():
        codes[code] = f"{codes[code]}; {when}" if code in codes else when
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "responses": {"200": {"description": "done", "content": {"application/json": {"schema": answered}}}}
        | {str(code): {"description": when, "content": problem} for code, when in sorted(codes.items())},
    }
    if parameters:
        operation["parameters"] = parameters
    if route.body:
        schema = schemas[route.body, "validation"]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if route.changes:
        operation["security"] = [{"token": []}]
    return operation


def _parameters(model: type[Asked], place: str) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    required = schema.get("required", ())
    parameters = []
    for name, of_it in schema.get("properties", {}).items():
        about = {key: value for key, value in of_it.items() if key not in {"title", "description", "examples"}}
        parameter = {"name": name, "in": place, "required": place == "path" or name in required, "schema": about}
        if words := of_it.get("description"):
            parameter["description"] = words
        if examples := of_it.get("examples"):
            parameter["examples"] = {str(example): {"value": example} for example in examples}
        parameters.append(parameter)
    return parameters
