"""PIL and torchvision on one core: each photo is opened, cropped at random and mirrored, and batched as bytes.

usage: python pil_pipeline.py PHOTOS SECONDS
Prints one line of JSON: images a second.
"""

import json
import os
import sys
import time
from pathlib import Path

import torch
from PIL import Image
from torchvision import transforms


class Photos(torch.utils.data.Dataset):
    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        crop = transforms.RandomResizedCrop(128, scale=(0.5, 1.0), ratio=(0.8, 1.25))
        self.transform = transforms.Compose([crop, transforms.RandomHorizontalFlip(), transforms.PILToTensor()])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        return self.transform(Image.open(self.paths[row]).convert("RGB"))


def main(photos: Path, seconds: float) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    loader = torch.utils.data.DataLoader(Photos(sorted(photos.glob("*.jpg"))), batch_size=64, shuffle=True)
    sum(len(images) for images in loader)  # once unmeasured, as on the other side
    done, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        done += sum(len(images) for images in loader)
    print(json.dumps({"images/s": done / (time.perf_counter() - begun)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
