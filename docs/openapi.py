"""``ztoapi/static/openapi.json``: the public endpoints in OpenAPI 3.1, written by ``python -m docs.generate``.

https://spec.openapis.org/oas/v3.1.1. The request schema names what the gateway itself looks at and what clients usually
send; other fields are passed on. Lines to copy are in ``x-codeSamples``, as Redoc and others read them.
"""

import json

from ztoapi import __version__
from ztoapi.dialects.request import MAX_MODEL_CHARACTERS

__all__ = ["document", "render"]

Object = dict[str, object]

ORIGIN = "http://127.0.0.1:9090"
"""The address in the lines to copy; the reference page puts its own in its place."""


def render() -> str:
    """The whole file as it should be."""
    return json.dumps(document(), indent=1) + "\n"


def document() -> Object:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ztoapi",
            "version": __version__,
            "summary": "An OpenAI-compatible streaming gateway for GLM models.",
            "description": (
                "Any OpenAI client works: give it this gateway's address with `/v1` as its base URL, and a client key. "
                "`/v1` and a slash at the end of a path are optional, `HEAD` works where `GET` does, `OPTIONS` is for "
                "CORS. Every response carries `x-request-id`: the request's own if it is up to 128 plain characters, "
                "else a new one. Errors have OpenAI's shape."
            ),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "Chat", "description": "Chat completions."},
            {"name": "Models", "description": "The available models."},
            {"name": "Health", "description": "For load balancers and supervisors. No key is required."},
        ],
        "paths": {
            "/v1/chat/completions": {"post": chat()},
            "/v1/models": {"get": models()},
            "/v1/models/{model}": {"get": model()},
            "/health": {"get": health()},
            "/livez": {"get": live()},
            "/readyz": {"get": ready()},
        },
        "components": {
            "schemas": SCHEMAS,
            "responses": RESPONSES,
            "headers": HEADERS,
            "parameters": PARAMETERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def ref(kind: str, name: str) -> Object:
    return {"$ref": f"#/components/{kind}/{name}"}


def schema(name: str) -> Object:
    return ref("schemas", name)


def nullable(*types: str, **more: object) -> Object:
    return {"type": [*types, "null"], **more}


def headers(*names: str) -> Object:
    return {name: ref("headers", name) for name in ("x-request-id", *names)}


def answer(description: str, of: Object, *names: str, example: object = None) -> Object:
    """A response with a JSON body, with the request id and the header fields ``names``."""
    content: Object = {"schema": of}
    if example is not None:
        content["example"] = example
    return {"description": description, "headers": headers(*names), "content": {"application/json": content}}


def refused(
    description: str, type: str, code: str | None, message: str, *names: str, param: str | None = None
) -> Object:
    example = {"error": {"message": message, "type": type, "param": param, "code": code}}
    return answer(description, schema("ErrorBody"), *names, example=example)


def errors(*names: str) -> Object:
    """Responses of ``RESPONSES``, by status, with those that any request may get."""
    return {RESPONSE_STATUSES[name]: ref("responses", name) for name in (*names, "BrokenRequest")}


CLIENT_KEY: list[Object] = [{"bearer": []}, {"apiKey": []}]

RESPONSE_STATUSES = {
    "BadRequest": "400",
    "NoKey": "401",
    "Forbidden": "403",
    "NotFound": "404",
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

RESPONSES: Object = {
    "BadRequest": refused(
        "The request is wrong, or the upstream says so. `param` names the field.",
        "invalid_request_error", "missing_required_parameter",
        'messages is missing: send the conversation as a list, such as [{"role": "user", "content": "Hello"}]',
        "x-should-retry", param="messages",
    ),
    "NoKey": refused(
        "No client key was given, or it is unknown (`invalid_api_key`), revoked (`api_key_revoked`) or expired "
        "(`api_key_expired`).",
        "authentication_error", "missing_api_key",
        "no API key was given: send it as 'Authorization: Bearer YOUR_KEY'", "www-authenticate",
    ),
    "Forbidden": refused(
        "The key may not use this model; or the gateway has no access to it at the upstream; or a gateway without "
        "client keys was asked by a page of another origin (`origin_not_allowed`) or under another name than a "
        "loopback one (`host_not_allowed`).",
        "invalid_request_error", "model_not_found",
        "the API key ci does not have access to the model 'glm-5'; GET /v1/models lists those that it has",
        "x-should-retry", param="model",
    ),
    "NotFound": refused(
        "There is no such model.",
        "invalid_request_error", "model_not_found",
        "the model 'gpt-9' is not listed; GET /v1/models lists those that are", "x-should-retry", param="model",
    ),
    "Slow": refused(
        "The request did not arrive in time. The connection closes.",
        "invalid_request_error", "bad_request", "the request body did not arrive in time",
    ),
    "Compressed": refused(
        "The body has a content coding. `accept-encoding` names what is supported.",
        "invalid_request_error", "unsupported_content_encoding",
        "the content coding 'gzip' of the request body is not supported: send the body without a coding",
        "accept-encoding",
    ),
    "TooLarge": refused(
        "The body is larger than `max_body_bytes`, or than the upstream takes. The connection closes.",
        "invalid_request_error", "bad_request", "the request body is larger than 10485760 bytes", "x-should-retry",
    ),
    "Limited": refused(
        "A limit of the gateway (`rate_limit_exceeded`, `concurrency_limit_exceeded`), or of the upstream "
        "(`rate_limit_exceeded`, `insufficient_quota`), is used up; `type` is the unit: `requests` or `tokens`.",
        "requests", "rate_limit_exceeded", "this API key may take 60 requests a minute: try again in 17ms",
        *RETRY, *RATE, "ratelimit", "ratelimit-policy", "x-should-retry",
    ),
    "Internal": refused("A defect of the gateway.", "server_error", "internal", "internal error"),
    "UpstreamFailed": refused(
        "The upstream failed, or refused the gateway's own credential (`upstream_auth_error`), or ended in the middle "
        "of its response (`upstream_truncated`).",
        "server_error", "upstream_error", "the connection to the upstream was lost", *RETRY, "x-should-retry",
    ),
    "Unavailable": refused(
        "The gateway has reached its limit of requests in flight (`overloaded`), is shutting down (`shutdown`), has no "
        "credential that can be used now (`upstream_unavailable`), has no token configured (`token_unavailable`), "
        "cannot count requests (`limits_unavailable`), or the upstream has no capacity (`upstream_overloaded`).",
        "server_error", "overloaded", "the gateway has reached its limit of requests in flight: try again later",
        *RETRY, "x-should-retry",
    ),
    "UpstreamSlow": refused(
        "The upstream did not respond in time.",
        "server_error", "upstream_timeout", "the upstream did not answer in time", *RETRY, "x-should-retry",
    ),
    "BrokenRequest": refused(
        "The request breaks HTTP or a limit: 405 another method than the path takes (with `allow`), 414 request line, "
        "431 header fields, 417 expectation, 400 framing.",
        "invalid_request_error", "bad_request", "the Host field is missing",
    ),
}  # fmt: skip


def field(description: str, example: object, **of: object) -> Object:
    return {"description": description, "schema": of or {"type": "string"}, "example": example}


HEADERS: Object = {
    "accept-encoding": field("The content codings that request bodies may have.", "identity"),
    "www-authenticate": field("The authentication scheme.", 'Bearer realm="ztoapi"'),
    "x-request-id": field(
        "Id of this request, in the response and in the gateway's records.", "5b3c0f6a7a0d4a0e00000001"
    ),
    "retry-after": field("Seconds after which another attempt may succeed.", 1, type="integer", minimum=0),
    "retry-after-ms": field("The same in milliseconds.", 17, type="integer", minimum=0),
    "x-should-retry": field(
        "`false` where another attempt cannot help; OpenAI's clients heed it.", "false", type="string", enum=["false"]
    ),
    "ratelimit": field("Limits that hold, as the IETF draft has them; where `ietf_headers` is set.", '"key";r=50;t=30'),
    "ratelimit-policy": field("Their rates; where `ietf_headers` is set.", '"key";q=100;w=60'),
    "x-ztoapi-cache": field(
        "The source of the response, where there is a response cache. `hit`: from the cache. `shared`: from an equal "
        "request in flight. `miss`: from the upstream. `bypass`: the cache was not used.",
        "hit",
        type="string",
        enum=["hit", "shared", "miss", "bypass"],
    ),
    **{
        name: field(
            f"{description} Where there is a limit on {unit}.",
            example,
            **({"type": "string"} if "reset" in name else {"type": "integer", "minimum": 0}),
        )
        for unit in ("requests", "tokens")
        for name, description, example in (
            (f"x-ratelimit-limit-{unit}", f"Most {unit} at once.", 60),
            (f"x-ratelimit-remaining-{unit}", f"Of them, how many {unit} are left.", 59),
            (f"x-ratelimit-reset-{unit}", "Time until all of them are, as Go writes durations.", "1s"),
        )
    },
}

PARAMETERS: Object = {
    "RequestId": {
        "name": "x-request-id",
        "in": "header",
        "description": "An id of the client's, which the response repeats if it is 1 to 128 of `A-Z a-z 0-9 _.:/+=-`, "
        "else a new one is made.",
        "schema": {"type": "string"},
    },
    "Cache": {
        "name": "x-ztoapi-cache",
        "in": "header",
        "description": "`on`: where there is a response cache, a cached response is accepted, also if the request is "
        "not deterministic. Without it, only requests with temperature 0, `do_sample` false or a `seed` use the cache.",
        "schema": {"type": "string"},
    },
    "CacheControl": {
        "name": "cache-control",
        "in": "header",
        "description": "`no-store`: the response cache is not used. `no-cache`: a new response, which is cached.",
        "schema": {"type": "string"},
    },
}

SECURITY_SCHEMES: Object = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A client key, as OpenAI's clients send it. A gateway without client keys, which listens on a "
        "loopback address only, asks for none.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "A client key, as Anthropic's clients send it.",
    },
}

