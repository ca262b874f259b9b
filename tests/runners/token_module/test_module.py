"""The module by itself, without Ray: what it samples, trains and writes."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.core.rl_module.apis import TARGET_NETWORK_ACTION_DIST_INPUTS
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

import agents
from runners.token_module.language_model import last_states
from runners.token_module.module import CausalLMModule
from tests.runners.token_module.conftest import TINY, batch_of, make_env, make_module
from tests.runners.updating.families import save_model

Episode = Callable[[int], list[dict[str, Any]]]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def logits(output: dict[str, Any]) -> torch.Tensor:
    return output["action_dist_inputs"]


def test_samples_the_transformers_agents_distribution(env: gym.Env, module: CausalLMModule) -> None:
    observation, _ = env.reset(options={"index": 3})
    prompt = observation["token_ids"][: observation["length"]].tolist()
    engine = agents.make("transformers", model="tiny", device="cpu", dtype="float32")
    [[completion]] = engine.generate([prompt], agents.SamplingParams(max_tokens=24, seed=(0,)))
    assert len(completion.token_ids) > 5
    mask = torch.as_tensor(env.get_wrapper_attr("action_masks")())
    reference = engine.model(input_ids=torch.tensor([[*prompt, *completion.token_ids]])).logits[0, len(prompt) - 1 :]
    # The agent draws special tokens too, if rarely.
    allowed = reference.softmax(dim=-1)[:, mask].sum(dim=-1).log().tolist()
    for token_id, expected, share in zip(completion.token_ids, completion.logprobs, allowed[:-1], strict=True):
        for forward in (module.forward_exploration, module.forward_inference, module.forward_train):
            scored = logits(forward(batch_of([observation]))).log_softmax(dim=-1)
            assert scored[0, token_id].item() + share == pytest.approx(expected, abs=1e-5)
        observation, *_ = env.step(token_id)


def test_special_tokens_but_the_end_are_masked(env: gym.Env, module: CausalLMModule, episode: Episode) -> None:
    batch = batch_of(episode(0))
    mask = torch.as_tensor(env.get_wrapper_attr("action_masks")())
    assert mask.sum() == 509  # of 512: pad, user and assistant are not text
    model_logits = module.language_model(input_ids=batch["obs"]["token_ids"][-1:, : batch["obs"]["length"][-1]].long())
    expected = model_logits.logits[0, -1].masked_fill(~mask, -torch.inf).softmax(dim=-1)
    for forward in (module.forward_exploration, module.forward_train):
        probabilities = logits(forward(batch)).softmax(dim=-1)
        assert (probabilities[:, ~mask] == 0).all()
        torch.testing.assert_close(probabilities[-1], expected, **CLOSE)


def test_an_alphabets_actions_are_its_tokens() -> None:
    env = make_env(alphabet="90# ", max_tokens=4)
    module = make_module(env, alphabet="90# ")
    observation, _ = env.reset(seed=0)
    batch = batch_of([observation])
    token_ids = torch.as_tensor(np.array(env.get_wrapper_attr("action_token_ids")))
    model_logits = module.language_model(input_ids=batch["obs"]["token_ids"][:, : observation["length"]].long()).logits
    torch.testing.assert_close(logits(module.forward_exploration(batch))[0], model_logits[0, -1, token_ids], **CLOSE)


@pytest.mark.parametrize("family", ["Llama", "Gemma 2", "Jamba"])
def test_training_computes_an_episode_once_and_gets_the_same(
    family: str, env: gym.Env, episode: Episode, tmp_path: Path
) -> None:
    module = make_module(env, model=str(save_model(family, tmp_path)))
    observations = [*episode(0), *episode(1)]
    order = np.random.default_rng(0).permutation(len(observations))
    batch = batch_of([observations[number] for number in order])
    torch.nn.init.normal_(module.vf_head.weight)
    computed: list[int] = []
    module.language_model.get_input_embeddings().register_forward_hook(
        lambda _, inputs, __: computed.append(inputs[0].shape[0] if inputs[0].dtype == torch.long else 0)
    )

    def outcome(states: torch.Tensor, of_actions: torch.Tensor) -> tuple[torch.Tensor, ...]:
        loss = of_actions.log_softmax(dim=-1)[:, ::7].sum() + module.compute_values(batch, states).square().sum()
        return of_actions, states, *torch.autograd.grad(loss, list(module.parameters()))

    output = module.forward_train(batch)
    shared = outcome(output["embeddings"], logits(output))
    states, head = last_states(
        module.language_model, batch["obs"]["token_ids"], batch["obs"]["length"], share_prefixes=False
    )
    mask = torch.as_tensor(env.get_wrapper_attr("action_masks")())
    plain = outcome(states, head(states).masked_fill(~mask, -1e9))
    assert computed[0] == 2
    assert len(observations) in computed
    for one, other in zip(shared, plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5 * max(1.0, other.abs().max().item()), rtol=1e-5)


def test_each_row_has_its_own_answer(module: CausalLMModule, episode: Episode) -> None:
    observations = [*episode(0), *episode(1)]
    together = logits(module.forward_train(batch_of(observations)))
    alone = torch.cat([logits(module.forward_train(batch_of([one]))) for one in observations])
    torch.testing.assert_close(together, alone, **CLOSE)


def test_sampling_an_episode_step_by_step_is_scoring_it(module: CausalLMModule, episode: Episode) -> None:
    pairs = list(zip(episode(0), episode(1), strict=False))
    assert len(pairs) > 5
    for pair in pairs:
        torch.testing.assert_close(
            logits(module.forward_exploration(batch_of(list(pair)))),
            logits(module.forward_train(batch_of(list(pair)))),
            **CLOSE,
        )


def test_without_a_cache_sampling_is_the_same(env: gym.Env, module: CausalLMModule, episode: Episode) -> None:
    uncached = make_module(env, cache_positions=0)
    for observation in episode(2):
        batch = batch_of([observation])
        torch.testing.assert_close(
            logits(uncached.forward_exploration(batch)), logits(module.forward_exploration(batch)), **CLOSE
        )
    assert uncached.prefix_cache.positions == 0 < module.prefix_cache.positions


@pytest.mark.parametrize("forget", [True, False], ids=["set_state", "no change"])
def test_new_weights_empty_the_cache(forget: bool, env: gym.Env, module: CausalLMModule, episode: Episode) -> None:
    first, second = episode(0)[:2]
    module.forward_exploration(batch_of([first]))
    if forget:
        module.set_state({name: array + 0.01 for name, array in module.get_state().items()})
    computed: list[tuple[int, ...]] = []
    module.language_model.get_input_embeddings().register_forward_hook(
        lambda _, inputs, __: computed.append(tuple(inputs[0].shape))
    )
    sampled = logits(module.forward_exploration(batch_of([second])))
    assert computed == [(1, int(second["length"]) if forget else 1)]
    torch.testing.assert_close(sampled, logits(module.forward_train(batch_of([second]))), **CLOSE)


def test_the_cache_is_no_state(module: CausalLMModule, episode: Episode) -> None:
    before = {name: array.shape for name, array in module.get_state().items()}
    output = module.forward_exploration(batch_of(episode(0)))
    assert set(output) == {"action_dist_inputs"}
    assert not module.is_stateful()
    assert {name: array.shape for name, array in module.get_state().items()} == before
    assert module.prefix_cache.positions > 0
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert twin.prefix_cache.positions == 0


def test_values_are_zero_at_first_and_one_place_wide(module: CausalLMModule, episode: Episode) -> None:
    batch = batch_of(episode(0))
    assert torch.equal(module.compute_values(batch), torch.zeros(len(batch["obs"]["length"])))
    torch.nn.init.normal_(module.vf_head.weight)
    values = module.compute_values(batch)
    assert len(set(values.tolist())) > 5
    torch.testing.assert_close(module.compute_values(batch, module.forward_train(batch)["embeddings"]), values, **CLOSE)
    values.sum().backward()  # as RLlib computes advantages: without the language model
    assert all(parameter.grad is None for parameter in module.language_model.parameters())
    assert module.vf_head.weight.grad is not None


def test_dropout_stays_off(module: CausalLMModule) -> None:
    assert not any(part.training for part in module.train().modules())


def test_a_target_network_keeps_its_weights(module: CausalLMModule, episode: Episode) -> None:
    module.make_target_networks()
    batch = batch_of(episode(0)[:3])
    before = logits(module.forward_train(batch))
    [(main, target)] = module.get_target_network_pairs()
    assert main is module.language_model
    with torch.no_grad():
        main.get_input_embeddings().weight.mul_(1.5)
    after = module.forward_target(batch)[TARGET_NETWORK_ACTION_DIST_INPUTS]
    torch.testing.assert_close(after, before, **CLOSE)
    assert not torch.allclose(logits(module.forward_train(batch)), before, atol=1e-2)
    assert not any(parameter.requires_grad for parameter in target.parameters())
    sent = module.get_state(inference_only=True)
    assert sent
    assert all(name.startswith("language_model.") for name in sent)


def test_env_runners_do_without_the_value_head(env: gym.Env, episode: Episode) -> None:
    module = CausalLMModule(
        observation_space=env.observation_space, action_space=env.action_space, model_config={}, inference_only=True
    )
    assert not hasattr(module, "vf_head")
    assert logits(module.forward_exploration(batch_of(episode(0)))).shape == (len(episode(0)), 512)


def test_writes_the_trained_model_as_a_folder(module: CausalLMModule, episode: Episode, tmp_path: Path) -> None:
    with torch.no_grad():
        module.language_model.get_decoder().layers[0].mlp.up_proj.weight.mul_(1.5)
    module.write_policy(tmp_path / "policy")
    batch = batch_of(episode(0))
    ids = batch["obs"]["token_ids"][-1:, : batch["obs"]["length"][-1]].long()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    torch.testing.assert_close(
        loaded(input_ids=ids).logits[0, -1], module.language_model(input_ids=ids).logits[0, -1], **CLOSE
    )
    written, original = (AutoTokenizer.from_pretrained(folder) for folder in (tmp_path / "policy", TINY))
    assert written.chat_template == original.chat_template is not None
    assert json.loads((tmp_path / "policy" / "generation_config.json").read_text())["eos_token_id"] == 3


@pytest.mark.parametrize(
    ("options", "model_config", "message"),
    [
        ({"observation": "flat"}, {}, r"make GSM8KTokens-v0 with observation='dict'"),
        (
            {"tokenizer": "bytes", "max_prompt_tokens": 300},
            {},
            r"vocabulary has 257 tokens, but .* model='tiny' has 512: .* tokenizer='.*tiny",
        ),
        ({"alphabet": "01"}, {}, r"actions are Discrete\(3\), but with alphabet=None the module has 512: give .*"),
        ({}, {"alphabet": "01"}, r"actions are Discrete\(512\), but with alphabet='01' the module has 3"),
        ({}, {"alphabet": "é"}, r"'é' is 2 of the model's tokenizer"),
        ({"max_prompt_tokens": 1001}, {}, r"room for 1,025 tokens, but the context of model='tiny' is 1,024"),
        ({}, {"modle": "tiny"}, r"There is no setting 'modle'\. Did you mean 'model'\?"),
        ({}, {"cache_positions": -1}, r"cache_positions=-1, but it must be .*>= 0"),
        ({}, {"model": "nothing here"}, r"No model 'nothing here'"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], model_config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_module(make_env(**options), **model_config)


def test_a_model_without_hidden_states_is_refused(env: gym.Env, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(Llama4ForCausalLM\) has no transformer apart from its head"):
        make_module(env, model=str(save_model("Llama 4", tmp_path)))


def test_a_tokenizer_larger_than_its_model_is_refused(tmp_path: Path) -> None:
    folder = save_model("Llama", tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match=r"has 513 tokens, but the model knows 512: call its resize_token_embeddings"):
        make_module(make_env(tokenizer=str(folder)), model=str(folder))


def test_rllibs_own_settings_are_let_by(env: gym.Env) -> None:
    make_module(env, **vars(DefaultModelConfig()))
