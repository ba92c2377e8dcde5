"""Of a run with a budget: whether the folds that end first gain anything over the probe."""

import numpy as np

from src.competition.competition import open_competition
from src.core.console import log, note, silenced
from src.core.paths import Run
from src.experiments.budget_plan import PROBE, Planned
from src.training.evaluate import stored_answers


class FirstFolds:
    """Whether training is worth going on with: the finished folds' answers, alone or joined with the probe's in their
    mean, must be better than the probe's on the rows that they held out."""

    def __init__(self, run: Run, planned: Planned, members: list[tuple[int, int | str]]) -> None:
        self.run, self.config, self.members = run, planned.config, members
        facts = planned.facts["probe"]
        trained = facts and planned.facts["by"] != PROBE
        self.probe = Run(run.competition, facts["run"]) if trained else None
        self.found: bool | None = None

    def gain(self) -> bool:
        """True as long as nothing is finished. Judged once."""
        if self.found is None and self.probe is not None:
            done = [member for member in self.members if self.run.finished(*member)]
            done = [member for member in done if self.probe.finished(*member)]
            if done:
                self.found = self._judged(done)
        return self.found is not False

    def _judged(self, members: list[tuple[int, int | str]]) -> bool:
        with silenced():
            competition = open_competition(self.config, self.run)
        held = [competition.folds.rows(fold)[1] for _, fold in members]
        rows = np.concatenate(held)
        answers = [
            np.concatenate(
                [
                    stored_answers(competition, run, (seed,), fold, part)
                    for (seed, fold), part in zip(members, held, strict=True)
                ]
            )
            for run in (self.probe, self.run)
        ]
        truth, metric = competition.samples.targets[rows], competition.metric
        scores = [metric.score(truth, table, rows=competition.rows.at(rows)) for table in (*answers, sum(answers) / 2)]
        probe, own, joined = scores
        better = max(own, joined) > probe if metric.higher_is_better else min(own, joined) < probe
        folds = f"fold {', '.join(str(fold) for _, fold in members)}"
        text = f"{metric.name} of {folds}: the probe {probe:.4f}, trained {own:.4f}, both joined {joined:.4f}"
        if better:
            log.info(text)
        else:
            note("no-gain", f"{text}: no other fold is begun. The same command trains them later")
        return better
