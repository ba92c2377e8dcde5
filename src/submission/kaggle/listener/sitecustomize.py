"""Listens inside the kaggle command, and changes nothing in it.

The command drops what Kaggle's server says about a refusal or a failed scoring. Python imports a module of this
name by itself when it starts, so with this folder first in PYTHONPATH the unmodified command runs and a few fields
of each answer are noted in the file $PODIUM_KAGGLE_ANSWERS, one JSON object a line: first {"method": ...} when a
question goes out, then the same with "status" when its answer comes; {"method": "file"} is the file behind a
download. {"upload_attempt": n} tells that an upload broke off and is sent for the n-th time. Requests, headers and
the addresses of files, where credentials travel, are never noted.
"""

import contextlib
import functools
import importlib.util
import json
import os
import re
import sys
from importlib.machinery import PathFinder
from typing import Any

SERVICES = re.compile(r"/(?:competitions\.Competition|datasets\.Dataset|kernels\.Kernels|blobs\.Blob)ApiService/")
FIELDS = {
    *("error", "code", "message", "ref", "submissions", "errorDescription", "nextPageToken"),
    *("competitions", "userHasEntered", "submissionsDisabled", "isKernelsSubmissionsOnly", "maxDailySubmissions"),
    *("metadata", "currentVersionNumber", "versionNumber"),
}


def kept(answer: Any) -> Any:
    """The fields of an answer that explain something, and no others."""
    if isinstance(answer, dict):
        return {key: kept(value) for key, value in answer.items() if key in FIELDS}
    if isinstance(answer, list):
        return [kept(item) for item in answer]
    return answer


def listen(notes: str) -> None:
    import requests
    from urllib3.util.retry import Retry

    send, increment = requests.Session.send, Retry.increment

    def note(**fields: Any) -> None:
        with contextlib.suppress(OSError), open(notes, "a", encoding="utf-8") as file:
            file.write(json.dumps(fields) + "\n")

    @functools.wraps(send)
    def heard(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        _, *method = SERVICES.split(request.url or "", maxsplit=1)
        streamed = bool(options.get("stream"))
        if not method and not (streamed and request.method == "GET"):
            return send(session, request, **options)
        method = method or ["file"]
        note(method=method[0])
        response = send(session, request, **options)
        try:
            # The body of a file is for the command alone; that of a refusal is short.
            answer = None if streamed and response.ok else kept(response.json())
        except ValueError:
            answer = None
        pause = response.headers.get("Retry-After", "")
        note(method=method[0], status=response.status_code, retry_after=pause, answer=answer)
        return response

    @functools.wraps(increment)
    def counted(retry: Retry, method: str | None = None, *args: Any, **options: Any) -> Retry:
        following = increment(retry, method, *args, **options)
        if method == "PUT":
            note(upload_attempt=len(following.history) + 1)
        return following

    requests.Session.send, Retry.increment = heard, counted


def give_way(here: str) -> None:
    """Load the sitecustomize that this one hides: a distribution or a coverage tool may have its own."""
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder or ".") != here]
    hidden = PathFinder.find_spec("sitecustomize", sys.path)
    if hidden and hidden.loader:
        hidden.loader.exec_module(importlib.util.module_from_spec(hidden))


with contextlib.suppress(Exception):
    # Whatever goes wrong here, the command itself must run: its reasons are then looked up with other questions.
    give_way(os.path.dirname(os.path.abspath(__file__)))
if "PODIUM_KAGGLE_ANSWERS" in os.environ:
    with contextlib.suppress(Exception):
        listen(os.environ["PODIUM_KAGGLE_ANSWERS"])
