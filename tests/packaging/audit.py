"""Asks a database of vulnerabilities about every pinned package: `python -m tests.packaging.audit`, in `make check`.

A package that is known to be vulnerable fails the check, with the version to take. Without a network the packages are
not audited, which is said and is no failure: whoever can't ask can't do anything about it either.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
PINS: Final = ("requirements/dev.txt", "requirements/service.txt", "requirements/uv.txt")
APART: Final = "requirements/litellm.txt"
"""Pins of another environment: versions of a package may differ there, so they are asked about by themselves."""
CONNECT_SECONDS: Final = 5
"""How long one question may go unanswered."""
AUDIT_SECONDS: Final = 120
"""How long all questions may take; there is one for each package."""
_UNREACHABLE: Final = ("requests.exceptions.", "urllib3.exceptions.", "ServiceError", "vulnerability feed")
"""What pip-audit's errors have in them when the database of vulnerabilities can't be asked, and no others do."""


class NotAudited(Exception):
    """The database of vulnerabilities could not be asked."""


def vulnerabilities(pins: Sequence[Path], database: str | None) -> list[str]:
    """Return a line for each vulnerability of a pinned package; raises NotAudited, and RuntimeError for bad pins.

    `database` is the address of another database that speaks the protocol of osv.dev.
    """
    command = [
        sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", "--format", "json", "--disable-pip",
        "--require-hashes", "--progress-spinner", "off", "--timeout", str(CONNECT_SECONDS),
    ]  # fmt: skip
    command += [part for path in pins for part in ("--requirement", str(path))]
    command += [] if database is None else ["--osv-url", database]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=AUDIT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotAudited(f"it took longer than {AUDIT_SECONDS} s") from None
    if not done.stdout.strip():
        told = done.stderr.strip().rsplit("\n", 1)[-1][:160]
        if any(each in done.stderr for each in _UNREACHABLE):
            raise NotAudited(told)
        raise RuntimeError(f"pip-audit could not read the pins: {told}")
    return [_line(each, known) for each in _dependencies(done.stdout) for known in each.get("vulns", [])]


def _dependencies(report: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(report)["dependencies"]
    unknown = [each["name"] for each in found if "skip_reason" in each]
    if unknown:
        raise NotAudited(f"the database does not answer for {len(unknown)} packages, such as {unknown[0]}")
    if not found:
        raise RuntimeError("pip-audit found no pins in the files")
    return found


def _line(package: dict[str, Any], known: dict[str, Any]) -> str:
    fixed = ", ".join(known["fix_versions"])
    advice = f"upgrade to {fixed}" if fixed else "no fixed version is known; see whether it can be done without"
    return f"{package['name']} {package['version']} is vulnerable, {known['id']}: {advice}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit the pins and print what was found; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", help="address of another database that speaks the protocol of osv.dev")
    parser.add_argument("pins", nargs="*", type=Path)
    options = parser.parse_args(arguments)
    try:
        environments = [options.pins] if options.pins else [[ROOT / each for each in PINS], [ROOT / APART]]
        found = [line for pins in environments for line in vulnerabilities(pins, options.database)]
    except NotAudited as error:
        print(f"dependencies: not audited, because the database of vulnerabilities can't be asked ({error})")
        return 0
    except RuntimeError as error:
        print(f"dependencies: {error}")
        return 1
    for line in found:
        print(f"dependencies: {line}")
    if found:
        print("dependencies: raise the lower bound in pyproject.toml where it helps, then run `make pins`")
    else:
        print("dependencies: no known vulnerability")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
