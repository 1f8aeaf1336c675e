"""Chains of generated requests, in which a later one names what an earlier one has made.

schemathesis finds the links between operations by the names of ids, and lets some operations begin a chain. Here every
operation can begin one; and what answers have under a name is sent again under that name, also deep inside of a body,
where no link leads, and as an idempotency key.
"""

import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import Bundle, rule
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.generation.stateful.state_machine import StepInput
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
STEPS = 20
"""How many requests a chain has."""
CHAINS = 50
"""How many chains are generated at a time: what the service has refused steers the next ones."""
REMEMBERED = 30
"""How many values of a name are remembered: the newest."""
REUSED = 0.6
"""How often a value that is remembered takes the place of one that was generated."""
SECONDS = 120
"""The longest time that a request may take, on a busy machine."""
_WHOSE_NAMES_END = ("_id", "key", "user", "agent_type", "cost_center", "source", "provider", "model")
_MODES = (GenerationMode.POSITIVE, GenerationMode.POSITIVE, GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}")


@dataclass
class Answers:
    """What was answered: how often each operation had each status, and what was wrong."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    by_link: Counter[str] = field(default_factory=Counter)
    """How many requests to each operation followed a link, and were accepted."""
    wrong: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        """How many requests were answered."""
        return self.statuses.total()

    def by_status(self) -> dict[int, int]:
        """Return how often each status was answered."""
        counts: Counter[int] = Counter()
        for (_, status), number in self.statuses.items():
            counts[status] += number
        return dict(sorted(counts.items()))

    def accepted(self) -> set[str]:
        """Return the operations that were answered with success."""
        return {label for label, status in self.statuses if status < 300}


class Known:
    """Values that were answered, by the names that they had; they take the place of generated ones of those names."""

    def __init__(self, random: Random, given: Mapping[str, str]) -> None:
        self._random = random
        self._values: dict[str, deque[Any]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        self.learn(given)

    def learn(self, value: Any) -> None:
        """Remember what a JSON value has under names that requests have too."""
        if isinstance(value, list):
            for each in value:
                self.learn(each)
        elif isinstance(value, Mapping):
            for name, inner in value.items():
                if isinstance(inner, str) and name.endswith(_WHOSE_NAMES_END) and inner not in self._values[name]:
                    self._values[name].append(inner)
                else:
                    self.learn(inner)

    def learn_examples(self, document: Mapping[str, Any]) -> None:
        """Remember what the document gives as examples, but for keys: one that was used is good for nothing else."""
        for schema in document["components"]["schemas"].values():
            for name, described in schema.get("properties", {}).items():
                if not name.endswith("key") and not name.endswith("_id"):
                    self._values[name].extend(described.get("examples", ()))

    def reused(self, value: Any) -> Any:
        """Return a JSON value with some of its values replaced."""
        if isinstance(value, list):
            return [self.reused(each) for each in value]
        if not isinstance(value, dict):
            return _acceptable(value)
        return {_acceptable(name): self._instead(name, self.reused(inner)) for name, inner in value.items()}

    def _instead(self, name: str, generated: Any) -> Any:
        known = self._values.get(name)
        return self._random.choice(known) if known and self._random.random() < REUSED else generated


def _acceptable(value: Any) -> Any:
    """Return a value as the ledger would take it, where its document can't say so: names, instants and integers."""
    if isinstance(value, float) and value.is_integer():
        return int(value)  # to JSON Schema, 1.0 is an integer
    if not isinstance(value, str):
        return value
    if _INSTANT.match(value):
        return f"20{value[2:]}"
    return "".join(each for each in value if each.isprintable()).strip() or "x"


Before = Callable[[Any], None]
"""Is given each case before it is sent, and may change it."""
After = Callable[[Any, Any], None]
"""Is given each case and its response."""


STREAMS = r"^/v1/(live|runs/\{run_id\}/events)$"
"""The routes that have no end."""


def send_chains(
    url: str, headers: Mapping[str, str], known: Mapping[str, str], *, cases: int, number: int, before: Before,
    after: After,
) -> Answers:  # fmt: skip
    """Send at least so many generated requests, seeded with a number; end with the first chains that find a fault."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json").exclude(path_regex=STREAMS)
    schema.config.generation.update(with_security_parameters=False)
    answers, values = Answers(), Known(Random(number), known)
    values.learn_examples(schema.raw_schema)
    while answers.cases < cases and not answers.wrong:
        machine = _machine(schema, answers, values, dict(headers), before, after)
        run = settings(
            max_examples=max(1, min(CHAINS, (cases - answers.cases) // STEPS)), stateful_step_count=STEPS,
            deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        seed(number)(machine)
        with suppress(Flaky):  # the ledger changes meanwhile, so the same chain can end differently
            machine.run(settings=run)
        number += 1
    return answers


def _machine(
    schema: Any, answers: Answers, values: Known, headers: dict[str, str], before: Before, after: After
) -> Any:
    machine: Any = schema.as_state_machine()

    class Chains(machine):  # type: ignore[misc]
        """A chain of requests; what is wrong with their answers is gathered, so that it goes on."""

        def before_call(self, case: Any) -> None:
            before(case)

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": headers, "timeout": SECONDS}

        def after_call(self, response: Any, case: Any) -> None:
            super().after_call(response, case)
            answers.statuses[case.operation.label, response.status_code] += 1
            if "json" in response.headers.get("content-type", ["?"])[0]:
                values.learn(response.json())
            after(case, response)

        def step(self, input: Any) -> Any:  # noqa: A002 - the name that it is called by
            case, linked = input.case, input.transition is not None and input.is_applied
            if case.meta.generation.mode is GenerationMode.POSITIVE:
                case.query, case.body = values.reused(case.query), values.reused(case.body)
                if not linked:
                    case.path_parameters = values.reused(case.path_parameters)
            output = super().step(input)
            if linked and output.response.status_code < 300:
                answers.by_link[case.operation.label] += 1
            return output

        def validate_response(self, response: Any, case: Any, **options: Any) -> None:
            try:
                case.validate_response(response, checks=CHECKS, transport_kwargs=options)
            except FailureGroup as found:
                told = "; ".join(str(each) for each in found.exceptions)
                answers.wrong.append(f"{told}\n{case.as_curl_command()}\n{response.status_code} {response.text[:2000]}")

    def first_step(operation: Any) -> Any:
        cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in _MODES])

        def begin(self: Any, case: Any) -> Any:
            self.recorder.record_case(case=case)
            return self.step(StepInput.initial(case))

        return rule(target=Bundle("catch_all"), case=cases)(begin)

    operations = [found.ok() for found in schema.get_all_operations()]
    begins: dict[str, Any] = dict.fromkeys(machine.root_rules)  # these are among those that follow
    begins |= {f"begin_with_{number}": first_step(operation) for number, operation in enumerate(operations)}
    return type("Chains", (Chains,), begins)
