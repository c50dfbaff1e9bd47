"""Stored responses: the state behind ``previous_response_id`` and the paths under ``/v1/responses/{id}``.

A record holds a Response object and all input items that led to it, those of earlier turns included: one lookup
restores a conversation, and no record depends on another that may have been dropped.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from ztoapi.apis.responses.response_object import Fields
from ztoapi.dialects.field_errors import excerpt
from ztoapi.errors import ApiError

__all__ = [
    "DEFAULT_PAGE_ITEMS",
    "MAX_PAGE_ITEMS",
    "StoredResponse",
    "deleted_body",
    "input_items_body",
    "record",
    "response_not_found",
    "response_of",
    "without_store",
]

DEFAULT_PAGE_ITEMS: Final = 20
MAX_PAGE_ITEMS: Final = 100
"""Bounds of ``limit``, as documented for OpenAI's API."""
_NULL: Final = msgspec.Raw(b"null")
_encode = msgspec.json.Encoder().encode
_decode_fields = msgspec.json.Decoder(Fields).decode
_decode_text = msgspec.json.Decoder(str).decode


class _Output(msgspec.Struct, gc=False):
    output: list[msgspec.Raw]


class StoredResponse(msgspec.Struct, gc=False):
    """One record; its JSON is what stores keep."""

    input: list[msgspec.Raw]
    """Each item has an id."""
    response: msgspec.Raw

    def items(self) -> dict[str | None, msgspec.Raw]:
        """Returns the items of the conversation by their ids."""
        return {_id_of(_decode_fields(item)): item for item in self.history()}

    def history(self) -> list[msgspec.Raw]:
        """Returns the items of the conversation, to which the next request adds its own."""
        return self.input + msgspec.json.decode(self.response, type=_Output).output


def record(
    history: Sequence[msgspec.Raw], items: Sequence[msgspec.Raw], response: bytes, unique: str
) -> StoredResponse:
    """Returns the record of a ``response`` to ``items``.

    Pages refer to items by their ids, so an item without an id, or with that of an earlier item, gets a new
    one."""
    used = {_id_of(_decode_fields(item)) for item in history}
    own: list[msgspec.Raw] = []
    for place, item in enumerate(items):
        fields = _decode_fields(item)
        id = _id_of(fields)
        if id is None or id in used:
            id = f"item_{unique}_{place}"
            item = _with_id(fields, id)
        used.add(id)
        own.append(item)
    return StoredResponse([*history, *own], msgspec.Raw(response))


def response_of(item_id: str) -> str | None:
    """Returns the id of the response that an item with an id of the gateway's belongs to; None for another id."""
    parts = item_id.split("_")
    return f"resp_{parts[1]}" if len(parts) == 3 else None


def input_items_body(
    stored: StoredResponse, *, after: str | None = None, limit: int = DEFAULT_PAGE_ITEMS, ascending: bool = False
) -> bytes:
    """Returns one page of the input items: newest first unless ``ascending``, ``limit`` of them, from the item behind
    the id ``after``. Raises ApiError (400)."""
    items = stored.input if ascending else stored.input[::-1]
    ids = [_id_of(_decode_fields(item)) for item in items]
    start = 0
    if after is not None:
        if after not in ids:
            raise ApiError(
                f"after is {excerpt(after)}, which is not the id of an input item", code="invalid_value", param="after"
            )
        start = ids.index(after) + 1
    page, page_ids = items[start : start + limit], ids[start : start + limit]
    return _encode(
        {
            "object": "list",
            "data": page,
            "first_id": page_ids[0] if page_ids else None,
            "last_id": page_ids[-1] if page_ids else None,
            "has_more": start + limit < len(items),
        }
    )


def deleted_body(id: str) -> bytes:
    """Returns the body that answers a deletion."""
    return _encode({"id": id, "object": "response", "deleted": True})


def response_not_found(id: str) -> ApiError:
    return ApiError(f"Response with id '{id[:80]}' not found.", status=404, code="response_not_found")


def without_store(payload: bytes) -> bytes:
    """Returns ``payload``, which ends with a Response object, for a response that could not be stored."""
    # ``store`` is the last member of the object.
    head, _, tail = payload.rpartition(b'"store":true')
    return b'%b"store":false%b' % (head, tail)


def _id_of(fields: Fields) -> str | None:
    """Returns the id of an item, None if it has none, or one that is not a string."""
    id = fields.get("id", _NULL)
    return _decode_text(id) if bytes(id).startswith(b'"') else None


def _with_id(fields: Fields, id: str) -> msgspec.Raw:
    type = fields.pop("type", msgspec.Raw(b'"message"'))
    fields.pop("id", None)
    return msgspec.Raw(_encode({"id": id, "type": type, **fields}))
