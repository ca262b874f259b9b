"""Adapters on a frozen model, through the whole runner."""

import json
from operator import attrgetter, methodcaller

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from agents.models import resolve_model
from runners.run_folder.metrics import metrics_row
from tests.runners.rllib.conftest import small_config, updater_of, without_times

LORA = {"lora_rank": 4, "lora_alpha": 16}


def lora_config(**training):
    return small_config(**{"lr": 5e-3, "minibatch_size": 8, **training}).agents(**LORA)


def named(model):
    return dict(model.named_parameters())


@pytest.fixture
def trained(build):
    """An algorithm after three steps."""
    algo = build(lora_config().agents(sync_check_bound=1e-5))
    rows = [metrics_row(algo.train(), step) for step in (1, 2, 3)]
    return algo, rows


@pytest.mark.slow
def test_engines_get_base_and_adapter_merged(trained):
    algo, rows = trained
    base = named(AutoModelForCausalLM.from_pretrained(resolve_model("tiny")))
    model = updater_of(algo).scorer.model
    exported = dict(updater_of(algo).exported_weights())
    assert exported.keys() == base.keys()
    parts = dict(model.named_parameters())
    layers = [name for name, module in model.named_modules() if hasattr(module, "lora_A")]
    assert len(layers) == 7 * model.config.num_hidden_layers
    for layer in layers:
        a, b = (parts[f"{layer}.lora_{part}.default.weight"].detach().double() for part in "AB")
        weight, delta = base[f"{layer}.weight"].detach().double(), 16 / 4 * b @ a
        assert delta.norm() / weight.norm() > 1e-3
        torch.testing.assert_close(exported[f"{layer}.weight"].double(), weight + delta, rtol=0, atol=1e-6)
    for name in base.keys() - {f"{layer}.weight" for layer in layers}:
        assert torch.equal(exported[name], base[name])
    # The engine's log-probs after each sync, and those of each step's samples.
    assert all(row["sync_logprob_diff"] < 1e-5 and row["rollout_logprob_diff_max"] < 1e-4 for row in rows)


def test_the_check_after_a_sync_sees_that_the_base_alone_was_sent(trained, monkeypatch):
    algo, _ = trained
    base = dict(AutoModelForCausalLM.from_pretrained(resolve_model("tiny")).named_parameters())
    monkeypatch.setattr(
        updater_of(algo), "exported_weights", lambda: ((name, tensor.detach()) for name, tensor in base.items())
    )
    with pytest.raises(RuntimeError, match="does not run the learner's weights"):
        algo.deliver_weights()


@pytest.mark.slow
def test_the_adapter_that_travels_alone_is_the_one_peft_loads(trained, tmp_path):
    """An engine gets the same tensors and the same configuration as policy/adapter has."""
    algo, _ = trained
    (found,) = algo.learner_group.foreach_learner(lambda learner: learner.sender.adapter())
    sent = found.get()
    algo.save_policy(tmp_path)
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert [spec.name for spec in sent.specs] == [name for name, _ in sent.tensors()]
    assert {name: tensor.tolist() for name, tensor in sent.tensors()} == {n: t.tolist() for n, t in saved.items()}
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    for name in ("r", "lora_alpha", "peft_type", "bias", "use_rslora"):
        assert sent.config[name] == config[name], name
    assert json.loads(json.dumps(sent.config)) == sent.config


def test_only_adapters_are_trained_and_checkpointed(build, tmp_path):
    algo = build(lora_config())
    updater = updater_of(algo)
    frozen = {name: p.detach().clone() for name, p in updater.scorer.model.named_parameters() if "lora_" not in name}
    before = {name: p.detach().clone() for name, p in updater.scorer.model.named_parameters() if "lora_" in name}
    algo.train()
    after = named(updater.scorer.model)
    assert all(torch.equal(after[name], value) for name, value in frozen.items())
    assert all(not torch.equal(after[name], value) for name, value in before.items())
    (optimizer,) = updater._optimizers
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {id(after[n]) for n in before}
    state = algo.learners.ask(methodcaller("get_state", "rl_module"))["rl_module"]["default_policy"]
    assert state.keys() == before.keys()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_adapters_beside_a_narrow_base_are_float32(build, dtype):
    algo = build(lora_config(lr=1e-6).agents(dtype=dtype, sync_check_bound=None))
    before = {name: p.detach().clone() for name, p in named(updater_of(algo).scorer.model).items() if "lora_A" in name}
    algo.train()  # B moves; A has a gradient from then on
    algo.train()
    after = named(updater_of(algo).scorer.model)
    assert {p.dtype for name, p in after.items() if "lora_" in name} == {torch.float32}
    assert {p.dtype for name, p in after.items() if "lora_" not in name} == {getattr(torch, dtype)}
    assert all(not torch.equal(after[name], value) for name, value in before.items())


