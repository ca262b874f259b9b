r"""Our grader beside those of verl, SkyRL, lm-evaluation-harness, math-verify and trl, on how answers are written.

    python benchmarks/graders.py --samples runs/x/samples.jsonl   # what a model wrote: shares and agreement with ours
    python benchmarks/graders.py                                  # the forms of _answer_forms.py for every test answer

What models write is the measure; the forms, which we made up, show where graders differ. For every form a table states
whether a careful reader takes it for the ground truth; a grader's share is how often it says the same. A false positive
rewards what a reader calls wrong, a false negative fails what he calls right. Within its contract: only the families of
forms that a grader sets out to read. Speed is per second of processor time, one process, the same texts for all. A
package that is not installed is named as such and left out. To install them beside
`pip install -e ".[train,dev]"`, without a torch of their own:

    pip install --no-deps verl==0.9.1 tensordict pyvers omegaconf skyrl-gym==0.4.0 func_timeout \
        math-verify==0.9.0 latex2sympy2_extended==1.11.0 antlr4-python3-runtime==4.9.3 \
        lm-eval==0.4.13 sacrebleu portalocker colorama tabulate lxml
"""

import argparse
import json
import logging
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _answer_forms import FAMILIES, Case, cases
from _graders import Grader, load_graders
from _results import write_results

from gsm8k_env.problems import load_problems


def form_figures(graders: Sequence[Grader], rendered: Sequence[Case]) -> dict[str, Any]:
    """Grades every case by every grader.

    Returns:
        "graders": name -> shares of verdicts that are a reader's, and speed; "forms": the share of each form that each
        grader reads as a reader does.
    """
    texts, truths = [case.completion for case in rendered], [case.ground_truth for case in rendered]
    expected = np.array([case.form.verdict for case in rendered])
    family = np.array([case.family for case in rendered])
    form = np.array([f"{case.family}: {case.form.name}" for case in rendered])
    rows, agrees = {}, {}
    for grader in graders:
        grader.verdicts(texts[:1], truths[:1])  # whatever it does only once
        started = time.process_time()
        verdicts = np.array(grader.verdicts(texts, truths))
        seconds = time.process_time() - started
        agrees[grader.name] = agree = verdicts == expected
        rows[grader.name] = {
            "share": agree.mean(),
            "share_in_contract": agree[np.isin(family, grader.contract)].mean(),
            "false_positive_share": verdicts[~expected].mean(),
            "false_negative_share": (~verdicts[expected]).mean(),
            "share_by_family": {name: agree[family == name].mean() for name in FAMILIES},
            "contract": list(grader.contract),
            "answers_per_cpu_s": len(texts) / seconds,
        }
        print(f"{grader.name}: {seconds:.0f} s", flush=True)
    first = {name: rendered[place] for name, place in zip(*np.unique(form, return_index=True), strict=True)}
    forms = [
        {
            "form": name,
            "template": case.form.template,
            "right": case.form.verdict,
            "count": int((form == name).sum()),
            "share": {grader: agree[form == name].mean() for grader, agree in agrees.items()},
        }
        for name, case in first.items()
    ]
    return {"cases": len(rendered), "graders": rows, "forms": forms}


def print_forms(figures: dict[str, Any]) -> None:
    """Prints grader x family, then each form that another grader reads better than ours does."""
    print(f"\n| grader | {' | '.join(FAMILIES)} | all | in contract | false + | false - | answers/s |")
    print("|---" * (len(FAMILIES) + 6) + "|")
    for name, row in figures["graders"].items():
        shares = [f"{row['share_by_family'][family]:.3f}" for family in FAMILIES]
        shares += [f"{row[key]:.4f}" for key in ("share", "share_in_contract")]
        shares += [f"{row[f'false_{sign}_share']:.4f}" for sign in ("positive", "negative")]
        print(f"| {name} | {' | '.join(shares)} | {row['answers_per_cpu_s']:,.0f} |")
    for form in figures["forms"]:
        ours = form["share"]["ours, flexible"]
        better = [f"{name} {share:.3f}" for name, share in form["share"].items() if share > ours]
        if better:
            print(f"better than ours ({ours:.3f}) on {form['form']!r}: {', '.join(better)}")


def sample_figures(graders: Sequence[Grader], path: Path) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Grades what a model wrote; agreement is with our flexible mode, the first.

    Args:
        graders: The graders.
        path: Rows of JSON with "completion" and "ground_truth", such as an evaluation's samples.jsonl.

    Returns:
        The figures, and for each grader a line for every completion on which it differs from ours. The lines quote the
        completions, which are no part of the figures.
    """
    # Split at line feeds alone: a completion may hold other characters that str.splitlines takes for line ends.
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    texts = [row["completion"] for row in rows]
    truths = [row["ground_truth"].replace(",", "") for row in rows]
    verdicts = {grader.name: np.array(grader.verdicts(texts, truths)) for grader in graders}
    ours = verdicts[graders[0].name]
    figures = {
        name: {
            "right_share": theirs.mean(),
            "agreement": (theirs == ours).mean(),
            "right_where_ours_is_wrong": int((theirs & ~ours).sum()),
            "wrong_where_ours_is_right": int((ours & ~theirs).sum()),
        }
        for name, theirs in verdicts.items()
    }
    differences = {
        name: [f"truth {truths[i]}, ours {bool(ours[i])}: {texts[i][-90:]!r}" for i in np.flatnonzero(theirs != ours)]
        for name, theirs in verdicts.items()
    }
    return {"completions": len(rows), "graders": figures}, differences


def print_samples(figures: dict[str, Any], differences: dict[str, list[str]]) -> None:
    """Prints each grader's accuracy and the ends of the completions on which it differs from ours."""
    print(f"{figures['completions']} completions")
    for name, row in figures["graders"].items():
        print(f"{name}: right {row['right_share']:.2%}, agrees with ours on {row['agreement']:.2%}")
        for line in differences[name]:
            print(f"  {line}")


def main() -> None:
    """Prints the tables and writes them to results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--samples", type=Path, help="a samples.jsonl of evaluate.py (or other rows of completion and ground_truth)"
    )
    parser.add_argument("--result", default="graders_samples", help="name of results/NAME.json with --samples")
    parser.add_argument("--dataset", default="auto", help="whose test answers are spelt (auto: GSM8K_DATASET, ...)")
    parser.add_argument("--answers", type=int, help="how many of them (all)")
    args = parser.parse_args()
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=SyntaxWarning)
    graders, packages = load_graders()
    print("\n".join(f"{package} {version}" for package, version in packages.items()))
    if args.samples:
        figures, differences = sample_figures(graders, args.samples)
        print_samples(figures, differences)
        write_results(args.result, {"packages": packages, **figures})
        return
    problems = load_problems("test", args.dataset)
    rendered = list(cases(problems[: args.answers]))
    source = "local files" if Path(problems.dataset).is_absolute() else problems.dataset
    print(f"{len(rendered):,} texts from {source}, test split, sha256 {problems.fingerprint[:12]}")
    figures = form_figures(graders, rendered)
    print_forms(figures)
    write_results("graders", {"dataset": source, "sha256": problems.fingerprint, "packages": packages, **figures})


if __name__ == "__main__":
    main()
