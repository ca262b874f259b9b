"""The loss and its gradient against trl's own GRPOTrainer, over a small random Llama.

trl runs its `_compute_loss` on its own layout (left-padded prompts, right-padded completions); we run ours on one
right-padded row a sequence. Model, tokens, masks, advantages and the other policies' logprobs are the same.
"""

import numpy as np
import pytest
import torch

from runners.objectives.advantages import ADVANTAGES
from runners.objectives.batching import micro_batches, trim
from runners.objectives.logprobs import completion_logprobs
from runners.objectives.objective import ObjectiveConfig, ObjectiveInputs, policy_loss
from runners.objectives.reductions import sequence_loss_weights
from runners.objectives.stats import PolicyStats
from runners.published import algorithm_settings
from tests.runners.objectives.masks import loss_mask_from_lengths

try:
    import trl
    from trl.trainer.utils import nanstd
except ImportError as error:  # a skip would hide that nothing was compared
    raise ImportError("These tests compare with trl: pip install 'gsm8k-env[dev]'") from error

from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY, MAX_TOKENS, GROUP_SIZE = 50, 9, 4
PAD = 0
PROMPT_LENGTHS, LENGTHS = np.array([3, 5] * 4), np.array([9, 4, 1, 7, 2, 9, 5, 3])
ADVANTAGE = torch.tensor([1.2, -0.7, 0.3, -1.5, 0.9, 0.0, -0.4, 2.0])


@pytest.fixture(scope="module")
def make_trainer(tmp_path_factory):
    """Returns a function from GRPOConfig options to a trainer, over the same initial weights each time."""
    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, initializer_range=0.3, **sizes)).save_pretrained(folder)
    words = models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w1")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), pad_token="w0", eos_token="w0")

    def make(**options):
        # GRPOTrainer reads the reference model from the folder, so nothing is fetched.
        args = trl.GRPOConfig(
            output_dir=str(folder / "out"),
            per_device_train_batch_size=len(LENGTHS),
            num_generations=GROUP_SIZE,
            max_completion_length=MAX_TOKENS,
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            **options,
        )
        trainer = trl.GRPOTrainer(
            model=LlamaForCausalLM.from_pretrained(folder),
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=args,
            train_dataset=Dataset.from_dict({"prompt": ["w1", "w2"]}),
            processing_class=tokenizer,
        )
        trainer.model.eval()
        return trainer

    return make


