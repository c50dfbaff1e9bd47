"""The operations of Anthropic's Messages API, for ``docs/openapi.py``."""

import json

from docs.openapi_parts import (
    MODEL,
    ORIGIN,
    RATE,
    TOKENS,
    Object,
    curl,
    nullable,
    operation,
    parameters,
    ref,
    response,
    samples,
    schema,
    streamed,
)

__all__ = ["HEADERS", "PARAMETERS", "PATHS", "RESPONSES", "SCHEMAS"]

HEADERS: Object = {
    "request-id": {
        "description": "The value of `x-request-id`, under the name of Anthropic's API.",
        "schema": {"type": "string"},
        "example": "5b3c0f6a7a0d4a0e00000001",
    },
    "x-ztoapi-warning": {
        "description": "The tools of the request that were left out, because only Anthropic's servers execute them.",
        "schema": {"type": "string"},
        "example": "tools.0: web_search_20250305 was left out",
    },
}
PARAMETERS: Object = {
    "AnthropicVersion": {
        "name": "anthropic-version",
        "in": "header",
        "description": "Sent by clients of Anthropic's API. Any value selects the format of that API.",
        "schema": {"type": "string", "examples": ["2023-06-01"]},
    },
}
FAILURES: dict[str, tuple[str, str, str, str]] = {
    "MessagesBadRequest": (
        "400",
        "invalid_request_error",
        "The request is wrong, or the upstream refuses it. A prompt that is too long has this status too.",
        "messages is missing: send the conversation as a list",
    ),
    "MessagesNoKey": (
        "401",
        "authentication_error",
        "No client key was sent, or it is unknown, revoked or expired.",
        "no API key was given: send it as 'Authorization: Bearer YOUR_KEY'",
    ),
    "MessagesForbidden": (
        "403",
        "permission_error",
        "The gateway has no access to the model at the upstream, or the client key or the page may not use it.",
        "the API key ci does not have access to the model 'glm-5'; GET /v1/models lists those that it has",
    ),
    "MessagesNotFound": (
        "404",
        "not_found_error",
        "There is no such model.",
        "the model 'gpt-9' is not listed; GET /v1/models lists those that are",
    ),
    "MessagesSlow": (
        "408",
        "invalid_request_error",
        "The request did not arrive in time. The connection closes.",
        "the request body did not arrive in time",
    ),
    "MessagesTooLarge": (
        "413",
        "request_too_large",
        "The body is larger than `max_body_bytes`, or than the upstream accepts. The connection closes.",
        "the request body is larger than 10485760 bytes",
    ),
    "MessagesLimited": (
        "429",
        "rate_limit_error",
        "A limit of the gateway or of the upstream is used up. `x-should-retry` is `false` if a quota is.",
        "this API key may take 60 requests a minute: try again in 17ms",
    ),
    "MessagesInternal": ("500", "api_error", "An error in the gateway. Its log has the cause.", "internal error"),
    "MessagesUpstreamFailed": (
        "502",
        "api_error",
        "The upstream failed, refused the gateway's own credential, or ended in the middle of its response.",
        "the connection to the upstream was lost",
    ),
    "MessagesUpstreamSlow": (
        "504",
        "timeout_error",
        "The upstream did not respond in time.",
        "the upstream sent no byte of a response within 60 s",
    ),
    "MessagesOverloaded": (
        "529",
        "overloaded_error",
        "The gateway has reached its limit of requests in flight, shuts down, or has no credential that can be used "
        "now; or the upstream has no capacity.",
        "the gateway has reached its limit of requests in flight: try again later",
    ),
    "MessagesBroken": (
        "4XX",
        "invalid_request_error",
        "The request breaks HTTP or a limit: 405 another method, 414 request line, 417 expectation, 431 header fields.",
        "the Host field is missing",
    ),
}
ERROR_HEADERS = {"401": ("www-authenticate",), "429": (*RATE, "x-should-retry"), "4XX": ()}


