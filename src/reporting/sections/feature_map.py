"""A map of the features in two dimensions: which held-out images a network sees alike, and where the mistakes lie.

It is drawn only of features that are kept already; none are computed for it.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from src.core.errors import Problem
from src.core.files import DamagedFile, read_json, read_npz
from src.core.paths import DONE
from src.inference.brought_features import brought_features
from src.inference.network_features import read_features
from src.inference.trained_networks import Member
from src.reporting.page.blocks import Chart, Section
from src.reporting.page.charts import class_map
from src.reporting.run_results import RunResults
from src.reporting.sections import SECTIONS

TITLE = "Map of the features"
FEWEST, MOST = 20, 1500  # held-out images: fewer make no map, more would take half a minute
COMPONENTS, PERPLEXITY = 50, 30
STEPS = 500


@dataclass(frozen=True)
class KeptFeatures:
    """rows: (n,) places among the held-out rows. features: (n, width). whose: what saw the images, in words."""

    rows: np.ndarray
    features: np.ndarray
    whose: str


@SECTIONS.register("map")
def feature_map(results: RunResults) -> Section:
    if results.held is None:
        return Section("map", TITLE, "No image was held out, so no mistake is known.", ())
    kept = kept_features(results)
    if kept is None:
        reading = (
            "No features are kept, and none are computed for a page. "
            f"python -m src.review run={results.run.name} keeps those of the first network; "
            "config=probe, or python -m src.predict --features, those of a pretrained one."
        )
        return Section("map", TITLE, reading, ())
    if len(kept.rows) < FEWEST:
        return Section("map", TITLE, f"{len(kept.rows)} held-out images are too few for a map: {FEWEST} at least.", ())
    table, names = _table(results, kept)
    wrong, others = table[~table["right"]], len(results.held.id) - len(table)
    alone = _share(~wrong["beside_own"])
    reading = (
        f"{len(table)} held-out images as {kept.whose} sees them; alike ones lie together. "
        f"The nearest image is of the same class for {_share(table['beside_own'])} of them, "
    )
    reading += f"and of another for {alone} of the {len(wrong)} mistakes." if len(wrong) else "and none is a mistake."
    title = f"{TITLE} by class (PCA, then t-SNE); a cross is a mistake" + (f"; {others} more images" if others else "")
    alt = f"{len(table)} points in {len(names)} classes, {len(wrong)} of them mistakes. {reading}"
    draw = class_map(table["x"].to_numpy(), table["y"].to_numpy(), table["code"].to_numpy(), names, ~table["right"])
    return Section("map", TITLE, reading, (Chart("map", title, alt, draw, table.drop(columns="code")),))


def kept_features(results: RunResults) -> KeptFeatures | None:
    """Of one network of the run, as the review keeps them; else those that it was fitted on, of a frozen network or
    another program; else of any frozen network that the competition's cache holds, the same architecture first. None
    where none is there, or they are of other images."""
    if results.competition.config.probe.features is not None:
        return _brought(results)
    return _of_own_network(results) or _of_frozen_network(results)


def _brought(results: RunResults) -> KeptFeatures | None:
    brought = brought_features(results.competition)
    if brought is None:
        return None
    try:
        if {_fitted_on(member).get("features") for member in results.judges} != {brought.digest}:
            return None
        features = brought.read("identity")[results.rows]
    except Problem:
        return None  # they are gone, or others now
    return _drawn(np.arange(len(features)), features, f"the program that wrote {brought.path}")


def _of_own_network(results: RunResults) -> KeptFeatures | None:
    places = pd.Index(results.held.id, dtype=object)
    for member in results.judges:
        try:
            held = read_npz(member.folder / "features.npz", ("meta", "held_out_id", "held_out"))
            meta = json.loads(str(held["meta"]))
            current = meta.get("weights") == read_json(member.folder / DONE)["weights"]
        except (DamagedFile, ValueError):
            continue
        rows = places.get_indexer(held["held_out_id"].astype(object))
        if current and results.competition.same_images(meta.get("images")) and (rows >= 0).all():
            return _drawn(rows, held["held_out"], f"the network of fold {member.fold}, seed {member.seed},")
    return None


def _of_frozen_network(results: RunResults) -> KeptFeatures | None:
    competition, ids = results.competition, results.held.id
    files = competition.card.folder.glob("cache/features/*/train-identity.npz")
    own = {_fitted_on(member).get("kept") for member in results.judges}
    alike = f"{competition.config.model.name}@{competition.config.images.size}-"
    newest = sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)
    for file in sorted(newest, key=lambda file: (file.parent.name not in own, not file.parent.name.startswith(alike))):
        try:
            meta = json.loads(str(read_npz(file, ("meta",))["meta"]))
            features = read_features(file, ids) if competition.same_images(meta.get("images")) else None
        except (Problem, ValueError):
            continue
        if features is not None:
            whose = f"{meta['network']} at {meta['size']} px, on whose features this run is fitted,"
            if file.parent.name not in own:
                whose = f"a frozen {meta['network']} at {meta['size']} px, and no network of this run,"
            return _drawn(np.arange(len(ids)), features, whose)
    return None


def _fitted_on(member: Member) -> dict[str, Any]:
    """What a fold of a probe noted of its fit; nothing of another, or of one that was trained elsewhere."""
    done = member.folder / DONE
    return read_json(done).get("probe", {}) if done.exists() else {}


def _drawn(rows: np.ndarray, features: np.ndarray, whose: str) -> KeptFeatures:
    """As many rows at random as are drawn, in their order."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[:MOST])
    return KeptFeatures(rows[chosen], features[chosen].astype(np.float64), whose)


def _table(results: RunResults, kept: KeptFeatures) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """A line for each drawn image: id, class, answer, x, y, right, beside_own (whether its nearest image is of its
    class) and code, the number of its class; and the names of the classes. Of several classes of an image the first."""
    held, target = results.held, results.held.target
    names, strata = target.parted(held.targets, results.classes)
    code = np.full(len(held.id), -1)
    code[strata.rows[::-1]] = strata.labels[::-1]
    code, near = code[kept.rows], _components(kept.features)
    x, y = _embedded(near).T
    cells = [target.in_words(row) for row in target.cells(results.answers[kept.rows], results.classes)]
    table = pd.DataFrame({"id": held.id[kept.rows], "class": [names[k] if k >= 0 else "" for k in code]})
    table = table.assign(answer=cells, x=x.round(3), y=y.round(3), code=code)
    table["right"] = target.right(held.targets, results.answers)[kept.rows]
    table["beside_own"] = code[_nearest(near)] == code
    return table, tuple(names)


def _components(features: np.ndarray) -> np.ndarray:
    """(n, few) the first principal components of features of length 1."""
    from sklearn.decomposition import PCA

    length = np.linalg.norm(features, axis=1, keepdims=True)
    return PCA(min(COMPONENTS, *features.shape), random_state=0).fit_transform(features / np.where(length, length, 1))


def _nearest(near: np.ndarray) -> np.ndarray:
    """(n,) the nearest other row of each."""
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=1).fit(near).kneighbors(return_distance=False)[:, 0]


def _embedded(near: np.ndarray) -> np.ndarray:
    """(n, 2) the map; the same for the same features on one machine."""
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(near) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", max_iter=STEPS, random_state=0).fit_transform(near)


def _share(rows: pd.Series) -> str:
    return f"{rows.mean():.1%}"
