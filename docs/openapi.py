"""``ztoapi/static/openapi.json``: the public endpoints in OpenAPI 3.1, written by ``python -m docs.generate``.

https://spec.openapis.org/oas/v3.1.1. The request schema has the fields that the gateway reads and those
that clients usually send; other fields are passed on. Code samples are in ``x-codeSamples``, which Redoc and others
render.
"""

import json

from docs import openapi_completions, openapi_messages, openapi_responses
from docs.openapi_parts import (
    CLIENT_KEY,
    ORIGIN,
    RATE,
    RETRY,
    Object,
    errors,
    field,
    nullable,
    ref,
    refused,
    response,
    samples,
    schema,
)
from ztoapi import __version__
from ztoapi.dialects.request import MAX_MODEL_CHARACTERS

__all__ = ["ORIGIN", "document", "render"]


def render() -> str:
    """Returns the text of the file."""
    return json.dumps(document(), indent=1) + "\n"


def document() -> Object:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ztoapi",
            "version": __version__,
            "summary": "A streaming gateway for GLM models, compatible with OpenAI's and Anthropic's APIs.",
            "description": (
                "Clients need two settings: the base URL, which is this gateway's address, for OpenAI's APIs followed "
                "by `/v1`, and a client key. Paths also work without `/v1`, below `/anthropic`, and with a trailing "
                "slash. A path that supports `GET` also supports `HEAD`; `OPTIONS` serves CORS preflight requests. "
                "Every response has an `x-request-id`. Errors have Anthropic's format in the Messages API, otherwise "
                "OpenAI's. A gateway may be configured to send requests of the Messages and Responses APIs to the "
                "upstream's own endpoints without translation (native mode): the upstream then decides about fields "
                "that are described here. It may also pass requests for other paths, such as `/v1/images/generations` "
                "and `/v1/audio/speech`, on to an upstream as they are (transparent paths). The upstream's "
                "documentation describes those."
            ),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "Chat", "description": "OpenAI's chat completions."},
            {"name": "Messages", "description": "Anthropic's API, for Claude Code and Anthropic's libraries."},
            {"name": "Responses", "description": "OpenAI's API, for Codex and OpenAI's libraries."},
            {"name": "Legacy", "description": "OpenAI's former API for texts."},
            {"name": "Embeddings", "description": "Vectors of texts."},
            {"name": "Models", "description": "The available models."},
            {"name": "Health", "description": "For load balancers and supervisors. They need no key."},
        ],
        "paths": {
            "/v1/chat/completions": {"post": chat()},
            **openapi_messages.PATHS,
            **openapi_responses.PATHS,
            **openapi_completions.PATHS,
            "/v1/models": {"get": models()},
            "/v1/models/{model}": {"get": model()},
            "/health": {"get": health()},
            "/livez": {"get": live()},
            "/readyz": {"get": ready()},
        },
        "components": {
            "schemas": SCHEMAS | openapi_messages.SCHEMAS | openapi_responses.SCHEMAS | openapi_completions.SCHEMAS,
            "responses": RESPONSES | openapi_messages.RESPONSES,
            "headers": HEADERS | openapi_messages.HEADERS,
            "parameters": PARAMETERS | openapi_messages.PARAMETERS | openapi_responses.PARAMETERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


RESPONSES: Object = {
    "BadRequest": refused(
        "The request is invalid, or the upstream rejected it. `param` is the name of the invalid field.",
        "invalid_request_error", "missing_required_parameter",
        'messages is missing: send the conversation as a list, such as [{"role": "user", "content": "Hello"}]',
        "x-should-retry", param="messages",
    ),
    "NoKey": refused(
        "The client key is missing, unknown (`invalid_api_key`), revoked (`api_key_revoked`) or expired "
        "(`api_key_expired`).",
        "authentication_error", "missing_api_key",
        "no API key was given: send it as 'Authorization: Bearer YOUR_KEY'", "www-authenticate",
    ),
    "Forbidden": refused(
        "The client key does not allow the model (`model_not_found`), or the upstream does not allow it for the "
        "gateway (`upstream_forbidden`). Only from a gateway without client keys: the request comes from a page of "
        "another origin (`origin_not_allowed`), or its Host is no loopback name (`host_not_allowed`).",
        "invalid_request_error", "model_not_found",
        "the API key ci does not have access to the model 'glm-5'; GET /v1/models lists those that it has",
        "x-should-retry", param="model",
    ),
    "NotFound": refused(
        "The gateway or the upstream does not have the model.",
        "invalid_request_error", "model_not_found",
        "the model 'gpt-9' is not listed; GET /v1/models lists those that are", "x-should-retry", param="model",
    ),
    "ResponseNotFound": refused(
        "The gateway does not store this response, or stored it for another client key.",
        "invalid_request_error", "response_not_found", "Response with id 'resp_1' not found.",
    ),
    "Slow": refused(
        "The request did not arrive in time. The connection closes.",
        "invalid_request_error", "bad_request", "the request body did not arrive in time",
    ),
    "Compressed": refused(
        "The body is compressed. `accept-encoding` lists the supported content codings.",
        "invalid_request_error", "unsupported_content_encoding",
        "the content coding 'gzip' of the request body is not supported: send the body without a coding",
        "accept-encoding",
    ),
    "TooLarge": refused(
        "The body exceeds `max_body_bytes`, and the gateway closes the connection; or the upstream rejects its size.",
        "invalid_request_error", "bad_request", "the request body is larger than 10485760 bytes", "x-should-retry",
    ),
    "Limited": refused(
        "A limit of the gateway (`rate_limit_exceeded`, `concurrency_limit_exceeded`, `too_many_connections`) or of "
        "the upstream (`rate_limit_exceeded`, `insufficient_quota`) is reached. The `type` of the gateway's own limits "
        "is the unit, `requests` or `tokens`.",
        "requests", "rate_limit_exceeded", "this API key may take 60 requests a minute: try again in 17ms",
        *RETRY, *RATE, "ratelimit", "ratelimit-policy", "x-should-retry",
    ),
    "Internal": refused(
        "An error in the gateway. Its log has the cause.", "server_error", "internal", "internal error",
    ),
    "UpstreamFailed": refused(
        "The upstream failed, refused the gateway's credential (`upstream_auth_error`), or closed the connection "
        "before the end of its response (`upstream_truncated`).",
        "server_error", "upstream_error", "the connection to the upstream was lost", *RETRY, "x-should-retry",
    ),
    "Unavailable": refused(
        "The gateway has no free capacity (`overloaded`), shuts down (`shutdown`), has no usable upstream credential "
        "(`upstream_unavailable`), has no token configured (`token_unavailable`), or cannot reach Redis for rate "
        "limits (`limits_unavailable`) or stored responses (`store_unavailable`); or the upstream has no capacity "
        "(`upstream_overloaded`).",
        "server_error", "overloaded", "the gateway has reached its limit of requests in flight: try again later",
        *RETRY, "x-should-retry",
    ),
    "UpstreamSlow": refused(
        "The upstream did not respond in time.",
        "server_error", "upstream_timeout", "the upstream sent no byte of a response within 60 s",
        *RETRY, "x-should-retry",
    ),
    "BrokenRequest": refused(
        "The request violates HTTP or exceeds a limit. 400: invalid HTTP. 405: the path does not support the method; "
        "`allow` lists those it supports. 414: the request line is too long. 417: `Expect` is not supported. 431: "
        "there are too many header fields, or they are too long.",
        "invalid_request_error", "bad_request", "the Host field is missing",
    ),
}  # fmt: skip


HEADERS: Object = {
    "accept-encoding": field("The content codings that request bodies may have.", "identity"),
    "www-authenticate": field("The authentication scheme.", 'Bearer realm="ztoapi"'),
    "x-request-id": field(
        "Id of the request: the client's if it sent a valid one, otherwise a new one. The gateway's logs have it too.",
        "5b3c0f6a7a0d4a0e00000001",
    ),
    "retry-after": field("Seconds after which a retry may succeed.", 1, type="integer", minimum=0),
    "retry-after-ms": field("Milliseconds after which a retry may succeed.", 17, type="integer", minimum=0),
    "x-should-retry": field(
        "`false` if a retry cannot succeed. OpenAI's clients then do not retry.", "false", type="string", enum=["false"]
    ),
    "ratelimit": field(
        "What is left of each rate limit, in the format of the IETF draft. Only with `ietf_headers`.", '"key";r=50;t=30'
    ),
    "ratelimit-policy": field(
        "The rate limits, in the format of the IETF draft. Only with `ietf_headers`.", '"key";q=100;w=60'
    ),
    "x-ztoapi-cache": field(
        "The source of the response. Only if the gateway has a response cache. `hit`: the cache. `shared`: an equal "
        "request in flight. `miss`: the upstream. `bypass`: the upstream, without use of the cache.",
        "hit",
        type="string",
        enum=["hit", "shared", "miss", "bypass"],
    ),
    **{
        name: field(
            f"{description} Only if a limit on {unit} applies.",
            example,
            **({"type": "string"} if "reset" in name else {"type": "integer", "minimum": 0}),
        )
        for unit in ("requests", "tokens")
        for name, description, example in (
            (f"x-ratelimit-limit-{unit}", f"The largest number of {unit} at once.", 60),
            (f"x-ratelimit-remaining-{unit}", f"The number of {unit} that are left.", 59),
            (
                f"x-ratelimit-reset-{unit}",
                f"Time until all {unit} are available again, in the format of Go's durations.",
                "1s",
            ),
        )
    },
}

PARAMETERS: Object = {
    "RequestId": {
        "name": "x-request-id",
        "in": "header",
        "description": "An id chosen by the client: 1 to 128 characters of `A-Z a-z 0-9 _.:/+=-`. The response repeats "
        "it. Any other value is replaced by a new id.",
        "schema": {"type": "string"},
    },
    "Cache": {
        "name": "x-ztoapi-cache",
        "in": "header",
        "description": "`on`: use the response cache, if the gateway has one, even if the request is not "
        "deterministic. By default only requests with temperature 0, `do_sample` false or a `seed` use it.",
        "schema": {"type": "string"},
    },
    "CacheControl": {
        "name": "cache-control",
        "in": "header",
        "description": "`no-store`: do not use the response cache. `no-cache`: send the request upstream, and cache "
        "the response.",
        "schema": {"type": "string"},
    },
}

SECURITY_SCHEMES: Object = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A client key, as OpenAI's clients send it. A gateway without client keys, which listens only "
        "on a loopback address, needs no key.",
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
            "description": "GLM models get `developer` as `system`.",
        },
        "content": {
            "description": "A text, or a list of parts. May be null in an assistant's message with tool calls.",
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": schema("ContentPart")},
                {"type": "null"},
            ],
        },
        "reasoning_content": nullable(
            "string", description="The reasoning of an earlier response, for models that expect it."
        ),
        "tool_calls": nullable("array", items=schema("ToolCall"), description="The tool calls of the assistant."),
        "tool_call_id": nullable("string", description="In a tool's message: the id of the call whose result it is."),
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
        "index": {
            "type": "integer",
            "description": "In a stream: the index of the call to which this fragment belongs.",
        },
        "id": nullable("string"),
        "type": nullable("string"),
        "function": {
            "type": "object",
            "properties": {
                "name": nullable("string"),
                "arguments": nullable("string", description="JSON, as the model generated it."),
            },
        },
    },
}
REQUEST: Object = {
    "type": "object",
    "description": "A field with null counts as absent. Fields that are not listed here are passed on to the upstream.",
    "required": ["model", "messages"],
    "properties": {
        "model": {
            "type": "string",
            "maxLength": MAX_MODEL_CHARACTERS,
            "description": "Case-insensitive. Responses repeat the name as it was sent. For zread.ai, "
            "`@owner/name` after the model selects a GitHub repository.",
            "examples": ["glm-5.3"],
        },
        "messages": {"type": "array", "minItems": 1, "items": schema("Message"), "description": "The conversation."},
        "stream": nullable(
            "boolean", description="Whether the response is an event stream. Default: the option `default_stream`."
        ),
        "stream_options": nullable(
            "object",
            properties={
                "include_usage": nullable(
                    "boolean", description="Whether a last chunk, before [DONE], has the `usage`."
                )
            },
        ),
        "max_tokens": nullable("integer", minimum=1, description="The largest number of tokens of the response."),
        "max_completion_tokens": nullable("integer", minimum=1, description="OpenAI's newer name for `max_tokens`."),
        "temperature": nullable(
            "number", minimum=0, maximum=2, description="Z.ai supports at most 1: a larger value becomes 1."
        ),
        "top_p": nullable(
            "number", minimum=0, maximum=1, description="Z.ai supports at least 0.01: a smaller value becomes 0.01."
        ),
        "stop": {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "maxItems": 4},
                {"type": "null"},
            ],
            "description": "Text at which the response ends.",
        },
        "tools": nullable(
            "array", maxItems=128, items=schema("Tool"), description="The functions that the model may call."
        ),
        "tool_choice": {
            "description": "GLM models support only `auto`. With `none` they get no tools, with a named function "
            "only that one; `required` becomes `auto`.",
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
                "json_schema": nullable(
                    "object", description="With type `json_schema`: `name`, and `schema`, a JSON Schema."
                ),
            },
            description="For GLM models `json_schema` becomes `json_object` and an instruction with the schema.",
        ),
        "n": {"enum": [1, None], "description": "GLM models return one choice."},
        "user": nullable("string", description="Z.ai gets it as `user_id` if it has 6 to 128 characters."),
        "thinking": nullable(
            "object",
            properties={"type": {"enum": ["enabled", "disabled", None]}},
            description="GLM's own field: whether the model thinks before it responds.",
        ),
        "enable_thinking": nullable("boolean", description="Another name for `thinking`, from other servers."),
        "repository": nullable(
            "string",
            description="For zread.ai: the GitHub repository that the question is about, as `owner/name`.",
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
            "object",
            properties={
                "cached_tokens": nullable("integer", description="Tokens of the prompt that the upstream had cached.")
            },
        ),
        "completion_tokens_details": nullable("object", properties={"reasoning_tokens": nullable("integer")}),
    },
}
FINISH_REASON = nullable(
    "string",
    description="`stop`, `length`, `tool_calls`, `content_filter`, or another value of the upstream. Null before the "
    "end.",
)
DELTA_FIELDS: Object = {
    "role": nullable("string"),
    "content": nullable("string"),
    "reasoning_content": nullable("string", description="The reasoning of the model."),
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
            "model": {"type": "string", "description": "The name in the request."},
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
        "One event of a stream. With `include_usage` the last chunk has `usage` and no choices.",
    ),
    "Usage": USAGE,
    "Model": {
        "type": "object",
        "required": ["id", "object", "created", "owned_by"],
        "properties": {
            "id": {"type": "string"},
            "object": {"const": "model"},
            "created": {"type": "integer", "description": "Unix seconds; 0 if unknown."},
            "owned_by": {"type": "string", "description": "The owner that the upstream reports, or the platform."},
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
                "description": "`warn`: the gateway serves requests, but a check needs attention. `fail`: it serves no "
                "requests, because it shuts down or no upstream is usable.",
            },
            "timestamp": {"type": "string", "format": "date-time"},
            "version": {"type": "string"},
            "checks": {
                "type": "object",
                "description": "The checks by name: `gateway:requests`, `upstream:` followed by a platform, and, if "
                "configured, `redis:limits`, `redis:cache`, `redis:responses` and `history:saves`. The state is "
                "that of one worker.",
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
            "output": {"type": "string", "description": "The problem, if there is one."},
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
                    "message": {"type": "string", "description": "The problem, and a remedy."},
                    "type": {"type": "string"},
                    "param": nullable("string", description="The invalid field of the request."),
                    "code": nullable("string"),
                },
            }
        },
    },
}  # fmt: skip


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
    whole = response(
        "The response, or with `stream` its events.",
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
            "description": "Events that consist of `data` only. The last is `[DONE]`. After a failure within the "
            "stream the last event is an ErrorBody instead; then the connection closes without the final HTTP chunk. "
            "Comments, which are lines that begin with a colon, keep the connection alive.",
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
        "description": "OpenAI's request. Fields that GLM models do not support are mapped or dropped. "
        "Plain OpenAI-compatible upstreams get the request unchanged.",
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
    """Returns code samples that GET ``path``."""
    url = ORIGIN + path
    sent = {"headers": ' -H "Authorization: Bearer YOUR_KEY"' if key else ""}
    python = ', headers={"Authorization": "Bearer YOUR_KEY"}' if key else ""
    script = ', { headers: { Authorization: "Bearer YOUR_KEY" } }' if key else ""
    return samples(
        f"curl {url}{sent['headers']}",
        f'import httpx\n\nprint(httpx.get("{url}"{python}).json())',
        f'const response = await fetch("{url}"{script});\nconsole.log(await response.json());',
    )


def errors_in_both_formats(*names: str) -> Object:
    """Returns the responses of ``errors``. A client that sends ``anthropic-version`` gets Anthropic's format."""
    either = {"anyOf": [schema("ErrorBody"), schema("MessagesError")]}
    return {
        status: {**RESPONSES[name], "content": {"application/json": {"schema": either}}}  # type: ignore[dict-item]
        for status, name in zip(errors(*names), (*names, "BrokenRequest"), strict=True)
    }


def models() -> Object:
    return {
        "operationId": "listModels",
        "tags": ["Models"],
        "summary": "List models",
        "description": "The models of the configuration and of the upstreams' lists that the client key allows.",
        "security": CLIENT_KEY,
        "parameters": [ref("parameters", "RequestId"), ref("parameters", "AnthropicVersion")],
        "responses": {
            "200": response(
                "The models. With `anthropic-version`, they have the format of Anthropic's API.",
                {"anyOf": [schema("ModelList"), schema("AnthropicModelList")]},
            ),
            **errors_in_both_formats("NoKey", "Forbidden", "Internal", "Unavailable"),
        },
        "x-codeSamples": read("/v1/models"),
    }


def model() -> Object:
    return {
        "operationId": "retrieveModel",
        "tags": ["Models"],
        "summary": "Retrieve a model",
        "security": CLIENT_KEY,
        "parameters": [
            {
                "name": "model",
                "in": "path",
                "required": True,
                "description": "Case-insensitive.",
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
            ref("parameters", "AnthropicVersion"),
        ],
        "responses": {
            "200": response(
                "The model. With `anthropic-version`, it has the format of Anthropic's API.",
                {"anyOf": [schema("Model"), schema("AnthropicModel")]},
            ),
            **errors_in_both_formats("NoKey", "Forbidden", "NotFound", "Internal", "Unavailable"),
        },
        "x-codeSamples": read("/v1/models/glm-5.3"),
    }


def health() -> Object:
    return {
        "operationId": "health",
        "tags": ["Health"],
        "summary": "Status, version and checks",
        "description": "For monitoring, in the format of draft-inadarei-api-health-check. The HTTP status is always "
        "200: load balancers should use `/readyz`, and supervisors `/livez`.",
        "security": [],
        "responses": {"200": response("The gateway runs.", schema("Health")), **errors()},
        "x-codeSamples": read("/health", key=False),
    }


def live() -> Object:
    return {
        "operationId": "live",
        "tags": ["Health"],
        "summary": "Liveness",
        "description": "200 as long as the process responds.",
        "security": [],
        "responses": {"200": response("The process responds.", schema("Status")), **errors()},
        "x-codeSamples": read("/livez", key=False),
    }


def ready() -> Object:
    return {
        "operationId": "ready",
        "tags": ["Health"],
        "summary": "Readiness",
        "description": "200 until the gateway shuts down.",
        "security": [],
        "responses": {
            "200": response("The gateway accepts requests.", schema("Status")),
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
