"""``ovl1 serve``: Docker's graphdriver plugin."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, Iterator, Optional

import click

from ovl1.cli import output
from ovl1.cli.context import Context, examples, json_option
from ovl1.driver.common import RUNTIME
from ovl1.errors import NotPossibleHere, WrongUsage
from ovl1.plugin.calls import Call, Metrics, Watcher
from ovl1.plugin.handlers import Plugin
from ovl1.plugin.listening import inherited, listening
from ovl1.plugin.protocol import described
from ovl1.plugin.web import Exchange, MetricsSite, PluginSite
from ovl1.store.discovery import DRIVERS
from ovl1.store.layout import OVERLAY, OVERLAY2

_SOCKET = "/run/docker/plugins/ovl1.sock"
_LAYOUTS = {"overlay1": OVERLAY, "overlay2": OVERLAY2}
_FIRST_FD = 3  # sd_listen_fds(3)


@click.command(
    short_help="Be Docker's storage driver (graphdriver plugin).",
    epilog=examples(
        "ovl1 serve &",
        "dockerd --experimental -s ovl1",
        "ovl1 -v serve --socket /run/docker/plugins/mine.sock --metrics 127.0.0.1:9324",
    ),
)
@click.option(
    "--socket",
    "path",
    metavar="PATH",
    default=_SOCKET,
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where Docker finds it; the name without .sock is the storage driver's. Ignored if "
    "systemd passes a socket.",
)
@click.option(
    "--layout",
    type=click.Choice([*_LAYOUTS]),
    default="overlay1",
    show_default=True,
    help="Of the layers.",
)
@click.option("--metrics", metavar="HOST:PORT", help="Where Prometheus finds /metrics.")
@click.option(
    "--no-sync",
    is_flag=True,
    help="Do not wait until an image's layer is on the disk, as Docker's own drivers do not: after "
    "a power cut the last ones may lack content.",
)
@click.option(
    "--owner-names",
    is_flag=True,
    help="Write the host's names of users and groups into layers, as Debian's docker.io does; "
    "Docker's own releases write none.",
)
@click.option(
    "--state",
    metavar="DIR",
    default=str(RUNTIME),
    show_default=True,
    type=click.Path(path_type=Path),
    help="For what must outlive this process, but not a reboot.",
)
@json_option
@click.pass_obj
def command(
    context: Context,
    *,
    path: Path,
    layout: str,
    metrics: Optional[str],
    no_sync: bool,
    owner_names: bool,
    state: Path,
) -> None:
    """Answer as Docker's storage driver until it is told to end (SIGTERM).

    Docker 1.13 to 26 takes it with --experimental -s NAME, 27 also needs the environment variable
    DOCKERD_DEPRECATED_GRAPHDRIVER_PLUGINS=1, 28 has no such plugins any more. It must be started
    before Docker, and in the same mount namespace. Mounts stay when it ends; it may be restarted
    while containers run.

    With -v each call is a line on standard error, with --json an object; without, only those that
    failed. Beside --metrics, GET /metrics on the socket itself tells the counters.
    """
    counters = Metrics()
    with contextlib.ExitStack() as stack:
        stopping = stack.enter_context(_stopped_by_signals())
        listener = _activated() or stack.enter_context(listening(_checked(path.absolute())))
        path = Path(os.fsdecode(listener.getsockname()))
        plugin = stack.enter_context(
            Plugin(
                _LAYOUTS[layout],
                path,
                failed=_complain,
                state=state,
                sync=not no_sync,
                owner_names=owner_names,
            )
        )
        site = PluginSite(plugin, counters, _watcher(context))
        if metrics:
            stack.enter_context(_serving(_bound(metrics), MetricsSite(counters)))
        stack.enter_context(_serving(listener, site))
        _tell_systemd("READY=1")
        if not context.quiet and not context.as_json:
            output.remark(f"ovl1: serving {layout} at {path}")
        stopping.wait()
        _tell_systemd("STOPPING=1")


def _serving(sock: socket.socket, site: Callable[[Exchange], None]) -> ContextManager[None]:
    try:
        from ovl1.plugin.server import serving
    except ImportError as err:
        raise NotPossibleHere(
            f"the plugin needs a library that is not installed: {err.name}",
            resolution="pip install 'ovl1[plugin]'",
        ) from err
    return serving(sock, site, failed=lambda text: output.remark(f"ovl1: {text}"))


def _checked(path: Path) -> Path:
    """A socket that Docker will find, and ask."""
    if path.suffix != ".sock":
        raise WrongUsage(f"{path}: Docker looks for sockets whose names end in .sock")
    if path.stem in DRIVERS:
        raise WrongUsage(
            f"{path}: Docker has a driver {path.stem} of its own, and would not ask this one",
            resolution="Give the socket another name.",
        )
    return path


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """An event that the first SIGTERM or SIGINT sets; the second one ends the process as usual."""
    stopping = threading.Event()
    before: Dict[int, Any] = {}

    def stop(number: int, _frame: object) -> None:
        stopping.set()
        signal.signal(number, before[number])

    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.signal(number, stop)
    try:
        yield stopping
    finally:
        for changed, handler in before.items():
            signal.signal(changed, handler)


def _watcher(context: Context) -> Watcher:
    def watch(call: Call) -> None:
        if not call.error and context.verbosity <= 0:
            return
        if context.as_json:
            click.echo(json.dumps(vars(call), sort_keys=True), err=True)
        else:
            output.remark(f"ovl1: {call.line}")

    return watch


def _complain(error: BaseException) -> None:
    output.remark(f"ovl1: {described(error)}")


def _bound(address: str) -> socket.socket:
    """A TCP socket for the metrics, which cheroot listens at."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 0xFFFF:
        raise WrongUsage(f"--metrics takes HOST:PORT, not {address!r}")
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=_family(host))
    except OSError as err:
        raise NotPossibleHere(f"cannot listen at {address}: {err.strerror}") from err


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _activated() -> Optional[socket.socket]:
    """The socket that systemd passes (sd_listen_fds(3)), if it does."""
    pid, number = (os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS"))
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or number in ("", "0"):
        return None
    if number != "1":
        raise WrongUsage(f"systemd passes {number} sockets; there must be one")
    return inherited(_FIRST_FD)


def _tell_systemd(message: str) -> None:
    """See sd_notify(3); nothing happens without systemd."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if place:
        address = "\0" + place[1:] if place.startswith("@") else place
        with contextlib.suppress(OSError), socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM
        ) as notifier:
            notifier.sendto(message.encode(), address)
