"""Gates for scripts: "eval_accuracy@60 > 0.9"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runners.comparing.records import RunRecord
from runners.run_folder.conditions import Condition, parse_condition

_STEP = re.compile(r"\s*(\w+)\s*@\s*(\d+)(.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A condition on a metric at a step.

    Attributes:
        text: As it was written.
        condition: On the metric.
        step: Where; None is the last step that has the metric.
    """

    text: str
    condition: Condition
    step: int | None

    @classmethod
    def parse(cls, text: str) -> Gate:
        """Reads METRIC@STEP > NUMBER, or METRIC > NUMBER.

        Raises:
            ValueError: For another form, or a metric that there is not.
        """
        found = _STEP.fullmatch(text)
        condition = parse_condition(found[1] + found[3] if found else text)
        if condition is None:
            raise ValueError(
                f"--gate {text!r}: expected METRIC@STEP > NUMBER (also >=, <, <=; without @STEP the last) with a "
                "metric of docs/metrics.md."
            )
        return cls(text=text, condition=condition, step=int(found[2]) if found else None)

    def verdict(self, run: RunRecord) -> tuple[bool, str]:
        """Returns whether a run passes, and a line that says so; without the metric at that step it does not."""
        name = self.condition.metric
        having = [step for step, row in run.rows.items() if name in row]
        step = self.step if self.step is not None else max(having, default=None)
        if step not in having:
            where = f"step {step}" if step is not None else "any step"
            return False, f"{run.path}: {self.text}: failed, no {name} at {where}"
        passed = self.condition.holds(run.rows[step])
        return passed, f"{run.path}: {self.text}: {'passed' if passed else 'failed'}, {run.rows[step][name]:.6g}"
