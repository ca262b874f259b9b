"""What docs/ says runs, and what is made from the code is up to date."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from runners.objectives.algorithms import ALGORITHMS
from runners.published import algorithm_table
from runners.settings import AGENT_NOUNS, RUN_NOUNS, TRAINING_NOUNS
from runners.support.settings import fields_of, tables

ROOT = Path(__file__).resolve().parent.parent
OWN = (ROOT / "docs" / "custom_algorithm.md").read_text(encoding="utf-8")
SMALL = "--dataset builtin:1-2 --steps 2 --eval-interval 0 --eval-problems 4 --num-threads 1 --name own"
SIZES = {"num_prompts": 4, "group_size": 4, "minibatch_size": 8, "max_tokens": 48}


@pytest.mark.slow
@pytest.mark.parametrize("num_learners", [0, 1])
def test_the_algorithm_of_ones_own_trains(tmp_path, num_learners):
    (code,) = re.findall(r"^```python\n(.*?)^```", OWN, re.DOTALL | re.MULTILINE)
    assert sum(1 for line in code.splitlines() if line.strip()) < 20
    (tmp_path / "my_algorithm.py").write_text(code)
    (command,) = re.findall(r"^    python (runners/grpo\.py .*)$", OWN, re.MULTILINE)
    script, *options = shlex.split(command)
    sizes = [part for name, value in SIZES.items() for part in ("--set", f"{name}={value}")]
    arguments = [*options, *shlex.split(SMALL), *sizes, "--num-learners", str(num_learners)]
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "runs/own/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert rows[-1]["policy_version"] == 2 and any(row.get("grad_norm", 0) > 0 for row in rows)
    assert "advantage: my_algorithm:median_baseline" in (tmp_path / "runs/own/config.yaml").read_text()


def test_the_entry_of_the_page_is_one_that_is_tested():
    page = (ROOT / "docs" / "entries.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert code == (ROOT / "benchmarks" / "entries" / "expert_iteration.py").read_text(encoding="utf-8")
    assert sum(1 for line in code.splitlines() if line.strip() and '"""' not in line) <= 35


def test_the_page_of_algorithms_is_up_to_date():
    page = (ROOT / "docs" / "algorithms.md").read_text(encoding="utf-8")
    assert f"\n\n{algorithm_table()}\n\n" in page
    assert algorithm_table().count("\n") == len(ALGORITHMS) + 1


def test_the_page_of_settings_is_up_to_date():
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page.endswith(f"\n\n{tables((*RUN_NOUNS, *AGENT_NOUNS, *TRAINING_NOUNS))}\n")
    assert page.count("\n| `") == len(fields_of((*RUN_NOUNS, *AGENT_NOUNS, *TRAINING_NOUNS)))


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []
