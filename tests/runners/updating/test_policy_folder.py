import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from agents.models import resolve_model
from runners.settings import PolicySettings
from runners.updating import policy_folder
from runners.updating.policy_folder import write_policy


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("eos", [None, 77])
def test_a_policy_is_read_back_with_its_generation_config(tmp_path, dtype, eos):
    source = tmp_path / "source"
    shutil.copytree(resolve_model("tiny"), source)
    (source / "generation_config.json").unlink(missing_ok=True)
    if eos is not None:
        GenerationConfig(eos_token_id=eos).save_pretrained(source)
    weights = AutoModelForCausalLM.from_pretrained(source, dtype=getattr(torch, dtype)).state_dict()
    weights = {name: tensor + 1 for name, tensor in weights.items()}
    write_policy(tmp_path / "to" / "policy", weights, PolicySettings(policy_model=str(source), dtype=dtype))
    read = AutoModelForCausalLM.from_pretrained(tmp_path / "to" / "policy", dtype="auto")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in read.state_dict().items())
    assert read.dtype == getattr(torch, dtype)
    assert json.loads((tmp_path / "to" / "policy" / "config.json").read_text())["dtype"] == dtype
    if eos is not None:
        assert read.generation_config.eos_token_id == eos
    text = "12 + 7"
    assert AutoTokenizer.from_pretrained(tmp_path / "to" / "policy")(text) == AutoTokenizer.from_pretrained(source)(
        text
    )


@pytest.mark.parametrize("trust", [False, True])
def test_whether_code_of_the_checkpoint_may_run_is_passed_on(tmp_path, monkeypatch, trust):
    asked = {}

    def empty_model(source, **options):
        asked.update(options)
        raise KeyboardInterrupt

    monkeypatch.setattr(policy_folder, "empty_model", empty_model)
    with pytest.raises(KeyboardInterrupt):
        write_policy(tmp_path, {}, PolicySettings(trust_remote_code=trust))
    assert asked == {"dtype": torch.float32, "trust_remote_code": trust}
