"""Ways to answer, judged nested against the plain one, all intervals at once, and taken only if the gain is real."""

from dataclasses import dataclass

from src.evaluation.bootstrap import Answer, Gain, bootstrap_interval, format_interval, gains
from src.evaluation.held_out import HeldOut

Judged = tuple[Answer | None, Answer]  # a fit's answer to the rows it was fitted on, and the nested answer


@dataclass(frozen=True)
class Candidate:
    """One way to answer. same_rows: its score where it was fitted, which flatters it; None where nothing is fitted.

    score: the nested estimate, with its 95 % interval. gain: over the plain way, None for the plain way itself.
    """

    name: str
    same_rows: float | None
    score: float
    interval: tuple[float, float]
    gain: Gain | None


@dataclass(frozen=True)
class Comparison:
    """ways: the plain one, then what was tried against it. beside: what is shown for comparison and never taken.

    taken: the name of the best way whose gain is real, else of the plain one.
    """

    metric: str
    candidates: tuple[Candidate, ...]
    beside: tuple[Candidate, ...]
    taken: str

    @property
    def candidate(self) -> Candidate:
        """The one that is taken."""
        return next(candidate for candidate in self.candidates if candidate.name == self.taken)

    @property
    def lines(self) -> tuple[str, ...]:
        """A table to print: what a fit promises on its own rows, what it holds on others, and what is taken."""
        plain, others = self.candidates[0].name, len(self.candidates) - 1
        text = [f"{self.metric:30s} {'same rows':>10s} {'nested':>9s}   {'95 % interval':18s}   gain over {plain}"]
        for candidate in (*self.beside, *self.candidates):
            same = f"{candidate.same_rows:10.4f}" if candidate.same_rows is not None else " " * 10
            gain = "" if candidate.gain is None else str(candidate.gain)
            interval = format_interval(*candidate.interval)
            row = f"{candidate.name:30s} {same} {candidate.score:9.4f}   {interval:16s}   {gain}"
            text.append(row.rstrip())
        if others:
            why = ": no fitted rule is significantly better" if self.taken == plain else ""
            many = f"; the intervals of the gains hold for all {others} at once" if others > 1 else ""
            text.append(f"using {self.taken}{why} (each fold is judged by what was fitted on the others{many})")
        return tuple(text)


def judged(
    held: HeldOut, plain: str, candidates: dict[str, Judged], beside: dict[str, Judged] | None = None, sure: bool = True
) -> Comparison:
    """Compare the ways to answer; the one named `plain` is kept unless another one's gain over it is real.

    sure: without, any nested gain will do.
    """
    order = {plain: candidates[plain], **candidates}
    compared = _format(held, candidates[plain][1], order, plain)
    real = [
        candidate
        for candidate in compared
        if candidate.gain is not None and (candidate.gain.real if sure else candidate.gain.value > 0)
    ]
    taken = max(real, key=lambda candidate: candidate.gain.value).name if real else plain
    return Comparison(held.metric.name, compared, _format(held, candidates[plain][1], beside or {}, plain), taken)


def _format(held: HeldOut, base: Answer, candidates: dict[str, Judged], plain: str) -> tuple[Candidate, ...]:
    others = [name for name in candidates if name != plain]
    over = gains(held.metric, held.targets, base, [candidates[name][1] for name in others], held.groups, rows=held.rows)
    found = dict(zip(others, over, strict=True))
    compared = []
    for name, (same, nested) in candidates.items():
        interval = bootstrap_interval(
            held.metric, held.targets, nested[0], held.groups, decisions=nested[1], rows=held.rows
        )
        compared.append(
            Candidate(
                name,
                None if same is None else held.metric.score(held.targets, *same, held.rows),
                held.metric.score(held.targets, *nested, held.rows),
                interval,
                found.get(name),
            )
        )
    return tuple(compared)