def anthropic_error(status: str, type: str, description: str, message: str) -> Object:
    example = {"type": "error", "error": {"type": type, "message": message}, "request_id": "5b3c0f6a7a0d4a0e00000001"}
    names = ERROR_HEADERS.get(status, ("x-should-retry",))
    return response(description, schema("MessagesError"), "request-id", "retry-after", *names, example=example)


RESPONSES: Object = {name: anthropic_error(*failure) for name, failure in FAILURES.items()}


def messages_errors(*left_out: str) -> Object:
    """All responses of ``FAILURES``, by status."""
    return {failure[0]: ref("responses", name) for name, failure in FAILURES.items() if failure[0] not in left_out}


BLOCK: Object = {
    "type": "object",
    "required": ["type"],
    "description": "One block of content. The other fields depend on `type`; `cache_control` has no effect.",
    "properties": {
        "type": {
            "type": "string",
            "examples": ["text", "image", "document", "tool_use", "tool_result", "tool_reference", "thinking"],
        },
        "text": {"type": "string"},
        "source": {"type": "object", "description": "Of an image or a document: `base64`, `url` or `text`."},
        "id": {"type": "string", "description": "Of a tool call."},
        "name": {"type": "string", "description": "Of the called tool."},
        "input": {"type": "object", "description": "Input of a tool call."},
        "tool_use_id": {"type": "string", "description": "In a tool result: the call."},
        "is_error": nullable("boolean"),
        "thinking": {"type": "string"},
        "signature": {"type": "string", "description": "Of a thinking block; return it as it came."},
        "tool_name": {"type": "string", "description": "In a `tool_reference`: the deferred tool."},
    },
}
CONTENT: Object = {"anyOf": [{"type": "string"}, {"type": "array", "items": schema("ContentBlock")}]}
TURN: Object = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {
        "role": {"type": "string", "enum": ["user", "assistant", "system"]},
        "content": CONTENT,
    },
}
MESSAGES_TOOL: Object = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "type": nullable("string", description="Absent or `custom` for functions of the client."),
        "description": nullable("string"),
        "input_schema": {"type": "object", "description": "A JSON Schema; required for functions of the client."},
        "defer_loading": nullable("boolean", description="Left out until a `tool_reference` names the tool."),
    },
}
PROMPT_FIELDS: Object = {
    "model": MODEL,
    "messages": {"type": "array", "minItems": 1, "items": schema("MessagesTurn"), "description": "The conversation."},
    "system": {"anyOf": [*CONTENT["anyOf"], {"type": "null"}], "description": "The system prompt."},  # type: ignore[misc]
    "tools": nullable("array", items=schema("MessagesTool")),
    "tool_choice": nullable(
        "object",
        properties={
            "type": {"type": "string", "examples": ["auto", "any", "tool", "none"]},
            "name": nullable("string"),
            "disable_parallel_tool_use": nullable("boolean"),
        },
    ),
    "thinking": nullable(
        "object",
        required=["type"],
        properties={
            "type": {"enum": ["enabled", "adaptive", "between_tools", "disabled"]},
            "budget_tokens": nullable("integer", description="No effect: GLM has levels, not a budget."),
            "display": nullable("string", description="`omitted`: blocks without their text."),
        },
        description="Without it, the model does not think, or as little as it can.",
    ),
}
MESSAGES_REQUEST: Object = {
    "type": "object",
    "description": "Nulls count as absent. Fields that are not listed have no effect.",
    "required": ["model", "messages", "max_tokens"],
    "properties": {
        **PROMPT_FIELDS,
        "max_tokens": {"type": "integer", "minimum": 1, "description": "Most tokens of the response."},
        "stream": nullable("boolean", description="Whether the response comes as an event stream."),
        "stop_sequences": nullable("array", items={"type": "string"}, description="The first four are used."),
        "temperature": nullable("number", minimum=0, maximum=1),
        "top_p": nullable("number", minimum=0, maximum=1),
        "metadata": nullable("object", properties={"user_id": nullable("string")}),
        "output_config": nullable(
            "object",
            properties={
                "effort": nullable("string", description="The model's nearest level.", examples=["low", "high"]),
                "format": nullable(
                    "object",
                    required=["type", "schema"],
                    properties={"type": {"const": "json_schema"}, "schema": {"type": "object"}},
                ),
            },
        ),
    },
}
MESSAGE_USAGE: Object = {
    "type": "object",
    "required": ["input_tokens", "output_tokens"],
    "properties": {
        "input_tokens": {**TOKENS, "description": "Without those read from the cache."},
        "output_tokens": TOKENS,
        "cache_read_input_tokens": nullable("integer", minimum=0),
        "cache_creation_input_tokens": nullable("integer", minimum=0),
    },
}
MESSAGE: Object = {
    "type": "object",
    "required": ["id", "type", "role", "content", "model", "stop_reason", "stop_sequence", "usage"],
    "properties": {
        "id": {"type": "string", "pattern": "^msg_"},
        "type": {"const": "message"},
        "role": {"const": "assistant"},
        "content": {"type": "array", "items": schema("ContentBlock")},
        "model": {"type": "string", "description": "As in the request."},
        "stop_reason": nullable("string", examples=["end_turn", "max_tokens", "tool_use", "stop_sequence", "refusal"]),
        "stop_sequence": nullable("string"),
        "usage": schema("MessageUsage"),
    },
}
MESSAGES_ERROR: Object = {
    "type": "object",
    "description": "Anthropic's format of errors.",
    "required": ["type", "error", "request_id"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {
                "type": {"type": "string", "examples": ["invalid_request_error"]},
                "message": {"type": "string", "description": "The problem, and the remedy."},
            },
        },
        "request_id": {"type": "string"},
    },
}
ANTHROPIC_MODEL: Object = {
    "type": "object",
    "required": ["type", "id", "display_name", "created_at"],
    "properties": {
        "type": {"const": "model"},
        "id": {"type": "string"},
        "display_name": {"type": "string"},
        "created_at": {"type": "string", "format": "date-time"},
        "max_input_tokens": nullable("integer"),
        "max_tokens": nullable("integer"),
        "capabilities": nullable("object", description="None if the catalogue does not have the model."),
    },
}
ANTHROPIC_MODEL_LIST: Object = {
    "type": "object",
    "description": "All models on one page. Each is listed twice, the second time as `claude-NAME`, because Claude "
    "Code offers only such names.",
    "required": ["data", "has_more", "first_id", "last_id"],
    "properties": {
        "data": {"type": "array", "items": schema("AnthropicModel")},
        "has_more": {"const": False},
        "first_id": nullable("string"),
        "last_id": nullable("string"),
    },
}

