"""fastai's vision_learner and fit_one_cycle with their defaults: resnet18 from scratch at 64 pixels.

usage: python fastai_fit.py DATA SEED EPOCHS    DATA holds train.csv, valid.csv, test.csv and the photos
Prints one line of JSON: training seconds, when they ended by the clock, accuracy on valid and on test.
"""

import json
import sys
import time
from pathlib import Path

import pandas as pd
from fastai.vision.all import ImageDataLoaders, Resize, accuracy, resnet18, set_seed, vision_learner


def main(data: Path, seed: int, epochs: int) -> None:
    set_seed(seed)
    tables = {part: pd.read_csv(data / f"{part}.csv", dtype=str) for part in ("train", "valid", "test")}
    rows = pd.concat([tables["train"].assign(valid=False), tables["valid"].assign(valid=True)])
    loaders = ImageDataLoaders.from_df(
        rows, data, fn_col="path", label_col="label", valid_col="valid", item_tfms=Resize(64), seed=seed
    )
    learner = vision_learner(loaders, resnet18, pretrained=False, metrics=accuracy)
    begun = time.perf_counter()
    learner.fit_one_cycle(epochs)
    seconds = time.perf_counter() - begun
    result = {"training": seconds, "valid": float(learner.recorder.values[-1][-1]), "ended": time.time()}
    probabilities, targets = learner.get_preds(dl=loaders.test_dl(tables["test"], with_labels=True))
    print(json.dumps(result | {"test": float((probabilities.argmax(1) == targets).float().mean())}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
