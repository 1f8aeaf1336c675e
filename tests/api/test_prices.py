"""The price book over HTTP: looked up by any name and instant, set by administrators, sent again only if it changed."""

from typing import Any

from tests.api.verbs import MODEL, event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role
from token_ledger.proof.verify import verify_database

_NONE = {"input_tokens": 0, "output_tokens": 0}
RATES = {"base": {"input": "2", "output": "8"}}


async def put(world: World, path: str, **body: Any) -> dict[str, Any]:
    return await world.made(path, {"idempotency_key": fresh(), **body}, method="PUT")


async def prices(world: World, **params: Any) -> list[dict[str, Any]]:
    answer = await world.get("/v1/prices", role=Role.AGENT, **params)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["prices"]
    return found


async def test_entries_are_found_by_any_name_of_a_model(world: World) -> None:
    [entry] = await prices(world, provider="openai", model="gpt-4o")
    assert (entry["rates"]["base"], entry["in_force"], entry["own"]) == (
        {"input": "2.5", "output": "10", "cache_read": "1.25", "web_searches": "10", "file_searches": "2.5"},
        True,
        False,
    )
    for name in ({"provider": "OpenAI", "model": "GPT-4o"}, {"provider": "openai", "model": "gpt-4o-2024-08-06"}):
        assert await prices(world, **name) == [entry]
    assert entry in await prices(world, model="gpt-4o")
    assert await prices(world, provider="openai", model="nonsense") == []
    assert {each["provider"] for each in await prices(world, provider="xai")} == {"x-ai"}


async def test_a_list_comes_in_pages(world: World) -> None:
    everything = await prices(world, provider="openai", limit=1_000)
    found: list[dict[str, Any]] = []
    after = None
    while True:
        params: dict[str, Any] = {} if after is None else {"after": after}
        page = (await world.get("/v1/prices", provider="openai", limit=50, **params)).json()
        found += page["prices"]
        if (after := page["next"]) is None:
            break
    assert found == everything
    check_problem(await world.get("/v1/prices", after="nonsense"), 422, "invalid_request", "after")


async def test_a_price_of_the_tenants_own_counts_from_the_next_call_on(world: World) -> None:
    model = fresh("model")
    refused = check_problem(
        await world.post("/v1/reservations", reservation(model=model)), 422, "unknown_model", "model"
    )
    assert f"token-ledger prices set acme openai/{model}" in refused["detail"]
    changed = await put(world, f"/v1/prices/openai/{model}", rates=RATES)
    assert (changed["action"], changed["before"]) == ("price.set", None)
    await world.made("/v1/reservations", reservation(model=model))
    [booked] = (await world.made("/v1/events", {"events": [event(model=model)]}))["results"]
    assert booked["cost"] == "0.006000000"
    [entry] = await prices(world, provider="openai", model=model.upper())
    assert (entry["price_id"], entry["own"], entry["source"]) == (changed["after"]["price_id"], True, "tenant")
    assert await prices(world, provider="openai", model=model, at="2020-01-01T00:00:00Z") == []


async def test_setting_what_is_set_and_sending_again_changes_nothing(world: World) -> None:
    path = f"/v1/prices/openai/{fresh('model')}"
    rates = {"base": {"input": "2", "output": "8", "cache_read": "0.2"}}
    body = {"idempotency_key": fresh(), "rates": {"base": {**rates["base"], "input": "2.0", "output": "8.00"}}}
    first = await world.made(path, body, method="PUT")
    assert (await world.made(path, body, method="PUT")) == {**first, "replayed": True}
    check_problem(
        await world.post(path, {**body, "rates": None}, method="PUT"), 409, "idempotency_conflict", "idempotency_key"
    )
    check_problem(await world.post(path + "x", body, method="PUT"), 409, "idempotency_conflict", "idempotency_key")
    again = await put(world, path, rates=rates)
    assert again["before"] == again["after"] == first["after"]
    assert len(await prices(world, provider="openai", model=path.rpartition("/")[2])) == 1


