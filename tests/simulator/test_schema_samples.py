"""Values that fit a JSON Schema, checked by another implementation of it."""

from typing import Any

import jsonschema  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from tests.support.table import table
from ztoapi.simulator.schema import sample

NODE = {"type": "object", "properties": {"child": {"$ref": "#/$defs/Node"}, "name": {"type": "string"}}}


@table(
    "schema",
    [
        {"type": "integer", "minimum": 7},
        {"type": "integer", "maximum": -3.5},
        {"type": "integer", "exclusiveMinimum": 2, "maximum": 3},
        {"type": "number", "exclusiveMaximum": 1, "minimum": 0},
        {"type": "string", "minLength": 12},
        {"type": "string", "maxLength": 2},
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "email"},
        {"type": ["null", "string"]},
        {"type": "boolean"},
        {"enum": ["b", "a"]},
        {"const": {"x": 1}},
        {"anyOf": [{"type": "null"}, {"type": "string"}]},
        {"type": "array", "minItems": 3, "items": {"type": "number"}},
        {
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"required": ["b"], "properties": {"b": {"type": "string"}}},
            ]
        },
        {
            "$ref": "#/$defs/Step",
            "$defs": {"Step": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}},
        },
        {
            "type": "object",
            "properties": {"steps": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/a~1b"}}},
            "$defs": {"a/b": {"enum": [1]}},
        },
        {
            "type": "object",
            "properties": {"a": {"allOf": [{"$ref": "#/$defs/A"}], "default": 1}},
            "$defs": {"A": {"type": "integer"}},
        },
        {**NODE, "$defs": {"Node": NODE}},
    ],
)
def test_the_sample_fits(schema: dict[str, Any]) -> None:
    assert jsonschema.Draft202012Validator(schema).is_valid(sample(schema))


SCHEMAS = st.recursive(
    st.sampled_from(["string", "integer", "number", "boolean", "null"]).map(lambda kind: {"type": kind})
    | st.integers(-50, 50).map(lambda low: {"type": "integer", "minimum": low, "maximum": low + 1})
    | st.integers(0, 9).map(lambda length: {"type": "string", "minLength": length, "maxLength": length}),
    lambda inner: (
        st.dictionaries(st.text("ab", min_size=1, max_size=2), inner, max_size=3).map(
            lambda properties: {"type": "object", "properties": properties, "required": list(properties)}
        )
        | inner.map(lambda items: {"type": "array", "items": items, "minItems": 1})
        | st.lists(inner, min_size=1, max_size=2).map(lambda choices: {"anyOf": choices})
    ),
    max_leaves=6,
)


@given(SCHEMAS)
def test_the_sample_of_any_schema_fits(schema: dict[str, Any]) -> None:
    assert jsonschema.Draft202012Validator(schema).is_valid(sample(schema))
