import os

from anthropic import Anthropic, beta_tool


@beta_tool
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


messages = [{"role": "user", "content": os.environ["PROMPT"]}]
runner = Anthropic().beta.messages.tool_runner(
    model=os.environ["MODEL"], max_tokens=4096, messages=messages, tools=[add], stream=True
)
for stream in runner:
    for text in stream.text_stream:
        print(text, end="", flush=True)
print()