MESSAGE: Object = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {
            "type": "string",
            "enum": ["system", "developer", "user", "assistant", "tool"],
            "description": "`developer` becomes `system` on the way to GLM.",
        },
        "content": {
            "description": "Text, or parts. Null in an assistant's message that calls tools.",
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": schema("ContentPart")},
                {"type": "null"},
            ],
        },
        "reasoning_content": nullable(
            "string", description="An earlier response's reasoning, where the model wants it."
        ),
        "tool_calls": nullable("array", items=schema("ToolCall"), description="Calls that the assistant has made."),
        "tool_call_id": nullable("string", description="In a tool's message: the call that it answers."),
    },
}
CONTENT_PART: Object = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": {"type": "string", "examples": ["text", "image_url"]},
        "text": {"type": "string"},
        "image_url": {
            "type": "object",
            "required": ["url"],
            "properties": {"url": {"type": "string", "description": "An https: or data: URL."}},
        },
    },
}
TOOL: Object = {
    "type": "object",
    "required": ["type", "function"],
    "properties": {
        "type": {"const": "function"},
        "function": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
                "description": nullable("string"),
                "parameters": nullable("object", description="A JSON Schema."),
            },
        },
    },
}
TOOL_CALL: Object = {
    "type": "object",
    "required": ["function"],
    "properties": {
        "index": {"type": "integer", "description": "In a stream: which call this piece belongs to."},
        "id": nullable("string"),
        "type": nullable("string"),
        "function": {
            "type": "object",
            "properties": {
                "name": nullable("string"),
                "arguments": nullable("string", description="JSON, as the model wrote it."),
            },
        },
    },
}
REQUEST: Object = {
    "type": "object",
    "description": "Nulls count as absent. Fields that are not listed are passed on to the upstream.",
    "required": ["model", "messages"],
    "properties": {
        "model": {
            "type": "string",
            "maxLength": MAX_MODEL_CHARACTERS,
            "description": "Looked up without regard to case; responses have it as it is written here. For zread.ai it "
            "may end with `@owner/name`, a GitHub repository.",
            "examples": ["glm-5.3"],
        },
        "messages": {"type": "array", "minItems": 1, "items": schema("Message"), "description": "The conversation."},
        "stream": nullable(
            "boolean", description="Whether the response comes as an event stream. Absent: `default_stream`."
        ),
        "stream_options": nullable(
            "object",
            properties={
                "include_usage": nullable("boolean", description="Whether the last chunk but [DONE] carries `usage`.")
            },
        ),
        "max_tokens": nullable("integer", minimum=1, description="Most tokens of the response."),
        "max_completion_tokens": nullable("integer", minimum=1, description="OpenAI's newer name of `max_tokens`."),
        "temperature": nullable("number", minimum=0, maximum=2, description="Z.ai takes at most 1: more becomes 1."),
        "top_p": nullable("number", minimum=0, maximum=1, description="Z.ai takes at least 0.01: less becomes 0.01."),
        "stop": {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "maxItems": 4},
                {"type": "null"},
            ],
            "description": "Text at which the response ends.",
        },
        "tools": nullable("array", maxItems=128, items=schema("Tool"), description="Functions that may be called."),
        "tool_choice": {
            "description": "GLM knows `auto` only: `none` takes the tools away, a named function leaves just that one.",
            "anyOf": [
                {"enum": ["auto", "none", "required"]},
                {
                    "type": "object",
                    "required": ["type", "function"],
                    "properties": {
                        "type": {"const": "function"},
                        "function": {
                            "type": "object",
                            "required": ["name"],
                            "properties": {"name": {"type": "string"}},
                        },
                    },
                },
                {"type": "null"},
            ],
        },
        "response_format": nullable(
            "object",
            required=["type"],
            properties={
                "type": {"enum": ["text", "json_object", "json_schema"]},
                "json_schema": nullable("object", description="With that type: `name`, and `schema`, a JSON Schema."),
            },
            description="GLM has no `json_schema`: it becomes `json_object` and an instruction that holds the schema.",
        ),
        "n": {"enum": [1, None], "description": "GLM gives one choice."},
        "user": nullable("string", description="Goes to Z.ai as `user_id` where it has 6 to 128 characters."),
        "thinking": nullable(
            "object",
            properties={"type": {"enum": ["enabled", "disabled", None]}},
            description="GLM's own field: whether the model reasons before it answers.",
        ),
        "enable_thinking": nullable("boolean", description="The same, as other servers call it."),
        "repository": nullable(
            "string",
            description="For zread.ai: `owner/name` of the GitHub repository that is asked about.",
            examples=["zai-org/GLM-4.5"],
        ),
    },
}
USAGE: Object = {
    "type": "object",
    "required": ["prompt_tokens", "completion_tokens", "total_tokens"],
    "properties": {
        "prompt_tokens": {"type": "integer", "minimum": 0},
        "completion_tokens": {"type": "integer", "minimum": 0},
        "total_tokens": {"type": "integer", "minimum": 0},
        "prompt_tokens_details": nullable(
            "object", properties={"cached_tokens": nullable("integer", description="Read from the upstream's cache.")}
        ),
        "completion_tokens_details": nullable("object", properties={"reasoning_tokens": nullable("integer")}),
    },
}
FINISH_REASON = nullable(
    "string",
    description="`stop`, `length`, `tool_calls`, `content_filter`; an upstream may have more. Null until the end.",
)
DELTA_FIELDS: Object = {
    "role": nullable("string"),
    "content": nullable("string"),
    "reasoning_content": nullable("string", description="What the model thought before it answered."),
    "tool_calls": nullable("array", items=schema("ToolCall")),
}


