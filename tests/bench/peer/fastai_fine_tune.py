"""fastai's vision_learner and fine_tune with their defaults, from ImageNet's weights: EfficientNet-Lite0.

usage: python fastai_fine_tune.py DATA SEED EPOCHS SIZE    DATA holds train.csv, valid.csv, test.csv and the photos
The weights come from the cache of timm's hub in HF_HOME.
Prints one line of JSON: training seconds, when they ended by the clock, accuracy on valid and on test.
"""

import json
import sys
import time
from pathlib import Path

import pandas as pd
from fastai.vision.all import ImageDataLoaders, Resize, accuracy, set_seed, vision_learner


def main(data: Path, seed: int, epochs: int, size: int) -> None:
    set_seed(seed)
    tables = {part: pd.read_csv(data / f"{part}.csv", dtype=str) for part in ("train", "valid", "test")}
    rows = pd.concat([tables["train"].assign(valid=False), tables["valid"].assign(valid=True)])
    loaders = ImageDataLoaders.from_df(
        rows, data, fn_col="path", label_col="label", valid_col="valid", item_tfms=Resize(size), seed=seed
    )
    learner = vision_learner(loaders, "tf_efficientnet_lite0", metrics=accuracy)
    begun = time.perf_counter()
    learner.fine_tune(epochs)
    seconds = time.perf_counter() - begun
    result = {"training": seconds, "valid": float(learner.recorder.values[-1][-1]), "ended": time.time()}
    probabilities, targets = learner.get_preds(dl=loaders.test_dl(tables["test"], with_labels=True))
    print(json.dumps(result | {"test": float((probabilities.argmax(1) == targets).float().mean())}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
