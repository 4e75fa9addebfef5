"""`axiomd ...` as a process of its own, without a second of imports each time.

A server process imports the command line once. For each command it forks, and the fork is what `axiomd` would be: its
own words, environment, folder, output and exit status.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LONGEST_REQUEST = 1_000_000


def axiomd(
    *words: str, env: Mapping[str, str] | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `axiomd WORDS`; its exit status and what it wrote."""
    request = {"words": words, "env": dict(os.environ if env is None else env), "folder": str(folder or Path.cwd())}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, socket.socket(socket.AF_UNIX) as client:
        client.connect(_server())
        socket.send_fds(client, [json.dumps(request).encode()], [out.fileno(), err.fileno()])
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(64)
        assert answer, "the server of commands is gone"
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode())
    return subprocess.CompletedProcess(["axiomd", *words], int(answer), *said)


@functools.cache
def _server() -> str:
    """Start the server; the address of its socket."""
    # It ends when its standard input does, that is with this process, however that ends.
    process = subprocess.Popen([sys.executable, "-m", "tests.command"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    atexit.register(process.communicate)
    assert process.stdout
    return str(process.stdout.readline().decode().strip())


def serve() -> None:
    """Take commands until standard input ends."""
    from axiomd import cli  # noqa: PLC0415 - this is what takes the time

    with tempfile.TemporaryDirectory(prefix="axiomd-") as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/socket")
        server.listen(64)
        print(f"{folder}/socket", flush=True)  # noqa: T201 - to whoever started it
        while sys.stdin not in select.select([server, sys.stdin], [], [])[0]:
            client, _ = server.accept()
            if os.fork() == 0:
                server.close()
                _attend(client, cli)
            client.close()
            _bury()


def _attend(client: socket.socket, cli: Any) -> None:
    """Have one command run, and say how it ended; never returns."""
    data, fds, _, _ = socket.recv_fds(client, LONGEST_REQUEST, 2)
    while part := client.recv(LONGEST_REQUEST):
        data += part
    pid = os.fork()
    if pid == 0:
        client.close()
        _become(json.loads(data), fds, cli)
    _, status = os.waitpid(pid, 0)
    client.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become(request: Mapping[str, Any], fds: Sequence[int], cli: Any) -> None:
    """Be the command; never returns."""
    for number, fd in enumerate(fds, start=1):
        os.dup2(fd, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = ["axiomd", *request["words"]]
    status = 0
    try:
        cli.main()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter itself would end
        traceback.print_exc()
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _bury() -> None:
    """Take note of attendants that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    serve()
