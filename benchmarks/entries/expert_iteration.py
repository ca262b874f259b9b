"""Expert iteration: sample, keep what is right, learn it by heart (RAFT, https://arxiv.org/abs/2304.06767)."""

import gymnasium as gym
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def train(task):
    """Samples, rewards, keeps, learns, until the budget is spent; returns the policy's folder."""
    tokenizer = AutoTokenizer.from_pretrained(task.model, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(task.model, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=task.lr, weight_decay=0.0)
    env = gym.make(task.env, **task.env_options)
    env.reset(seed=task.seed)  # what is drawn from here on depends on it
    while task.tokens() < task.token_budget:
        problems = [env.reset() for _ in range(task.num_prompts)]
        chats = [[{"role": "user", "content": text}] for text, _ in problems]
        form = {"add_generation_prompt": True, "padding": True, "return_tensors": "pt", "return_dict": True}
        prompts = tokenizer.apply_chat_template(chats, **form)
        how = {"do_sample": True, "top_k": 0, "max_new_tokens": task.max_tokens}
        rows = model.generate(**prompts, **how, num_return_sequences=task.group_size)
        start = prompts["input_ids"].shape[1]
        right = []
        for row, text in enumerate(tokenizer.batch_decode(rows[:, start:], skip_special_tokens=True)):
            env.reset(options={"index": problems[row // task.group_size][1]["index"]})
            right += [row] if env.step(text)[1] == 1 else []
        ends = rows[:, start:] == tokenizer.eos_token_id
        written = ends.cumsum(1) - ends.long() == 0
        mask = torch.cat([prompts["attention_mask"].repeat_interleave(task.group_size, 0), written.long()], 1)
        labels = rows.masked_fill(mask == 0, -100).index_fill(1, torch.arange(start), -100)
        for part in torch.tensor(right).split(task.minibatch_size) if right else ():
            positions = (mask[part].cumsum(1) - 1).clamp_min(0)
            model(rows[part], mask[part], positions, labels=labels[part]).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        if folder := task.due():
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    return task.policy
