"""How classes are found again under the names that a sample submission gives its columns."""

import re
from collections.abc import Sequence


def class_columns(classes: Sequence[str], columns: Sequence[str]) -> tuple[str, ...] | None:
    """The column of each class: named as the class, or all with one same prefix and suffix, as in prob_cat, prob_dog.

    Capitals and blanks around a name count only where names differ in nothing else. None where no rule, or more than
    one, finds every class.
    """
    for spelt in (str, lambda name: name.strip().casefold()):
        wanted, held = [spelt(name) for name in classes], {spelt(name): name for name in columns}
        if not wanted or len(set(wanted)) < len(classes) or len(held) < len(columns):
            continue
        affixes = {
            (name[: at.start()], name[at.end() :]) for name in held for at in re.finditer(re.escape(wanted[0]), name)
        }
        fitting = [(a, z) for a, z in sorted(affixes) if all(a + name + z in held for name in wanted)]
        if ("", "") in fitting or len(fitting) == 1:
            a, z = ("", "") if ("", "") in fitting else fitting[0]
            return tuple(held[a + name + z] for name in wanted)
    return None
