"""How each client is run without a terminal: arguments, environment, and the script of a task for its tools.

The settings themselves are those that ``ztoapi connect`` prints.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ztoapi.clients.settings import Api
from ztoapi.clients.table import clients

__all__ = ["ENDS", "HELLO", "ONE_WORD", "PROMPT", "RECIPES", "Recipe", "task"]

PROGRAMS = Path(__file__).with_name("programs")
SCRIPTED_WORDS = "this is the whole text of the response, to its very end."
ENDS = (SCRIPTED_WORDS, "what breaks is reported, and so on.", "inhabitants=")
"""The end of a whole response to HELLO: of the script, without tools of the simulator's usual words, of Instructor."""
PROMPT = "PROMPT"
ONE_WORD = "PROMPT_WITHOUT_BLANKS"
"""opencode and Kilo put a prompt with blanks in quotation marks, and escape those in it."""
FILE = "notes.txt"
COMMAND = "cat notes.txt"


class Recipe(NamedTuple):
    """``arguments`` follow the client's command, with the prompt for PROMPT; ``task_arguments`` replace them for a task
    with tools. ``calls`` are the calls of the task; none if the client has no tools."""

    client: str
    api: Api
    packages: str
    """The table of packages.toml."""
    package: str
    """The package whose version counts."""
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    calls: tuple[str, ...] = ()
    edits: bool = True
    """Whether the calls replace "old" by "new" in notes.txt, and print it; otherwise they add 2 and 3."""
    task_arguments: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.client if len(clients()[self.client].apis) == 1 else f"{self.client}-{self.api}"

    @property
    def program(self) -> Path | None:
        """The program of a library that runs the task."""
        return next((path for path in PROGRAMS.glob(f"{self.id}.*")), None)


def without_blanks(value: object) -> str:
    return json.dumps(value, separators=(",", ":")).replace(" ", "\\u0020")


def call(name: str, **arguments: object) -> str:
    return name + without_blanks(arguments)


def task(calls: tuple[str, ...]) -> str:
    """Return a prompt whose script makes the calls, turn by turn, and ends with the last result."""
    return "Do the task. [simulate:" + ">".join((*calls, without_blanks("The result: $result"))) + "]"


HELLO = f"Say hello. [simulate:{without_blanks(f'Hello there, {SCRIPTED_WORDS}')}]"


