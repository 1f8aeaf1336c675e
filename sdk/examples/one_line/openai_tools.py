"""An agent that asks a model of OpenAI, and calls the tools that it wants: `python openai_tools.py QUESTION`."""

import json
import sys
from typing import Any

from openai import OpenAI

CAPITALS = {"UK": "London", "France": "Paris"}
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_capital",
            "description": "Return the capital of a country.",
            "parameters": {"type": "object", "properties": {"of": {"type": "string"}}, "required": ["of"]},
        },
    }
]

client = OpenAI()


def answer(question: str) -> str:
    """Ask until the model wants no more tools."""
    messages: list[Any] = [{"role": "user", "content": question}]
    while True:
        response = client.chat.completions.create(model="gpt-5.4", messages=messages, tools=TOOLS)
        message = response.choices[0].message
        messages.append(message)
        if not message.tool_calls:
            return message.content or ""
        for call in message.tool_calls:
            found = CAPITALS[json.loads(call.function.arguments)["of"]] if call.type == "function" else ""
            messages.append({"role": "tool", "tool_call_id": call.id, "content": found})


if __name__ == "__main__":
    print(answer(" ".join(sys.argv[1:])))