SCHEMAS: Object = {
    "MessagesRequest": MESSAGES_REQUEST,
    "MessagesPrompt": {
        "type": "object",
        "description": "A request of the Messages API without `max_tokens`; other fields of it have no effect.",
        "required": ["model", "messages"],
        "properties": PROMPT_FIELDS,
    },
    "MessagesTurn": TURN,
    "ContentBlock": BLOCK,
    "MessagesTool": MESSAGES_TOOL,
    "AssistantMessage": MESSAGE,
    "MessageUsage": MESSAGE_USAGE,
    "MessagesTokenCount": {
        "type": "object",
        "required": ["input_tokens"],
        "properties": {"input_tokens": TOKENS},
    },
    "MessagesError": MESSAGES_ERROR,
    "AnthropicModel": ANTHROPIC_MODEL,
    "AnthropicModelList": ANTHROPIC_MODEL_LIST,
}
STREAMED = "for await (const piece of response.body) {\n  process.stdout.write(piece);\n}"
PRINTED = "console.log(await response.json());"
ANTHROPIC_SDK = f'import anthropic\n\nclient = anthropic.Anthropic(base_url="{ORIGIN}", api_key="YOUR_KEY")\n'
HELLO: Object = {"model": "glm-5.3", "max_tokens": 1024, "messages": [{"role": "user", "content": "Say hello."}]}


