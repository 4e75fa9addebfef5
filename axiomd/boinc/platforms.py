"""What a host runs, read off what its client says of its operating system (host.os_name)."""

from __future__ import annotations

from axiomd.events import Platform


def platform_of(os_name: str) -> Platform:
    """Tell Windows, Linux and macOS apart; anything else is OTHER. The text is a claim, and only compared."""
    said = os_name.lower()
    if "windows" in said:
        return Platform.WINDOWS
    if "darwin" in said or "mac os" in said or "macos" in said:
        return Platform.MAC
    return Platform.LINUX if "linux" in said else Platform.OTHER
