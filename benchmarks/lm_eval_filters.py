r"""Our grading against lm-evaluation-harness's own gsm8k filters, completion by completion.

    python benchmarks/lm_eval_filters.py                          # surface forms of built-in answers
    python benchmarks/lm_eval_filters.py runs/eval-x/samples.jsonl   # what a model wrote

Needs the harness, of which only the filters, the metric and the task's yaml are used:
`pip install --no-deps lm-eval && pip install sacrebleu`. Their `strict-match` is set beside our "strict" and their
`flexible-extract` beside our "flexible" (https://github.com/EleutherAI/lm-evaluation-harness, tasks/gsm8k/gsm8k.yaml).
"""

import argparse
import importlib.metadata
import importlib.resources
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from _results import write_results
from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.filters import get_filter

from gsm8k_env.grading import GradingMode, grade
from gsm8k_env.problems import load_problems

PAIRS: dict[str, GradingMode] = {"strict-match": "strict", "flexible-extract": "flexible"}

# {0} is the answer, {1} another number. The value: whether a careful reader takes {0} for the answer; None: it is open.
FORMS: dict[str, bool | None] = {
    "#### {0}": True,
    "#### {1}": False,
    "####{0}": True,
    "#### ${0}": True,
    "#### {0}.": True,
    "#### {0}.00": True,
    "#### {0} dollars": True,
    "#### {0}\nQuestion: Ann has {1} hens.": True,
    "#### {1}\nWait, that is wrong.\n#### {0}": True,
    "#### {0}\nWait, that is wrong.\n#### {1}": False,
    "#### **{0}**": True,
    "#### {0} or {1}": False,
    "#### {0}/1": True,
    "#### x = {0}": True,
    "She sells {1} and keeps the rest, so {0}": True,
    "She has {0} eggs.": True,
    "She has {0} eggs, which she sells at {1}.": None,
    "The answer is {0}.": True,
    "The answer is {0}, since {1} + 1 is more.": True,
    r"So it is \boxed{{{0}}}.": True,
    r"So it is \boxed{{{0}}}, more than {1}.": True,
    "The final answer is **${0}**": True,
    "{0}.00 dollars": True,
    "That is {0}%": True,
    "That is {0}.5": False,
    "The answer is not {0}.": False,
    "<think>{0}": False,
    "The total is {0} (see step 2).": True,
    "": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A completion to grade by both.

    Attributes:
        form: What it is an instance of; for a model's completion the text itself.
        completion: The text, cut at the prompt's stop texts.
        ground_truth: The true answer.
        right: What a reader says, where that is known.
    """

    form: str
    completion: str
    ground_truth: str
    right: bool | None


def surface_forms(count: int) -> list[Case]:
    """Returns every form of the first `count` built-in test answers."""
    return [
        Case(
            form=form,
            completion=form.format(problem.ground_truth, int(problem.ground_truth) + 7),
            ground_truth=problem.ground_truth,
            right=right,
        )
        for problem in load_problems("test", "builtin")[:count]
        for form, right in FORMS.items()
    ]


def completions_of(path: Path) -> list[Case]:
    """Returns the completions of a samples.jsonl, cut as its config.json says."""
    from agents.stop_text import cut_at_stop
    from runners.evaluation.files import EvaluationFolder, read_samples

    config = EvaluationFolder(path.parent).read_config() or {"evaluation": {"stop": []}}
    stop = tuple(config["evaluation"]["stop"])
    return [
        Case(form=sample.completion, completion=text, ground_truth=sample.ground_truth, right=None)
        for sample in read_samples(path)
        for text in [cut_at_stop(sample.completion, stop)]
    ]


def harness_grades(cases: list[Case], task: dict[str, Any]) -> dict[str, list[bool]]:
    """Returns filter name -> the harness's verdicts, by its own filters and metric."""
    metric = task["metric_list"][0]
    options = {name: metric[name] for name in ("regexes_to_ignore", "ignore_case", "ignore_punctuation")}
    verdicts = {}
    for pipeline in task["filter_list"]:
        responses: Any = [[case.completion] for case in cases]
        for step in pipeline["filter"]:
            arguments = {name: value for name, value in step.items() if name != "function"}
            responses = get_filter(step["function"])(**arguments).apply(responses, [{}] * len(cases))
        verdicts[pipeline["name"]] = [
            bool(exact_match_hf_evaluate([response], [case.ground_truth], **options)["exact_match"])
            for response, case in zip(responses, cases, strict=True)
        ]
    return verdicts


def compare(cases: list[Case], task: dict[str, Any]) -> dict[str, Any]:
    """Returns, for each pair of modes, both accuracies, the agreement and the forms on which they differ."""
    harness = harness_grades(cases, task)
    figures: dict[str, Any] = {}
    for theirs, ours in PAIRS.items():
        grades = [grade(case.completion, case.ground_truth, ours).correct for case in cases]
        differing = Counter(
            (case.form, mine, other, case.right)
            for case, mine, other in zip(cases, grades, harness[theirs], strict=True)
            if mine != other
        )
        # "strict" asks for a form, which is not for a reader to judge.
        known = [i for i, case in enumerate(cases) if case.right is not None and ours == "flexible"]
        figures[ours] = {
            "completions": len(cases),
            "ours_right_share": sum(grades) / len(cases),
            "harness_right_share": sum(harness[theirs]) / len(cases),
            "agreement": 1 - sum(differing.values()) / len(cases),
            "ours_as_a_reader": sum(grades[i] == cases[i].right for i in known) / len(known) if known else None,
            "harness_as_a_reader": (
                sum(harness[theirs][i] == cases[i].right for i in known) / len(known) if known else None
            ),
            "differences": [
                {"form": form, "ours": mine, "harness": other, "reader": right, "count": count}
                for (form, mine, other, right), count in differing.most_common()
            ],
        }
    return figures


def main() -> None:
    """Prints both sides and every form on which they differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=Path, nargs="?", help="a samples.jsonl of evaluate.py")
    parser.add_argument("--answers", type=int, default=20, help="without a file: how many answers to spell (20)")
    args = parser.parse_args()
    source = importlib.resources.files("lm_eval") / "tasks" / "gsm8k" / "gsm8k.yaml"
    task = yaml.safe_load(source.read_text(encoding="utf-8"))
    cases = completions_of(args.samples) if args.samples else surface_forms(args.answers)
    figures = compare(cases, task)
    for mode, row in figures.items():
        print(
            f"{mode}: {row['completions']} completions, right by ours {row['ours_right_share']:.2%}, by the harness "
            f"{row['harness_right_share']:.2%}, agreement {row['agreement']:.2%}"
        )
        if row["ours_as_a_reader"] is not None:
            print(f"  as a reader: ours {row['ours_as_a_reader']:.2%}, harness {row['harness_as_a_reader']:.2%}")
        for case in row["differences"]:
            shown = json.dumps(case["form"][-90:], ensure_ascii=False)
            print(f"  {case['count']:4d} x {shown}: ours {case['ours']}, harness {case['harness']}", end="")
            print("" if case["reader"] is None else f", a reader {case['reader']}")
    name = "lm_eval_filters" + ("_completions" if args.samples else "")
    path = write_results(name, {"lm_eval": importlib.metadata.version("lm_eval"), **figures})
    print(f"results: {path}")


if __name__ == "__main__":
    main()
