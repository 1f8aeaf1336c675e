"""The start of `serve`: a port in use is one line, and nothing of the web server's own is said."""

import asyncio
import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.faults.processes import COMMAND, ServiceProcess, free_port


@pytest.mark.parametrize(("taken", "setting"), [(0, "--port"), (1, "TOKEN_LEDGER_METRICS_PORT")])
def test_a_port_in_use_is_one_line_before_anything_is_started(taken: int, setting: str, tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port + taken)):
        arguments = [str(COMMAND), "serve", "--port", str(port), "--data-dir", str(tmp_path / "data")]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TOKEN_LEDGER_")}
        done = subprocess.run(arguments, env=inherited, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    in_use = f"token-ledger: port {port + taken} of 127.0.0.1 is in use; stop what listens there, "
    assert done.stderr == f"{in_use}or set {setting} to another\n"
    assert not (tmp_path / "data").exists()


async def test_a_start_and_a_stop_say_where_it_listens_and_nothing_of_the_web_server(
    database_url: str, tmp_path: Path
) -> None:
    service = ServiceProcess(database_url, tmp_path, {}).start()
    try:
        await service.ready()
        await service.logs(f"Token Ledger listens on {service.url}")
        service.terminate()
        assert await service.exit_status(60) == 0
    finally:
        service.end()
    said = (await asyncio.to_thread(service.log.read_text)).splitlines()
    assert f"Token Ledger listens on {service.url} (documentation: {service.url}/docs)" in said
    assert [line for line in said if "uvicorn" in line or "startup" in line or "process [" in line] == []
