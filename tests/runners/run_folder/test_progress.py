"""What a person sees while a run goes on, at the widths of terminals."""

import io
import re

import pytest
from rich.console import Console

from runners.run_folder.progress import RunProgress

ROW = {
    "step": 16,
    "reward_mean": 0.72734,
    "completion_tokens_mean": 46.2,
    "entropy": 0.034,
    "approx_kl": 3.3e-6,
    "tokens_per_s": 6387.4,
    "sample_s": 1.0,
    "update_s": 0.8,
    "sync_s": 0.04,
}


def last_line(width, total=60, terminal=True):
    kind = {"force_terminal": terminal, "color_system": None, "legacy_windows": False, "soft_wrap": not terminal}
    console = Console(file=io.StringIO(), width=width, **kind)
    with RunProgress(total, console=console) as progress:
        progress.step(ROW)
    plain = re.sub(r"\x1b\[[?\d]*[A-Za-z]", "", console.file.getvalue())
    return [line for line in re.split(r"[\r\n]+", plain) if line.strip()][-1].rstrip()


@pytest.mark.parametrize("total", [60, 10_000])
def test_at_80_columns_the_step_comes_first_and_nothing_is_cut(total):
    line = last_line(80, total)
    assert line.startswith("GRPO ") and f"16/{total} 0:00:00" in line and "…" not in line
    assert "reward 0.727" in line and len(line) <= 80
    if total == 60:
        assert line.endswith("reward 0.727  length 46  1.84 s")


def test_wider_terminals_show_more():
    assert last_line(140).endswith("reward 0.727  length 46  1.84 s  entropy 0.03  kl 3.3e-06  tokens/s 6387")
    assert last_line(100).endswith("reward 0.727  length 46  1.84 s  entropy 0.03  kl 3.3e-06")


def test_a_narrow_one_keeps_the_reward():
    assert "reward 0.7" in last_line(60)


def test_a_file_gets_plain_lines():
    expected = "step 16/60  reward 0.727  length 46  entropy 0.03  kl 3.3e-06  tokens/s 6387  1.84 s"
    assert last_line(80, terminal=False) == expected
