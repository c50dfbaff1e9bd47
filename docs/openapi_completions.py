"""The operations of legacy completions and of embeddings, for ``docs/openapi.py``."""

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
EMBEDDINGS_REQUEST: Object = {
    "type": "object",
    "description": "The upstream gets all fields as they are, except for the name of the model.",
    "required": ["model", "input"],
    "properties": {
        "model": MODEL,
        "input": {"description": "A text, or a list of texts."},
        "encoding_format": {"description": "`float` or `base64`, where the upstream has both."},
        "dimensions": {"description": "The length of the vectors, where the upstream has a choice."},
        "stream": {"enum": [False, None]},
    },
}
EMBEDDINGS: Object = {
    "type": "object",
    "required": ["data", "model"],
    "properties": {
        "object": {"type": "string"},
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "object": {"type": "string"},
                    "index": {"type": "integer"},
                    "embedding": {"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}]},
                },
            },
        },
        "model": {"type": "string", "description": "As in the request."},
        "usage": nullable("object"),
    },
}
SCHEMAS: Object = {
    "CompletionRequest": COMPLETION_REQUEST,
    "TextCompletion": TEXT_COMPLETION,
    "EmbeddingsRequest": EMBEDDINGS_REQUEST,
    "Embeddings": EMBEDDINGS,
}


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


def create_embeddings() -> Object:
    body = {"model": "embedding-3", "input": "Hello"}
    embeddings = {
        "object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}],
        "model": "embedding-3", "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }  # fmt: skip
    return operation(
        "createEmbeddings",
        "Embeddings",
        "Create embeddings of texts",
        "Only platforms with OpenAI's format have embeddings; other models get 400.",
        "EmbeddingsRequest",
        body,
        parameters=parameters("RequestId"),
        responses={
            "200": response(
                "The embeddings, as the upstream sends them.", schema("Embeddings"), *RATE, example=embeddings
            ),
            **errors(*CHAT_ERRORS),
        },
        **{
            "x-codeSamples": samples(
                curl("/v1/embeddings", json.dumps(body)),
                f'{OPENAI_SDK}made = client.embeddings.create(model="embedding-3", input="Hello")\n'
                "print(len(made.data[0].embedding))",
                f"{OPENAI_JS}const made = await client.embeddings.create({{\n"
                '  model: "embedding-3",\n  input: "Hello",\n});\nconsole.log(made.data[0].embedding.length);',
            )
        },
    )


PATHS: Object = {
    "/v1/completions": {"post": create_completion()},
    "/v1/embeddings": {"post": create_embeddings()},
}
