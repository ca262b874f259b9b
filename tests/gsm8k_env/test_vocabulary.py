"""What token ids stand for: bytes, or a pretrained tokenizer's tokens."""

import copy
import pickle
import shutil
import sys
from pathlib import Path

import pytest
from gymnasium.error import DependencyNotInstalled

from gsm8k_env.vocabulary import ByteVocabulary, Vocabulary, load_vocabulary

TINY = Path(__file__).parents[2] / "agents" / "tiny_model" / "checkpoint"
QUESTION = "Mia has 3 * 4 shells. How many?"


@pytest.fixture(scope="module")
def tiny() -> Vocabulary:
    return load_vocabulary(str(TINY))


@pytest.mark.parametrize("text", ["", "#### 12", "π ≈ 3", "🦆"])
@pytest.mark.parametrize("name", ["bytes", str(TINY)], ids=["bytes", "tiny"])
def test_text_goes_there_and_back(name: str, text: str) -> None:
    vocabulary = load_vocabulary(name)
    token_ids = vocabulary.encode(text)
    assert all(0 <= token_id < vocabulary.size for token_id in token_ids)
    assert vocabulary.decode([*token_ids, vocabulary.end_token_id]) == text


def test_bytes_are_those_of_utf_8() -> None:
    vocabulary = ByteVocabulary()
    assert (vocabulary.size, vocabulary.end_token_id) == (257, 256)
    assert vocabulary.encode("π8") == [0xCF, 0x80, 0x38]
    assert vocabulary.encode_prompt("π") == [0xCF, 0x80, 256]


def test_bytes_that_are_no_text_decode_to_the_replacement_character() -> None:
    assert ByteVocabulary().decode([0xCF, 0x38, 0xFF]) == "\ufffd8\ufffd"


def test_a_lone_surrogate_has_bytes() -> None:
    assert ByteVocabulary().encode("\ud800") == [0xED, 0xA0, 0x80]


def test_a_prompt_goes_through_the_chat_template(tiny: Vocabulary) -> None:
    from agents.text import encode_chat, load_tokenizer

    assert tiny.encode_prompt(QUESTION) == encode_chat(load_tokenizer(TINY), QUESTION)


def test_a_tokenizer_without_a_template_encodes_the_bare_text(tiny: Vocabulary, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY / name, tmp_path)
    assert load_vocabulary(str(tmp_path)).encode_prompt(QUESTION) == tiny.encode(QUESTION)


def test_special_tokens_are_no_text(tiny: Vocabulary) -> None:
    assert tiny.decode([0, *tiny.encode("7"), 1, 2, 3]) == "7"


@pytest.mark.parametrize("name", ["bytes", str(TINY)], ids=["bytes", "tiny"])
def test_copies_are_the_same_object(name: str) -> None:
    vocabulary = load_vocabulary(name)
    assert load_vocabulary(name) is vocabulary
    assert copy.deepcopy(vocabulary) is vocabulary
    assert pickle.loads(pickle.dumps(vocabulary)) is vocabulary
    assert len(pickle.dumps(vocabulary)) < 1000


def test_a_relative_folder_is_pickled_as_an_absolute_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(TINY.parent)
    data = pickle.dumps(load_vocabulary(TINY.name))
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(data) is load_vocabulary(str(TINY))


@pytest.mark.parametrize("name", ["byts", "no/such/folder", "./missing", "", None, 3], ids=repr)
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"tokenizer.*'bytes'"):
        load_vocabulary(name)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"No tokenizer could be read from '{tmp_path}'"):
        load_vocabulary(str(tmp_path))


def test_a_tokenizer_without_an_end_token_is_refused(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(TINY)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"no end token.*eos_token"):
        load_vocabulary(str(tmp_path))


def test_without_transformers_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(DependencyNotInstalled, match="pip install transformers"):
        load_vocabulary(str(tmp_path))
