"""The card: the facts that the host of a competition published, and nothing tuned."""

from pathlib import Path
from typing import Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, ValidationError
from yaml import YAMLError

from src.errors import UsageError
from src.runs import REPOSITORY, competition_folder, home

Target = Literal["binary", "multiclass", "ordinal", "multilabel"]
SubmissionKind = Literal["label", "probability", "columns", "ranked", "set"]


class Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Table(Facts):
    """Rows of images. `images` is a path relative to data/ with columns in braces: train/{image_id}.jpg"""

    table: str
    id: str
    images: str


class TrainTable(Table):
    label: str  # the column that holds the answer


class Submission(Facts):
    """`label`: a class a row. `probability`: of the positive class. `columns`: one probability a class.
    `ranked`: the likeliest classes by space. `set`: every class that applies, by space."""

    sample: str
    kind: SubmissionKind
    top: int = 5


class Card(Facts):
    """One competition. Paths are relative to its data/ folder, `test_labels` to the competition's folder."""

    id: str
    title: str
    embedded: Literal["digits"] | None = None
    archive: str | None = None
    kaggle: str | None = None
    train: TrainTable
    test: Table
    target: Target
    classes: list[str] | None = None
    group: str | None = None
    metric: str
    submission: Submission
    test_labels: str | None = None

    @property
    def folder(self) -> Path:
        return competition_folder(self.id)

    @property
    def data(self) -> Path:
        return self.folder / "data"


def card_file(competition: str) -> Path | None:
    candidates = [root / "competition" / competition / "card.yaml" for root in (home(), REPOSITORY)]
    return next((path for path in candidates if path.is_file()), None)


def load_card(competition: str) -> Card:
    """The card of one competition. Raises UsageError where it is absent or holds a wrong key."""
    path = card_file(competition)
    if path is None:
        known = sorted({p.parent.name for r in (home(), REPOSITORY) for p in r.glob("competition/*/card.yaml")})
        raise UsageError(
            f"competition={competition}: there is no competition/{competition}/card.yaml. Known: {', '.join(known)}"
        )
    try:
        facts = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
        card = Card.model_validate({"id": competition, **facts})
    except (YAMLError, OmegaConfBaseException) as error:
        raise UsageError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return card
