"""Statistics of success counts: exact where exact exists, seeded elsewhere.

    proportion   one rate k of n; two rates measured apart
    paired       two arms on the same initial states
    power        the smallest difference, or margin, that a number of episodes would show
    tasks        whether a difference shows on many tasks, or on one
    training     the spread over training seeds

What the intervals of counts cover: other rollouts of the *same trained weights* on exchangeable initial states of the *same tasks*. Another
training seed adds variance that no count of episodes shows; run several seeds to see it (`training`). So do other tasks (`tasks`).
"""

from dtr.stats.paired import (
    Paired,
    contrast_bootstrap,
    contrast_difference,
    mcnemar_exact,
    non_inferior_p,
    paired,
    paired_bootstrap,
    paired_difference,
    tango_p,
)
from dtr.stats.power import detectable_margin_paired, detectable_margin_unpaired, detectable_paired, detectable_unpaired
from dtr.stats.proportion import (
    Interval,
    apart,
    clopper_pearson,
    fisher_p,
    non_inferior_unpaired_p,
    turned_round,
    unpaired_difference,
    wilson,
)
from dtr.stats.tasks import Tasks, over_tasks, sign_flip_p
from dtr.stats.training import Seeds, over_seeds

__all__ = [
    "Interval",
    "Paired",
    "Seeds",
    "Tasks",
    "apart",
    "clopper_pearson",
    "contrast_bootstrap",
    "contrast_difference",
    "detectable_margin_paired",
    "detectable_margin_unpaired",
    "detectable_paired",
    "detectable_unpaired",
    "fisher_p",
    "mcnemar_exact",
    "non_inferior_p",
    "non_inferior_unpaired_p",
    "over_seeds",
    "over_tasks",
    "paired",
    "paired_bootstrap",
    "paired_difference",
    "sign_flip_p",
    "tango_p",
    "turned_round",
    "unpaired_difference",
    "wilson",
]
