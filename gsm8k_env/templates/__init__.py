"""The templates of the builtin problems: `BY_LEVEL` maps a level, which is the number of steps, to its templates."""

from gsm8k_env.templates import five_steps, four_steps, one_step, three_steps, two_steps
from gsm8k_env.templates.form import Template

BY_LEVEL: dict[int, tuple[Template, ...]] = {
    1: one_step.TEMPLATES,
    2: two_steps.TEMPLATES,
    3: three_steps.TEMPLATES,
    4: four_steps.TEMPLATES,
    5: five_steps.TEMPLATES,
}
