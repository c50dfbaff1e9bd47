"""Parts of the operations in ``docs/openapi.py`` and the modules beside it."""

from ztoapi.dialects.request import MAX_MODEL_CHARACTERS

__all__ = [
    "CHAT_ERRORS",
    "CLIENT_KEY",
    "COUNT_ERRORS",
    "MODEL",
    "OPENAI_JS",
    "OPENAI_SDK",
    "ORIGIN",
    "RATE",
    "RETRY",
    "TOKENS",
    "Object",
    "curl",
    "errors",
    "field",
    "nullable",
    "operation",
    "parameters",
    "ref",
    "refused",
    "response",
    "samples",
    "schema",
    "streamed",
]

Object = dict[str, object]

ORIGIN = "http://127.0.0.1:9090"
"""The address in the code samples; the reference page replaces it by its own."""


def ref(kind: str, name: str) -> Object:
    return {"$ref": f"#/components/{kind}/{name}"}


def schema(name: str) -> Object:
    return ref("schemas", name)


def nullable(*types: str, **more: object) -> Object:
    return {"type": [*types, "null"], **more}


def headers(*names: str) -> Object:
    return {name: ref("headers", name) for name in ("x-request-id", *names)}


def response(description: str, of: Object, *names: str, example: object = None) -> Object:
    """Returns a response with a JSON body of schema ``of``, the request id and the header fields ``names``."""
    content: Object = {"schema": of}
    if example is not None:
        content["example"] = example
    return {"description": description, "headers": headers(*names), "content": {"application/json": content}}


def refused(
    description: str, type: str, code: str | None, message: str, *names: str, param: str | None = None
) -> Object:
    example = {"error": {"message": message, "type": type, "param": param, "code": code}}
    return response(description, schema("ErrorBody"), *names, example=example)


def errors(*names: str) -> Object:
    """Returns the responses ``names`` of ``RESPONSES``, and those that any request may get, by status."""
    return {RESPONSE_STATUSES[name]: ref("responses", name) for name in (*names, "BrokenRequest")}


CLIENT_KEY: list[Object] = [{"bearer": []}, {"apiKey": []}]

RESPONSE_STATUSES = {
    "BadRequest": "400",
    "NoKey": "401",
    "Forbidden": "403",
    "NotFound": "404",
    "ResponseNotFound": "404",
    "Slow": "408",
    "TooLarge": "413",
    "Compressed": "415",
    "Limited": "429",
    "Internal": "500",
    "UpstreamFailed": "502",
    "Unavailable": "503",
    "UpstreamSlow": "504",
    "BrokenRequest": "4XX",
}
RETRY = ("retry-after", "retry-after-ms")
RATE = tuple(
    f"x-ratelimit-{what}-{unit}" for unit in ("requests", "tokens") for what in ("limit", "remaining", "reset")
)


def samples(curl: str, python: str, javascript: str) -> list[Object]:
    return [
        {"lang": "Shell", "label": "curl", "source": curl},
        {"lang": "Python", "label": "Python", "source": python},
        {"lang": "JavaScript", "label": "JavaScript", "source": javascript},
    ]


def field(description: str, example: object, **of: object) -> Object:
    return {"description": description, "schema": of or {"type": "string"}, "example": example}


MODEL: Object = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_MODEL_CHARACTERS,
    "description": "Looked up without regard to case; the response has it as it is written here.",
    "examples": ["glm-5.3"],
}
TOKENS: Object = {"type": "integer", "minimum": 0}


OPENAI_SDK = f'from openai import OpenAI\n\nclient = OpenAI(base_url="{ORIGIN}/v1", api_key="YOUR_KEY")\n'
OPENAI_JS = (
    f'import OpenAI from "openai";\n\nconst client = new OpenAI({{ baseURL: "{ORIGIN}/v1", apiKey: "YOUR_KEY" }});\n'
)

CHAT_ERRORS = (
    "BadRequest", "NoKey", "Forbidden", "NotFound", "Slow", "TooLarge", "Compressed", "Limited", "Internal",
    "UpstreamFailed", "Unavailable", "UpstreamSlow",
)  # fmt: skip
COUNT_ERRORS = ("BadRequest", "NoKey", "Forbidden", "Slow", "TooLarge", "Compressed", "Internal", "Unavailable")


def streamed(whole: Object, description: str, data: Object, example: str, *, named: bool) -> Object:
    """The response ``whole``, which may come as events as well."""
    content = whole["content"]
    assert isinstance(content, dict)
    names: Object = {"event": {"type": "string"}} if named else {}
    content["text/event-stream"] = {
        # Of each event, as OpenAPI 3.2 has it.
        "schema": {
            "type": "object",
            "description": description,
            "required": [*names, "data"],
            "properties": {**names, "data": data},
        },
        "example": example,
    }
    return whole


def operation(
    id: str, tag: str, summary: str, description: str, request: str, example: object, **more: object
) -> Object:
    return {
        "operationId": id,
        "tags": [tag],
        "summary": summary,
        "description": description,
        "security": CLIENT_KEY,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema(request), "example": example}},
        },
        **more,
    }


def parameters(*names: str) -> list[Object]:
    return [ref("parameters", name) for name in names]


def curl(path: str, body: str, *, key: str = "Authorization: Bearer YOUR_KEY", flag: str = "") -> str:
    return f"curl {flag}{ORIGIN}{path} \\\n  -H '{key}' \\\n  -H 'Content-Type: application/json' \\\n  -d '{body}'"
