"""A small Kaggle on loopback: it speaks the protocol of the real kaggle command, stores uploads and scores them, and
serves a competition's files. Datasets and notebooks: see kaggle_hosting.py.

It is reached as a proxy, which the unmodified command takes from its environment (`environment`). Faults are
switched on per method with `fault`, in the order in which they shall happen.
"""

import base64
import contextlib
import csv
import hashlib
import io
import json
import re
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from tests.kaggle_hosting import Hosting

USER, KEY, TOKEN = "tester", "0123456789abcdef0123456789abcdef", "KGAT_fedcba9876543210fedcba9876543210"
API = re.compile(r"/api/v1/(competitions\.Competition|datasets\.Dataset|kernels\.Kernels|blobs\.Blob)ApiService/")
FILES, OUTPUTS = "/files/", "/outputs/"
INTROSPECT = "/api/v1/security.OAuthService/IntrospectToken"


@dataclass
class Fault:
    """What goes wrong with one call. `status` answers an error; `drop` closes the connection: "before" the call is
    carried out, "after" it, or "mid" way through the body; `slow` seconds pass before it is carried out; with `held`
    it waits until the test opens the server's gate, a file half-way through."""

    status: int = 0
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    drop: str = ""
    slow: float = 0.0
    held: bool = False


@dataclass
class Competition:
    slug: str
    answers: dict[str, str]
    columns: tuple[str, str] = ("id", "label")
    daily: int = 5
    entered: bool = True
    notebooks_only: bool = False
    deadline: str = "2099-01-01T00:00:00Z"
    files: bytes = b""  # what a download brings


class KaggleServer(Hosting):
    def __init__(self, competition: Competition):
        super().__init__()
        self.competition = competition
        self.submissions: list[dict] = []
        self.used_before = 0  # submissions of today that are not in the list
        self.looks_until_scored = 0
        self.hidden = False  # stored submissions do not show in the list
        self.asked: list[tuple[str, dict]] = []
        self.uploads: dict[str, tuple[str, bytes]] = {}
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.headers: list[str] = []  # every Authorization header seen
        self.key_works = self.token_works = True
        self.gate = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"kaggle": self}))
        self._http.daemon_threads = True

    def __enter__(self):
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()

    def environment(self, folder: Path) -> dict[str, str]:
        """The variables with which the kaggle command talks to this server and to nothing else."""
        (folder / "kaggle").mkdir(parents=True, exist_ok=True)
        return {
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "http_proxy": f"http://127.0.0.1:{self._http.server_port}",
            "https_proxy": "http://127.0.0.1:9",  # nothing listens there: a forgotten setting fails here
            "no_proxy": "",
            "KAGGLE_CONFIG_DIR": str(folder / "kaggle"),
            "HOME": str(folder),
            "KAGGLE_USERNAME": USER,
            "KAGGLE_KEY": KEY,
        }

    def fault(self, method: str, times: int = 1, **what):
        self.faults[method].extend(Fault(**what) for _ in range(times))

    def count(self, method: str) -> int:
        return sum(name == method for name, _ in self.asked)

    def answer(self, method: str, body: dict) -> tuple:
        if body.get("competitionName", self.competition.slug) != self.competition.slug:
            return error(404, "")
        return getattr(self, f"do_{method}")(body)

    def do_ListCompetitions(self, _):
        one = self.competition
        page = f"https://www.kaggle.com/competitions/{one.slug}"
        facts = {"id": 1, "ref": page, "title": one.slug, "url": page, "deadline": one.deadline, "category": "Research"}
        facts |= {"userHasEntered": one.entered, "maxDailySubmissions": one.daily, "teamCount": 3}
        return 200, {"competitions": [facts | {"isKernelsSubmissionsOnly": one.notebooks_only}]}

    def do_DownloadDataFiles(self, _):
        if not self.competition.entered:
            return error(403, "You must accept this competition's rules before you'll be able to download files.")
        return 302, None, {"Location": f"http://localhost{FILES}archive.zip?signature=hush-{KEY}"}

    def do_StartSubmissionUpload(self, body):
        token = f"blob-{len(self.uploads)}"
        self.uploads[token] = (body["fileName"], b"")
        return 200, {"token": token, "createUrl": f"http://localhost/upload/{token}?signature=hush-{KEY}"}

    def do_CreateSubmission(self, body):
        if self.left() <= 0:
            return error(
                400,
                "Submission not allowed:  Your team has used its daily Submission allowance "
                f"({self.competition.daily}) today, please try again tomorrow UTC (5.1 hours from now).",
            )
        name, data = self.uploads[body["blobFileTokens"]]
        self.store(name, data, body.get("submissionDescription", ""))
        return 200, {
            "message": f"Successfully submitted to {self.competition.slug}",
            "ref": self.submissions[-1]["ref"],
        }

    def store(self, name: str, data: bytes, description: str):
        """Take in a submission and score it, as a hand-made one too."""
        when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        kept = {"ref": 40_000_000 + len(self.submissions), "date": when, "fileName": name, "description": description}
        self.submissions.append(kept | self.score(data) | {"looks": self.looks_until_scored, "bytes": data})

    def do_GetSubmissionLimits(self, _):
        made = len(self.submissions) + self.used_before
        counts = {"numToday": made, "numTotal": made, "numAllowedNow": self.left()}
        return 200, {key: value for key, value in counts.items() if value}

    def left(self) -> int:
        made = len(self.submissions) + self.used_before
        return max(0, self.competition.daily - made) if self.competition.entered else 0

    def do_ListSubmissions(self, body):
        newest = [] if self.hidden else list(reversed(self.submissions))
        start, size = int(body.get("pageToken") or 0), body.get("pageSize") or 20
        shown = []
        for one in newest[start : start + size]:
            public = {key: value for key, value in one.items() if key not in ("looks", "bytes")}
            if one["looks"] > 0:
                one["looks"] -= 1
                public |= {"status": "PENDING", "publicScore": "", "privateScore": "", "errorDescription": ""}
            shown.append(public)
        following = {"nextPageToken": str(start + size)} if start + size < len(newest) else {}
        return 200, {"submissions": shown} | following

    def score(self, data: bytes) -> dict:
        """Accuracy: the first half of the ids is the public part, the second the private one."""
        key, target = self.competition.columns
        rows = list(csv.reader(io.StringIO(data.decode("utf-8", "replace"))))
        header, given = rows[0] if rows else [], dict(row[:2] for row in rows[1:] if len(row) >= 2)
        wrong = next((name for name in header if name not in (key, target)), None)
        missing = next((name for name in (key, target) if name not in header), None)
        if wrong is not None:
            return failed(f"ERROR: Unexpected Column:  '{wrong}' (Line 1, Column {header.index(wrong) + 1})")
        if missing:
            return failed(f"ERROR: Required column '{missing}' could not be found")
        if set(given) != set(self.competition.answers):
            rows_wanted = len(self.competition.answers)
            return failed(f"Evaluation Exception: Submission must have {rows_wanted} rows")
        hits = [given[each] == label for each, label in self.competition.answers.items()]
        half = len(hits) // 2
        public, private = sum(hits[:half]) / half, sum(hits[half:]) / (len(hits) - half)
        return {"status": "COMPLETE", "publicScore": f"{public:.5f}", "privateScore": f"{private:.5f}"}


