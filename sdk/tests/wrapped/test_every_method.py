"""What becomes of every method of the libraries' clients: a version with a new one must be looked at."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import types

from token_ledger_sdk import AsyncTokenLedger, TokenLedger
from token_ledger_sdk.adapters import anthropic_unguarded, google_unguarded, openai_unguarded
from token_ledger_sdk.adapters.anthropic_requests import MESSAGES
from token_ledger_sdk.adapters.google_requests import GUARDED as GOOGLE_GUARDED
from token_ledger_sdk.adapters.openai_requests import GUARDED
from token_ledger_sdk.adapters.unguarded import path_of

from .conftest import GrantingLedger
from .every_method import call, method_named, methods_of

NOBODY = "http://127.0.0.1:9"


@dataclass
class Calls:
    """What every method has done: names by what became of them, and requests that are on none of the lists."""

    guarded: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    free: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    unknown: list[tuple[str, str, str]] = field(default_factory=list)


class Site:
    """A client that nobody guards, the one that is guarded, and the requests that either would have sent."""

    def __init__(
        self, wrap: Callable[[Any], Any], make: Callable[[Any], Any], made_up: Mapping[str, Any] | None = None
    ) -> None:
        self.made_up = made_up or {}
        self.asked: list[tuple[str, str]] = []
        self.bare = make(httpx2.MockTransport(self._refuse))
        self.wrapped = wrap(self.bare)

    def _refuse(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append((request.method, request.url.path))
        raise httpx2.ConnectError("nobody is there")

    async def calls(self, granting: GrantingLedger, library: str, knows: Callable[[str, str], bool]) -> Calls:
        """Call every method of both clients."""
        found = Calls()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is deprecated, or experimental
            for name, method in methods_of(self.bare, (library,)):
                self.asked.clear()
                await call(method, method, self.made_up)
                sent = self.asked[:1]
                found.unknown += [(name, *each) for each in sent if not knows(*each)]
                became: set[str] = getattr(found, await self._became(name, method, granting, is_silent=not sent))
                became.add(name)
        return found

    async def _became(self, name: str, like: Any, granting: GrantingLedger, *, is_silent: bool) -> str:
        self.asked.clear()
        granting.requests.clear()
        try:
            error = await call(method_named(self.wrapped, name), like, self.made_up)
        except TypeError as refusal:
            error = refusal
        if isinstance(error, TypeError) and "may cost money" in str(error):
            assert (self.asked, granting.requests) == ([], [])
            return "refused"
        if granting.requests:
            return "guarded"
        return "silent" if is_silent else "free"


def maker(kinds: tuple[Any, Any], *, is_awaited: bool, **said: Any) -> Callable[[Any], Any]:
    """Return what makes a client that sends through a transport, of the first class, or of the second if awaited."""
    client, connections = (kinds[1], httpx2.AsyncClient) if is_awaited else (kinds[0], httpx2.Client)
    return lambda transport: client(api_key="x", max_retries=0, http_client=connections(transport=transport), **said)


@pytest.fixture(params=["at once", "awaited"])
def is_awaited(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "awaited")


@pytest.fixture
def wrap(is_awaited: bool, ledger: TokenLedger, async_ledger: AsyncTokenLedger) -> Callable[[Any], Any]:
    of: Any = async_ledger if is_awaited else ledger
    return lambda client: of.wrap(client, user="ada", agent_type="a")


def of_openai(method: str, path: str) -> bool:
    below = path_of(path, "/v1")
    return below in GUARDED or openai_unguarded.UNGUARDED.knows(method, below)


OPENAI_GUARDED = {
    "chat.completions.create", "chat.completions.parse", "chat.completions.stream", "beta.chat.completions.create",
    "beta.chat.completions.parse", "beta.chat.completions.stream", "completions.create", "embeddings.create",
    "responses.create", "responses.parse", "responses.stream", "responses.compact", "beta.responses.create",
    "beta.responses.compact", "decisions.create", "images.generate", "images.edit", "images.create_variation",
    "audio.speech.create", "audio.transcriptions.create", "audio.translations.create",
}  # fmt: skip
OPENAI_REFUSED = {
    "batches.create", "containers.create", "evals.runs.create", "fine_tuning.alpha.graders.run",
    "fine_tuning.jobs.create", "fine_tuning.jobs.resume",
    "videos.create", "videos.create_and_poll", "videos.create_character", "videos.edit", "videos.extend",
    "videos.remix",
    "beta.threads.create_and_run", "beta.threads.create_and_run_poll", "beta.threads.create_and_run_stream",
    "beta.threads.runs.create", "beta.threads.runs.create_and_poll", "beta.threads.runs.create_and_stream",
    "beta.threads.runs.stream", "beta.threads.runs.submit_tool_outputs",
    "beta.threads.runs.submit_tool_outputs_and_poll", "beta.threads.runs.submit_tool_outputs_stream",
    "beta.agents.automations.create", "beta.agents.automations.invocations.create",
    "beta.agents.automations.resume", "beta.agents.environments.create", "beta.agents.sessions.create",
    "beta.agents.sessions.events.create", "beta.chatkit.sessions.create",
    "live.create", "live.sessions.accept", "live.sessions.fork",
    "realtime.calls.accept", "realtime.calls.create", "realtime.client_secrets.create",
    "realtime.translations.client_secrets.create", "beta.realtime.sessions.create",
    "beta.realtime.transcription_sessions.create",
    "live.connect", "live.forks.connect", "live.sideband.connect", "realtime.connect", "realtime.translations.connect",
    "responses.connect", "beta.realtime.connect", "beta.responses.connect",
}  # fmt: skip
OPENAI_SILENT = {
    "is_closed", "platform_headers", "webhooks.unwrap", "webhooks.verify_signature", "uploads.upload_file_chunked",
    "beta.agents.sessions.artifacts.for_result", "beta.agents.environments.files.create",
    "beta.agents.environments.files.prepare", "beta.agents.environments.files.prepare_directory",
    "beta.agents.environments.files.upload",
}  # fmt: skip
"""What asks for nothing, or refuses made-up arguments before it asks for what is free."""


async def test_openai(is_awaited: bool, wrap: Callable[[Any], Any], granting: GrantingLedger) -> None:
    kinds, said = (openai.OpenAI, openai.AsyncOpenAI), {"admin_api_key": "x", "webhook_secret": "x"}
    make = maker(kinds, is_awaited=is_awaited, base_url=f"{NOBODY}/v1", **said)
    found = await Site(wrap, make).calls(granting, "openai.resources", of_openai)
    assert found.unknown == []
    assert found.guarded == OPENAI_GUARDED
    assert found.refused == OPENAI_REFUSED
    assert found.silent == OPENAI_SILENT


def of_anthropic(method: str, path: str) -> bool:
    return path == MESSAGES or anthropic_unguarded.UNGUARDED.knows(method, path)


ANTHROPIC_GUARDED = {
    "messages.create", "messages.parse", "messages.stream",
    "beta.messages.create", "beta.messages.parse", "beta.messages.stream", "beta.messages.tool_runner",
}  # fmt: skip
ANTHROPIC_REFUSED = {
    "beta.deployments.create", "beta.deployments.run", "beta.deployments.unpause", "beta.dreams.create",
    "beta.sessions.create", "beta.sessions.events.send",
}  # fmt: skip
ANTHROPIC_SILENT = {
    "is_closed", "platform_headers", "qs.parse", "qs.stringify", "qs.stringify_items", "beta.webhooks.unwrap",
    "beta.webhooks.parse_unverified", "beta.messages.thread",
    "beta.organization.plugin_marketplaces.validate_archive",
}  # fmt: skip


async def test_anthropic(is_awaited: bool, wrap: Callable[[Any], Any], granting: GrantingLedger) -> None:
    kinds = (anthropic.Anthropic, anthropic.AsyncAnthropic)
    make = maker(kinds, is_awaited=is_awaited, base_url=NOBODY)
    found = await Site(wrap, make).calls(granting, "anthropic", of_anthropic)
    assert found.unknown == []
    assert found.guarded == ANTHROPIC_GUARDED
    assert found.refused == ANTHROPIC_REFUSED
    assert found.silent - {"beta.sessions.events.tool_runner"} == ANTHROPIC_SILENT  # which only the awaited one has


def of_google(method: str, path: str) -> bool:
    return google_unguarded.action_of(path) in GOOGLE_GUARDED or google_unguarded.knows(method, path)


GOOGLE_MADE_UP: dict[str, Any] = {
    "image": types.Image(image_bytes=b"x", mime_type="image/png"),
    "reference_images": [types.RawReferenceImage(reference_id=1)],
    "source": {"prompt": "x"},
    "upscale_factor": "x2",
    "training_dataset": {"gcs_uri": "gs://x"},
}
GOOGLE_GUARDED_METHODS = {
    "models.embed_content", "models.generate_content", "models.generate_content_stream", "models.edit_image",
    "models.generate_images", "models.recontext_image", "models.segment_image", "models.upscale_image",
}  # fmt: skip
GOOGLE_REFUSED = {
    "auth_tokens.create", "file_search_stores.import_file", "models.generate_videos", "tunings.tune",
}  # fmt: skip
GOOGLE_SILENT = {
    "chats.create", "batches.cancel", "batches.delete", "batches.get", "files.download", "files.register_files",
    "files.upload", "file_search_stores.download_media", "file_search_stores.upload_to_file_search_store",
    "operations.get", "tunings.validate_reward",
}  # fmt: skip
OF_OWN_CONNECTIONS = ("agents.", "credentials.", "webhooks.")
"""Parts that are free, and ask for nothing here."""


async def test_google(is_awaited: bool, wrap: Callable[[Any], Any], granting: GrantingLedger) -> None:
    found = [await of_gemini_or_vertex(vertexai, is_awaited, wrap, granting) for vertexai in (False, True)]
    assert [each.unknown for each in found] == [[], []]
    assert found[0].guarded | found[1].guarded == GOOGLE_GUARDED_METHODS
    refused = found[0].refused | found[1].refused
    assert {name for name in refused if name.partition(".")[0] not in google_unguarded.UNSEEN} == GOOGLE_REFUSED
    silent = found[0].silent & found[1].silent
    assert {name for name in silent if not name.startswith(OF_OWN_CONNECTIONS)} == GOOGLE_SILENT


async def of_gemini_or_vertex(
    vertexai: bool, is_awaited: bool, wrap: Callable[[Any], Any], granting: GrantingLedger
) -> Calls:
    def make(transport: Any) -> Any:
        args = {"transport": transport}
        options: Any = {"base_url": NOBODY, "client_args": args, "async_client_args": args}
        client = genai.Client(api_key="x", vertexai=vertexai, http_options=options)
        return client.aio if is_awaited else client

    return await Site(wrap, make, GOOGLE_MADE_UP).calls(granting, "google.genai", of_google)
