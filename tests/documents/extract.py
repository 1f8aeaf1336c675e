"""Prints one value of a JSON text, as `jq -r .rows[0].name` does."""

import json
import re
import sys


def main() -> int:
    """Read JSON from standard input and print what the path leads to."""
    value = json.load(sys.stdin)
    for name, position in re.findall(r"\.(\w+)|\[(\d+)\]", sys.argv[-1]):
        value = value[name] if name else value[int(position)]
    print(value if isinstance(value, str) else json.dumps(value))
    return 0


if __name__ == "__main__":
    sys.exit(main())
