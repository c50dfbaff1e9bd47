"""Errors about a prompt that is longer than the model's context, in the words of many servers."""

import json

import pytest

from tests.support.table import table
from ztoapi.dialects import zai_web_errors, zread
from ztoapi.dialects.zai_errors import read_error
from ztoapi.errors import UpstreamError

LONG = [
    # vLLM, DeepSeek, OpenAI, OpenRouter
    "This model's maximum context length is 8192 tokens. However, you requested 10000 tokens (9000 in the messages, "
    "1000 in the completion). Please reduce the length of the messages or completion.",
    "This endpoint's maximum context length is 8192 tokens. However, you requested about 10000 tokens",
    "This model's maximum context length is 8192 tokens. However, your request has 10000 input tokens.",
    "'max_tokens' or 'max_completion_tokens' is too large: 9000. This model's maximum context length is 8192 tokens "
    "and your request has 7000 input tokens (9000 > 8192 - 7000).",
    "The decoder prompt (length 10000) is longer than the maximum model length of 8192.",
    "The prompt (total length 10000) is too long to fit into the model (context length 8192).",
    "Your input exceeds the context window of this model. Please adjust your input and try again.",
    # LiteLLM
    "litellm.BadRequestError: litellm.ContextWindowExceededError: OpenAIException - Error code: 400 - This model's "
    "maximum context length is 8192 tokens. However, your messages resulted in 10000 tokens.",
    # SGLang
    "The input (10000 tokens) is longer than the model's context length (8192 tokens).",
    "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total of 10000.",
    "Input length (10000 tokens) exceeds the maximum allowed length (8192 tokens). Use a shorter input.",
    # llama.cpp, LM Studio, Ollama
    "the request exceeds the available context size. try increasing the context size or enable context shift",
    "request (10000 tokens) exceeds the available context size (8192 tokens), try increasing it",
    "input is larger than the max context size. skipped",
    "Context size has been exceeded.",
    "The number of tokens to keep from the initial prompt is greater than the context length.",
    "prompt too long; exceeded max context length by 200 tokens",
    "the input length exceeds the context length",
    # Anthropic, Bedrock, Gemini, xAI, Moonshot, Mistral, MiniMax, Copilot, Z.ai
    "prompt is too long: 210000 tokens > 200000 maximum",
    "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input length",
    "Input is too long for requested model.",
    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    "Invalid request: Your request exceeded model token limit: 8192 (requested: 10000)",
    "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
    "context window exceeds limit (2013)",
    "prompt token count of 140000 exceeds the limit of 128000",
    "Prompt exceeds max length",
    # DashScope, TGI
    "Range of input length should be [1, 30720]",
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8192. Given: 9000 `inputs` tokens",
]
OTHER = [
    "max_tokens is too large: 200000. This model supports at most 16384 completion tokens",
    "max_tokens must be at most 8192",
    "max_tokens (200000) exceeds the maximum of 131072",
    "unsupported parameter: context_length",
    "context_window must be a number",
    "The context window of this model is 8192 tokens; thinking is not supported",
    "The tool name is too long: at most 64 characters",
    "Invalid 'messages[0].name': string too long. Expected a string with maximum length 64",
    "The image exceeds the maximum size of 5 MB",
    "prompt_cache_key is too long",
    "The temperature is larger than 1",
    "no such model",
    # Limits on a rate.
    "Request too large for m on tokens per min (TPM): Limit 8000, Requested 10000. Reduce the length of the messages",
    "Rate limit reached: the input exceeds the context window",
]


def errors_of(report: object, status: int) -> list[UpstreamError]:
    body = json.dumps(report).encode()
    return [read_error(body, status), zai_web_errors.refusal(status, body), zread.refusal(status, body)]


def shapes(text: str, code: int = 400) -> list[dict[str, object]]:
    error: dict[str, object] = {"message": text, "type": "BadRequestError", "param": None, "code": code}
    return [{"object": "error", **error}, {"error": error}, {"detail": text}, {"error": text}]


@table("text", LONG)
@table("status", [200, 400, 413, 422])
def test_a_prompt_that_is_too_long_is_found_by_its_message(text: str, status: int) -> None:
    for spelling in (text, text.upper()):
        for shape in shapes(spelling):
            for error in errors_of(shape, status):
                assert (error.status, error.code, error.retryable) == (400, "context_length_exceeded", False)
                assert spelling in error.message


@table("text", OTHER)
@table("status", [200, 400, 413, 422])
def test_other_rejections_are_not(text: str, status: int) -> None:
    for shape in shapes(text):
        assert "context_length_exceeded" not in {error.code for error in errors_of(shape, status)}


@pytest.mark.parametrize(
    ("status", "code"), [(429, "rate_limit_exceeded"), (503, "upstream_overloaded"), (401, "upstream_auth_error")]
)
def test_other_statuses_decide_for_themselves(status: int, code: str) -> None:
    for embedded in (status, 200):
        for error in errors_of(shapes(LONG[0], code=status)[1], embedded):
            assert error.code == code
    limit = {"message": LONG[0], "type": "tokens", "code": "rate_limit_exceeded"}
    assert {each.code for each in errors_of({"error": limit}, 400)} == {"rate_limit_exceeded"}


@table("status", [200, 400, 500])
@table(
    "error",
    [
        {"code": "context_length_exceeded"},
        {"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 9000, "n_ctx": 8192},
        {"type": "ContextWindowExceededError"},
    ],
)
def test_the_codes_of_servers_need_no_words(error: dict[str, object], status: int) -> None:
    for found in errors_of({"error": {"message": "no", **error}}, status):
        assert (found.status, found.code) == (400, "context_length_exceeded")


def test_within_a_stream_a_failure_of_the_server_may_be_one() -> None:
    report = {"error": {"message": "Context size has been exceeded.", "type": "server_error", "code": 500}}
    assert {each.code for each in errors_of(report, 200)} == {"context_length_exceeded"}
    assert {each.code for each in errors_of(report, 500)} == {"upstream_error"}


@pytest.mark.parametrize("code", ["1210", "1214"])
def test_general_codes_of_zai_leave_it_to_the_message(code: str) -> None:
    report = {"error": {"message": "Prompt exceeds max length", "code": code}}
    assert errors_of(report, 400)[0].code == "context_length_exceeded"
