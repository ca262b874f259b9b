"""Our grader and other projects' own, behind one call: texts and ground truths in, verdicts out.

Each loader imports its package and calls what that package rewards or scores with; nothing of theirs is imitated.
"""

import importlib.metadata
import importlib.resources
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import yaml
from _answer_forms import FAMILIES, Family

from gsm8k_env.grading import GRADING_MODES, GradingMode, grade

Verdicts = Callable[[Sequence[str], Sequence[str]], list[bool]]

_HASH: Final[tuple[Family, ...]] = ("#### official",)
_BOXED: Final[tuple[Family, ...]] = ("boxed", "boxed dressed")
# None of the others says what becomes of unfinished text.
_ANY_FINISHED: Final = tuple(family for family in FAMILIES if family != "cut")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grader:
    """One way to grade.

    Attributes:
        name: Project and mode.
        contract: The families of forms that it sets out to read; all others it may call wrong.
        verdicts: (completions, ground truths) -> whether each is right. Ground truths have no thousands separators.
    """

    name: str
    contract: tuple[Family, ...]
    verdicts: Verdicts


def load_graders() -> tuple[list[Grader], dict[str, str]]:
    """Returns the graders at hand, and package -> version, or "not installed" with the reason."""
    graders, packages = _ours(), {}
    for package, load in _LOADERS.items():
        try:
            graders += load()
            packages[package] = importlib.metadata.version(package)
        except ImportError as error:
            packages[package] = f"not installed: {error}"
    return graders, packages


def _each(score: Callable[[str, str], Any]) -> Verdicts:
    return lambda texts, truths: [bool(score(text, truth)) for text, truth in zip(texts, truths, strict=True)]


def _ours() -> list[Grader]:
    contracts: dict[GradingMode, tuple[Family, ...]] = {
        "flexible": FAMILIES,
        "strict": ("#### official", "#### dressed"),
        "boxed": _BOXED,
    }

    def score(text: str, truth: str, mode: GradingMode) -> bool:
        return grade(text, truth, mode).correct

    return [
        Grader(name=f"ours, {mode}", contract=contracts[mode], verdicts=_each(partial(score, mode=mode)))
        for mode in GRADING_MODES
    ]


def _verl() -> list[Grader]:
    from verl.utils.reward_score.gsm8k import compute_score

    return _strict_and_flexible("verl", compute_score)


def _skyrl() -> list[Grader]:
    from skyrl_gym.envs.gsm8k.utils import compute_score

    return _strict_and_flexible("SkyRL", compute_score)


def _strict_and_flexible(project: str, compute_score: Callable[..., Any]) -> list[Grader]:
    contracts = {"strict": _HASH, "flexible": _ANY_FINISHED}
    return [
        Grader(name=f"{project}, {method}", contract=contract, verdicts=_each(partial(compute_score, method=method)))
        for method, contract in contracts.items()
    ]


def _lm_eval() -> list[Grader]:
    from lm_eval.api.metrics import exact_match_hf_evaluate
    from lm_eval.filters import get_filter

    source = importlib.resources.files("lm_eval") / "tasks" / "gsm8k" / "gsm8k.yaml"
    task = yaml.safe_load(source.read_text(encoding="utf-8"))
    metric = task["metric_list"][0]
    options = {name: metric[name] for name in ("regexes_to_ignore", "ignore_case", "ignore_punctuation")}

    def verdicts(texts: Sequence[str], truths: Sequence[str], steps: list[dict[str, Any]]) -> list[bool]:
        responses: Any = [[text] for text in texts]
        for step in steps:
            arguments = {name: value for name, value in step.items() if name != "function"}
            responses = get_filter(step["function"])(**arguments).apply(responses, [{}] * len(texts))
        return [
            bool(exact_match_hf_evaluate([response], [truth], **options)["exact_match"])
            for response, truth in zip(responses, truths, strict=True)
        ]

    contracts = {"strict-match": _HASH, "flexible-extract": _ANY_FINISHED}
    return [
        Grader(
            name=f"lm-eval, {pipeline['name']}",
            contract=contracts[pipeline["name"]],
            verdicts=partial(verdicts, steps=pipeline["filter"]),
        )
        for pipeline in task["filter_list"]
    ]


def _math_verify() -> list[Grader]:
    from math_verify import parse, verify

    def score(text: str, truth: str) -> bool:
        return verify(parse(f"${truth}$"), parse(text))

    return [Grader(name="math-verify", contract=_ANY_FINISHED, verdicts=_each(score))]


def _trl() -> list[Grader]:
    from trl.rewards import accuracy_reward

    def verdicts(texts: Sequence[str], truths: Sequence[str]) -> list[bool]:
        completions = [[{"role": "assistant", "content": text}] for text in texts]
        return [reward == 1.0 for reward in accuracy_reward(completions, list(truths))]

    verdicts([r"\boxed{18}"], ["18"])  # says so here if math_verify is missing
    return [Grader(name="trl accuracy_reward", contract=_BOXED, verdicts=verdicts)]


_LOADERS: Final[dict[str, Callable[[], list[Grader]]]] = {
    "verl": _verl,
    "skyrl-gym": _skyrl,
    "lm-eval": _lm_eval,
    "math-verify": _math_verify,
    "trl": _trl,
}
