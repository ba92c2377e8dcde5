"""What another run left, fold by fold, for this one: weights to go on from (`model.weights=run:NAME`), or a teacher."""

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from src.competition.competition import Competition
from src.competition.quality.ignored_images import ONLY_TRAINED
from src.competition.run_record import IGNORED
from src.competition.tables import read_table
from src.config import run_config
from src.config.schema import Model
from src.core.errors import Problem, UsageError
from src.core.files import read_json, sha256_of
from src.core.paths import DONE, Run
from src.inference.trained_networks import refuse_brought_features
from src.models.factory import RUN


def is_warm_start(model: Model) -> bool:
    return (model.weights or "").startswith(RUN)


def earlier_run(key: str, word: str, competition: Competition) -> Run:
    """The run that `key`=`word` names. Raises UsageError where it is absent, or has seen rows that a fold holds out."""
    run = Run(competition.card.id, word.removeprefix(RUN))
    if not (run.folder / "run.json").exists():
        raise UsageError(f"{key}={word}: there is no run {run.name} of {competition.card.id}", code="unknown-run")
    record = read_json(run.folder / "run.json")
    if record["folds"] != competition.folds.hash:
        raise UsageError(
            f"{key}={word}: run {run.name} has other folds, so its weights have seen rows that are held out here. "
            f"Train both with the same data.folds and data.fold_seed",
            code="run-folds-differ",
        )
    ignored = record.get("ignored")
    if (
        ignored
        and ignored != (competition.ignored.digest if competition.ignored else None)
        and _trains_on_unscored(run)
    ):
        raise UsageError(
            f"{key}={word}: run {run.name} trained on rows that its data.ignore keeps from scoring (use: train), and "
            f"they, or near duplicates of them, may be held out here. Train both with the same data.ignore",
            code="run-ignored-differ",
        )
    return run


def _trains_on_unscored(run: Run) -> bool:
    """Rows that it left out altogether do no harm: it has seen the less."""
    return (read_table(run.folder / IGNORED)["use"] == ONLY_TRAINED).any()


def seed_of(run: Run, seed: int, fold: int | str) -> int:
    """The seed of that run's model of this fold: the same one, or 0 where it has none of the same."""
    return seed if run.finished(seed, fold) else 0


def load_warm_start(network: nn.Module, competition: Competition, seed: int, fold: int | str) -> None:
    """Put the weights that model.weights=run:NAME asks for into `network`: of the same fold, and of the same seed or
    else seed 0."""
    word = competition.config.model.weights
    run = earlier_run("model.weights", word, competition)
    folder = run.member(seed_of(run, seed, fold), fold)
    if not run.finished(seed_of(run, seed, fold), fold):
        raise Problem(f"model.weights={word}: fold {fold} of {run.name} is not trained yet", code="folds-missing")
    refuse_brought_features(run_config.read(run.folder), folder)
    file = folder / "model.safetensors"
    try:
        network.backbone.load_state_dict(load_file(file))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise Problem(
            f"{file} does not fit this network ({reason}): name the same model and stem", code="weights-mismatch"
        ) from None
    if sha256_of(file) != read_json(folder / DONE)["weights"]:
        raise Problem(
            f"{file} was changed after training: delete {folder} and train the fold again", code="weights-changed"
        )
