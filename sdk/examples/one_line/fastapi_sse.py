"""A chat behind HTTP, which sends `token`, `done` and `error` events: `uvicorn fastapi_sse:app`."""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.sse import EventSourceResponse, ServerSentEvent
from openai import AsyncOpenAI

app = FastAPI()
client = AsyncOpenAI()
kept: dict[str, str] = {}


@app.get("/ask", response_class=EventSourceResponse)
async def ask(question: str) -> AsyncIterator[ServerSentEvent]:
    """Answer a question, from what is kept if it was asked before."""
    try:
        async for word in answer(question):
            yield ServerSentEvent(event="token", data=word)
        yield ServerSentEvent(event="done", data={})
    except Exception as error:
        yield ServerSentEvent(event="error", data=str(error))


async def answer(question: str) -> AsyncIterator[str]:
    """Yield the words of an answer."""
    if question in kept:
        yield kept[question]
        return
    words = []
    async with await client.chat.completions.create(
        model="gpt-5.4", messages=[{"role": "user", "content": question}], stream=True
    ) as stream:
        async for chunk in stream:
            word = chunk.choices[0].delta.content if chunk.choices else None
            if word:
                words.append(word)
                yield word
    kept[question] = "".join(words)
