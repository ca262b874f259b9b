import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from runners.objectives.packing import attention_mask, max_row_tokens, pack, shared_rows
from tests.runners.objectives.masks import loss_mask_from_lengths


def sequences(pairs):
    """token_ids, loss_mask, lengths of (prompt, completion) pairs."""
    prompts, completions = ([len(part) for part in column] for column in zip(*pairs, strict=True))
    lengths = np.add(prompts, completions)
    token_ids = np.zeros((len(pairs), lengths.max()), dtype=np.int64)
    for row, (prompt, completion) in enumerate(pairs):
        token_ids[row, : lengths[row]] = [*prompt, *completion]
    return token_ids, loss_mask_from_lengths(np.array(prompts), np.array(completions), lengths.max()), lengths


PAIRS = [([5, 6], [7, 8]), ([9], [3]), ([5, 6], [4]), ([9], [3, 3, 3])]


def test_rows_by_hand():
    packed = pack(*sequences(PAIRS), 64)
    assert packed.token_ids.tolist() == [[5, 6, 7, 8, 4], [9, 3, 3, 3, 3]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 2], [0, 1, 1, 2, 3]]
    assert packed.segments.tolist() == [[0, 0, 1, 1, 2], [0, 1, 2, 2, 2]]
    # 7 after 6, 8 after 7 | first 3 after 9 | 4 after 6 | 3s after 9, 3, 3
    assert packed.predecessors.tolist() == [1, 2, 5, 1, 5, 7, 8]


def test_empty_places_belong_to_no_segment():
    packed = pack(*sequences([([5, 6], [7, 8]), ([9], [3])]), 64)
    assert packed.segments.tolist() == [[0, 0, 1, 1], [0, 1, -1, -1]]


def test_attention_mask_by_hand():
    visible = attention_mask(torch.tensor([[0, 1, 1, 2, -1]]))[0, 0].int().tolist()
    assert visible == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 0, 0, 1, 0],
        [1, 0, 0, 0, 1],
    ]


def test_a_long_group_is_spread_over_rows():
    units, tokens = shared_rows(*sequences([([1, 2], [3, 3]), ([1, 2], [4, 4]), ([1, 2], [5, 5])]), 6)
    assert units.tolist() == [0, 0, 1]
    assert tokens.tolist() == [6, 4]
    assert [max_row_tokens(width) for width in (128, 896, 4096)] == [512, 3584, 4096]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return LlamaForCausalLM(config).eval().double()


def hidden_by_packing(model, arrays):
    packed = pack(*arrays, 64)
    hidden = model.base_model(
        input_ids=torch.as_tensor(packed.token_ids),
        position_ids=torch.as_tensor(packed.position_ids),
        attention_mask=attention_mask(torch.as_tensor(packed.segments)),
        use_cache=False,
    ).last_hidden_state
    return hidden.flatten(0, 1)[torch.as_tensor(packed.predecessors)]


def hidden_one_by_one(model, arrays):
    rows = []
    for ids, mask, length in zip(*arrays, strict=True):
        hidden = model.base_model(input_ids=torch.as_tensor(ids[None, :length]), use_cache=False).last_hidden_state[0]
        rows.append(hidden[:-1][torch.as_tensor(mask[1:length])])
    return torch.cat(rows)


def random_groups(seed, group_size):
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(3):
        prompt = rng.integers(1, 64, size=int(rng.integers(1, 9))).tolist()
        pairs += [(prompt, rng.integers(0, 64, size=int(rng.integers(1, 12))).tolist()) for _ in range(group_size)]
    return sequences([pairs[i] for i in rng.permutation(len(pairs))])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("group_size", [1, 4])
def test_c9_states_and_gradient_equal_those_of_separate_unpadded_sequences(model, seed, group_size):
    arrays = random_groups(seed, group_size)
    target = torch.randn(int(arrays[1].sum()), 32, generator=torch.Generator().manual_seed(seed)).double()

    def gradient(states):
        model.zero_grad()
        (states * target).sum().backward()
        return torch.cat([p.grad.flatten() for p in model.base_model.parameters()])

    ours, expected = hidden_by_packing(model, arrays), hidden_one_by_one(model, arrays)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)
    # Llama's norms compute in float32 whatever the type of the model, so the gradients agree to float32 only.
    ours, expected = gradient(ours), gradient(expected)
    assert (ours - expected).norm() < 1e-6 * expected.norm()


def test_a_mask_with_gaps_packs_everything_behind_the_prompt(model):
    token_ids, loss_mask, lengths = random_groups(0, 2)
    loss_mask[0, lengths[0] - 1] = False  # another speaker's token in the middle of an episode
    arrays = (token_ids, loss_mask, lengths)
    torch.testing.assert_close(hidden_by_packing(model, arrays), hidden_one_by_one(model, arrays))