def fetch(path: str, body: str, *, key: str = 'Authorization: "Bearer YOUR_KEY"', shown: str) -> str:
    return (
        f'const response = await fetch("{ORIGIN}{path}", {{\n'
        '  method: "POST",\n'
        f'  headers: {{ {key}, "Content-Type": "application/json" }},\n'
        f"  body: JSON.stringify({body}),\n"
        f"}});\n{shown}"
    )


def create_message() -> Object:
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "glm-5.3",
        "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": 8, "output_tokens": 2},
    }  # fmt: skip
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}
    whole = response(
        "The message: whole, or with `stream` as events.",
        schema("AssistantMessage"),
        *RATE,
        "request-id",
        "x-ztoapi-cache",
        "x-ztoapi-warning",
        example=message,
    )
    return operation(
        "createMessage",
        "Messages",
        "Create a message",
        "Anthropic's request. The key goes into `x-api-key` or `Authorization`. Names of Claude's models are served by "
        "the configured models.",
        "MessagesRequest",
        HELLO,
        parameters=parameters("RequestId", "AnthropicVersion", "Cache", "CacheControl"),
        responses={
            "200": streamed(
                whole,
                "Events from `message_start` to `message_stop`. A failure after the first event is an `error` event, "
                "after which the connection closes without the final HTTP chunk.",
                {"type": "string", "contentMediaType": "application/json"},
                f"event: content_block_delta\ndata: {json.dumps(delta)}\n\n",
                named=True,
            ),
            **messages_errors(),
        },
        **{
            "x-codeSamples": samples(
                curl(
                    "/v1/messages",
                    json.dumps({**HELLO, "stream": True}),
                    key="x-api-key: YOUR_KEY",
                    flag="-N ",
                ),
                f"{ANTHROPIC_SDK}with client.messages.stream(\n"
                '    model="glm-5.3",\n'
                "    max_tokens=1024,\n"
                '    messages=[{"role": "user", "content": "Say hello."}],\n'
                ") as stream:\n"
                "    for text in stream.text_stream:\n"
                '        print(text, end="")',
                fetch(
                    "/v1/messages",
                    '{\n    model: "glm-5.3",\n    max_tokens: 1024,\n    stream: true,\n'
                    '    messages: [{ role: "user", content: "Say hello." }],\n  }',
                    key='"x-api-key": "YOUR_KEY"',
                    shown=STREAMED,
                ),
            )
        },
    )


def count_message_tokens() -> Object:
    prompt = {key: value for key, value in HELLO.items() if key != "max_tokens"}
    return operation(
        "countMessageTokens",
        "Messages",
        "Count the tokens of a prompt",
        "An estimate, corrected by the counts that earlier responses reported. The upstream gets no request.",
        "MessagesPrompt",
        prompt,
        parameters=parameters("RequestId", "AnthropicVersion"),
        responses={
            "200": response("The estimate.", schema("MessagesTokenCount"), "request-id", example={"input_tokens": 8}),
            **messages_errors("404", "429", "502", "504"),
        },
        **{
            "x-codeSamples": samples(
                curl("/v1/messages/count_tokens", json.dumps(prompt), key="x-api-key: YOUR_KEY"),
                f"{ANTHROPIC_SDK}count = client.messages.count_tokens(\n"
                '    model="glm-5.3",\n'
                '    messages=[{"role": "user", "content": "Say hello."}],\n'
                ")\n"
                "print(count.input_tokens)",
                fetch(
                    "/v1/messages/count_tokens",
                    '{\n    model: "glm-5.3",\n    messages: [{ role: "user", content: "Say hello." }],\n  }',
                    key='"x-api-key": "YOUR_KEY"',
                    shown=PRINTED,
                ),
            )
        },
    )


PATHS: Object = {
    "/v1/messages": {"post": create_message()},
    "/v1/messages/count_tokens": {"post": count_message_tokens()},
}
