"""What `RLModuleSpec(model_config=...)` may hold."""

from __future__ import annotations

from dataclasses import dataclass

from runners.support.settings import Settings, not_negative, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSettings(Settings):
    """The module's."""

    model: str = setting("tiny", '"tiny", "smollm2-135m", a folder in Hugging Face\'s layout, or a hub id.')
    alphabet: str | None = setting(None, "The environment's `alphabet`: the characters that can be written.")
    cache_positions: int = setting(
        131_072,
        "Most tokens, padding included, whose keys and values are kept while sampling; 0 keeps none.",
        ">= 0",
        not_negative,
    )
    trust_remote_code: bool = setting(False, "Whether the checkpoint's folder may run code.")
