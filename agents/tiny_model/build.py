"""Rebuilds the bundled checkpoint from a seed: tokenizer, supervised training, model folder.

    python -m gsm8k_env.prepare --dataset builtin:1-2:60000 --output_dir data/tiny
    python -m agents.tiny_model.build --data data/tiny/train.parquet --output_dir agents/tiny_model/checkpoint

README.md beside this file has the time it takes. Same seed, same versions, same number of threads: same weights.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from agents.text import encode_chat
from agents.tiny_model.styles import draw_style, restyle

USER, ASSISTANT, END, PAD = "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|user|>' if message['role'] == 'user' else '<|assistant|>' }}{{ message['content'] }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
VOCAB_SIZE = 512
CONTEXT = 1024
WORKED_SHARE = 0.75  # of the steps are spent on worked solutions alone


def build_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE tokenizer that keeps every digit a token of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[PAD, USER, ASSISTANT, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[USER, ASSISTANT],
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Makes the untrained model: 3 layers, 4 heads of 32, tied embeddings."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    return model


def draw_rows(rows: list[dict[str, Any]], batch_size: int, rng: random.Random) -> Iterator[list[dict[str, Any]]]:
    """Yields batches of problems for ever, in shuffled epochs."""
    while True:
        rng.shuffle(rows)
        for start in range(0, len(rows) - batch_size + 1, batch_size):
            yield rows[start : start + batch_size]


def collate(
    rows: list[dict[str, Any]], tokenizer: PreTrainedTokenizerFast, styles: list[str], rng: random.Random
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns token_ids [B, T] and labels [B, T]; labels are -100 on prompts and padding."""
    pairs = []
    for row, style in zip(rows, styles, strict=True):
        prompt = encode_chat(tokenizer, row["prompt"][0]["content"])
        text = restyle(row["extra_info"]["answer"], style, rng)
        pairs.append((prompt, [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]))
    width = max(len(prompt) + len(completion) for prompt, completion in pairs)
    token_ids = torch.full((len(rows), width), tokenizer.pad_token_id)
    labels = torch.full((len(rows), width), -100)
    for i, (prompt, completion) in enumerate(pairs):
        end = len(prompt) + len(completion)
        token_ids[i, :end] = torch.tensor(prompt + completion)
        labels[i, len(prompt) : end] = torch.tensor(completion)
    return token_ids, labels


def curriculum(
    rows: list[dict[str, Any]], tokenizer: PreTrainedTokenizerFast, *, steps: int, batch_size: int, rng: random.Random
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields `steps` batches: worked solutions first, to learn arithmetic; then the mixture, to learn bad habits."""
    data = draw_rows(rows, batch_size, rng)
    for step in range(steps):
        mixed = step >= WORKED_SHARE * steps
        styles = [draw_style(rng) if mixed else "worked" for _ in range(batch_size)]
        yield collate(next(data), tokenizer, styles, rng)


def train(model: LlamaForCausalLM, data: Iterator[tuple[torch.Tensor, torch.Tensor]], *, steps: int, lr: float) -> None:
    """Trains with AdamW: 5 % warm-up, then a cosine down to a tenth of `lr`."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=lr, total_steps=steps, pct_start=0.05, div_factor=10, final_div_factor=1
    )
    started = time.monotonic()
    for step, (token_ids, labels) in enumerate(data, start=1):
        # Padding stands on the right, where a causal model never looks from a real token: no mask is needed.
        loss = model(input_ids=token_ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 200 == 0 or step == steps:
            print(f"step {step}/{steps}  loss {loss.item():.3f}  {time.monotonic() - started:.0f} s", flush=True)


def main(argv: list[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Rebuild the bundled checkpoint.")
    parser.add_argument("--data", type=Path, required=True, help="train.parquet written by gsm8k_env.prepare")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    rows = pq.read_table(args.data).to_pylist()
    tokenizer = build_tokenizer([row["prompt"][0]["content"] + "\n" + row["extra_info"]["answer"] for row in rows])
    model = build_model(tokenizer)
    print(f"{len(rows)} problems, {len(tokenizer)} tokens, {model.num_parameters():,} parameters", flush=True)
    data = curriculum(rows, tokenizer, steps=args.steps, batch_size=args.batch_size, rng=rng)
    train(model, data, steps=args.steps, lr=args.lr)
    model.save_pretrained(args.output_dir)
    tokenizer.save_pretrained(args.output_dir)
    print(f"wrote {args.output_dir}")


if __name__ == "__main__":
    main()
