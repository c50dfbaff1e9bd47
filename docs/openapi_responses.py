"""The operations of OpenAI's Responses API, for ``docs/openapi.py``."""

import json

from docs.openapi_parts import (
    CHAT_ERRORS,
    CLIENT_KEY,
    COUNT_ERRORS,
    MODEL,
    OPENAI_JS,
    OPENAI_SDK,
    ORIGIN,
    RATE,
    TOKENS,
    Object,
    curl,
    errors,
    nullable,
    operation,
    parameters,
    refused,
    response,
    samples,
    schema,
    streamed,
)

__all__ = ["PARAMETERS", "PATHS", "SCHEMAS"]

PARAMETERS: Object = {
    "ResponseId": {
        "name": "response_id",
        "in": "path",
        "required": True,
        "description": "The `id` of a response.",
        # Control characters get a 400.
        "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[^\\x00-\\x1f\\x7f/]+$"},
        "example": "resp_5b3c0f6a7a0d4a0e00000001",
    },
}
ITEM: Object = {
    "type": "object",
    "description": "One item; the other fields depend on `type`.",
    "properties": {
        "type": {
            "type": "string",
            "description": "Absent in messages.",
            "examples": ["message", "reasoning", "function_call", "function_call_output", "custom_tool_call"],
        },
        "id": nullable("string"),
        "status": nullable("string", examples=["completed", "incomplete"]),
        "role": {"type": "string", "examples": ["user", "assistant", "system", "developer"]},
        "content": {"description": "Text, or parts such as `input_text`, `input_image` and `output_text`."},
        "summary": {"description": "Of a reasoning item: its text, if a summary was requested."},
        "encrypted_content": nullable(
            "string", description="Of a reasoning item: its text, for clients that store nothing else."
        ),
        "call_id": {"type": "string", "description": "Connects a call and its output."},
        "name": {"type": "string", "description": "Of the called tool."},
        "arguments": {"type": "string", "description": "JSON, as the model wrote it."},
        "output": {"description": "Of a call."},
    },
}
RESPONSES_FIELDS: Object = {
    "model": MODEL,
    "input": {
        "description": "A text, or the items of the conversation.",
        "anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "minItems": 1, "items": schema("ResponseItem")},
        ],
    },
    "instructions": nullable("string", description="The system prompt."),
    "previous_response_id": nullable(
        "string", description="Continues a stored response, if the gateway stores any; otherwise 400."
    ),
    "tools": nullable(
        "array",
        items={"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}},
        description="Types `function`, `custom` and `namespace`; others are left out.",
    ),
    "tool_choice": {"description": "`auto`, `none`, `required`, a tool, or `allowed_tools`."},
    "reasoning": nullable(
        "object",
        properties={
            "effort": {
                "enum": ["none", "minimal", "low", "medium", "high", "xhigh", "max", None],
                "description": "The model's nearest level; `none` switches thinking off.",
            },
            "summary": nullable("string", description="With it, the reasoning is streamed as summary."),
        },
    ),
    "text": nullable(
        "object",
        properties={
            "format": nullable(
                "object",
                required=["type"],
                properties={
                    "type": {"enum": ["text", "json_object", "json_schema"]},
                    "name": nullable("string"),
                    "schema": {"type": "object"},
                },
            )
        },
    ),
}
RESPONSES_REQUEST: Object = {
    "type": "object",
    "description": "Nulls count as absent. Fields that are not listed have no effect; `background`, `conversation` and "
    "`prompt` get 400.",
    "required": ["model", "input"],
    "properties": {
        **RESPONSES_FIELDS,
        "stream": nullable("boolean", description="Whether the response comes as an event stream."),
        "store": nullable("boolean", description="False: the response is not stored."),
        "max_output_tokens": nullable("integer", minimum=1, description="Most tokens of the response."),
        "temperature": nullable("number", minimum=0, maximum=2),
        "top_p": nullable("number", minimum=0, maximum=1),
        "prompt_cache_key": nullable("string", description="Requests with the same key use the same credential."),
        "metadata": nullable("object", description="Returned in the response."),
    },
}
RESPONSE: Object = {
    "type": "object",
    "required": [
        "id", "object", "created_at", "model", "status", "completed_at", "error", "incomplete_details", "output",
        "usage", "store", "previous_response_id",
    ],
    "properties": {
        "id": {"type": "string", "pattern": "^resp_"},
        "object": {"const": "response"},
        "created_at": {"type": "integer", "description": "Unix seconds."},
        "completed_at": nullable("integer"),
        "model": {"type": "string", "description": "As in the request."},
        "status": {"enum": ["in_progress", "completed", "incomplete", "failed"]},
        "error": nullable(
            "object", properties={"code": {"type": "string"}, "message": {"type": "string"}}
        ),
        "incomplete_details": nullable("object", properties={"reason": {"type": "string"}}),
        "output": {"type": "array", "items": schema("ResponseItem")},
        "usage": nullable(
            "object",
            required=["input_tokens", "output_tokens", "total_tokens"],
            properties={
                "input_tokens": TOKENS,
                "input_tokens_details": {"type": "object", "properties": {"cached_tokens": TOKENS}},
                "output_tokens": TOKENS,
                "output_tokens_details": {"type": "object", "properties": {"reasoning_tokens": TOKENS}},
                "total_tokens": TOKENS,
            },
        ),
        "store": {"type": "boolean", "description": "Whether the response is stored."},
        "previous_response_id": nullable("string"),
    },
}  # fmt: skip

