"""Golden runs: the same training in two trees, equal to the bit in metrics and weights.

    git worktree add ../base COMMIT && python -m tests.golden.compare ../base [CASE ...]

A change that moves code and means to change no result is shown by it. Both trees run on this machine, one after the
other, since processors differ in rounding; with the base as head too it shows that the runs themselves repeat.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
# Metrics that were renamed or dropped on the way: base's name -> head's, or None.
RENAMED: dict[str, str | None] = {
    # What RLlib's own update loop logged besides: rows of a minibatch, a version, and the norm that grad_norm is too.
    "learner/module_train_batch_size_mean": None,
    "learner/weights_seq_no": None,
    "learner/gradients_default_optimizer_global_norm": None,
    "learner/gradients_vf_head_global_norm": None,
    "learner/total_loss": None,
    "learner/logprob_diff_mean": "learner/rollout_logprob_diff_mean",
    "learner/logprob_diff_max": "learner/rollout_logprob_diff_max",
    "rollouts/flat_group_share": "rollouts/zero_variance_share",
    # Of a fixed prompt; now of the step's own.
    "rollouts/sync_logprob_diff": None,
}
# In vLLM's environment alone. SGLang is none: on a CPU it refuses deterministic inference, and so seeds no request.
ENGINES = ("vllm",)


def is_time(name: str) -> bool:
    """Returns whether a metric is a time, which no two runs share."""
    last = name.rsplit("/", 1)[-1]
    return last.endswith("_s") or "tokens_per_s" in last or "throughput" in name or "timer" in name or "time" in last


def differences(base: dict[str, Any], head: dict[str, Any]) -> list[str]:
    """Returns a line for each metric or weight that is not the same to the bit."""
    found = []
    for number, (old, new) in enumerate(zip(base["steps"], head["steps"], strict=True), start=1):
        for name, value in old.items():
            renamed = RENAMED.get(name, name)
            if renamed is not None and not is_time(name) and new.get(renamed) != value:
                found.append(f"step {number}: {name} {value!r}, now {renamed} {new.get(renamed)!r}")
    if base["weights"].keys() != head["weights"].keys():
        found.append("the weights have other names")
    changed = [name for name, digest in base["weights"].items() if head["weights"].get(name) != digest]
    return found + [f"weight {name}" for name in changed]


def outcome(tree: Path, case: str) -> dict[str, Any]:
    """Returns what `run.py` found in a tree."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "outcome.json"
        environment = {**os.environ, "PYTHONPATH": str(tree.resolve()), "OMP_NUM_THREADS": "1"}
        script = Path(__file__).parent / "run.py"
        subprocess.run([sys.executable, "-P", script, case, output], cwd=folder, env=environment, check=True)
        return json.loads(output.read_text())


def main() -> int:
    """Command line; returns 0 if all is equal."""
    from tests.golden.run import CASES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="a tree of the commit to compare with")
    parser.add_argument(
        "cases", nargs="*", help=f"default: all but those of an engine's own environment ({', '.join(ENGINES)})"
    )
    parser.add_argument("--head", type=Path, default=ROOT, help="the other tree; the base itself shows what repeats")
    arguments = parser.parse_args()
    faulty = 0
    for case in arguments.cases or [name for name in CASES if name not in ENGINES]:
        base = outcome(arguments.base, case)
        found = differences(base, outcome(arguments.head, case))
        metrics = sum(not is_time(name) for step in base["steps"] for name in step)
        print(f"{case:15} {metrics} metrics, {len(base['weights'])} weights: {len(found)} differ", flush=True)
        print("".join(f"    {line}\n" for line in found[:20]), end="", flush=True)
        faulty += bool(found)
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main())
