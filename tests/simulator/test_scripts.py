"""Scripts in a prompt: the tool calls and the answer of a simulated model, turn by turn."""

import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from tests.simulator.asking import ask, events
from tests.stack import Stack
from ztoapi.errors import ApiError
from ztoapi.simulator.script import Script, ScriptedCall, read_script

PATHS = ("/api/paas/v4/chat/completions", "/v1/chat/completions")
SCHEMA: dict[str, object] = {"type": "object", "properties": {"path": {"type": "string"}}}
TOOLS: list[ChatCompletionToolParam] = [
    {"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("Write", "Read", "Bash")
]
SCRIPT = (
    'Mend it. [simulate: Read > Bash {"command": "a \\"b\\" ] > c"} + Read {"path": "d"} > "It says: $result, twice"]'
)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("nothing", None),
        ("[simulate: a]", Script(((ScriptedCall("a", None),),), None)),
        (
            "x [simulate:a+b>c] y",
            Script(((ScriptedCall("a", None), ScriptedCall("b", None)), (ScriptedCall("c", None),)), None),
        ),
        ('[simulate: "hello"]', Script((), "hello")),
        ('[simulate: a {"b": {"c": "] > +"}} > "d"]', Script(((ScriptedCall("a", {"b": {"c": "] > +"}}),),), "d")),
        ("[simulate: a] [simulate: mcp__x.y/z-1:2]", Script(((ScriptedCall("mcp__x.y/z-1:2", None),),), None)),
    ],
)
def test_a_script_is_read(text: str, script: Script | None) -> None:
    assert read_script(text) == script


@pytest.mark.parametrize("text", ["", " a", " a b]", " a +]", ' a {"b"]', ' "a', ' "a" > b]', ' a + "b"]', " > a]"])
def test_a_malformed_script_is_refused(text: str) -> None:
    with pytest.raises(ApiError, match="malformed script of the simulator"):
        read_script("[simulate:" + text)


def history(path: str, *, stream: bool, content: object = SCRIPT) -> list[dict[str, Any]]:
    """The messages of a conversation that follows the script to its end, each turn a request to ``path``."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    with Stack() as stack:
        while messages[-1]["role"] != "assistant":
            origin = f"http://127.0.0.1:{stack.simulator_port}"
            response = ask(origin, path, tools=TOOLS, messages=messages, stream=stream)
            assert response.status_code == 200, response.text
            message = joined(events(response.text)) if stream else response.json()["choices"][0]["message"]
            calls = message.get("tool_calls") or []
            messages.append({name: value for name, value in message.items() if name != "reasoning_content"})
            messages += [{"role": "tool", "tool_call_id": call["id"], "content": f"<{call['id']}>"} for call in calls]
    return messages


def joined(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    content = ""
    calls: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        delta = chunk["choices"][0]["delta"]
        content += delta.get("content") or ""
        for part in delta.get("tool_calls", []):
            call = calls.setdefault(part["index"], {"function": {"name": "", "arguments": ""}})
            call |= {name: part[name] for name in ("id", "type") if name in part}
            call["function"] = {
                name: call["function"][name] + part["function"].get(name, "") for name in ("name", "arguments")
            }
    return {
        "role": "assistant",
        "content": content,
        **({"tool_calls": [calls[at] for at in sorted(calls)]} if calls else {}),
    }


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("content", [SCRIPT, [{"type": "text", "text": "Hello"}, {"type": "text", "text": SCRIPT}]])
def test_a_conversation_follows_its_script(path: str, stream: bool, content: object) -> None:
    messages = history(path, stream=stream, content=content)
    called = [
        [
            (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message["tool_calls"]
        ]
        for message in messages
        if message.get("tool_calls")
    ]
    assert called == [
        [("call_1", "Read", {"path": "sample"})],
        [("call_2", "Bash", {"command": 'a "b" ] > c'}), ("call_3", "Read", {"path": "d"})],
    ]
    assert messages[-1] == {"role": "assistant", "content": "It says: <call_3>, twice"}


def test_the_last_script_counts_and_begins_anew() -> None:
    with Stack() as stack:
        origin = f"http://127.0.0.1:{stack.simulator_port}"
        messages = [*history(PATHS[0], stream=False), {"role": "user", "content": "[simulate: Write]"}]
        calls = ask(origin, PATHS[0], tools=TOOLS, messages=messages).json()["choices"][0]["message"]["tool_calls"]
        assert [(call["id"], call["function"]["name"]) for call in calls] == [("call_4", "Write")]
        # Without tools, such as in a request for a title, there is nothing to follow.
        words = ask(origin, PATHS[0], messages=messages).json()["choices"][0]["message"]
    assert words["content"].startswith("Gateways") and "tool_calls" not in words


@pytest.mark.parametrize("path", [*PATHS, "/api/chat/completions"])
@pytest.mark.parametrize("script", ["[simulate: Fly]", "[simulate: Read"])
def test_a_script_that_cannot_be_followed_is_refused(path: str, script: str) -> None:
    with Stack() as stack:
        messages = [{"role": "user", "content": script}]
        response = ask(f"http://127.0.0.1:{stack.simulator_port}", path, tools=TOOLS, messages=messages, stream=True)
    assert response.status_code == 400
    assert "Fly; the request has the tools Write, Read, Bash" in response.text or "malformed script" in response.text


@pytest.mark.parametrize("platform", ["zai", "openai"])
def test_an_sdk_completes_a_scripted_task_through_the_gateway(platform: str) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": SCRIPT}]
    with (
        Stack(platform) as stack,
        openai.OpenAI(base_url=stack.base_url, api_key="any", max_retries=0) as client,
    ):
        for _ in range(3):
            answer = client.chat.completions.create(model="glm-5.3", messages=messages, tools=TOOLS)
            message = answer.choices[0].message
            messages.append(message.to_dict())  # type: ignore[arg-type]  # as the SDK documents it
            messages.extend(
                {"role": "tool", "tool_call_id": call.id, "content": f"<{call.id}>"}
                for call in message.tool_calls or ()
            )
    assert message.content == "It says: <call_3>, twice"
    assert answer.choices[0].finish_reason == "stop"
