"""Training steps on one batch of images that lies on the device already: what a pipeline without cost would reach.

usage: python tensor_steps.py NETWORK BATCH SIZE STEPS
Prints one line of JSON: images a second.
"""

import json
import sys
import time

import timm
import torch
from torch.nn.functional import cross_entropy

WARM = 10  # steps before the clock starts: the libraries choose their kernels in the first ones


def main(name: str, batch: int, size: int, steps: int) -> None:
    torch.backends.cudnn.benchmark = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = timm.create_model(name, num_classes=8).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=2e-5)
    images = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    targets = torch.arange(batch, device=device) % 8

    def take(count: int) -> None:
        for _ in range(count):
            with torch.autocast(device.type, torch.bfloat16):
                loss = cross_entropy(network(images), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        loss.item()  # waits for the device

    take(min(WARM, steps))
    begun = time.perf_counter()
    take(steps)
    print(json.dumps({"images/s": batch * steps / (time.perf_counter() - begun)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
