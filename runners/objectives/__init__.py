"""The mathematics of GRPO as pure functions of arrays and tensors: no ray, no environment, no engine.

Shapes: B sequences, T tokens (prompt and completion, right padded), V vocabulary, H hidden size. Every per-token
tensor is aligned with `token_ids` [B, T]: position t belongs to token t, so its logprob comes from the logits at t - 1.
"""
