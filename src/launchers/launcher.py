"""Where the work is done: launcher=ray and address=, two words that the doors of training share."""

from src.core.errors import UsageError

HERE, OWN = None, "local"  # addresses: no Ray at all, and a Ray of this machine alone


def launcher_of(argv: list[str]) -> tuple[str | None, list[str]]:
    """The address of the Ray cluster that the words ask for (HERE without one), and all other words."""
    given = {key: [] for key in ("launcher", "address")}
    rest = []
    for word in argv:
        key, _, value = word.partition("=")
        given.get(key, rest).append(value if key in given else word)
    launchers, addresses = given["launcher"], given["address"]
    if len(launchers) > 1 or len(addresses) > 1:
        raise UsageError("launcher= and address= can each be given once")
    if launchers and launchers != ["ray"]:
        raise UsageError(f"launcher={launchers[0]}: there is ray; without launcher= the work is done on this machine")
    if addresses and not launchers:
        raise UsageError(f"address={addresses[0]} is the address of a Ray cluster: add launcher=ray")
    if addresses and not addresses[0]:
        raise UsageError("address=: write HOST:PORT, or auto for the cluster that runs on this machine")
    return (addresses[0] if addresses else OWN) if launchers else HERE, rest
