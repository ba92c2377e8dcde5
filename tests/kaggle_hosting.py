"""The part of the loopback Kaggle that keeps datasets and runs notebooks."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Dataset:
    title: str
    private: bool
    versions: list[dict[str, bytes]] = field(default_factory=list)  # the files of each
    looks_until_ready: int = 0


@dataclass
class Ran:
    """What came of one run of a notebook."""

    status: str = "COMPLETE"
    log: str = ""
    output: dict[str, bytes] = field(default_factory=dict)
    why: str = ""


@dataclass
class Kernel:
    asked: dict[str, Any]  # the newest SaveKernel
    runs: list[Ran] = field(default_factory=list)
    looks_until_ended: int = 0


class Hosting:
    """`execute` is called with the kernel when a version of it was pushed; what it returns is the run."""

    def __init__(self):
        self.datasets: dict[str, Dataset] = {}
        self.kernels: dict[str, Kernel] = {}
        self.outputs: dict[str, bytes] = {}
        self.execute: Callable[[Kernel], Ran] = lambda kernel: Ran(output={"submission.csv": b"id,label\n"})
        self.looks_until_ready = self.looks_until_ended = 0
        self.dataset_ends = "READY"
        self.not_attached: list[str] = []  # competitions of which it doesn't let a notebook have the files
        self.refuses = ""  # what it says to a dataset or a notebook, with status 200

    def do_StartBlobUpload(self, body):
        token = f"blob-{len(self.uploads)}"
        self.uploads[token] = (body["name"], b"")
        return 200, {"token": token, "createUrl": f"http://localhost/upload/{token}?signature=hush-hush"}

    def do_GetDatasetStatus(self, body):
        one = self.datasets.get(f"{body['ownerSlug']}/{body['datasetSlug']}")
        if one is None:
            return 403, {"code": 403, "message": "Permission 'datasets.get' was denied"}
        if one.looks_until_ready > 0:
            one.looks_until_ready -= 1
            return 200, {"status": "BLOBS_RECEIVED"}
        return 200, {"status": self.dataset_ends}

    def do_GetDataset(self, body):
        address = f"{body['ownerSlug']}/{body['datasetSlug']}"
        return 200, {"ref": address, "currentVersionNumber": len(self.datasets[address].versions)}

    def do_CreateDataset(self, body):
        address = f"{body['ownerSlug']}/{body['slug']}"
        if self.refuses or address in self.datasets:
            taken = f'The requested title "{body["title"]}" is already in use by a dataset.'
            return 200, {"status": "error", "error": self.refuses or taken}
        self.datasets[address] = Dataset(body["title"], body.get("isPrivate", False))
        return self.add_version(address, body)

    def do_CreateDatasetVersion(self, body):
        return self.add_version(f"{body['ownerSlug']}/{body['datasetSlug']}", body["body"])

    def add_version(self, address, body):
        one = self.datasets[address]
        one.versions.append(dict(self.uploads[file["token"]] for file in body["files"]))
        one.looks_until_ready = self.looks_until_ready
        return 200, {"status": "ok", "ref": f"/{address}", "url": f"https://www.kaggle.com/datasets/{address}"}

    def do_SaveKernel(self, body):
        if self.refuses:
            return 200, {"error": self.refuses}
        address = body["slug"]
        kernel = self.kernels.setdefault(address, Kernel(body))
        kernel.asked = body
        answer = {"ref": f"/{address}", "url": f"https://www.kaggle.com/code/{address}"}
        answer["versionNumber"] = len(kernel.runs) + 1
        absent = [name for name in body.get("datasetDataSources", []) if name not in self.datasets]
        kernel.runs.append(self.execute(kernel))
        kernel.looks_until_ended = self.looks_until_ended
        answer |= {"invalidCompetitionSources": self.not_attached} if self.not_attached else {}
        return 200, answer | ({"invalidDatasetSources": absent} if absent else {})

    def kernel_of(self, body) -> Kernel | None:
        return self.kernels.get(f"{body['userName']}/{body['kernelSlug']}")

    def do_GetKernel(self, body):
        kernel = self.kernel_of(body)
        if kernel is None:
            return 404, {"code": 404, "message": "Not found"}
        blob = {"source": kernel.asked["text"], "language": "python", "kernelType": "notebook"}
        blob["slug"] = body["kernelSlug"]
        return 200, {"metadata": {"id": 7, "currentVersionNumber": len(kernel.runs)}, "blob": blob}

    def do_GetKernelSessionStatus(self, body):
        kernel = self.kernel_of(body)
        if kernel.looks_until_ended > 0:
            kernel.looks_until_ended -= 1
            return 200, {"status": "RUNNING"}
        ran = kernel.runs[-1]
        return 200, {"status": ran.status} | ({"failureMessage": ran.why} if ran.why else {})

    def do_ListKernelSessionOutput(self, body):
        ran = self.kernel_of(body).runs[-1]
        files = []
        for name, data in ran.output.items():
            key = base64.urlsafe_b64encode(name.encode()).decode()
            self.outputs[key] = data
            files.append({"url": f"http://localhost/outputs/{key}", "fileName": name})
        return 200, {"files": files, "log": ran.log}

    def do_CreateCodeSubmission(self, body):
        """The version's output is scored as an uploaded file would be."""
        kernel = self.kernels.get(f"{body['kernelOwner']}/{body['kernelSlug']}")
        version = body.get("kernelVersion", 0)
        if kernel is None or not 0 < version <= len(kernel.runs):
            return 400, {"error": {"code": 400, "message": "Notebook not found", "status": "FAILED_PRECONDITION"}}
        made = kernel.runs[version - 1].output.get(body["fileName"])
        if made is None:
            return 400, {"error": {"code": 400, "message": f"The notebook has no output {body['fileName']}"}}
        self.store(body["fileName"], made, body.get("submissionDescription", ""))
        answer = {"message": f"Successfully submitted to {self.competition.slug}"}
        return 200, answer | {"ref": self.submissions[-1]["ref"]}