def result(object: str, part: str, required: list[str], description: str) -> Object:
    """Schema of a completion, or of a chunk of one."""
    choice = {
        "type": "object",
        "required": ["index", part],
        "properties": {
            "index": {"type": "integer", "minimum": 0},
            part: {"type": "object", "required": required, "properties": DELTA_FIELDS},
            "logprobs": nullable("object"),
            "finish_reason": FINISH_REASON,
        },
    }
    return {
        "type": "object",
        "description": description,
        "required": ["id", "object", "created", "model", "choices"],
        "properties": {
            "id": {"type": "string"},
            "object": {"const": object},
            "created": {"type": "integer", "description": "Unix seconds."},
            "model": {"type": "string", "description": "As the request has it."},
            "choices": {"type": "array", "items": choice},
            "usage": {"anyOf": [schema("Usage"), {"type": "null"}]},
        },
    }


SCHEMAS: Object = {
    "ChatRequest": REQUEST,
    "Message": MESSAGE,
    "ContentPart": CONTENT_PART,
    "Tool": TOOL,
    "ToolCall": TOOL_CALL,
    "ChatCompletion": result("chat.completion", "message", ["role"], "A whole response."),
    "ChatCompletionChunk": result(
        "chat.completion.chunk", "delta", [],
        "What each `data:` line of a stream holds, but the last, which is `[DONE]`. With `include_usage` one chunk "
        "before that has no choices and `usage`.",
    ),
    "Usage": USAGE,
    "Model": {
        "type": "object",
        "required": ["id", "object", "created", "owned_by"],
        "properties": {
            "id": {"type": "string"},
            "object": {"const": "model"},
            "created": {"type": "integer", "description": "Unix seconds; 0 where it is not known."},
            "owned_by": {"type": "string", "description": "The platform, or what the upstream says."},
            "context_length": {"type": "integer", "description": "Largest number of tokens of prompt and response."},
            "max_output_tokens": {"type": "integer", "description": "Largest number of tokens of a response."},
            "architecture": {
                "type": "object",
                "properties": {
                    "input_modalities": {"type": "array", "items": {"type": "string"}, "examples": [["text", "image"]]},
                    "output_modalities": {"type": "array", "items": {"type": "string"}},
                },
            },
            "thinking": {
                "enum": ["always", "toggle", "none"],
                "description": "Whether the model thinks, and whether a request can disable it.",
            },
            "reasoning_efforts": {"type": "array", "items": {"type": "string"}},
            "structured_output": {"type": "boolean"},
            "pricing": {
                "type": "object",
                "description": "US dollars per token, as decimal strings.",
                "properties": {
                    "prompt": {"type": "string", "examples": ["0.0000014"]},
                    "completion": {"type": "string"},
                    "input_cache_read": {"type": "string"},
                },
            },
        },
    },
    "ModelList": {
        "type": "object",
        "required": ["object", "data"],
        "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": schema("Model")}},
    },
    "Health": {
        "type": "object",
        "required": ["status", "timestamp", "version", "checks"],
        "properties": {
            "status": {
                "enum": ["ok", "warn", "fail"],
                "description": "`warn`: requests are served, and somebody should look at the checks. `fail`: none are, "
                "because the gateway shuts down or no upstream can be used.",
            },
            "timestamp": {"type": "string", "format": "date-time"},
            "version": {"type": "string"},
            "checks": {
                "type": "object",
                "description": "By part and what is looked at: `gateway:requests`; `upstream:` and a platform; where "
                "there is one, `redis:limits`, `redis:cache` and `history:saves`. As the worker that responds sees it.",
                "additionalProperties": {"type": "array", "items": schema("Check"), "minItems": 1, "maxItems": 1},
            },
        },
    },
    "Check": {
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": {"enum": ["pass", "warn", "fail"]},
            "observedValue": {"type": "integer", "minimum": 0},
            "observedUnit": {"enum": ["requests", "credentials"]},
            "output": {"type": "string", "description": "What is wrong."},
        },
    },
    "Status": {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}},
    "ErrorBody": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": {"type": "string", "description": "What is wrong, and the remedy."},
                    "type": {"type": "string"},
                    "param": nullable("string", description="The field of the request that is wrong."),
                    "code": nullable("string"),
                },
            }
        },
    },
}  # fmt: skip