class Batch:
    """Eight random sequences in both layouts, and logprobs of the other policies near the model's own."""

    def __init__(self, model, temperature: float, spread: float, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        num_rows, ends = len(LENGTHS), PROMPT_LENGTHS + LENGTHS
        self.ends = torch.from_numpy(ends)
        # Ids may equal PAD, which is the end token too: a mask made from ids would be wrong.
        self.token_ids = torch.randint(VOCABULARY, (num_rows, ends.max()), generator=generator)
        self.loss_mask = torch.from_numpy(loss_mask_from_lengths(PROMPT_LENGTHS, LENGTHS, ends.max()))
        self.token_ids[torch.arange(ends.max()) >= self.ends[:, None]] = PAD
        with torch.no_grad():
            logprobs, _ = self.forward(model, temperature, torch.arange(num_rows))
        noise = spread * torch.randn(3, *logprobs.shape, generator=generator)
        self.old, self.rollout, self.ref = (logprobs + noise) * self.loss_mask

    def forward(self, model, temperature, rows, **options):
        mask = (torch.arange(self.token_ids.shape[1]) < self.ends[:, None]).long()
        ids, mask, loss_mask = trim(self.ends[rows], self.token_ids[rows], mask[rows], self.loss_mask[rows])
        hidden = model.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return completion_logprobs(hidden, model.lm_head, ids, loss_mask, temperature, **options)

    def completions(self, values: torch.Tensor) -> torch.Tensor:
        """[B, T] -> [B, MAX_TOKENS], each row's completion moved to the left."""
        moved = torch.zeros(len(values), MAX_TOKENS, dtype=values.dtype)
        for row, (start, length) in enumerate(zip(PROMPT_LENGTHS, LENGTHS, strict=True)):
            moved[row, :length] = values[row, start : start + length]
        return moved

    def for_trl(self) -> dict[str, torch.Tensor]:
        longest = PROMPT_LENGTHS.max()
        prompts = torch.full((len(LENGTHS), longest), PAD)
        for row, length in enumerate(PROMPT_LENGTHS):
            prompts[row, longest - length :] = self.token_ids[row, :length]
        return {
            "prompt_ids": prompts,
            "prompt_mask": (torch.arange(longest) >= longest - torch.from_numpy(PROMPT_LENGTHS)[:, None]).long(),
            "completion_ids": self.completions(self.token_ids),
            "completion_mask": self.completions(self.loss_mask.long()),
            "advantages": ADVANTAGE,
            "old_per_token_logps": self.completions(self.old),
            "ref_per_token_logps": self.completions(self.ref),
            "num_items_in_batch": torch.tensor(int(LENGTHS.sum())),
        }


def our_loss(batch: Batch, model, config: ObjectiveConfig, aggregation, temperature, max_tokens) -> PolicyStats:
    """Accumulates the gradient in `model` over micro-batches and returns what was seen."""
    weights = torch.from_numpy(sequence_loss_weights(LENGTHS, LENGTHS > 0, aggregation, MAX_TOKENS)).float()
    total = PolicyStats()
    for rows in map(torch.from_numpy, micro_batches(batch.ends.numpy(), max_tokens)):
        logprobs, entropies = batch.forward(
            model, temperature, rows, max_logits=10 * VOCABULARY, with_entropy_grad=config.entropy_coeff > 0
        )
        old, rollout, ref, mask = trim(
            batch.ends[rows], *(x[rows] for x in (batch.old, batch.rollout, batch.ref, batch.loss_mask))
        )
        inputs = ObjectiveInputs(
            logprobs=logprobs,
            entropies=entropies,
            old_logprobs=old,
            rollout_logprobs=rollout,
            ref_logprobs=ref,
            advantages=ADVANTAGE[rows],
            loss_mask=mask,
            loss_weights=weights[rows],
        )
        loss, stats = policy_loss(inputs, config)
        loss.backward()
        total += stats
    return total


TOKEN, SEQUENCE, CONSTANT = "token-mean", "sequence-mean", "constant-length"
BIASED_KL = {"use_bias_correction_kl": False}  # trl's default weighs the KL by the ratio
CASES = {
    # name: trl's options, our options, our aggregation, importance cap, spread of the log ratios
    "grpo": ({"loss_type": "grpo"}, {}, SEQUENCE, None, 0.3),
    "grpo-on-policy": ({"loss_type": "grpo"}, {}, SEQUENCE, None, 0.0),
    "bnpo": ({"loss_type": "bnpo"}, {}, TOKEN, None, 0.3),
    "dapo": ({"loss_type": "dapo", "epsilon_high": 0.28}, {"clip_param_high": 0.28}, TOKEN, None, 0.3),
    "dr_grpo": ({"loss_type": "dr_grpo"}, {}, CONSTANT, None, 0.3),
    "kl": ({**BIASED_KL, "loss_type": "grpo", "beta": 0.04}, {"kl_coeff": 0.04}, SEQUENCE, None, 0.3),
    "kl-unbiased": ({"loss_type": "bnpo", "beta": 0.5}, {"kl_coeff": 0.5, "kl_unbiased": True}, TOKEN, None, 0.3),
    "kl-dapo": ({**BIASED_KL, "loss_type": "dapo", "beta": 0.5}, {"kl_coeff": 0.5}, TOKEN, None, 0.3),
    "dual-clip": ({"loss_type": "grpo", "delta": 1.4}, {"dual_clip": 1.4}, SEQUENCE, None, 0.5),
    "temperature": ({"loss_type": "dr_grpo", "temperature": 0.7}, {}, CONSTANT, None, 0.3),
    "importance": ({"loss_type": "dapo"}, {}, TOKEN, 1.2, 0.3),
    "importance-kl": ({**BIASED_KL, "loss_type": "grpo", "beta": 0.1}, {"kl_coeff": 0.1}, SEQUENCE, 2.0, 0.3),
    "gspo": (
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 0.1},
        {"surrogate": "gspo", "clip_param": 0.1},
        SEQUENCE,
        None,
        0.3,
    ),
    "cispo": (
        {"loss_type": "cispo", "epsilon_high": 1.3},
        {"surrogate": "cispo", "clip_param": 1.0, "clip_param_high": 0.3},
        TOKEN,
        None,
        0.3,
    ),
    "entropy": ({"loss_type": "bnpo", "entropy_coef": 0.05}, {"entropy_coeff": 0.05}, TOKEN, None, 0.3),
}


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_equal_trls(make_trainer, name):
    theirs, ours, aggregation, cap, spread = CASES[name]
    compare(make_trainer(**theirs), theirs, ObjectiveConfig(importance_cap=cap, **ours), aggregation, spread)


