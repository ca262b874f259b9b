import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runners.token_module.prefixes import longest_rows, sequence_keys

SEQUENCES = st.lists(st.lists(st.sampled_from([0, 1, 256, 257]), min_size=1, max_size=5), min_size=1, max_size=12)


@given(SEQUENCES)
def test_each_row_gets_a_longest_that_it_begins(sequences: list[list[int]]) -> None:
    token_ids = np.full((len(sequences), 5), 999, dtype=np.int32)
    for row, sequence in zip(token_ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    lengths = np.array(list(map(len, sequences)))
    longest = longest_rows(sequence_keys(token_ids, lengths))
    for sequence, chosen in zip(sequences, longest, strict=True):
        assert sequences[chosen][: len(sequence)] == sequence
        # The chosen row begins no longer one, and is the one that its equals get.
        assert all(
            other[: len(sequences[chosen])] != sequences[chosen] or len(other) == len(sequences[chosen])
            for other in sequences
        )
        assert longest[chosen] == chosen
    assert len(set(longest)) == len({tuple(sequences[row]) for row in longest})