def samples(curl: str, python: str, javascript: str) -> list[Object]:
    return [
        {"lang": "Shell", "label": "curl", "source": curl},
        {"lang": "Python", "label": "Python", "source": python},
        {"lang": "JavaScript", "label": "JavaScript", "source": javascript},
    ]


def chat() -> Object:
    chunk = {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1767225600, "model": "glm-5.3",
        "choices": [{"index": 0, "delta": {"content": "Hello"}, "logprobs": None, "finish_reason": None}],
    }  # fmt: skip
    completion = {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1767225600, "model": "glm-5.3",
        "choices": [
            {
                "index": 0, "message": {"role": "assistant", "content": "Hello"},
                "logprobs": None, "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10},
    }  # fmt: skip
    whole = answer(
        "The response: whole, or with `stream` as events.",
        schema("ChatCompletion"),
        *RATE,
        "x-ztoapi-cache",
        example=completion,
    )
    content = whole["content"]
    assert isinstance(content, dict)
    content["text/event-stream"] = {
        # Of each event, as OpenAPI 3.2 has it.
        "schema": {
            "type": "object",
            "description": "Events of `data` alone, the last of which is `[DONE]`. A failure after the first event is "
            "one more event with an ErrorBody, after which the connection closes without [DONE] and without the final "
            "HTTP chunk. Lines that begin with a colon keep the connection alive.",
            "required": ["data"],
            "properties": {
                "data": {
                    "type": "string",
                    "anyOf": [
                        {"contentMediaType": "application/json", "contentSchema": schema("ChatCompletionChunk")},
                        {"contentMediaType": "application/json", "contentSchema": schema("ErrorBody")},
                        {"const": "[DONE]"},
                    ],
                }
            },
        },
        "example": f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n",
    }
    return {
        "operationId": "createChatCompletion",
        "tags": ["Chat"],
        "summary": "Create a chat completion",
        "description": "OpenAI's request. Fields that GLM lacks are mapped or dropped; "
        "to plain OpenAI-compatible upstreams the request goes as it came.",
        "security": CLIENT_KEY,
        "parameters": [ref("parameters", name) for name in ("RequestId", "Cache", "CacheControl")],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": schema("ChatRequest"),
                    "example": {"model": "glm-5.3", "messages": [{"role": "user", "content": "Say hello."}]},
                }
            },
        },
        "responses": {
            "200": whole,
            **errors(
                "BadRequest", "NoKey", "Forbidden", "NotFound", "Slow", "TooLarge", "Compressed", "Limited", "Internal",
                "UpstreamFailed", "Unavailable", "UpstreamSlow",
            ),
        },
        "x-codeSamples": samples(
            f"curl -N {ORIGIN}/v1/chat/completions \\\n"
            "  -H 'Authorization: Bearer YOUR_KEY' \\\n"
            "  -H 'Content-Type: application/json' \\\n"
            '  -d \'{"model": "glm-5.3", "stream": true, "messages": [{"role": "user", "content": "Say hello."}]}\'',
            "from openai import OpenAI\n\n"
            f'client = OpenAI(base_url="{ORIGIN}/v1", api_key="YOUR_KEY")\n'
            "stream = client.chat.completions.create(\n"
            '    model="glm-5.3",\n'
            '    messages=[{"role": "user", "content": "Say hello."}],\n'
            "    stream=True,\n"
            ")\n"
            "for chunk in stream:\n"
            "    if chunk.choices:\n"
            '        print(chunk.choices[0].delta.content or "", end="")',
            'import OpenAI from "openai";\n\n'
            f'const client = new OpenAI({{ baseURL: "{ORIGIN}/v1", apiKey: "YOUR_KEY" }});\n'
            "const stream = await client.chat.completions.create({\n"
            '  model: "glm-5.3",\n'
            '  messages: [{ role: "user", content: "Say hello." }],\n'
            "  stream: true,\n"
            "});\n"
            "for await (const chunk of stream) {\n"
            '  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");\n'
            "}",
        ),
    }  # fmt: skip


