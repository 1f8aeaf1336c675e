"""Sends a request as curl would with these arguments, prints the answer, and notes its status."""

import os
import sys
import urllib.error
import urllib.request


def main() -> int:
    """Send one request: an address, `-X` with a method, `-d` with a body."""
    given = iter(sys.argv[1:])
    method, body, address = None, None, ""
    for argument in given:
        if argument == "-X":
            method = next(given)
        elif argument == "-d":
            body = next(given).encode()
        else:
            address = argument
    headers = {"Authorization": f"Bearer {os.environ['KEY']}", "Content-Type": "application/json"}
    request = urllib.request.Request(address, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        status, text = refused.code, refused.read().decode()
    with open(os.environ["STATUSES"], "a") as statuses:
        statuses.write(f"{status}\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
