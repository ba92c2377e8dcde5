"""Of a run with a budget, which answer is the one to hand in: its own, or that of the probe which was there first."""

from pathlib import Path
from typing import Any

from src.competition.card import load_card
from src.competition.plan_record import plan_of, write_plan
from src.config.request import Request
from src.core.console import log
from src.core.files import read_json
from src.core.paths import DONE, Run
from src.inference.provenance import facts_of
from src.metrics import metric


def better_answer(request: Request, file: Path) -> dict[str, Any]:
    """{"submit": the file whose run is the better one out of fold}, told in one line; nothing where no plan has a probe
    beside the run, or one of the two has no score.

    Where folds were left out, the mean over the folds that both have is compared.
    """
    run = Run(request.competition, request.run)
    plan = plan_of(run)
    probe = plan["probe"] if plan else None
    if not probe or plan["by"] == "probe" or not probe["file"]:
        return {}
    own, other, what = facts_of(file, request.competition)["score"]["value"], probe["value"], "out of fold"
    if plan["left_out"]:
        own, other, what = *_over_shared_folds(run, Run(request.competition, probe["run"]), request), "over its folds"
    if own is None or other is None:
        return {}
    card = load_card(request.competition)
    measure = metric(card.metric, card.target_type, card.folder)
    better = own >= other if measure.higher_is_better else own <= other
    chosen = str(file) if better else probe["file"]
    log.info(
        f"{measure.name} {what}: this run {own:.4f}, its probe {other:.4f}; hand in {chosen}. Both joined: "
        f"python -m src.predict --tta runs={run.name},{probe['run']}"
    )
    write_plan(run, plan | {"submit": chosen})
    return {"submit": chosen}


def _over_shared_folds(run: Run, probe: Run, request: Request) -> tuple[float | None, float | None]:
    both = [member for member in request.members if run.finished(*member) and probe.finished(*member)]
    scores = [[read_json(one.member(*member) / DONE)["score"] for member in both] for one in (run, probe)]
    return (sum(scores[0]) / len(both), sum(scores[1]) / len(both)) if both else (None, None)
