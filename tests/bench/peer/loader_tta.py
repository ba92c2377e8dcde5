"""Eight-view test-time augmentation as it is usually written: a pass of a DataLoader for each view, in fp32.

usage: python loader_tta.py DATA WEIGHTS OUT WORKERS    DATA holds every.csv (id, path) and train.csv (label)
Writes OUT with id and label, and prints one line of JSON with the seconds from the first file on.
"""

import json
import sys
import time
from pathlib import Path

import pandas as pd
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision.transforms import v2

SIZE = 64
VIEWS = [
    (),
    (v2.RandomHorizontalFlip(1.0),),
    (v2.RandomVerticalFlip(1.0),),
    *((v2.RandomRotation((angle, angle)),) for angle in (90, 180, 270)),
    (v2.RandomRotation((90, 90)), v2.RandomVerticalFlip(1.0)),
    (v2.RandomRotation((90, 90)), v2.RandomHorizontalFlip(1.0)),
]


class Photos(torch.utils.data.Dataset):
    def __init__(self, data: Path, paths: list[str], view: tuple) -> None:
        self.data, self.paths = data, paths
        normal = v2.Normalize(timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD)
        as_floats = (v2.ToImage(), v2.ToDtype(torch.float32, scale=True), normal)
        self.transform = v2.Compose([v2.Resize((SIZE, SIZE)), *view, *as_floats])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        return self.transform(Image.open(self.data / self.paths[row]).convert("RGB"))


@torch.inference_mode()
def main(data: Path, weights: Path, out: Path, workers: int) -> None:
    table = pd.read_csv(data / "every.csv", dtype=str)
    classes = sorted(pd.read_csv(data / "train.csv", dtype=str)["label"].unique())
    network = timm.create_model("resnet18", num_classes=len(classes)).eval()
    network.load_state_dict(load_file(weights))
    begun, total = time.perf_counter(), 0
    for view in VIEWS:
        photos = Photos(data, table["path"].tolist(), view)
        loader = torch.utils.data.DataLoader(photos, batch_size=128, num_workers=workers)
        total = total + torch.cat([network(images).softmax(1) for images in loader])
    chosen = total.argmax(1).tolist()
    pd.DataFrame({"id": table["id"], "label": [classes[k] for k in chosen]}).to_csv(out, index=False)
    print(json.dumps({"seconds": time.perf_counter() - begun}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