NAMED = {
    # name of ours: trl's options for the same algorithm, spread of the log ratios
    "grpo": ({**BIASED_KL, "loss_type": "grpo", "beta": 0.04}, 0.3),
    "dr_grpo": ({"loss_type": "dr_grpo"}, 0.3),
    "dapo": ({"loss_type": "dapo", "epsilon_high": 0.28}, 0.3),
    "gspo": (
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
        0.3,
    ),
    "cispo": ({"loss_type": "cispo", "epsilon_high": 5.0}, 1.5),
}


@pytest.mark.parametrize("name", NAMED)
def test_named_algorithms_equal_trls(make_trainer, name):
    theirs, spread = NAMED[name]
    settings = {**algorithm_settings(name), "importance_cap": None}
    fields = {field: value for field, value in settings.items() if field in ObjectiveConfig.__slots__}
    compare(make_trainer(**theirs), theirs, ObjectiveConfig(**fields), settings["aggregation"], spread)


def compare(trainer, theirs: dict, config: ObjectiveConfig, aggregation: str, spread: float) -> None:
    """Asserts that loss and gradient are trl's, in one pass and in micro-batches."""
    temperature = theirs.get("temperature", 1.0)
    for seed, max_tokens in ((0, 10**6), (1, 30)):
        batch = Batch(trainer.model, temperature, spread, seed)
        given = batch.for_trl()
        if config.importance_cap is not None:
            # trl only makes these weights inside its own sampling, so they are made here by its formula.
            trainer.use_vllm = trainer.vllm_importance_sampling_correction = True
            given["importance_sampling_ratio"] = batch.completions(
                (batch.old - batch.rollout).exp().clamp(max=config.importance_cap)
            )
        trainer.model.zero_grad()
        expected = trainer._compute_loss(trainer.model, given)
        expected.backward()
        expected_gradient = flat_gradient(trainer.model)
        trainer.model.zero_grad()
        stats = our_loss(batch, trainer.model, config, aggregation, temperature, max_tokens)
        # The comparison would be idle if nothing was clipped or capped.
        assert expected_gradient.norm() > 1e-3
        assert (stats.clip_sum > 0) == (spread > 0)
        assert (stats.importance_capped_sum > 0) == (config.importance_cap is not None)
        assert stats.loss == pytest.approx(expected.item(), rel=1e-5, abs=1e-7)
        assert (flat_gradient(trainer.model) - expected_gradient).norm() <= 1e-5 * expected_gradient.norm()


def flat_gradient(model) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def test_advantages_equal_trls_formula():
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.25, float("nan"), 1.0, 0.5], [1.0, 1.0, 1.0, 1.0]]).double()
    centred = rewards - rewards.nanmean(1, keepdim=True)
    expected = (centred / (nanstd(rewards, dim=1)[:, None] + 1e-4)).nan_to_num(0.0).flatten()
    result = ADVANTAGES["grpo"](rewards.flatten().numpy(), np.repeat([0, 1, 2], 4))
    np.testing.assert_allclose(result.advantages, expected.numpy(), rtol=1e-6, atol=1e-12)  # trl's is float32 inside
