"""An agent of LangChain, which LangGraph runs: `python langgraph_agent.py QUESTION`."""

import sys

from langchain.agents import create_agent
from langchain_core.tools import tool

CAPITALS = {"UK": "London", "France": "Paris"}


@tool
def get_capital(of: str) -> str:
    """Return the capital of a country."""
    return CAPITALS[of]


agent = create_agent(
    "openai:gpt-5.4",
    tools=[get_capital],
    system_prompt="Answer in one word.",
)


def answer(question: str) -> str:
    """Let the agent work."""
    state = agent.invoke({"messages": [{"role": "user", "content": question}]})
    return str(state["messages"][-1].text)


if __name__ == "__main__":
    print(answer(" ".join(sys.argv[1:])))