CLAUDE_CALLS = (
    call("Read", file_path="$dir/notes.txt"),
    call("Edit", file_path="$dir/notes.txt", old_string="old", new_string="new"),
    call("Bash", command=COMMAND, description="Print the notes"),
)
PATCH = "*** Begin Patch\n*** Update File: notes.txt\n@@\n-The old text.\n+The new text.\n*** End Patch\n"
CODEX_CALLS = (
    call("exec_command", cmd=COMMAND),
    call("apply_patch", input=PATCH),
    call("exec_command", cmd=COMMAND),
)
OPENCODE_CALLS = (
    call("read", filePath="$dir/notes.txt"),
    call("edit", filePath="$dir/notes.txt", oldString="old", newString="new"),
    call("bash", command=COMMAND, description="Print the notes"),
)
PI_CALLS = (
    call("read", path=FILE),
    call("edit", path=FILE, edits=[{"oldText": "old", "newText": "new"}]),
    call("bash", command=COMMAND),
)
ADD = (call("add", a=2, b=3),)
LIBRARY_VARIABLES = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
"""LiteLLM fetches a price list at start otherwise."""
RECIPES = (
    Recipe(
        "claude",
        "messages",
        "claude",
        "@anthropic-ai/claude-code",
        ("-p", PROMPT, "--allowedTools", "Read,Edit,Bash"),
        {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"},
        CLAUDE_CALLS,
    ),
    Recipe(
        "codex",
        "responses",
        "codex",
        "@openai/codex",
        ("exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", PROMPT),
        {},
        CODEX_CALLS,
    ),
    *(
        Recipe(
            "opencode",
            api,
            "opencode",
            "opencode-ai",
            ("run", ONE_WORD),
            {"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1"},
            OPENCODE_CALLS,
        )
        for api in clients()["opencode"].apis
    ),
    *(
        Recipe(
            "kilo",
            api,
            "kilo",
            "@kilocode/cli",
            ("run", "--auto", ONE_WORD),
            {"KILO_DISABLE_MODELS_FETCH": "1", "KILO_DISABLE_AUTOUPDATE": "1"},
            OPENCODE_CALLS,
        )
        for api in clients()["kilo"].apis
    ),
    Recipe(
        "cline",
        "chat",
        "cline",
        "cline",
        ("--json", "--timeout", "60", PROMPT),
        {},
        (
            call("read_files", files=[{"path": "$dir/notes.txt"}]),
            call("editor", path="$dir/notes.txt", old_text="old", new_text="new"),
            call("run_commands", commands=[COMMAND]),
        ),
    ),
    Recipe(
        "qwen-code",
        "chat",
        "qwen-code",
        "@qwen-code/qwen-code",
        ("--yolo", "-p", PROMPT),
        {},
        (
            call("read_file", file_path="$dir/notes.txt"),
            call("edit", file_path="$dir/notes.txt", old_string="old", new_string="new"),
            call("run_shell_command", command=COMMAND, is_background=False),
        ),
    ),
    *(
        Recipe("pi", api, "pi", "@mariozechner/pi-coding-agent", ("-p", PROMPT), {"PI_OFFLINE": "1"}, PI_CALLS)
        for api in clients()["pi"].apis
    ),
    *(
        Recipe(
            "continue",
            api,
            "continue",
            "@continuedev/cli",
            ("--auto", "-p", PROMPT),
            {"CONTINUE_TELEMETRY_ENABLED": "0"},
            (
                call("Read", filepath="$dir/notes.txt"),
                call("Bash", command="sed -i s/old/new/ notes.txt"),
                call("Bash", command=COMMAND),
            ),
        )
        for api in clients()["continue"].apis
    ),
    Recipe(
        "aider",
        "chat",
        "aider",
        "aider-chat",
        (
            "--message",
            PROMPT,
            "--no-git",
            "--yes-always",
            "--no-show-model-warnings",
            "--no-check-update",
            "--analytics-disable",
            "--map-tokens",
            "0",
            "notes.txt",
        ),
        {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    ),
    Recipe(
        "llm",
        "chat",
        "llm",
        "llm",
        (PROMPT,),
        {},
        ADD,
        edits=False,
        task_arguments=("--functions", "def add(a: int, b: int) -> int:\n    return a + b", PROMPT),
    ),
    *(
        Recipe(name, api, packages, package, (), LIBRARY_VARIABLES, ADD, edits=False)
        for name, packages, package in (
            ("openai-python", "python", "openai"),
            ("openai-node", "node", "openai"),
            ("anthropic-python", "python", "anthropic"),
            ("anthropic-node", "node", "@anthropic-ai/sdk"),
            ("ai-sdk", "node", "ai"),
            ("langchain", "python", "langchain-openai"),
            ("litellm", "python", "litellm"),
            ("pydantic-ai", "pydantic-ai", "pydantic-ai-slim"),
            ("openai-agents", "python", "openai-agents"),
            ("openai-agents-js", "node", "@openai/agents"),
            ("llama-index", "llama-index", "llama-index-llms-openai-like"),
            ("zai-sdk", "python", "zai-sdk"),
        )
        for api in clients()[name].apis
    ),
    Recipe("instructor", "chat", "python", "instructor"),
    Recipe(
        "claude-agent-sdk",
        "messages",
        "claude-agent-sdk",
        "@anthropic-ai/claude-agent-sdk",
        (),
        {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"},
        CLAUDE_CALLS,
    ),
)
