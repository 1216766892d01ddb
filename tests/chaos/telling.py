"""Stories that Hypothesis makes up, told to a state machine: a few for each seed, so that each one can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hypothesis import Phase, settings
from hypothesis import seed as seeded
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

#: Without the explanation of a failure, which traces every line that is run.
_PHASES: Final = [Phase.generate, Phase.shrink]
#: How many stories one seed makes. Of nine Hypothesis makes eight by chance; of many, most by changing one of those
#: before a little.
ROUND: Final = 9


def tell(
    machine: Callable[[], RuleBasedStateMachine], repeated_by: str, *, examples: int, steps: int, seed: int
) -> None:
    """Tell so many stories; one that fails is told again, ever shorter.

    :param repeated_by: what of the environment sets the numbers, for the error of a story that fails.
    """
    sized = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=False,
        report_multiple_bugs=False,
        phases=_PHASES,
    )
    try:
        run_state_machine_as_test(seeded(seed)(machine), settings=sized)
    except BaseException as error:
        error.add_note(f"It is repeated by SEED={seed} " + repeated_by.format(examples=examples, steps=steps))
        raise
