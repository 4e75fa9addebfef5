"""What the Makefile calls before anything else: it says what is missing, and installs only as root or through sudo.

What would start a service is never installed, but unpacked.
"""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

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


# Programs of packages that would start a service are unpacked. apt-get is a stand-in here; the packages are real ones.

APT_GET = """\
#!/bin/sh
echo "$*" >>"{folder}/calls"
case "$*" in
    *--simulate*) printf 'Inst %s (1 Debian)\\n' mosquitto libgreeting1 libjs-jquery adduser ;;
    *download*)
        while [ "$1" != download ]; do shift; done; shift
        for name in "$@"; do cp "{folder}/$name.deb" . || exit; done ;;
    *) exit 100 ;;
esac
"""
BROKER = """\
#!/bin/sh
echo "broker $*, greeted by $(cat "$LD_LIBRARY_PATH/libgreeting.so.1")"
"""


def package(folder: Path, name: str, path: str, content: str) -> None:
    """Build <folder>/<name>.deb with one file, and a script that must never run."""
    root = folder / f"{name}.root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / path).parent.mkdir(parents=True)
    (root / path).write_text(content)
    (root / path).chmod(0o755)
    (root / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: test\n"
    )
    (root / "DEBIAN/postinst").write_text("#!/bin/sh\nexit 1\n")
    (root / "DEBIAN/postinst").chmod(0o755)
    subprocess.run(["dpkg-deb", "--build", str(root), str(folder / f"{name}.deb")], check=True, capture_output=True)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder with this repository's tools, a stand-in for apt-get, and two packages of its own."""
    shutil.copytree(TOOLS, tmp_path / "repository" / "tools")
    (tmp_path / "bin").mkdir()
    for name, script in (("apt-get", APT_GET.format(folder=tmp_path)), ("sudo", "#!/bin/sh\nexit 1\n")):
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    package(tmp_path, "mosquitto", "usr/sbin/mosquitto_passwd", BROKER)
    package(tmp_path, "libgreeting1", "usr/lib/x86_64-linux-gnu/libgreeting.so.1", "a library")
    return tmp_path


def need(machine: Path, *programs: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", str(machine / "repository" / "tools" / "need-programs"), *programs]
    path = f"{machine / 'bin'}:/usr/bin:/bin"
    return subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=False)


def calls(machine: Path) -> list[str]:
    return (machine / "calls").read_text().splitlines() if (machine / "calls").exists() else []


def unpacked(machine: Path) -> str:
    program = machine / "repository" / ".tools" / "bin" / "mosquitto_passwd"
    return subprocess.run([str(program), "-U", "file"], capture_output=True, text=True, check=True).stdout


def test_a_service_is_unpacked_with_the_libraries_that_are_missing_and_never_installed(machine: Path) -> None:
    done = need(machine, "mosquitto_passwd")
    assert done.returncode == 0, done.stderr
    assert unpacked(machine) == "broker -U file, greeted by a library\n"
    assert sum("install" in call for call in calls(machine)) == 1  # the simulation
    assert all("--simulate" in call for call in calls(machine) if "install" in call)
    assert [call.split("download ")[1] for call in calls(machine) if "download" in call] == ["mosquitto libgreeting1"]

    before = calls(machine)
    again = need(machine, "mosquitto_passwd")
    assert (again.returncode, again.stdout, again.stderr, calls(machine)) == (0, "", "", before)


def test_an_unpacking_that_broke_off_is_made_again(machine: Path) -> None:
    half = machine / "repository" / ".tools" / "new" / "usr" / "sbin"
    half.mkdir(parents=True)
    (half / "mosquitto_passwd").write_text("#!/bin/sh\necho half of it\n")
    (machine / "repository" / ".tools" / "bin").mkdir()
    (machine / "repository" / ".tools" / "bin" / "new").write_text("half of it")
    assert need(machine, "mosquitto_passwd").returncode == 0
    assert unpacked(machine) == "broker -U file, greeted by a library\n"
    assert {path.name for path in (machine / "repository" / ".tools").iterdir()} == {"bin", "lock", "mosquitto"}


def test_two_that_run_at_once_unpack_once(machine: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(need, machine, "mosquitto_passwd") for _ in range(2)]
    assert [one.result().returncode for one in both] == [0, 0]
    assert unpacked(machine) == "broker -U file, greeted by a library\n"
    assert sum("download" in call for call in calls(machine)) == 1


def test_a_package_that_cannot_be_had_is_named(machine: Path) -> None:
    (machine / "mosquitto.deb").unlink()
    done = need(machine, "mosquitto_passwd")
    assert done.returncode == 2
    assert "sudo apt-get install mosquitto (this starts a server)" in done.stderr.splitlines()[-1]
    assert not (machine / "repository" / ".tools" / "bin" / "mosquitto_passwd").exists()
