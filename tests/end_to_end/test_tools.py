"""What the Makefile calls before anything else: it says what is missing, and installs only as root or through sudo."""

from __future__ import annotations

import subprocess
from pathlib import Path

TOOLS = Path(__file__).parents[2] / "tools"


def run(*words: str, path: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", str(TOOLS / words[0]), *words[1:]]
    return subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=False)


def test_without_root_or_sudo_the_missing_packages_are_named() -> None:
    # On an empty PATH there is no `id` to say that this is root, and no sudo.
    done = run("apt-install", "mariadb-server-core", "mariadb-client-core", path="/nonexistent")
    assert done.returncode == 2
    assert "sudo apt-get install --no-install-recommends mariadb-server-core mariadb-client-core" in done.stderr


def test_nothing_is_installed_when_nothing_is_missing() -> None:
    done = run("need-programs", "sh", "cat", path="/usr/bin:/bin")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_program_without_a_package_is_refused() -> None:
    done = run("need-programs", "no-such-program", path="/usr/bin:/bin")
    assert done.returncode == 2
    assert "no package is known for 'no-such-program'" in done.stderr
