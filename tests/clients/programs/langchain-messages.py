import os

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool

MODEL = os.environ["MODEL"]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


model = ChatAnthropic(model=MODEL, max_tokens=4096).bind_tools([add])
messages = [HumanMessage(os.environ["PROMPT"])]
while True:
    chunks = list(model.stream(messages))
    message = chunks[0]
    for chunk in chunks[1:]:
        message += chunk
    if not message.tool_calls:
        break
    messages += [message, *map(add.invoke, message.tool_calls)]
print(message.text)
