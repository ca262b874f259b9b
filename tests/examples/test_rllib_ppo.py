import re

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from agents.models import resolve_model


@pytest.mark.slow
def test_trains_and_writes_a_folder(run_example, tmp_path):
    printed = run_example("rllib_ppo", "--iterations", 2, "--batch-size", 1024, "--output-dir", tmp_path / "policy")
    returns = [float(value) for value in re.findall(r"^iteration \d  .* mean_return (\S+)", printed, re.MULTILINE)]
    assert len(returns) == 2
    assert 0.05 < returns[0] < 0.8  # the bundled model's accuracy, sampled; other prompts take it far away
    trained, original = (
        AutoModelForCausalLM.from_pretrained(folder).state_dict()
        for folder in (tmp_path / "policy", resolve_model("tiny"))
    )
    assert trained.keys() == original.keys()
    assert any(not trained[name].equal(original[name]) for name in trained)
    assert AutoTokenizer.from_pretrained(tmp_path / "policy").chat_template
