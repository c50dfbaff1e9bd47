"""The JSON Schema of ``ztoapi.toml``: current, valid, and of one opinion with the loader."""

import json
import tomllib
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from docs.generate import schema
from tests.config.reading import loaded
from tests.support.table import table
from ztoapi.cli.main import main
from ztoapi.config.options import Declared, config_options, literals
from ztoapi.config.schema import make_schema
from ztoapi.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
VALIDATOR = jsonschema.Draft4Validator(make_schema())
OPTIONS = {option.key: option for option in config_options()}


def accepts(document: object) -> bool:
    return bool(VALIDATOR.is_valid(document))


def loads(directory: Path, text: str) -> bool:
    (directory / "ztoapi.toml").write_text(text)
    try:
        loaded(directory)
    except ConfigError:
        return False
    return True


def test_the_schema_is_valid_current_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    jsonschema.Draft4Validator.check_schema(make_schema())
    assert (ROOT / "docs/ztoapi.schema.json").read_text("utf-8") == schema(), "run python -m docs.generate"
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == make_schema()


def test_the_example_refers_to_the_schema_and_is_valid() -> None:
    text = (ROOT / "ztoapi.example.toml").read_text("utf-8")
    first, _, rest = text.partition("\n")
    assert (ROOT / first.removeprefix("#:schema ")).is_file()
    assert accepts(tomllib.loads(text))
    lines = [line.removeprefix("#") if line[1:2] not in ("", " ") else line for line in rest.splitlines()]
    assert accepts(tomllib.loads("\n".join(lines))), "an example in a comment is not valid"


def test_every_option_and_no_other_is_in_the_schema() -> None:
    def keys(properties: dict[str, dict[str, object]], prefix: str = "") -> set[str]:
        found: set[str] = set()
        for name, value in properties.items():
            is_table = any(key.startswith(f"{prefix}{name}.") for key in OPTIONS)
            inner = value.get("properties")
            found |= keys(inner, f"{prefix}{name}.") if is_table and isinstance(inner, dict) else {prefix + name}
        return found

    properties = make_schema()["properties"]
    assert isinstance(properties, dict)
    assert keys(properties) == set(OPTIONS)


def numbers(option: Declared) -> st.SearchStrategy[object]:
    assert option.range is not None
    low, high = int(option.range.minimum), int(option.range.maximum)
    edges = st.sampled_from([low - 1, low, low + 1, high - 1, high, high + 1])
    return st.one_of(edges, st.integers(-10, 2 * high), st.floats(-1, 2 * high), st.booleans())


def values_of(option: Declared) -> st.SearchStrategy[object]:
    """Values of the option's own type, valid and not, and of types that are never valid."""
    if option.range is not None:
        return numbers(option)
    if choices := literals(option.type):
        return st.sampled_from([*choices, "x", 3, True])
    if option.type is bool:
        return st.one_of(st.booleans(), st.sampled_from([2, 0.5, ["a"]]))
    texts = st.text("ab/.:-*#", min_size=1, max_size=12).filter(lambda text: text.strip() != "")
    return st.one_of(texts, st.lists(texts, max_size=3), st.integers(2, 9), st.booleans())


# The loader checks these beyond their type: addresses, files, URLs, secrets, the memory of a worker, and
# options that need each other.
CHECKED_FURTHER = {
    "server.host", "server.fd", "server.tls_client_ca_file", "server.worker_max_memory_bytes",
    "server.trusted_proxies", "upstream.ca_file", "limits.redis_url", "cache.redis", "key_file",
    "responses.store", "admin_key", "default_key", "api_keys", "upstream_url", "platform_id",
    "upstream.allow_coding_endpoint",
}  # fmt: skip
COMPARED = sorted(
    key
    for key, option in OPTIONS.items()
    if key not in CHECKED_FURTHER
    and not key.endswith((".burst", "_upstream_url", "_token", "_tokens"))
    and values_of(option) is not None
    and (option.range is not None or literals(option.type) or option.type in (bool, str) or option.option.pattern)
)