def read(path: str, *, key: bool = True) -> list[Object]:
    """Lines that get ``path``."""
    url = ORIGIN + path
    sent = {"headers": ' -H "Authorization: Bearer YOUR_KEY"' if key else ""}
    python = ', headers={"Authorization": "Bearer YOUR_KEY"}' if key else ""
    script = ', { headers: { Authorization: "Bearer YOUR_KEY" } }' if key else ""
    return samples(
        f"curl {url}{sent['headers']}",
        f'import httpx\n\nprint(httpx.get("{url}"{python}).json())',
        f'const response = await fetch("{url}"{script});\nconsole.log(await response.json());',
    )


def models() -> Object:
    return {
        "operationId": "listModels",
        "tags": ["Models"],
        "summary": "List the models",
        "description": "Those of the configuration, and those that the upstreams list; only what the key may use.",
        "security": CLIENT_KEY,
        "parameters": [ref("parameters", "RequestId")],
        "responses": {
            "200": answer("The models.", schema("ModelList")),
            **errors("NoKey", "Forbidden", "Internal", "Unavailable"),
        },
        "x-codeSamples": read("/v1/models"),
    }


def model() -> Object:
    return {
        "operationId": "retrieveModel",
        "tags": ["Models"],
        "summary": "Look up one model",
        "security": CLIENT_KEY,
        "parameters": [
            {
                "name": "model",
                "in": "path",
                "required": True,
                "description": "Looked up without regard to case.",
                "schema": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_MODEL_CHARACTERS,
                    # Control characters get a 400.
                    "pattern": "^[^\\x00-\\x1f\\x7f]+$",
                },
                "example": "glm-5.3",
            },
            ref("parameters", "RequestId"),
        ],
        "responses": {
            "200": answer("The model.", schema("Model")),
            **errors("NoKey", "Forbidden", "NotFound", "Internal", "Unavailable"),
        },
        "x-codeSamples": read("/v1/models/glm-5.3"),
    }


def health() -> Object:
    return {
        "operationId": "health",
        "tags": ["Health"],
        "summary": "Status, time, version and checks of the parts",
        "description": "For monitors and people, in the form of draft-inadarei-api-health-check. The status code is "
        "200 whatever the body says; `/readyz` is for load balancers, `/livez` for what restarts processes.",
        "security": [],
        "responses": {"200": answer("The gateway runs.", schema("Health")), **errors()},
        "x-codeSamples": read("/health", key=False),
    }


def live() -> Object:
    return {
        "operationId": "live",
        "tags": ["Health"],
        "summary": "Liveness",
        "description": "Depends on nothing but this process.",
        "security": [],
        "responses": {"200": answer("The process responds.", schema("Status")), **errors()},
        "x-codeSamples": read("/livez", key=False),
    }


def ready() -> Object:
    return {
        "operationId": "ready",
        "tags": ["Health"],
        "summary": "Readiness",
        "security": [],
        "responses": {
            "200": answer("Requests may come.", schema("Status")),
            "503": refused(
                "The gateway is shutting down.",
                "server_error",
                "shutdown",
                "the gateway is shutting down",
            ),
            **errors(),
        },
        "x-codeSamples": read("/readyz", key=False),
    }
