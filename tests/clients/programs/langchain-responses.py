import os

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

MODEL = os.environ["MODEL"]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


model = ChatOpenAI(model=MODEL, use_responses_api=True).bind_tools([add])
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
