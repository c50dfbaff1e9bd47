"""The operation of OpenAI's legacy completions, for ``docs/openapi.py``."""

import json

from docs.openapi_parts import (
    CHAT_ERRORS,
    MODEL,
    OPENAI_JS,
    OPENAI_SDK,
    RATE,
    Object,
    curl,
    errors,
    nullable,
    operation,
    parameters,
    response,
    samples,
    schema,
    streamed,
)

__all__ = ["PATHS", "SCHEMAS"]

COMPLETION_REQUEST: Object = {
    "type": "object",
    "description": "Nulls count as absent. Fields that are not listed have no effect.",
    "required": ["model", "prompt"],
    "properties": {
        "model": MODEL,
        "prompt": {
            "description": "One text, which becomes a message of the user.",
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "string", "minLength": 1}},
            ],
        },
        "stream": nullable("boolean"),
        "stream_options": nullable("object", properties={"include_usage": nullable("boolean")}),
        "max_tokens": nullable("integer", minimum=1),
        "temperature": nullable("number", minimum=0, maximum=2),
        "top_p": nullable("number", minimum=0, maximum=1),
        "stop": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
        "seed": nullable("integer"),
        "n": {"enum": [1, None]},
        "best_of": {"enum": [1, None]},
        "echo": {"enum": [False, None]},
        "logprobs": {"enum": [0, None]},
        "suffix": {"enum": ["", None]},
    },
}
TEXT_COMPLETION: Object = {
    "type": "object",
    "required": ["id", "object", "created", "model", "choices"],
    "properties": {
        "id": {"type": "string", "pattern": "^cmpl-"},
        "object": {"const": "text_completion"},
        "created": {"type": "integer", "description": "Unix seconds."},
        "model": {"type": "string", "description": "As in the request."},
        "choices": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "text", "logprobs", "finish_reason"],
                "properties": {
                    "index": {"type": "integer", "minimum": 0},
                    "text": {"type": "string"},
                    "logprobs": {"type": "null"},
                    "finish_reason": nullable("string", examples=["stop", "length"]),
                },
            },
        },
        "usage": {"anyOf": [schema("Usage"), {"type": "null"}]},
    },
}
SCHEMAS: Object = {"CompletionRequest": COMPLETION_REQUEST, "TextCompletion": TEXT_COMPLETION}


def create_completion() -> Object:
    body = {"model": "glm-5.3", "prompt": "Say hello."}
    completion = {
        "id": "cmpl-1", "object": "text_completion", "created": 1767225600, "model": "glm-5.3",
        "choices": [{"index": 0, "text": "Hello", "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10},
    }  # fmt: skip
    whole = response(
        "The completion: whole, or with `stream` as events.",
        schema("TextCompletion"),
        *RATE,
        "x-ztoapi-cache",
        example=completion,
    )
    return operation(
        "createCompletion",
        "Legacy",
        "Create a completion of a text",
        "The prompt becomes one message of the user, with thinking off.",
        "CompletionRequest",
        body,
        parameters=parameters("RequestId", "Cache", "CacheControl"),
        responses={
            "200": streamed(
                whole,
                "Events of `data` alone, the last of which is `[DONE]`. A failure after the first event is one more "
                "event with an ErrorBody, after which the connection closes without [DONE].",
                {
                    "type": "string",
                    "anyOf": [
                        {"contentMediaType": "application/json", "contentSchema": schema("TextCompletion")},
                        {"contentMediaType": "application/json", "contentSchema": schema("ErrorBody")},
                        {"const": "[DONE]"},
                    ],
                },
                f"data: {json.dumps(completion)}\n\ndata: [DONE]\n\n",
                named=False,
            ),
            **errors(*CHAT_ERRORS),
        },
        **{
            "x-codeSamples": samples(
                curl("/v1/completions", json.dumps({**body, "stream": True}), flag="-N "),
                f'{OPENAI_SDK}completion = client.completions.create(model="glm-5.3", prompt="Say hello.")\n'
                "print(completion.choices[0].text)",
                f"{OPENAI_JS}const completion = await client.completions.create({{\n"
                '  model: "glm-5.3",\n  prompt: "Say hello.",\n});\nconsole.log(completion.choices[0].text);',
            )
        },
    )


PATHS: Object = {"/v1/completions": {"post": create_completion()}}
