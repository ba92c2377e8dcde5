"""The learning-rate schedules: one class each.

A new one: a file with a class under `@SCHEDULES.register("name")`, here or in PODIUM_HOME/extensions. See Schedule.
"""

from typing import Any

from src.core.registry import Registry, parsed
from src.training.schedules.schedule import Curve, Schedule

__all__ = ["SCHEDULES", "Curve", "Schedule", "schedule_of"]

SCHEDULES: Registry[type[Schedule]] = Registry("schedule", "src.training.schedules", shapes_weights=True)


def schedule_of(section: Any) -> Schedule:
    """What the section `schedule` of a configuration asks for; parameters that are its keys come from there."""
    name, given = parsed(section.name, "schedule.name")
    kind = SCHEDULES.get(name)
    return kind(**{key: getattr(section, key) for key in kind.parameters if hasattr(section, key)} | given)