async def test_prices_are_dated_and_can_be_withdrawn(world: World) -> None:
    path = "/v1/prices/openai/o3"
    [listed] = await prices(world, provider="openai", model="o3", at="2098-01-01T00:00:00Z")
    await put(world, path, rates=RATES, valid_from="2099-01-01T00:00:00Z")
    await put(world, path, rates=None, valid_from="2099-02-01T00:00:00Z")
    for at, own in (("2098-12-31T23:59:59Z", False), ("2099-01-01T00:00:00Z", True)):
        [entry] = await prices(world, provider="openai", model="o3", at=at)
        assert entry["own"] is own
    entries = await prices(world, provider="openai", model="o3", at="2099-02-01T00:00:00Z")
    assert [entry["rates"] for entry in entries] == [listed["rates"], None]


async def test_models_show_what_they_cost_now_and_whether_they_end(world: World) -> None:
    answer = (await world.get("/v1/models", role=Role.AGENT, provider="google", limit=1_000)).json()
    found = {each["model"]: each for each in answer["models"]}
    assert answer["next"] is None
    assert found["gemini-2.0-flash"]["deprecated"] is True
    assert found["gemini-2.5-pro"]["deprecated"] is False
    assert found["gemini-2.5-pro"]["rates"]["tiers"][0]["above"] == 200_000
    [model] = (await world.get("/v1/models", provider="openai", model="gpt-4o")).json()["models"]
    assert (model["own"], model["context_tokens"]) == (False, 128_000)
    await put(world, "/v1/prices/openai/gpt-4o", rates=RATES)
    [mine] = (await world.get("/v1/models", provider="openai", model="gpt-4o")).json()["models"]
    assert (mine["own"], mine["context_tokens"], mine["rates"]) == (True, 128_000, RATES)
    await put(world, "/v1/prices/openai/gpt-4o", rates=None)
    assert (await world.get("/v1/models", provider="openai", model="gpt-4o")).json()["models"] == [model]


async def known(world: World, provider: str, model: str, **who: Any) -> dict[str, Any]:
    """What is known of a model, without its price."""
    [found] = (await world.get("/v1/models", provider=provider, model=model, **who)).json()["models"]
    facts = ("context_tokens", "max_output_tokens", "capabilities", "deprecated", "end_of_life")
    return {name: found[name] for name in facts}


async def test_what_is_known_of_a_model_is_published_or_said_and_else_null(world: World) -> None:
    path = "/v1/models/OpenAI/GPT-4.1-mini-2025-04-14"
    published = await known(world, "openai", "gpt-4.1-mini")
    assert published == {
        "context_tokens": 1_000_000, "max_output_tokens": None, "capabilities": None, "deprecated": False,
        "end_of_life": None,
    }  # fmt: skip

    async def etag() -> str:
        return (await world.get("/v1/models", provider="openai", limit=1_000)).headers["etag"]

    etags = [await etag()]
    said: dict[str, Any] = {}
    for fact, value in (
        ("context_tokens", 900_000), ("max_output_tokens", 32_768), ("capabilities", ["vision", "tools", "tools"]),
        ("deprecated", True), ("end_of_life", "2027-03-01"),
    ):  # fmt: skip
        said[fact] = value
        changed = await put(world, path, **said)
        assert (changed["action"], changed["target"]) == ("model.set", "openai/gpt-4.1-mini")
        etags.append(await etag())
    assert len(set(etags)) == 6
    wanted = {**said, "capabilities": ["tools", "vision"]}
    assert await known(world, "openai", "gpt-4.1-mini") == wanted
    again = await put(world, path, **said)
    assert again["before"] == again["after"] == wanted
    assert (await known(world, "openai", "gpt-4.1-mini", tenant="globex")) == published
    held = await world.made("/v1/reservations", reservation(model="gpt-4.1-mini"))
    assert held["state"] == "held"
    await put(world, path, end_of_life="2020-01-01")
    assert await known(world, "openai", "gpt-4.1-mini") == {
        **published, "deprecated": True, "end_of_life": "2020-01-01"
    }  # fmt: skip
    await world.made("/v1/reservations", reservation(model="gpt-4.1-mini"))  # it is told, not refused
    assert (await put(world, path))["after"] is None
    assert await known(world, "openai", "gpt-4.1-mini") == published
    assert await etag() == etags[0]
    assert (await verify_database(world.url, "acme")).clean