@given(st.data())
def test_the_schema_and_the_loader_agree(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    option = OPTIONS[data.draw(st.sampled_from(COMPARED))]
    value = data.draw(values_of(option))
    # A float with an integral value is a float in TOML, and not valid for a whole number.
    text = f"{option.name} = {json.dumps(value)}\n"
    document = tomllib.loads(f"[{option.table}]\n{text}" if option.table else text)
    directory = tmp_path_factory.getbasetemp() / "schema"
    directory.mkdir(exist_ok=True)
    # Words and 0, 1 are booleans for the loader.
    assume(option.type is not bool or isinstance(value, bool) or value not in (0, 1))
    assert accepts(document) == loads(directory, f"[{option.table}]\n{text}" if option.table else text), text


@table(
    "text",
    [
        "prot = 1",
        "[server]\nprot = 1",
        "[servre]\nport = 1",
        "server = 3",
        "[limits.key]\nbrust = 1",
        "limits.key = 1",
        "[upstream]\nsession_header = 'x session'",
        "zread_repository = 'vllm'",
        "cors_origins = ['https://a.example/']",
        "cors_origins = 'https://a.example/'",
        "api_keys = [1]",
        "fallbacks = 1",
        "[fallbacks]\nx = 1",
        "[platforms.zia]",
        "platforms.zai = 1",
        "[platforms.zai]\nmax_inflight = 1",
        "[platforms.zai]\nmax_in_flight = 0",
        "[platforms.zai]\nmax_in_flight_per_model = 3",
        "[platforms.zai]\nmax_in_flight_per_model = { x = -1 }",
        "[platforms.zai]\ncredentials = ['a']",
        "[[platforms.zai.credentials]]\nname = 'a'",
        "[[platforms.zai.credentials]]\ntoken = 'a'\nweight = 0",
        "[[platforms.zai.credentials]]\ntoken = 'a'\nweights = 2",
        "[model_platform_map]\na = 'mars'",
        "[model_platform_map.a]\nplatforms = 'zai'",
        "[model_platform_map]\na = { upstream = 3 }",
        "[upstream_model_id_map]\na = ['b']",
        "[platform_token_map]\nzai = [3]",
        "[platform_token_map]\nzia = 'a'",
        "models = 1",
        "[models]\nx = 1",
        "[models.x]\ncontext = 1",
        "[models.x]\ncontext_tokens = 0",
        "[models.x]\nthinking = 'often'",
        "[models.x]\ninputs = ['smell']",
        "[models.x]\nsince = 'May'",
    ],
)
def test_both_refuse(tmp_path: Path, text: str) -> None:
    assert not accepts(tomllib.loads(text))
    assert not loads(tmp_path, text)


@table(
    "text",
    [
        "cors_origins = '*'",
        "cors_origins = 'https://a.example, http://b.example:80'",
        "cors_origins = ['null', 'https://a.example']",
        "server.workers = 'auto'",
        "zai_tokens = 'a|b'",
        "zai_tokens = ['a', 'b']",
        "[platform_token_map]\nzai = 'a'\nzread = ['b', 'c']",
        "[fallbacks]\nx = 'y'\ny = ['z']",
        "[model_platform_map]\na = 'zread'\nb = { platform = 'zai', upstream = 'c', alias = ['d'] }",
        "[model_platform_map]\ne = { alias = 'f' }",
        "[platforms.zai]\nmax_in_flight = 50\nmax_in_flight_per_model = { 'glm-4.6' = 5, '*' = 20 }",
        "[[platforms.zai.credentials]]\ntoken = 'a'\nweight = 3",
        "[[platforms.zai.credentials]]\ntoken = 'a'\n[[platforms.zai.credentials]]\nname = 'n'\ntoken = 'b'",
        "[limits.key]\nrequests_per_minute = 60\nburst = 10",
        "[models.'a.b']\nsince = '2026-08'\ninputs = ['text', 'image']\nreasoning_efforts = []\ninput_price = 0.5",
        "[models.c]",
    ],
)
def test_both_accept(tmp_path: Path, text: str) -> None:
    assert accepts(tomllib.loads(text))
    assert loads(tmp_path, text)
