"""A process of agents that tests kill: `python -m tests.faults.agent NUMBER JOURNAL`, with the SDK's variables set.

Half of its agents draw from leases, half have a hold for each call. Each writes the id of a response down once the
guarded call has returned it: from then on it must be booked, whatever dies. Once its input is closed, the process ends.
"""

import itertools
import os
import sys
import threading
from pathlib import Path

import httpx2
from openai import OpenAI
from token_ledger_sdk import BudgetExceeded, LedgerError, TokenLedger

AGENTS = 4
LEASED = 1
"""The agent of each process that draws from leases of a stated size, from its first call on."""
LEASE_CALLS = 1_000
CALL_SECONDS = 0.01
"""A provider takes time. Without it, agents would use up a lease before the next one is granted on a busy machine, and
none of them would go on while the service is away."""
POOR = "poor"
"""The user whose budget ends; of each process one agent calls for them until it is denied."""
DENIED = "denied"
MODEL = "gpt-5.4-mini"


def provider(name: str) -> httpx2.MockTransport:
    """Return a provider whose answers have ids of their own, which begin with a name."""
    numbers = itertools.count()

    def answer(request: httpx2.Request) -> httpx2.Response:
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "London"}}
        usage = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}
        body = {"id": f"{name}-{next(numbers)}", "object": "chat.completion", "created": 1, "model": MODEL}
        return httpx2.Response(200, json={**body, "choices": [choice], "usage": usage})

    return httpx2.MockTransport(answer)


def work(ledger: TokenLedger, name: str, place: int, journal: int, ended: threading.Event) -> None:
    """Make one guarded call after the other, and write down what was answered."""
    user = POOR if place == 0 else f"user-{place}"
    inner = OpenAI(
        base_url="http://provider.test/v1", api_key="sk", http_client=httpx2.Client(transport=provider(name))
    )
    client = ledger.wrap(inner, agent_type="data_agent", lease_calls=(0, LEASE_CALLS, None)[place % 3])
    while not ended.wait(CALL_SECONDS):
        try:
            with ledger.context(user=user):
                answer = client.chat.completions.create(
                    model=MODEL,
                    messages=[{"role": "user", "content": "What is the capital of the UK?"}],
                    max_completion_tokens=20,
                )
        except BudgetExceeded:
            os.write(journal, f"{DENIED}\n".encode())
            user = "user-0"
        except LedgerError:
            continue  # the service is away, and nothing was called
        else:
            os.write(journal, f"{answer.id}\n".encode())


def main(number: str, path: Path) -> None:
    """Run the agents until the input is closed, or somebody kills them."""
    journal = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    ended = threading.Event()
    with TokenLedger() as ledger:
        agents = [
            threading.Thread(target=work, args=(ledger, f"{number}-{place}", place, journal, ended), daemon=True)
            for place in range(AGENTS)
        ]
        for agent in agents:
            agent.start()
        sys.stdin.read()
        ended.set()
        for agent in agents:
            agent.join()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
