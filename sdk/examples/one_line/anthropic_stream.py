"""A chat with Claude that prints each word as it comes: `python anthropic_stream.py QUESTION`."""

import sys

from anthropic import Anthropic

client = Anthropic()


def answer(question: str) -> None:
    """Print the answer while it is generated."""
    messages = [{"role": "user", "content": question}]
    with client.messages.stream(model="claude-sonnet-4-6", max_tokens=1_000, messages=messages) as stream:  # type: ignore[arg-type]
        for text in stream.text_stream:
            print(text, end="", flush=True)
    print()


if __name__ == "__main__":
    answer(" ".join(sys.argv[1:]))
