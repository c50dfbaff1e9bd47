"""The route table, without a server: spellings of paths, groups, and the errors for what has no route."""

import pytest

from ztoapi.server.routes import Group, Routes


def table() -> Routes[list[str]]:
    routes: Routes[list[str]] = Routes()
    routes.add("/v1/chat/completions", {"POST": list.clear}, Group.API)
    routes.add("/v1/models", {"GET": list.clear}, Group.API)
    routes.add("/v1/models/{id}", {"GET": list.clear}, Group.API)
    routes.add("/health", {"GET": list.clear}, Group.PUBLIC)
    routes.add("/docs", {"GET": list.clear}, Group.PUBLIC)
    routes.add("/docs/", {"GET": list.reverse}, Group.PUBLIC, listed=False)
    routes.add("/metrics", {"GET": list.clear}, Group.ADMIN)
    return routes


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/chat/completions/", "/v1/chat/completions"),
        ("/v1/models", "/v1/models"),
        ("/models/", "/v1/models"),
        ("/v1/models/a", "/v1/models/{id}"),
        ("/v1/models/a/b/", "/v1/models/{id}"),
        ("/models/a", "/v1/models/{id}"),
        ("/health", "/health"),
        ("/health/", "/health"),
        ("/docs", "/docs"),
        ("/docs/", "/docs/"),
        ("/metrics/", "/metrics"),
    ],
)
def test_spellings_of_a_route(path: str, template: str) -> None:
    route = table().find(path)
    assert route is not None
    assert route.template == template


@pytest.mark.parametrize(
    "path",
    ["/", "", "*", "-", "/v1", "/v1/", "/v1/health", "/v1/metrics", "/v1/v1/models", "/v1models", "/metric", "/x"],
)
def test_paths_without_a_route(path: str) -> None:
    assert table().find(path) is None


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/v1/models/a", "a"),
        ("/models/a", "a"),
        ("/v1/models/a/b/", "a/b"),
        ("/models/v1", "v1"),
        ("/models/%41", "%41"),
    ],
)
def test_the_parameter_of_a_path(path: str, parameter: str) -> None:
    route = table().find(path)
    assert route is not None
    assert route.parameter(path) == parameter


def test_all_groups_but_the_api_are_monitoring() -> None:
    routes = table()
    monitoring = {route.template for route in routes if route.monitoring}
    assert monitoring == {"/health", "/docs", "/docs/", "/metrics"}


def test_get_allows_head_and_every_route_allows_options() -> None:
    routes = table()
    models, chat = routes.find("/v1/models"), routes.find("/v1/chat/completions")
    assert models is not None
    assert chat is not None
    assert (models.allowed, chat.allowed) == ("GET, HEAD, OPTIONS", "POST, OPTIONS")
    assert models.handlers["HEAD"] is models.handlers["GET"]
    error = chat.wrong_method("/chat/completions", "GET")
    assert error.status == 405
    assert error.message == "/chat/completions does not support GET; supported methods: POST, OPTIONS"


def test_an_unknown_path_gets_the_listed_routes() -> None:
    error = table().not_found("/nope")
    assert error.status == 404
    assert error.message == "no route for /nope; routes: /v1/chat/completions, /v1/models, /v1/models/{id}"


def test_a_long_path_is_shortened() -> None:
    assert len(table().not_found("/" + "x" * 8000).message) < 400


def test_a_broken_escape_is_a_bad_request() -> None:
    error = table().not_found("/x%zz")
    assert error.status == 400
    assert "'%zz'" in error.message


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/v1/models", "/v1/models"),
        ("/api/chat/completions", "/v1/chat/completions"),
        ("/v2/chat/completions", "/v1/chat/completions"),
        ("/api/models/GLM-4.6", "/v1/models/glm-4.6"),
        ("/V1/Models", "/v1/models"),
        ("/gateway/metrics", "/metrics"),
    ],
)
def test_a_repeated_part_of_the_path_is_recognised(path: str, meant: str) -> None:
    message = table().not_found(path).message
    assert message.startswith(f"no route for {path}; did you mean {meant}? The base URL")


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/chat/completion", "/v1/chat/completions"),
        ("/v1/chat/completions/x", "/v1/chat/completions"),
        ("/v1/Chat-Completions", "/v1/chat/completions"),
        ("/v1/completions", "/v1/chat/completions"),
        ("/v1/model", "/v1/models"),
        ("/model/", "/v1/models"),
        ("/v1/model/GLM-4.6", "/v1/models/GLM-4.6"),
        ("/metric", "/metrics"),
        ("/healthz", "/health"),
    ],
)
def test_a_misspelt_path_gets_a_suggestion(path: str, meant: str) -> None:
    assert table().not_found(path).message == f"no route for {path}; did you mean {meant}?"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/audio/speech", "/v1", "/favicon.ico", "/docs-of-x", "/"])
def test_a_path_that_resembles_no_route_gets_none(path: str) -> None:
    assert "did you mean" not in table().not_found(path).message
