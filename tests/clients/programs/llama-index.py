import asyncio
import os

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai_like import OpenAILike

model = OpenAILike(
    model=os.environ["MODEL"],
    api_base=os.environ["OPENAI_BASE_URL"],
    api_key=os.environ["OPENAI_API_KEY"],
    is_chat_model=True,
    is_function_calling_model=True,
)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def main() -> None:
    print(await FunctionAgent(tools=[add], llm=model).run(os.environ["PROMPT"]))


asyncio.run(main())