def test_the_reference_is_the_adapter_switched_off(build):
    algo = build(lora_config(kl_coeff=0.1, minibatch_size=None))
    updater = updater_of(algo)
    assert updater._reference._scorer is updater.scorer
    rows = [metrics_row(algo.train(), step) for step in (1, 2)]
    assert rows[0]["ref_kl"] == 0.0
    assert rows[1]["ref_kl"] > 1e-6
    assert all(p.requires_grad == ("lora_" in name) for name, p in updater.scorer.model.named_parameters())


@pytest.mark.slow
def test_resume_is_exact(build, trained, tmp_path):
    algo, _ = trained
    algo.save_to_path(tmp_path / "checkpoint")
    expected = [without_times(metrics_row(algo.train(), step)) for step in (4, 5)]
    resumed = build(lora_config())
    resumed.restore_from_path(tmp_path / "checkpoint")
    assert [without_times(metrics_row(resumed.train(), step)) for step in (4, 5)] == expected


def test_the_policys_folder_holds_both(trained, tmp_path):
    algo, _ = trained
    algo.save_policy(tmp_path / "policy")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    base = AutoModelForCausalLM.from_pretrained(resolve_model("tiny"))
    adapted = peft.PeftModel.from_pretrained(base, tmp_path / "policy" / "adapter")
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(merged(ids).logits, adapted(ids).logits, rtol=0, atol=1e-4)
        with adapted.disable_adapter():
            assert (merged(ids).logits - adapted(ids).logits).abs().max() > 1e-2


def test_a_critic_and_gradient_checkpoints(build):
    algo = build(lora_config(advantage="gae", gradient_checkpointing=True))
    rows = [metrics_row(algo.train(), step) for step in (1, 2)]
    assert all(row["rollout_logprob_diff_max"] < 1e-4 and np.isfinite(row["vf_loss"]) for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("fully_shard", [False, True])
def test_two_learners_make_the_same_steps(build, trained, fully_shard):
    algo, rows = trained
    two = build(lora_config(fully_shard=fully_shard).learners(num_learners=2))
    for step, row in enumerate(rows, start=1):
        other = metrics_row(two.train(), step)
        assert other["loss"] == pytest.approx(row["loss"], abs=1e-6)
        assert other["grad_norm"] == pytest.approx(row["grad_norm"], rel=1e-4)
    ours = updater_of(algo).copied_weights()
    theirs = two.updaters.ask(methodcaller("copied_weights"))
    for name, weight in ours.items():
        # Adam makes a step of the rounding of a gradient near 0; a wrong gradient differs by the learning rate.
        torch.testing.assert_close(theirs[name], weight, rtol=0, atol=1e-4)
    assert two.updaters.ask(attrgetter("policy_version")) == 3


@pytest.mark.parametrize(
    ("agents", "message"),
    [
        ({"lora_rank": 0}, "lora_rank=0, but it must be an int >= 1, or None"),
        ({"lora_rank": 4, "lora_targets": "q_prj"}, "q_prj"),
        ({"lora_rank": 4, "lora_targets": "embed_tokens"}, "'all-linear' takes all that are"),
        (
            {"lora_rank": 4, "weight_transfer": "adapter"},
            "must be 'adapter' only with lora_rank, and",
        ),
        ({"engine": "vllm", "weight_transfer": "adapter"}, "'adapter' only with lora_rank, and an engine that serves"),
    ],
)
def test_refusals(build, agents, message):
    with pytest.raises(ValueError, match=message):
        build(small_config().agents(**agents))
