"""Nothing leaves this machine: a network with loopback alone, and a list of who was asked for.

Two guards, and a test says which of them held:

* ``enter_loopback_only``: this process and all that it starts get a network namespace whose only
  interface is loopback. Nothing can leave. Linux grants it to root, and to others on some systems.
* ``watch``: Python tells audit hooks of every address that is connected to and every name that is
  looked up, and libraries in C (GDAL) are led to a proxy on loopback that writes down and refuses
  whatever is not on this machine.
"""

from __future__ import annotations

import ctypes
import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1

_HOOK = """
import os
import sys


def _note(event, arguments, log=os.environ.get("CROSSVIEW_WATCHED", "")):
    if event == "socket.connect":
        told = arguments[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        told = arguments[0]
    else:
        return
    asked = told[0] if isinstance(told, tuple) else told
    asked = asked.decode(errors="replace") if isinstance(asked, bytes) else str(asked)
    where = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(where, f"{event} {asked}\\n".encode())
    finally:
        os.close(where)


if os.environ.get("CROSSVIEW_WATCHED"):
    sys.addaudithook(_note)
"""


def enter_loopback_only() -> str:
    """Why it could not be done; empty where this process has a network of its own from now on."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWNET if user == 0 else _CLONE_NEWUSER | _CLONE_NEWNET):
        return os.strerror(ctypes.get_errno())
    try:
        if user:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
            request = struct.pack("16sh14x", b"lo", 0)
            (flags,) = struct.unpack("16xh14x", fcntl.ioctl(handle, _SIOCGIFFLAGS, request))
            fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
    except OSError as problem:
        raise RuntimeError(f"the new network has no loopback: {problem}") from problem
    return ""


def list_interfaces() -> list[str]:
    """The network interfaces that this process sees."""
    return [name for _, name in socket.if_nameindex()]


def watch(folder: Path, proxy: str) -> dict[str, str]:
    """What to add to a program's environment; ``folder/asked.txt`` then lists who it asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_HOOK)
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"), proxy)
    inherited = os.environ.get("PYTHONPATH", "")
    return {
        **proxies,
        "no_proxy": "127.0.0.1,localhost",
        "NO_PROXY": "127.0.0.1,localhost",
        "CROSSVIEW_WATCHED": str(folder / "asked.txt"),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), inherited))),
    }


def list_strangers(folder: Path) -> Iterator[str]:
    """Lines of ``asked.txt`` that name anything but this machine."""
    asked = folder / "asked.txt"
    for line in asked.read_text().splitlines() if asked.exists() else ():
        _, _, name = line.partition(" ")
        if not (name in ("localhost", "", "None") or name.startswith("/") or _is_loopback(name)):
            yield line


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False
