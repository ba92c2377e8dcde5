"""The scores that competitions use. A metric is one class or one function, in one file with all that belongs to it.

A new one: a file with a class under `@METRICS.register("name")`, or a function under `@metric_function(...)`, here or
in PODIUM_HOME/extensions. See Metric. `own` is metric.py in a competition's folder.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from src.core.errors import UsageError
from src.core.registry import Registry, parsed
from src.core.suggestions import did_you_mean
from src.metrics.metric import Metric, Needs, Rows, of_function
from src.targets import ClassTarget, TargetType, target_type

__all__ = ["METRICS", "Metric", "Rows", "metric", "metric_function", "metrics_for"]

METRICS: Registry[type[Metric]] = Registry("metric", "src.metrics", shapes_weights=True)
OWN = "own"


def metric_function(
    needs: Needs = "probabilities",
    higher_is_better: bool = True,
    targets: tuple[type[TargetType], ...] = (ClassTarget,),
) -> Callable:
    """Enter a function (truth, answers) -> float as a metric, under its own name."""

    def enter(function: Callable) -> Callable:
        made = of_function(function, needs, higher_is_better, targets)
        METRICS.add(function.__name__, made, function.__module__)
        return function

    return enter


def metric(spec: str | dict[str, Any], target: TargetType | str, folder: Path | None = None) -> Metric:
    """The metric that a card asks for, for targets of this type; `own` is metric.py in `folder`, the competition's.

    Raises UsageError for an unknown name, a wrong parameter, and a metric that cannot judge such targets.
    """
    if not isinstance(target, TargetType):
        target = target_type(target)
    if spec == OWN:
        from src.metrics.own import own_metric

        return own_metric(folder, target)
    name, parameters = parsed(spec, "metric")
    if name not in METRICS:
        raise UsageError(
            f"metric {spec!r} is unknown.{did_you_mean(name, METRICS.names())} Known: {', '.join(METRICS.names())}, "
            f"with @K after those that count to a k (map@5), and `own`, which is metric.py beside card.yaml",
            code="unknown-metric",
        )
    kind = METRICS.get(name)
    if not isinstance(target, kind.targets):
        raise UsageError(
            f"metric {name!r} cannot judge {target.name} targets: take one of {', '.join(metrics_for(target))}",
            code="unfit-for-target",
        )
    try:
        return kind(target, **parameters)
    except (TypeError, ValueError) as error:  # text among the numbers of a list
        raise UsageError(f"metric {name!r} with {parameters}: {error}", code="wrong-parameter") from None


def metrics_for(target: TargetType) -> list[str]:
    """The names of the metrics that can judge such targets."""
    return [name for name, kind in METRICS.items() if isinstance(target, kind.targets)]
