"""Where a submission came from: written beside the runs, for the ledger, and told to the user."""

from math import isnan
from pathlib import Path
from typing import Any

from src.competition.competition import Competition
from src.config.image_size import Size
from src.core.files import read_json, sha256_of, write_json
from src.core.paths import runs_folder
from src.evaluation.blending import Blend
from src.inference.external_runs import is_external
from src.inference.run_predictions import RunAnswers
from src.metrics.decision import Decision

Score = tuple[float, float, float]  # out of fold, and its 95 % interval


def write_facts(
    file: Path,
    folder: Path,
    runs: list[RunAnswers],
    score: Score | None,
    decision: Decision | None,
    blend: Blend | None = None,
    likely: dict[str, float] | None = None,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Write `folder`/<file's name>.json. Of several runs the lists hold what any has, `each` tells them apart.

    likely: the score by each metric that may be the right one, while the card's is a guess. metadata: what the columns
    beside the pictures brought, where they were judged.
    """
    each = [_of_run(one) for one in runs]
    value, low, high = (None if number is None or isnan(number) else number for number in score or (None,) * 3)
    sizes = sorted({facts["size"] for facts in each if facts["size"]}, key=lambda size: Size.of(size).pixels)
    facts: dict[str, Any] = {
        "file": file.name,
        "sha256": sha256_of(file),
        "runs": [one.run.name for one in runs],
        **{key: _union(facts[key] for facts in each) for key in ("seeds", "folds")},
        "views": list(dict.fromkeys(view for facts in each for view in facts["views"])),
        "size": sizes[0] if len(sizes) == 1 else sizes,
        "engines": list(dict.fromkeys(facts["engine"] for facts in each if facts["engine"])),
        "decision": decision.to_json() if decision else None,
        "metric": runs[0].competition.metric.name,
        "score": {"value": value, "low": low, "high": high},
        **{
            key: " ".join(dict.fromkeys(facts[key] for facts in each if facts[key]))
            for key in ("config_hash", "commit")
        },
    }
    if likely:
        facts["likely"] = {name: None if isnan(value) else value for name, value in likely.items()}
    if metadata:
        facts["metadata"] = metadata
    if blend:
        facts |= {"blend": blend.to_json(), "alone": blend.alone, "each": dict(zip(facts["runs"], each, strict=True))}
    write_json(folder / f"{file.stem}.json", facts)


def facts_of(file: Path, competition: str) -> dict[str, Any]:
    """What was written of a submission. Nothing where it was made by other means."""
    folder, name = runs_folder(competition), f"predictions/{file.stem}.json"
    found = [*folder.glob(f"*/{name}"), *folder.glob(f"blends/*/{name}")]
    return read_json(found[0]) if found else {}


def _of_run(one: RunAnswers) -> dict[str, Any]:
    config, external = one.competition.config, is_external(one.run)
    return {
        "seeds": sorted({member.seed for member in one.members}),
        "folds": sorted({str(member.fold) for member in one.members}),
        "views": list(one.views),
        "size": None if external else config.predict.size or config.images.size,
        "engine": "" if external else str(one.tables.engine),
        "config_hash": "" if external else config.hash(),
        "commit": "" if external else read_json(one.run.folder / "run.json")["commit"],
    }


def _union(lists: Any) -> list[Any]:
    return sorted({item for one in lists for item in one})


def submit_command(opened: Competition, file: Path) -> str:
    """The command that pushes the file, or why there is none."""
    card = opened.card
    if card.embedded:
        return f"{card.id} is no Kaggle competition; a rehearsal of the push: python -m src.submit {file} --dry-run"
    if card.kaggle is None:
        return (
            f"to push it, write the competition's name at Kaggle into competition/{card.id}/card.yaml (kaggle: NAME), "
            f"then: python -m src.submit {file}"
        )
    return f"to push it, wait for its score and note it: python -m src.submit {file}"
