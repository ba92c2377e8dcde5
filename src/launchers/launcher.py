"""Where the work is done: launcher=ray and address=, two words that training and sweeps share."""

from src.core.cli import Command
from src.core.errors import UsageError

HERE, OWN = None, "local"  # addresses: no Ray at all, and a Ray of this machine alone


def add_launcher(command: Command, what: str) -> None:
    command.key("launcher=ray", f"{what} on a node of a Ray cluster")
    command.key("address=HOST:PORT", "of the cluster, or auto; without it Ray runs on this machine alone")


def launcher_of(keys: dict[str, str]) -> tuple[str | None, dict[str, str]]:
    """The address of the Ray cluster that the words ask for (HERE without one), and all other words."""
    rest = {key: value for key, value in keys.items() if key not in ("launcher", "address")}
    launcher, address = keys.get("launcher"), keys.get("address")
    if launcher not in (None, "ray"):
        raise UsageError(
            f"launcher={launcher}: there is ray; without launcher= the work is done on this machine",
            code="unknown-launcher",
        )
    if address and not launcher:
        raise UsageError(f"address={address} is the address of a Ray cluster: add launcher=ray", code="no-launcher")
    return (address or OWN) if launcher else HERE, rest
