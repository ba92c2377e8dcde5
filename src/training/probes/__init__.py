"""Linear heads that are fitted on the features of a frozen network: one class in one file each.

A new one: a file with a class under `@PROBES.register("name")`, here or in PODIUM_HOME/extensions. See Probe.
"""

from src.core.errors import UsageError
from src.core.registry import Registry, parsed
from src.targets import TargetType
from src.training.probes.probe import LinearHead, PrincipalAxes, Probe

__all__ = ["PROBES", "LinearHead", "PrincipalAxes", "Probe", "probes_of"]

PROBES: Registry[type[Probe]] = Registry("probe", "src.training.probes", shapes_weights=True)
AUTO = "auto"


def probes_of(spec: str | dict, target: TargetType) -> list[Probe]:
    """The kinds of head that `probe.head` asks for; auto: those that the kind of target names.

    Raises UsageError where it names none.
    """
    if spec == AUTO:
        if not target.usual_probes:
            raise UsageError(
                f"no head is fitted on frozen features for {target.name} targets: leave probe.head and "
                f"train.head_init out, or name a head of your own, probe.head=NAME",
                code="no-probe",
            )
        return [PROBES.get(name)() for name in target.usual_probes]
    if target.members:
        raise UsageError(
            f"probe.head={spec}: of several targets each has a head of its own kind: leave probe.head=auto",
            code="no-probe",
        )
    name, given = parsed(spec, "probe.head")
    return [PROBES.get(name)(**given)]
