"""Code of users, which nobody runs: mypy reads it in `make check`, and pyright in a test beside it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any, assert_type

from agents import MultiProvider, OpenAIResponsesModel
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message
from google import genai
from google.genai.client import AsyncClient
from google.genai.types import GenerateContentResponse
from langchain.agents import create_agent
from openai import AsyncAzureOpenAI, AsyncOpenAI, OpenAI, Stream
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import ParsedResponse, Response
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from token_ledger_sdk import AsyncRun, AsyncTokenLedger, Hold, Run, TokenLedger, Usage, current_call
from token_ledger_sdk.wire.reservations import Settlement


class City(BaseModel):
    name: str


def clients_of_openai(ledger: TokenLedger, run: AsyncRun, plain: OpenAI, azure: AsyncAzureOpenAI) -> None:
    client = ledger.wrap(plain, user="ada", agent_type="data_agent", lease_calls=50)
    assert_type(client, OpenAI)
    assert_type(run.wrap(azure), AsyncAzureOpenAI)
    assert_type(client.chat.completions.create(model="x", messages=[]), ChatCompletion)
    assert_type(client.chat.completions.create(model="x", messages=[], stream=True), Stream[ChatCompletionChunk])
    assert_type(client.responses.create(model="x", input="y"), Response)
    assert_type(client.responses.parse(model="x", input="y", text_format=City), ParsedResponse[City])
    assert_type(client.embeddings.create(model="x", input="y"), CreateEmbeddingResponse)
    assert_type(client.with_options(max_retries=1), OpenAI)


def clients_of_others(ledger: TokenLedger, run: AsyncRun, claude: Anthropic, gemini: genai.Client) -> None:
    assert_type(ledger.wrap(claude), Anthropic)
    assert_type(ledger.wrap(claude).messages.create(model="x", messages=[], max_tokens=1), Message)
    with ledger.wrap(claude).messages.stream(model="x", messages=[], max_tokens=1) as stream:
        assert_type(list(stream.text_stream), list[str])
    assert_type(ledger.wrap(gemini), genai.Client)
    assert_type(ledger.wrap(gemini).models.generate_content(model="x", contents="y"), GenerateContentResponse)
    assert_type(run.wrap(gemini.aio), AsyncClient)


def frameworks(ledger: AsyncTokenLedger, models: MultiProvider, model: OpenAIResponsesModel) -> None:
    assert_type(ledger.wrap(models, user="ada"), MultiProvider)
    assert_type(ledger.wrap(model), OpenAIResponsesModel)
    assert_type(ledger.wrap(AnthropicModel("claude-sonnet-4-6")), AnthropicModel)
    Agent("openai:gpt-5.4", capabilities=[ledger.pydantic_ai_capability()])


def agents_of_langchain(ledger: TokenLedger, run: Run) -> None:
    create_agent("openai:gpt-5.4", middleware=[ledger.langchain_middleware(user="ada"), run.langchain_tools()])
    create_agent("openai:gpt-5.4").with_config(callbacks=[ledger.langchain_handler(agent_type="a")])


def functions(ledger: TokenLedger, asynchronous: AsyncTokenLedger, client: OpenAI) -> None:
    @ledger.guard(provider="openai", model="gpt-5.4", input_tokens=lambda text: len(text), max_output_tokens=9)
    def ask(text: str) -> Response:
        return client.responses.create(model=current_call().model, input=text)

    @asynchronous.guard(tool="search", user="ada")
    async def search(query: str, *, most: int = 3) -> list[str]:
        return [query] * most

    assert_type(ask("x"), Response)
    as_before: Callable[[str], Coroutine[Any, Any, list[str]]] = search
    assert callable(as_before)


async def tools(ledger: TokenLedger, run: AsyncRun, asynchronous: AsyncTokenLedger) -> None:
    @ledger.tool
    def read(path: str) -> bytes:
        return path.encode()

    @run.tool(timeout_seconds=10, fallback=[], retries=2, retry_on=ConnectionError, cache_seconds=60, reads="web")
    async def search(query: str, *, most: int = 3) -> list[str]:
        return [query] * most

    @asynchronous.tool(agent_type="a", invalidates=lambda number: f"doc:{number}", cost=lambda found: Decimal(found))
    async def write(number: int) -> int:
        return number

    assert_type(read("x"), bytes)
    assert_type(await search("x", most=5), list[str])
    assert_type(await run.gather(search("x"), write(1)), tuple[list[str], int])
    assert_type(await run.gather(*(write(number) for number in range(9))), tuple[int, ...])
    assert_type(await run.gather(write(1), return_exceptions=True), tuple[int | BaseException, ...])
    assert_type(ledger.gather(lambda: read("x"), lambda: 5), tuple[bytes, int])
    assert_type(ledger.toolbox.statistics("read").hit_rate, float)
    as_before: Callable[[str], bytes] = read
    assert callable(as_before)


def contexts(ledger: AsyncTokenLedger, run: AsyncRun, client: AsyncOpenAI, claude: AsyncAnthropic) -> None:
    with ledger.context(user="ada", run=run, tags={"team": "search"}, apply=["model_downgrade"]):
        assert_type(ledger.wrap(client), AsyncOpenAI)
        assert_type(run.wrap(claude), AsyncAnthropic)


def holds(ledger: TokenLedger, run: Run) -> None:
    call = run.reserve(agent_type="a", provider="openai", model="gpt-5.4", input_tokens=1, max_output_tokens=1)
    with call as hold:
        assert_type(hold, Hold)
        assert_type(hold.settle(Usage(1, 1)), Settlement)