async def test_a_model_of_ones_own_has_the_facts_that_are_said_and_one_without_a_price_none(world: World) -> None:
    model = fresh("model")
    path = f"/v1/models/house/{model}"
    body = {"idempotency_key": fresh(), "end_of_life": "2027-03-01"}
    check_problem(await world.post(path, body, method="PUT"), 422, "unknown_model", "model")
    await put(world, f"/v1/prices/house/{model}*", rates=RATES)
    assert set((await known(world, "house", f"{model}*")).values()) == {None}
    await put(world, f"/v1/models/house/{model}*", capabilities=[], deprecated=False)
    facts = await known(world, "house", f"{model}*")
    assert (facts["capabilities"], facts["deprecated"], facts["context_tokens"]) == ([], False, None)


async def test_models_come_in_pages(world: World) -> None:
    whole = (await world.get("/v1/models", provider="mistral", limit=1_000)).json()["models"]
    found: list[dict[str, Any]] = []
    page = (await world.get("/v1/models", provider="mistral", limit=7)).json()
    while page["next"] is not None:
        found += page["models"]
        page = (await world.get("/v1/models", provider="mistral", limit=7, after=page["next"])).json()
    assert found + page["models"] == whole


async def test_what_a_client_has_already_is_not_sent_again(world: World) -> None:
    for path in ("/v1/prices", "/v1/models", "/v1/aliases", "/v1/discounts"):
        first = await world.get(path)
        headers = {**world.headers(), "If-None-Match": f'W/"x", {first.headers["etag"]}'}
        again = await world.client.get(path, headers=headers)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        other = await world.client.get(path, headers={**world.headers(), "If-None-Match": '"x"'})
        assert (other.status_code, other.json()) == (200, first.json())
    first = await world.get("/v1/models", provider="openai")
    await put(world, f"/v1/prices/openai/{fresh('model')}", rates=RATES)
    assert (await world.get("/v1/models", provider="openai")).headers["etag"] != first.headers["etag"]


async def test_an_alias_is_set_listed_and_ended(world: World) -> None:
    name = fresh("deployment")
    path = f"/v1/aliases/azure/{name}"
    unknown = {"provider": "openai", "model": "gtp-5.4"}
    refused = await world.post(path, {"idempotency_key": fresh(), "stands_for": unknown}, method="PUT")
    assert "openai/gpt-5.4" in check_problem(refused, 422, "unknown_model", "stands_for")["detail"]
    await put(world, path, stands_for=MODEL)
    listed = (await world.get("/v1/aliases", role=Role.AGENT)).json()["aliases"]
    assert (name, MODEL) in [(each["model"], each["stands_for"]) for each in listed]
    await world.made("/v1/reservations", reservation(provider="azure", model=name))
    await put(world, path, stands_for=None)
    listed = (await world.get("/v1/aliases")).json()["aliases"]
    assert name not in [each["model"] for each in listed]
    check_problem(
        await world.post("/v1/reservations", reservation(provider="azure", model=name)), 422, "unknown_model", "model"
    )


async def test_other_kinds_and_ways_of_serving_have_rates_too(world: World) -> None:
    model = fresh("model")
    batch = {"base": {"input": "1", "output": "4"}}
    rates = {"base": {"input": "2", "output": "8", "web_searches": "10"}, "service_tiers": {"batch": batch}}
    await put(world, f"/v1/prices/openai/{model}", rates=rates)
    used = {"input_tokens": 1_000_000, "output_tokens": 0}
    sent = [
        event(model=model, usage=used), event(model=model, usage=used, service_tier="batch"),
        event(model=model, usage={**used, "web_searches": 2}), event(model=model, usage={**used, "pages": 2}),
        event(model=model, usage=used, service_tier="flex"),
    ]  # fmt: skip
    await world.made("/v1/events", {"events": sent})
    query = "select cost_nanos / 10000000, unpriced from usage_events where model = $1 order by event_id"
    assert [tuple(row) for row in await world.rows(query, model)] == [
        (200, False), (100, False), (202, False), (200, True), (200, True),
    ]  # fmt: skip
    pages = fresh("model")
    await put(world, f"/v1/prices/openai/{pages}", rates={"base": {"pages": "3"}})
    body = {"events": [event(model=pages, usage={**_NONE, "pages": 1_000})]}
    [read] = (await world.made("/v1/events", body))["results"]
    assert read["cost"] == "3.000000000"


