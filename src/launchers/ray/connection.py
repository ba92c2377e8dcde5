"""The way to a Ray cluster. The one module that knows Ray, which is optional."""

import contextlib
import logging
import os
import secrets
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from src.core.errors import Problem
from src.core.paths import REPOSITORY, home
from src.launchers.launcher import OWN
from src.training.machine import cores

VERSION = "2.60.0"
REACH_SECONDS = 10
HANDED_ON = ("HF_HUB_OFFLINE", "OMP_NUM_THREADS")


@contextlib.contextmanager
def connected(address: str) -> Iterator[ModuleType]:
    """Ray itself, joined to the cluster at `address`, or one of this machine alone. Raises Problem if it fails."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is told to anybody
    identify(address)
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError:
        raise Problem(
            f"launcher=ray needs Ray, which is not installed here: pip install ray=={VERSION}, on every node; or leave "
            f"launcher= out to train on this machine",
            code="ray-not-installed",
        ) from None
    names = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    names |= {"PODIUM_HOME": str(home()), "PYTHONPATH": str(REPOSITORY), "RAY_USAGE_STATS_ENABLED": "0"}
    options = {"log_to_driver": False, "logging_level": logging.ERROR, "runtime_env": {"env_vars": names}}
    own = {"num_cpus": cores(), "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    before = signal.getsignal(signal.SIGTERM)
    try:
        _reach(address)
        ray.init(address=address, **options, **(own if address == OWN else {}))
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        raise Problem(
            f"address={address}: no Ray cluster answers there ({_short(error)}): begin one with `ray start --head` and "
            f"give the address that it tells; if it wants a token, bring it as ~/.ray/auth_token",
            code="no-cluster",
        ) from None
    try:
        signal.signal(signal.SIGTERM, before)  # Ray's own handler would end this process at once
        yield ray
    finally:
        ray.shutdown()


def identify(address: str) -> None:
    """Show a cluster the token that this user has, if any, as `ray start` does; for an address Ray leaves it out.

    A Ray of this machine alone gets a token of its own, where Ray would leave one in the home folder for all later
    clusters. To be called before Ray is loaded.
    """
    if "RAY_AUTH_MODE" in os.environ:
        return
    if address == OWN:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if named or (Path.home() / ".ray" / "auth_token").exists():
        os.environ["RAY_AUTH_MODE"] = "token"


def _reach(address: str) -> None:
    """Ray itself would try a wrong address for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=REACH_SECONDS).close()


def _short(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
