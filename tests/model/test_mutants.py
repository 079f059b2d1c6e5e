"""Each mutant of the core is found out by the scenario that is meant to: a check that can't fail would be a defect."""

import pytest

from model.load import load
from model.mutants import MUTANTS
from model.runner import explore
from model.scenarios import SCENARIOS

pytestmark = [pytest.mark.slow, pytest.mark.thread_unsafe(reason="the engine runs one thread of the process at a time")]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_survives(mutant):
    """The scenario fails, and says so with the schedule that shows it."""
    core = load("mutant", mutant.edits)
    with pytest.raises(AssertionError, match=f"schedule .* of {mutant.scenario}"):
        explore(mutant.scenario, core, stale=mutant.stale)


def test_label_has_no_mutant():
    """Every invariant and protocol that the model can show is broken by some mutant."""
    shown = {label for _, options in SCENARIOS.values() for label in options["labels"]}
    assert shown <= {mutant.label for mutant in MUTANTS}
