"""The sections of a run's page, by name; which of them a page has is said by the target (`TargetType.page`).

A new one: a file with a function (subject) -> Section under `@SECTIONS.register("name")`, here or in
PODIUM_HOME/extensions.
"""

from collections.abc import Callable

from src.core.registry import Registry

SECTIONS: Registry[Callable] = Registry("page section", "src.reporting.sections")
