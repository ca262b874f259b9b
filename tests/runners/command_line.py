"""Small runs of `python runners/grpo.py`, as a user types them."""

import json
import subprocess
import sys
from pathlib import Path

from runners.comparing.records import TIMES

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "--dataset",
    "builtin:1:64",
    "--eval-problems",
    "8",
    "--eval-interval",
    "2",
    "--checkpoint-interval",
    "1",
    "--num-threads",
    "1",
    "--set",
    "num_prompts=4",
    "--set",
    "group_size=4",
    "--set",
    "minibatch_size=8",
    "--set",
    "max_tokens=16",
]


def command(runs_dir, *arguments):
    return [sys.executable, str(ROOT / "runners" / "grpo.py"), "--runs-dir", str(runs_dir), *map(str, arguments)]


def run(runs_dir, *arguments):
    return subprocess.run(command(runs_dir, *arguments), capture_output=True, text=True, timeout=240)


def rows(folder):
    """The metrics, but for those that are times."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]
