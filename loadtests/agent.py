"""Coding agents: prompts of 30 to 300 KB, tools, and three turns, each with a streamed tool call and its result.

With ``ztoapi demo`` in another terminal:
``locust -f loadtests/agent.py --headless -u 10 -r 10 -t 30s -H http://127.0.0.1:9090``
"""

from loadtests.users import Agent


class CodingAgent(Agent):
    pass
