"""The Python blocks of README.md run as they stand."""

import re
from pathlib import Path

import pytest
import ray

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=[block.splitlines()[0] for block in BLOCKS])
def test_block(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    if "algo" in names:
        names["algo"].stop()  # type: ignore[attr-defined]
        ray.shutdown()  # RLlib started it
        assert 0.0 <= float(capsys.readouterr().out.splitlines()[-1]) <= 1.0
    if "mine" in names:
        from runners.objectives.surrogates import SURROGATES

        assert SURROGATES.pop("mine") is names["mine"]


def test_there_are_blocks() -> None:
    assert len(BLOCKS) == 3


def test_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link and not (ROOT / link).exists()]
    assert missing == []
