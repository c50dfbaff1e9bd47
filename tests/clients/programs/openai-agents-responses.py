import os

from agents import Agent, Runner, function_tool, set_tracing_disabled

set_tracing_disabled(True)


@function_tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


agent = Agent(name="adder", instructions="Be brief.", model=os.environ["MODEL"], tools=[add])
print(Runner.run_sync(agent, os.environ["PROMPT"]).final_output)