async def test_what_a_price_is_shown_as_can_be_sent_again(world: World) -> None:
    first, second = fresh("model"), fresh("model")
    batch = {"base": {"input": "1", "output": "4"}, "tiers": [{"above": 9_000, "rates": {"input": "3", "output": "9"}}]}
    rates = {"base": {"input": "2", "output": "8", "images": "10"}, "service_tiers": {"batch": batch}}
    await put(world, f"/v1/prices/house/{first}", rates=rates)
    [shown] = await prices(world, provider="house", model=first)
    await put(world, f"/v1/prices/house/{second}", rates=shown["rates"])
    [again] = await prices(world, provider="house", model=second)
    assert again["rates"] == shown["rates"]
    [published] = await prices(world, provider="openai", model="gpt-5.4-mini")
    body = {"idempotency_key": fresh(), "rates": published["rates"]}
    refused = await world.post(f"/v1/prices/house/{second}", body, method="PUT")
    detail = check_problem(refused, 422, "invalid_request")["detail"]
    assert "has one schedule for each way of serving, without a date" in detail


GRADUATED: dict[str, Any] = {
    "base": {"input": "2", "output": "8", "cache_read": "0.2", "web_searches": "10"},
    "tiers": [{"above": 1_000, "rates": {"input": "4", "cache_read": "0.4"}}],
    "tier_mode": "marginal",
}


async def test_a_marginal_tier_is_for_the_input_beyond_it_everywhere(world: World) -> None:
    model = fresh("model")
    cliff = {**GRADUATED, "tiers": [{"above": 1_000, "rates": GRADUATED["base"]}], "tier_mode": "cliff"}
    batch = {**GRADUATED, "base": {**GRADUATED["base"], "cache_read": "0.1"}}
    rates = {**GRADUATED, "service_tiers": {"batch": batch}}
    await put(world, f"/v1/prices/openai/{model}", rates=rates)
    [entry] = await prices(world, provider="openai", model=model)
    [shown] = (await world.get("/v1/models", provider="openai", model=model)).json()["models"]
    assert entry["rates"] == shown["rates"] == {**GRADUATED, "service_tiers": {"batch": [batch]}}
    usage = {"input_tokens": 1_500, "output_tokens": 100, "cache_read_tokens": 1_200}
    sent = [event(model=model, usage=usage), event(model=model, usage=usage, service_tier="batch")]
    booked = (await world.made("/v1/events", {"events": sent}))["results"]
    # 1,000 at 0.2, 200 at 0.4 and 300 at 4 dollars a million, and 100 of output at the base rate.
    assert [each["cost"] for each in booked] == ["0.002280000", "0.002180000"]
    call = reservation(model=model, input_tokens=1_500, cached_input_tokens=1_200, max_output_tokens=100)
    held = await world.made("/v1/reservations", call)
    assert held["held"]["cost"] == "0.002280000"
    parts = [{"input_tokens": 1_200, "output_tokens": 0, "cache_read_tokens": 1_200},
             {"input_tokens": 300, "output_tokens": 100}]  # fmt: skip
    path = f"/v1/reservations/{held['reservation_id']}/settle"
    settled = [
        await world.made(path, {"idempotency_key": fresh(), "usage": each, "part": each is not parts[-1]})
        for each in parts
    ]
    assert [each["cost"] for each in settled] == ["0.000280000", "0.002000000"]
    lent = await world.made("/v1/leases", {**call, "idempotency_key": fresh(), "calls": 2})
    tiers = lent["price"]["tiers"]
    assert (lent["price"]["tier_mode"], [each["above_input_tokens"] for each in tiers]) == ("marginal", [0, 1_000])
    assert [(each["input"], each["output"]) for each in tiers] == [("2", "8"), ("4", "8")]
    assert lent["held"]["cost"] == "0.004560000"
    await put(world, f"/v1/prices/openai/{model}", rates=cliff)
    [entry] = [each for each in await prices(world, provider="openai", model=model) if each["in_force"]]
    assert "tier_mode" not in entry["rates"], "a cliff is what tiers are"
    assert (await verify_database(world.url, "acme")).clean


