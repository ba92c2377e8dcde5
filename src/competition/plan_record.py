"""What a run with a budget was planned to be and what it took: plan.json in the run's folder.

budget      the time that was given, and `seconds` of it
by          fine-tune, scratch or probe: how the run learns
chosen      {key: [what the configuration said, what the plan made of it]}
probe       the run that was there first: its name, score, interval and file; null where it could not be
scratch     the trial of a network from scratch: its scores and the probe's on the same rows, and what they promise for
            the epochs that fit; null without one
speeds      what was measured here
planned     {part of the work: seconds}; `took` has the same parts as they went
left_out    [seed, fold] of each that would have gone beyond the budget, or that was not worth it:
no_gain     whether the folds that ended first gained nothing over the probe
answer      once run and probe are predicted: which of them is handed in, or both joined, and its score out of fold
submit      the CSV of that answer; null where it is the run's own
"""

from typing import Any

from src.config.schema import Config
from src.core.files import read_json, write_json
from src.core.paths import Run

PLAN = "plan.json"
PAGE, PREDICTION = "page", "prediction"  # parts that other commands do
Facts = dict[str, Any]


def plan_of(run: Run) -> Facts | None:
    """The plan of a run; None where it has none. Raises DamagedFile."""
    file = run.folder / PLAN
    return read_json(file) if file.exists() else None


def write_plan(run: Run, facts: Facts) -> None:
    write_json(run.folder / PLAN, facts)


def note_took(run: Run, part: str, seconds: float) -> None:
    """Note what a part of the work took, where the run was planned and this was not noted yet."""
    facts = plan_of(run)
    if facts and part not in facts["took"]:
        write_plan(run, facts | {"took": facts["took"] | {part: round(seconds, 1)}})


def left_out(run: Run, seed: int) -> list[int]:
    """The folds of a seed that were not trained because the budget was spent."""
    facts = plan_of(run)
    return [fold for of, fold in facts["left_out"] if of == seed and not run.finished(seed, fold)] if facts else []


def choices(before: Config, planned: Config) -> dict[str, list[Any]]:
    """{key: [value before, value planned]} of the keys that a plan has changed."""
    old, new = _values(before), _values(planned)
    return {key: [old[key], value] for key, value in new.items() if value != old[key]}


def as_planned(config: Config, facts: Facts | None) -> dict[str, Any]:
    """{key: value} of what the plan chose and `config` leaves as it was then. What was set since is not overruled."""
    values = _values(config)
    chosen = facts["chosen"] if facts else {}
    return {key: after for key, (before, after) in chosen.items() if values.get(key) == before}


def _values(config: Config) -> dict[str, Any]:
    tree = config.model_dump(exclude={"machine", "predict", "log", "kernel"})
    sections = {name: part for name, part in tree.items() if isinstance(part, dict)}
    return {f"{name}.{key}": value for name, part in sections.items() for key, value in part.items()}
