"""Why Kaggle could not be asked at all: no command, no credentials, no connection. Each with what to do."""

import os
import re
from pathlib import Path

from src.submission.kaggle import command
from src.submission.kaggle.command import Call

ACCOUNT = "https://www.kaggle.com/settings/api"


def no_credentials(call: Call) -> tuple[str, str] | None:
    refused = call.status == 401 or "Invalid credentials!" in call.out
    if not (refused or "Authentication required" in call.out):
        return None
    log_in = f"`{command.command()} auth login`"
    places = credentials()
    if places:
        return (
            f"Kaggle does not accept your credentials from {places[0]}: they are expired, withdrawn or misspelt.",
            f"Make a new token at {ACCOUNT} and put it there; or remove {' and '.join(places)}, and use {log_in}.",
        )
    if refused:
        return "Kaggle does not accept your login any more.", f"Log in again with {log_in}."
    return (
        "Kaggle does not know who you are: no credentials were found.",
        f"Log in with {log_in}, or put a token from {ACCOUNT} into ~/.kaggle/access_token.",
    )


def credentials() -> list[str]:
    """The places that hold credentials, in the command's order. Only their existence is looked at."""
    home = Path("~/.kaggle").expanduser()
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()) / "kaggle"
    configured = os.environ.get("KAGGLE_CONFIG_DIR")
    folder = Path(configured) if configured else (home if home.exists() else settings)
    files = [home / "access_token", home / "access_token.txt", folder / "kaggle.json", home / "credentials.json"]
    pair = ("KAGGLE_USERNAME", "KAGGLE_KEY")
    places = ["KAGGLE_API_TOKEN"] if os.environ.get("KAGGLE_API_TOKEN") else []
    places += [" and ".join(pair)] if all(os.environ.get(name) for name in pair) else []
    return places + [str(file) for file in files if file.is_file()]


def no_command(call: Call) -> tuple[str, str] | None:
    missing = re.search(r"ModuleNotFoundError: No module named '([\w.]+)'", call.err)
    if not missing:
        return None
    return (
        f"the kaggle command does not start: its package {missing[1]} is missing.",
        f"Install it: {command.command().parent / 'python'} -m pip install {missing[1].split('.')[0]}",
    )


def no_answer(call: Call) -> tuple[str, str] | None:
    if not call.lost:
        return None
    causes = {
        r"CERTIFICATE|SSLError": "its certificate is not accepted (a wrong clock, or a proxy that opens connections)",
        r"NameResolution|Name or service|name resolution|getaddrinfo": "its address is not found",
        r"Connection refused": "the connection was refused",
        r"RemoteDisconnected|Connection aborted|Connection reset|IncompleteRead": "the connection was dropped",
        r"timed out|Timeout": "no answer came in time",
    }
    shown = call.out + call.err
    cause = next((text for words, text in causes.items() if re.search(words, shown)), "there is no connection")
    proxies = [name for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy") if os.environ.get(name)]
    hint = f" It goes through a proxy: {', '.join(proxies)}." if proxies else ""
    return (
        f"Kaggle cannot be reached: {'no answer came in time' if call.exit is None else cause}.",
        f"Look at your network connection, and give the same command again.{hint}",
    )
