"""Of a run with a budget, which answer is the one to hand in: its own, that of the probe which was there first, or both
joined, where that is really better on the held-out rows than the better one alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from src.competition.plan_record import plan_of, write_plan
from src.config.request import Request, parse
from src.config.schema import Config
from src.core.console import log
from src.core.paths import Run
from src.inference.ensemble import predict_ensemble
from src.inference.provenance import facts_of

BEST = "best"  # of predict.blend

JOINED, RUN_ALONE, PROBE_ALONE = "both joined", "this run alone", "its probe alone"  # as plan.json keeps them


def best_answer(request: Request, file: Path) -> dict[str, Any]:
    """{"submit": the file to hand in}, told in one line; nothing where no plan has a probe beside the run, or one of
    the two has no score. file: the run's own.

    Where folds were left out, both are judged on the rows that both answer.
    """
    run = Run(request.competition, request.run)
    plan = plan_of(run)
    probe = plan["probe"] if plan else None
    if not probe or plan["by"] == "probe" or not probe["file"] or probe["value"] is None:
        return {}
    if facts_of(file, request.competition)["score"]["value"] is None:
        return {}
    runs = f"runs={run.name},{probe['run']}"
    both = parse([runs, f"competition={run.competition}"], several_runs=True)
    configs = tuple(_joined(config, request.config) for config in both.configs)
    both = replace(both, config=configs[0], configs=configs, flags=request.flags)
    made = predict_ensemble(both)
    facts = facts_of(made, run.competition)
    alone, score = facts["alone"], facts["score"]
    if score["value"] is None:
        return {}
    chosen = {None: str(made), run.name: str(file), probe["run"]: probe["file"]}[alone]
    what = JOINED if alone is None else RUN_ALONE if alone == run.name else PROBE_ALONE
    log.info(
        f"{facts['metric']} {score['value']:.4f} out of fold: {what}; hand in {chosen}. Again: "
        f"python -m src.predict --tta {runs} predict.blend={BEST}"
    )
    answer = {"what": what, **score}
    write_plan(run, plan_of(run) | {"submit": None if alone == run.name else chosen, "answer": answer})
    return {"submit": chosen, "answer": answer}


def _joined(config: Config, asked: Config) -> Config:
    """A run's configuration, predicted as is asked for, and joined."""
    shared = asked.predict.model_copy(update={"blend": BEST, "shared": True})
    return config.model_copy(update={"predict": shared, "machine": asked.machine, "log": asked.log})