def failed(why: str) -> dict:
    return {"status": "ERROR", "publicScore": "", "privateScore": "", "errorDescription": why}


def error(status: int, message: str) -> tuple[int, dict]:
    return status, {"error": {"code": status, "message": message, "status": "FAILED_PRECONDITION"}}


class Handler(BaseHTTPRequestHandler):
    kaggle: KaggleServer
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        path = urlsplit(self.path).path
        body = json.loads(self.body() or b"{}")
        if path == INTROSPECT:
            fine = self.kaggle.token_works and body.get("token") == TOKEN
            return self.reply(200, {"active": True, "username": USER} if fine else {})
        method = API.sub("", path)
        self.kaggle.asked.append((method, body))
        if not self.allowed():
            return self.reply(*error(401, "Unauthenticated"))
        return self.carry_out(method, lambda: self.kaggle.answer(method, body))

    def do_GET(self):
        """The file behind a download, or the rest of it where Range asks for that and If-Range still holds."""
        path = urlsplit(self.path).path
        data = self.kaggle.competition.files
        if path.startswith(OUTPUTS):
            data = self.kaggle.outputs[path.removeprefix(OUTPUTS)]
        tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        asked, known = self.headers.get("Range", ""), self.headers.get("If-Range", tag)
        self.kaggle.asked.append(("GET", {"range": asked, "if_range": self.headers.get("If-Range", "")}))
        faults = self.kaggle.faults["GET"]
        fault = faults.popleft() if faults else Fault()
        if fault.status:
            return self.reply(*error(fault.status, fault.message), fault.headers)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and known == tag else 0
        self.send_response(206 if start else 200)
        headers = {"Content-Length": len(data) - start, "ETag": tag, "Accept-Ranges": "bytes"}
        headers |= {"Last-Modified": "Mon, 02 Jan 2023 03:04:05 GMT", "Content-Type": "application/zip"}
        headers |= {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        return self.send_file(data[start:], fault)

    def send_file(self, data: bytes, fault: Fault):
        half = len(data) // 2
        with contextlib.suppress(OSError):  # the command may have been stopped meanwhile
            self.wfile.write(data[:half])
            if fault.held:
                self.kaggle.gate.wait(60)
            if fault.drop == "mid":
                self.close_connection = True
            else:
                self.wfile.write(data[half:])

    def do_PUT(self):
        token = urlsplit(self.path).path.rpartition("/")[2]
        faults = self.kaggle.faults["PUT"]
        self.kaggle.asked.append(("PUT", {}))
        if faults and faults[0].drop == "mid":
            faults.popleft()
            self.rfile.read(int(self.headers["Content-Length"]) // 2)
            self.close_connection = True
            return None
        data = self.body()

        def store():
            self.kaggle.uploads[token] = (self.kaggle.uploads[token][0], data)
            return 200, {}

        return self.carry_out("PUT", store)

    def carry_out(self, method, work):
        faults = self.kaggle.faults[method]
        fault = faults.popleft() if faults else Fault()
        if fault.status:
            return self.reply(
                *(error(fault.status, fault.message) if fault.message else (fault.status, None)), fault.headers
            )
        if fault.drop != "before":
            time.sleep(fault.slow)
            if fault.held:
                self.kaggle.gate.wait(60)
            answer = work()
            if not fault.drop:
                return self.reply(*answer)
        self.close_connection = True
        return None

    def allowed(self) -> bool:
        header = self.headers.get("Authorization", "")
        self.kaggle.headers.append(header)
        basic = "Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        return (header == basic and self.kaggle.key_works) or (header == f"Bearer {TOKEN}" and self.kaggle.token_works)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def reply(self, status: int, answer: dict | None, headers: dict[str, str] | None = None):
        body = json.dumps(answer).encode() if answer is not None else b""
        with contextlib.suppress(OSError):  # the command may have been killed meanwhile
            self.send_response(status)
            for name, value in (({"Content-Type": "application/json"} if body else {}) | (headers or {})).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_):
        pass