async def test_a_discount_is_off_what_calls_and_models_cost_and_both_costs_are_told(world: World) -> None:
    model = "gpt-4.1-nano"
    [before] = (await world.get("/v1/models", provider="openai", model=model)).json()["models"]
    assert before["factor"] == "1"
    await put(world, "/v1/discounts/openai/gpt-4.1-n*", factor="0.75", valid_until="2099-01-01T00:00:00Z")
    [mine] = (await world.get("/v1/models", provider="openai", model=model)).json()["models"]
    assert mine == {**before, "factor": "0.75"}
    [listed] = (await world.get("/v1/discounts", role=Role.FINANCE)).json()["discounts"]
    assert (listed["model"], listed["factor"], listed["in_force"]) == ("gpt-4.1-n*", "0.75", True)
    held = await world.made("/v1/reservations", reservation(model=model))
    usage = {"input_tokens": 1_000, "output_tokens": 0}
    settled = await world.made(
        f"/v1/reservations/{held['reservation_id']}/settle", {"idempotency_key": fresh(), "usage": usage}
    )
    [booked] = (await world.made("/v1/events", {"events": [event(model=model, usage=usage)]}))["results"]
    for each in (settled, booked):
        assert (each["cost"], each["list_cost"]) == ("0.000075000", "0.000100000")
    await put(world, "/v1/discounts/openai/gpt-4.1-n*", factor=None)
    [booked] = (await world.made("/v1/events", {"events": [event(model=model, usage=usage)]}))["results"]
    assert booked["cost"] == "0.000100000"
    assert "list_cost" not in booked
    assert [each["in_force"] for each in (await world.get("/v1/discounts")).json()["discounts"]] == [False, False]


async def test_a_factor_or_a_name_that_is_none_is_refused(world: World) -> None:
    for path, body, field in (
        ("openai/*", {"factor": "11"}, "factor"), ("openai/*", {"factor": "-1"}, "factor"),
        ("openai/*", {"factor": "0.9", "valid_until": "2020-01-01T00:00:00Z"}, "valid_until"),
        ("open*/gpt", {"factor": "0.9"}, "provider"), ("openai/a*b*c*", {"factor": "0.9"}, "model"),
    ):  # fmt: skip
        refused = await world.post(f"/v1/discounts/{path}", {"idempotency_key": fresh(), **body}, method="PUT")
        check_problem(refused, 422, "invalid_request", field)


async def test_every_answer_about_what_a_call_costs_names_the_entry(world: World) -> None:
    model = fresh("model")
    body = reservation(provider="house", model=model)
    await put(world, f"/v1/prices/house/{model}", rates=RATES)
    [own] = await prices(world, provider="house", model=model)
    [published] = await prices(world, provider="anthropic", model="claude-opus-4-8")
    hold = await world.made("/v1/reservations", body)
    assert hold["price_id"] == own["price_id"]
    path = f"/v1/reservations/{hold['reservation_id']}"
    assert (await world.made("/v1/reservations", body))["price_id"] == own["price_id"]
    assert (await world.get(path)).json()["price_id"] == own["price_id"]
    advisor = {"provider": "anthropic", "model": "claude-opus-4-8", "usage": {"input_tokens": 9, "output_tokens": 2}}
    settle = {"usage": {"input_tokens": 9, "output_tokens": 2}, "other_models": [advisor]}
    for _ in range(2):  # the second time from what is stored
        settled = await world.made(f"{path}/settle", settle)
        assert settled["price_id"] == own["price_id"]
        assert [each["price_id"] for each in settled["other_models"]] == [published["price_id"]]
    used = {"usage": {"input_tokens": 9, "output_tokens": 2}}
    events = [
        event(provider="house", model=model, **used),
        event(provider="anthropic", model="claude-opus-4-8", **used),
        event(provider="house", model=fresh("unknown"), **used),
    ]
    results = (await world.made("/v1/usage", {"events": events}))["results"]
    assert [each.get("price_id") for each in results] == [own["price_id"], published["price_id"], None]
