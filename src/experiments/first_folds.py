"""Of a run with a budget: whether the folds that end first gain anything over the probe."""

import numpy as np

from src.competition.competition import open_competition
from src.core.console import log, note, silenced
from src.core.paths import Run
from src.evaluation.bootstrap import gains
from src.experiments.budget_plan import PROBE, Planned
from src.training.evaluate import stored_answers


class FirstFolds:
    """Whether training is worth going on with: on the rows that the finished folds held out, their answers, alone or
    joined with the probe's in their mean, must be better than the probe's, or at least the rows too few to tell."""

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
        truth, metric, at = competition.samples.targets[rows], competition.metric, competition.rows.at(rows)
        probe, own, joined = tables = (*answers, sum(answers) / 2)
        others = [(table, None) for table in (own, joined)]
        found = gains(metric, truth, (probe, None), others, at.groups, rows=at)
        folds = f"fold {', '.join(str(fold) for _, fold in members)}"
        shown = [f"{metric.score(truth, table, rows=at):.4f}" for table in tables]
        text = f"{metric.name} of {folds}: the probe {shown[0]}, trained {shown[1]}, both joined {shown[2]}"
        text += f", which gains {found[1].value:+.4f}, 95 % interval {found[1].low:+.4f} to {found[1].high:+.4f}"
        if not all(gain.high <= 0 for gain in found):  # also where no score can be told
            log.info(text)
            return True
        note("no-gain", f"{text}: no other fold is begun. Asked for alone, the others are trained")
        return False