SCHEMAS: Object = {
    "ResponsesRequest": RESPONSES_REQUEST,
    "ResponsesInput": {
        "type": "object",
        "description": "A request of the Responses API; `model` may be absent.",
        "properties": RESPONSES_FIELDS,
    },
    "ResponseItem": ITEM,
    "Response": RESPONSE,
    "ResponsesTokenCount": {
        "type": "object",
        "required": ["object", "input_tokens"],
        "properties": {"object": {"const": "response.input_tokens"}, "input_tokens": TOKENS},
    },
    "ResponseItemList": {
        "type": "object",
        "required": ["object", "data", "first_id", "last_id", "has_more"],
        "properties": {
            "object": {"const": "list"},
            "data": {"type": "array", "items": schema("ResponseItem")},
            "first_id": nullable("string"),
            "last_id": nullable("string"),
            "has_more": {"type": "boolean"},
        },
    },
    "DeletedResponse": {
        "type": "object",
        "required": ["id", "object", "deleted"],
        "properties": {"id": {"type": "string"}, "object": {"const": "response"}, "deleted": {"const": True}},
    },
}
RESPONSE_EXAMPLE: Object = {
    "id": "resp_1", "object": "response", "created_at": 1767225600, "model": "glm-5.3", "status": "completed",
    "completed_at": 1767225601, "error": None, "incomplete_details": None,
    "output": [
        {
            "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
        }
    ],
    "usage": {"input_tokens": 8, "output_tokens": 2, "total_tokens": 10},
    "previous_response_id": None, "store": False,
}  # fmt: skip


def create_response() -> Object:
    delta = {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "delta": "Hello"}
    body = {"model": "glm-5.3", "input": "Say hello."}
    whole = response(
        "The response: whole, or with `stream` as events.",
        schema("Response"),
        *RATE,
        "x-ztoapi-cache",
        example=RESPONSE_EXAMPLE,
    )
    return operation(
        "createResponse",
        "Responses",
        "Create a response",
        "OpenAI's request. A gateway that stores no responses needs the whole conversation in each request.",
        "ResponsesRequest",
        body,
        parameters=parameters("RequestId", "Cache", "CacheControl"),
        responses={
            "200": streamed(
                whole,
                "Events from `response.created` to `response.completed` or `response.incomplete`. A failure after the "
                "first event is `response.failed`, after which the connection closes without the final HTTP chunk.",
                {"type": "string", "contentMediaType": "application/json"},
                f"event: response.output_text.delta\ndata: {json.dumps(delta)}\n\n",
                named=True,
            ),
            **errors(*CHAT_ERRORS),
        },
        **{
            "x-codeSamples": samples(
                curl("/v1/responses", json.dumps({**body, "stream": True}), flag="-N "),
                f'{OPENAI_SDK}stream = client.responses.create(model="glm-5.3", input="Say hello.", stream=True)\n'
                "for event in stream:\n"
                '    if event.type == "response.output_text.delta":\n'
                '        print(event.delta, end="")',
                f"{OPENAI_JS}const stream = await client.responses.create({{\n"
                '  model: "glm-5.3",\n'
                '  input: "Say hello.",\n'
                "  stream: true,\n"
                "});\n"
                "for await (const event of stream) {\n"
                '  if (event.type === "response.output_text.delta") process.stdout.write(event.delta);\n'
                "}",
            )
        },
    )


def count_response_tokens() -> Object:
    body = {"model": "glm-5.3", "input": "Say hello."}
    return operation(
        "countResponseTokens",
        "Responses",
        "Count the tokens of an input",
        "An estimate, corrected by the counts that earlier responses reported. The upstream gets no request.",
        "ResponsesInput",
        body,
        parameters=parameters("RequestId"),
        responses={
            "200": response(
                "The estimate.",
                schema("ResponsesTokenCount"),
                example={"object": "response.input_tokens", "input_tokens": 8},
            ),
            **errors(*COUNT_ERRORS),
        },
        **{
            "x-codeSamples": samples(
                curl("/v1/responses/input_tokens", json.dumps(body)),
                f'{OPENAI_SDK}count = client.responses.input_tokens.count(model="glm-5.3", input="Say hello.")\n'
                "print(count.input_tokens)",
                f"{OPENAI_JS}const count = await client.responses.inputTokens.count({{\n"
                '  model: "glm-5.3",\n  input: "Say hello.",\n});\nconsole.log(count.input_tokens);',
            )
        },
    )


