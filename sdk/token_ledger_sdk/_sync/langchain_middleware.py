# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""Guards the chat model of an agent that LangChain's `create_agent` makes, as middleware of the agent.

A model with a client inside that can be wrapped gets a wrapped one, so that all is as with `ledger.wrap`. Any other
model is admitted here, with what may be changed of it, and watched by callbacks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain.agents.structured_output import ToolStrategy
from langchain_core.callbacks import BaseCallbackManager
from langchain_core.utils.function_calling import convert_to_openai_tool

from ..adapters.langchain_answers import AWAITED
from ..adapters.langchain_calls import ask_of_model, field_for_limit, field_of_model, provider_of
from ..errors import ConfigurationError
from ..providers.bodies import member
from ..request_tokens import characters_of
from ..text_tokens import count_text, is_quick
from ..waiting_sync import computed_sync
from .guarded_call import GuardedCall
from .inner_clients import InnerClients
from .langchain_callbacks import LangChainHandler, is_guarded_inside


class LangChainMiddleware(AgentMiddleware[Any, Any, Any]):
    """Middleware that holds before each call of the agent's model, and books after it; a denial is raised."""

    def __init__(self, clients: InnerClients) -> None:
        super().__init__()
        self._clients = clients
        self._handler = LangChainHandler(clients.guard, clients.provider)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Make a call of the agent's model under a hold."""
        model = self._with_guarded_client(request.model)
        if model is not None:
            token = is_guarded_inside.set(True)
            try:
                return handler(request.override(model=model))
            finally:
                is_guarded_inside.reset(token)
        call, fields = self._admit(request)
        try:
            call.cover_until_sent()
            return handler(request.override(model=self._changed(request.model, call, fields)))
        except BaseException as error:
            self._handler.failed(call, error)
            raise

    def awrap_model_call(self, request: ModelRequest[Any], handler: Any) -> NoReturn:
        """Refuse an agent of the other kind."""
        raise ConfigurationError(AWAITED)

    def _with_guarded_client(self, model: Any) -> Any:
        """Return the model with a guarded client inside; None if it has none that can be wrapped."""
        made = model.model_copy()
        root = self._clients.guarded(getattr(model, "root_client", None))
        if root is not None:  # langchain-openai, and packages that build on it
            made.root_client, made.client = root, root.chat.completions
            return made
        client = self._clients.guarded(getattr(model, "_client", None))
        if client is not None:  # langchain-anthropic, which makes its client when it is first used
            vars(made)["_client"] = client
            return made
        return None

    def _admit(self, request: ModelRequest[Any]) -> tuple[GuardedCall, dict[str, str | None]]:
        model = request.model
        params, metadata = _described(request)
        fields = {
            "limit_field": field_for_limit(type(model).model_fields),
            "model_field": field_of_model(model, str(metadata.get("ls_model_name"))),
        }
        if fields["limit_field"] is not None:
            params.setdefault(fields["limit_field"], getattr(model, fields["limit_field"]))
        first = [] if request.system_message is None else [request.system_message]
        messages = [*first, *request.messages]
        provider = self._clients.provider or provider_of({"kwargs": params}, metadata)
        ask = partial(ask_of_model, messages, params, metadata, count_text, provider=provider, **fields)
        characters = characters_of([each.content for each in messages])
        quick = is_quick(characters, str(metadata.get("ls_model_name")))
        return self._clients.guard.admit(computed_sync(ask, is_quick=quick)), fields

    def _changed(self, model: Any, call: GuardedCall, fields: dict[str, str | None]) -> Any:
        """Return the model as it may be called, with what watches this call."""
        changes: dict[str, Any] = {"callbacks": _with_handler(model.callbacks, self._handler)}
        if fields["model_field"] is not None:
            changes[fields["model_field"]] = call.model
        if fields["limit_field"] is not None and call.output_limit is not None:
            changes[fields["limit_field"]] = call.output_limit
        return model.model_copy(update=changes)


def _described(request: ModelRequest[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters of a call as the model will have them, and what LangChain tells of the model."""
    params = {**request.model._get_invocation_params(**request.model_settings)}
    params["tools"] = [convert_to_openai_tool(tool) for tool in request.tools]
    wanted = request.response_format
    if isinstance(wanted, ToolStrategy):
        params["tools"] += [convert_to_openai_tool(spec.json_schema) for spec in wanted.schema_specs]
    elif wanted is not None:
        params["response_format"] = {"schema": member(member(wanted, "schema_spec"), "json_schema")}
    return params, {**request.model._get_ls_params(**request.model_settings)}


def _with_handler(callbacks: Any, handler: LangChainHandler) -> Any:
    if isinstance(callbacks, BaseCallbackManager):
        manager = callbacks.copy()
        manager.add_handler(handler, inherit=False)
        return manager
    return [*(callbacks or []), handler]
