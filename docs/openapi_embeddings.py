"""The operation of embeddings, for ``docs/openapi.py``."""

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
)

__all__ = ["PATHS", "SCHEMAS"]

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
SCHEMAS: Object = {"EmbeddingsRequest": EMBEDDINGS_REQUEST, "Embeddings": EMBEDDINGS}


def create_embeddings() -> Object:
    body = {"model": "embedding-3", "input": "Hello"}
    made = {
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
            "200": response("The embeddings, as the upstream sends them.", schema("Embeddings"), *RATE, example=made),
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


PATHS: Object = {"/v1/embeddings": {"post": create_embeddings()}}