def stored(
    id: str,
    summary: str,
    description: str,
    result: Object,
    *,
    method: str = "GET",
    path: str = "",
    python: str,
    javascript: str,
    query: list[Object] | None = None,
) -> Object:
    """An operation on a response that its samples create first."""
    option = "" if method == "GET" else f"-X {method} "
    created = curl("/v1/responses", json.dumps({"model": "glm-5.3", "input": "Say hello."}), flag="-s ")
    id_of = """sed 's/.*"id":"\\(resp_[^"]*\\)".*/\\1/'"""
    key = "-H 'Authorization: Bearer YOUR_KEY'"
    shell = f"id=$({created} | {id_of})\ncurl {option}{ORIGIN}/v1/responses/$id{path} {key}"
    return {
        "operationId": id,
        "tags": ["Responses"],
        "summary": summary,
        "description": f"{description} A gateway that stores no responses has none: 404.",
        "security": CLIENT_KEY,
        "parameters": [*parameters("ResponseId", "RequestId"), *(query or ())],
        "responses": {
            **result,
            **errors("NoKey", "Forbidden", "ResponseNotFound", "Internal", "Unavailable"),
        },
        "x-codeSamples": samples(
            shell,
            f'{OPENAI_SDK}response = client.responses.create(model="glm-5.3", input="Say hello.")\n{python}',
            f'{OPENAI_JS}const response = await client.responses.create({{ model: "glm-5.3", input: "Say hello." }});\n'
            f"{javascript}",
        ),
    }


def retrieve_response() -> Object:
    return stored(
        "retrieveResponse",
        "Retrieve a stored response",
        "The Response object as it was sent.",
        {"200": response("The response.", schema("Response"), example=RESPONSE_EXAMPLE), **errors("BadRequest")},
        python="print(client.responses.retrieve(response.id).output_text)",
        javascript="console.log((await client.responses.retrieve(response.id)).output_text);",
        query=[
            {
                "name": "stream",
                "in": "query",
                "description": "`true` gets 400: the response is complete.",
                "schema": {"enum": ["false"]},
            }
        ],
    )


def delete_response() -> Object:
    return stored(
        "deleteResponse",
        "Delete a stored response",
        "Removes the record of a response.",
        {"200": response("It is deleted.", schema("DeletedResponse")), **errors("BadRequest")},
        method="DELETE",
        python="client.responses.delete(response.id)\nprint(response.id)",
        javascript="await client.responses.delete(response.id);\nconsole.log(response.id);",
    )


def list_input_items() -> Object:
    return stored(
        "listInputItems",
        "List the input items of a stored response",
        "All items of the conversation before the response, in pages.",
        {"200": response("One page.", schema("ResponseItemList")), **errors("BadRequest")},
        path="/input_items",
        python="for item in client.responses.input_items.list(response.id):\n    print(item)",
        javascript="for await (const item of client.responses.inputItems.list(response.id)) {\n  console.log(item);\n}",
        query=[
            {
                "name": "limit",
                "in": "query",
                "description": "Items of a page.",
                "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
            },
            {
                "name": "order",
                "in": "query",
                "description": "`desc`: the newest item first.",
                "schema": {"enum": ["asc", "desc"], "default": "desc"},
            },
            {
                "name": "after",
                "in": "query",
                "description": "The page begins behind the item with this id.",
                "schema": {"type": "string"},
            },
        ],
    )


def cancel_response() -> Object:
    return stored(
        "cancelResponse",
        "Cancel a response in the background",
        "The gateway has no responses in the background, so a stored response gets 400.",
        {
            "400": refused(
                "The response is complete.",
                "invalid_request_error",
                "response_not_cancellable",
                "only a response with background=true can be cancelled: this one is complete",
            )
        },
        method="POST",
        path="/cancel",
        python="try:\n    client.responses.cancel(response.id)\nexcept Exception as refusal:\n"
        "    print(type(refusal).__name__)",
        javascript="await client.responses.cancel(response.id).catch((refusal) => console.log(refusal.status));",
    )


PATHS: Object = {
    "/v1/responses": {"post": create_response()},
    "/v1/responses/input_tokens": {"post": count_response_tokens()},
    "/v1/responses/{response_id}": {"get": retrieve_response(), "delete": delete_response()},
    "/v1/responses/{response_id}/input_items": {"get": list_input_items()},
    "/v1/responses/{response_id}/cancel": {"post": cancel_response()},
}
