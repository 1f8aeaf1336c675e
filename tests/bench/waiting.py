"""A program in whose spool events wait for a service that is away: it prints its largest size, in MB."""

import sys
from pathlib import Path

import httpx2
from token_ledger_sdk import TokenLedger, Usage


def main(events: int, spool: str) -> None:
    """Let so many events wait, and print the size."""

    def away(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("away")

    transport = httpx2.MockTransport(away)
    ledger = TokenLedger("http://ledger.test", "tl_test_1_secret", transport=transport, max_retries=0, spool=spool)
    run = ledger.attach("1")
    for _ in range(events):
        run.track_usage(Usage(500, 100), agent_type="data_agent", provider="openai", model="gpt-5.4-mini")
    assert ledger._sender.outbox.spool.waiting == events
    # What `getrusage` calls the largest size may be that of the program that started this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    print(int(status.partition("VmHWM:")[2].split()[0]) / 1_024)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
