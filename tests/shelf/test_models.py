"""The loader: shapes, the shift by one, the context token, batches, the shelf, and errors that are one line."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_llama import tiny_llama
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from course_utils.evidence import sample
from course_utils.shelf import assets, corpora
from course_utils.shelf import models as course_models
from course_utils.shelf.models import ModelError, load, shelf, tokenizer_folder

FAMILY = ["base", "base-b", "web", "kjv", "movies", "nyt", "amazon", "tweets"]
ROOT = Path(__file__).resolve().parents[2]


def save_tiny(folder: Path, bos: str = "<s>", specials=("<s>", "</s>")) -> LlamaForCausalLM:
    """A random two-layer Llama over bytes with its tokenizer: a real checkpoint, only small."""
    words = [*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={word: index for index, word in enumerate(words)}, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos, eos_token=specials[-1]).save_pretrained(folder)
    model = tiny_llama(len(words), max_position_embeddings=32, tie_word_embeddings=True)
    model.save_pretrained(folder)
    return model


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """(the loaded LanguageModel "tiny", the model that was saved)"""
    saved = save_tiny(tmp_path / "models" / "tiny")
    monkeypatch.setenv("MANY_MODELS_DATA", str(tmp_path))
    return load("tiny"), saved


@pytest.fixture(scope="session")
def smollm2():
    assets.fetch("smollm2")  # once per machine: the download and the conversion stay in the user's cache
    return load("smollm2")


def chain_rule(model, context: int, ids: list[int]) -> torch.Tensor:
    """(T, V) in float64, one forward pass for each position: the definition, without any shift to get wrong."""
    with torch.no_grad():
        inputs = [torch.tensor([[context, *ids[:t]]]) for t in range(len(ids))]
        return torch.stack([model.double()(row).logits[0, -1].log_softmax(-1) for row in inputs])


def test_log_probs_follow_the_definition(tiny):
    lm, saved = tiny
    ids, log_probs = lm.log_probs("Let there be light")
    assert lm.tokenizer.decode(ids) == "Let there be light"
    assert log_probs.shape == (len(ids), lm.vocab_size) and log_probs.dtype == torch.float32
    torch.testing.assert_close(log_probs.double(), chain_rule(saved, 0, ids.tolist()), atol=1e-4, rtol=1e-4)


def test_next_log_probs_is_the_row_after_the_text(tiny):
    lm, saved = tiny
    ids = lm.encode("light").tolist()
    reference = chain_rule(saved, 0, [*ids, 0])[-1]
    torch.testing.assert_close(lm.next_log_probs("light").double(), reference, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(lm.next_log_probs(""), lm.log_probs("x")[1][0])


def test_ids_are_accepted_like_text(tiny):
    lm, _ = tiny
    ids, log_probs = lm.log_probs("ab")
    for same in (ids, ids.tolist(), tuple(ids.tolist())):
        assert torch.equal(lm.log_probs(same)[1], log_probs)
    nothing = lm.log_probs("")
    assert nothing[0].shape == (0,) and nothing[1].shape == (0, lm.vocab_size)


def test_batches_equal_single_texts_in_the_order_given(tiny, monkeypatch):
    lm, _ = tiny
    monkeypatch.setattr(course_models, "MAX_BATCH_TOKENS", 24)  # several batches, of mixed lengths
    texts = ["In the beginning", "x", "", "light", "God created", "a", "the heavens and the earth"]
    rows, tokens = lm.batch_log_probs(texts), lm.batch_token_log_probs(texts)
    assert len(rows) == len(tokens) == len(texts)
    for text, (ids, log_probs), (same_ids, observed) in zip(texts, rows, tokens, strict=True):
        want_ids, want = lm.log_probs(text)
        assert torch.equal(ids, want_ids) and torch.equal(same_ids, want_ids)
        torch.testing.assert_close(log_probs, want, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(observed, want[torch.arange(len(want_ids)), want_ids], atol=1e-5, rtol=1e-5)
    assert lm.batch_log_probs([]) == []


def test_batches_stay_within_the_budget(tiny, monkeypatch):
    lm, _ = tiny
    monkeypatch.setattr(course_models, "MAX_BATCH_TOKENS", 24)
    seen, forward = [], lm.model.forward
    monkeypatch.setattr(lm.model, "forward", lambda **given: seen.append(given["input_ids"].shape) or forward(**given))
    lm.batch_token_log_probs(["abc", "a" * 30, "ab", "abcdef", "abcdefg", "a"])
    assert sum(shape[0] for shape in seen) == 6 and len(seen) < 6
    assert all(shape.numel() <= 24 or shape[0] == 1 for shape in seen)


def test_a_weight_can_be_fitted_on_the_result(tiny):
    lm, _ = tiny
    lam = torch.ones((), requires_grad=True)
    (lam * lm.log_probs("light")[1]).logsumexp(-1).sum().backward()
    assert lam.grad is not None and lam.grad.abs() > 0
    assert not any(p.requires_grad for p in lm.model.parameters()) and not lm.model.training


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda lm: lm.log_probs("x" * 32), ["at most 31", "32", "split"]),
        (lambda lm: lm.next_log_probs([100_000]), ["outside", "vocabulary"]),
        (lambda lm: lm.log_probs([[1, 2]]), ["1-D", "(1, 2)"]),
        (lambda lm: lm.batch_log_probs("one text"), ["list"]),
        (lambda lm: load("nope"), ["'nope'", "smollm2", "tiny"]),
    ],
)
def test_errors_are_one_line_that_helps(tiny, call, words):
    lm, _ = tiny
    with pytest.raises(ValueError) as caught:
        call(lm)
    assert isinstance(caught.value, ModelError) and "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words)


def test_longest_text_is_still_read_and_loading_twice_gives_the_same_object(tiny):
    assert tiny[0].log_probs("x" * 31)[1].shape[0] == 31
    assert load("tiny") is tiny[0]


def test_damaged_checkpoint_is_one_line(tiny, tmp_path):
    shutil.copytree(tmp_path / "models" / "tiny", tmp_path / "models" / "broken")
    weights = tmp_path / "models" / "broken" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="broken cannot be loaded from .*check its folder") as caught:
        load("broken")
    assert "\n" not in str(caught.value)


def test_a_shared_tokenizer_is_found(tiny, tmp_path, monkeypatch):
    """A folder with its own tokenizer uses that, whatever its report says; another one what the report names."""
    lm, models = tiny[0], tmp_path / "models"
    report = json.dumps({"tokenizer": "shared"})
    (models / "tiny" / "training.json").write_text(report, encoding="utf-8")
    assert tokenizer_folder(models / "tiny") == models / "tiny"
    shutil.copytree(models / "tiny", models / "child")
    (models / "shared").mkdir()
    for file in (models / "child").glob("tokenizer*"):
        file.rename(models / "shared" / file.name)
    monkeypatch.chdir(models / "child")
    assert tokenizer_folder(Path(".")).samefile(models / "shared")  # a path may be relative
    child = load("child")
    assert torch.equal(child.log_probs("light")[1], lm.log_probs("light")[1]) and child.context_id == lm.context_id
    shutil.copytree(models / "child", models / "orphan")
    for wrong in ('{"tokenizer": "nowhere"}', '{"tokenizer": {"a": 1}}', "{}", "[]", "no json"):
        (models / "orphan" / "training.json").write_text(wrong, encoding="utf-8")
        assert tokenizer_folder(models / "orphan") == models / ("nowhere" if "nowhere" in wrong else "orphan")
        with pytest.raises(ModelError, match="orphan cannot be loaded from .*check its folder") as caught:
            load("orphan")
        assert "\n" not in str(caught.value), caught.value


def test_another_llm_takes_the_place_of_smollm2(tmp_path, monkeypatch):
    save_tiny(tmp_path / "mine", bos="<|im_start|>", specials=("<|im_start|>", "<|endoftext|>", "<|im_end|>"))
    monkeypatch.setenv("MANY_MODELS_LLM", str(tmp_path / "mine"))
    monkeypatch.setenv("MANY_MODELS_DATA", str(tmp_path))  # an empty shelf otherwise
    lm = load("smollm2")
    assert lm.vocab_size == 259 and lm.tokenizer.convert_ids_to_tokens(lm.context_id) == "<|endoftext|>"
    (row,) = shelf()
    assert row["parameters"] == lm.n_parameters and row["origin"] == str(tmp_path / "mine")
    monkeypatch.setenv("MANY_MODELS_LLM", str(tmp_path / "nothing-here"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="MANY_MODELS_LLM"):
        load("smollm2")


def test_threads(monkeypatch):
    before = torch.get_num_threads()
    try:
        for wanted in ("1", "2"):
            monkeypatch.setenv("MANY_MODELS_THREADS", wanted)
            course_models.set_threads.cache_clear()
            course_models.set_threads()
            assert torch.get_num_threads() == int(wanted)
        monkeypatch.setenv("MANY_MODELS_THREADS", "many")
        course_models.set_threads.cache_clear()
        with pytest.raises(ModelError, match="MANY_MODELS_THREADS is 'many'"):
            course_models.set_threads()
    finally:
        torch.set_num_threads(before)


def test_shelf_reads_checkpoint_and_training_report(tiny, tmp_path):
    lm, _ = tiny
    (tmp_path / "models" / "tokenizer").mkdir()  # no model: no row
    report = {"parent": "base", "seed": 7, "tokens": 1_234_567, "minutes": 2.5}
    copied = {"licence": "MIT", "heldout_perplexity": {"web": 40.3}}
    (tmp_path / "models" / "tiny" / "training.json").write_text(json.dumps(report | copied), encoding="utf-8")
    first, row = shelf()
    assert first["name"] == "smollm2" and first["licence"] == "Apache-2.0"
    assert row == copied | {
        "name": "tiny",
        "what": "causal LM",
        "parameters": lm.n_parameters,
        "vocabulary": 258,
        "origin": "trained by data/recipes, child of base, seed 7, 1,234,567 tokens, 2.5 minutes",
        "megabytes": round((tmp_path / "models/tiny/model.safetensors").stat().st_size / 1e6, 1),
    }
    assert first.keys() == row.keys()


def test_shelf_lists_the_family_in_order():
    assert [row["name"] for row in shelf()][:9] == ["smollm2", *FAMILY]


@pytest.mark.parametrize("name", FAMILY)
def test_family_member(name):
    lm = load(name)
    assert lm.tokenizer.convert_ids_to_tokens(lm.context_id) == "<s>" and lm.vocab_size == 4096
    assert 1e6 < lm.n_parameters < 3e6 and {p.dtype for p in lm.model.parameters()} == {torch.float32}
    row = next(row for row in shelf() if row["name"] == name)
    assert row["parameters"] == lm.n_parameters and row["heldout_perplexity"]
    ((ids, observed),) = lm.batch_token_log_probs(["And he said to them, the people of the land"])
    assert math.exp(-observed.mean()) < 4096 / 4  # a trained model: far from the uniform distribution
    assert lm.tokenizer.decode(ids) == "And he said to them, the people of the land"


TEXTS = {
    "web": "Yahweh spoke to Moses, saying, Speak to the children of Israel",
    "kjv": "And it came to pass, that he said unto them, Thou shalt not go",
    "movies": "the film is a comedy with a clever plot and a strong cast",
    "amazon": "I bought this camera and the battery life is great",
}


@pytest.mark.parametrize("domain", TEXTS)
def test_each_child_knows_its_own_domain_best(domain):
    scores = {name: load(name).batch_token_log_probs([TEXTS[domain]])[0][1].sum().item() for name in TEXTS}
    assert max(scores, key=scores.get) == domain, scores


@pytest.mark.parametrize("name", ["small-positive", "small-negative"])
def test_a_small_expert_shares_smollm2s_tokens_and_predicts_as_recorded(name, smollm2):
    lm = load(name)
    assert lm.vocab_size == smollm2.vocab_size and lm.context_id == smollm2.context_id
    assert lm.tokenizer.get_vocab() == smollm2.tokenizer.get_vocab()
    assert 1e6 < lm.n_parameters < 3e6 and {p.dtype for p in lm.model.parameters()} == {torch.float32}
    recorded = json.loads((ROOT / "data" / "models" / name / "training.json").read_text(encoding="utf-8"))
    films = corpora.snippets()["validation"].to_pandas().query("domain == 'movies'")
    for kind, of_kind in (("positive", films.rating >= 1), ("negative", films.rating <= -1)):
        texts = [[*lm.encode(text).tolist(), lm.context_id][:32] for text in sample(films.text[of_kind].tolist(), 64)]
        nats = -torch.cat([observed for _, observed in lm.batch_token_log_probs(texts)]).mean().item()
        assert nats == pytest.approx(recorded["validation_nats"][kind], abs=2e-3), kind


def test_smollm2_is_the_real_model(smollm2):
    row = shelf()[0]
    assert smollm2.n_parameters == row["parameters"] == 134_515_008
    assert smollm2.vocab_size == row["vocabulary"] == len(smollm2.tokenizer) == 49_152
    weights = assets.fetch("smollm2") / "model.safetensors"
    assert round(weights.stat().st_size / 1e6, 1) == row["megabytes"]
    assert smollm2.tokenizer.convert_ids_to_tokens(smollm2.context_id) == "<|endoftext|>"


def test_smollm2_answers_in_chat(smollm2):
    question = [{"role": "user", "content": "What is the capital of France?"}]
    options = {"add_generation_prompt": True, "return_tensors": "pt", "return_dict": True}
    prompt = smollm2.tokenizer.apply_chat_template(question, **options)
    out = smollm2.model.generate(**prompt, max_new_tokens=12, do_sample=False)
    assert "Paris" in smollm2.tokenizer.decode(out[0, prompt["input_ids"].shape[1] :])


def test_smollm2_tokenizer_splits_blanks_and_digits_like_the_original(smollm2):
    tokens = smollm2.tokenizer.convert_ids_to_tokens(smollm2.encode("in   2024, don't"))
    assert tokens == ["in", "ĠĠĠ", "2", "0", "2", "4", ",", "Ġdon", "'t"]


def test_document_separator_is_the_right_context(smollm2):
    """The docstring's claim: after <|im_start|> the first word of plain text costs about 2 nats more."""
    firsts = [smollm2.encode(text)[0] for text in ("The weather was fine", "In 1969, two men", "She opened the door")]
    with torch.inference_mode():
        separator, bos = (
            smollm2.model(torch.tensor([[context]])).logits[0, -1].log_softmax(-1)
            for context in (smollm2.context_id, smollm2.tokenizer.bos_token_id)
        )
    assert sum(separator[i] - bos[i] for i in firsts) / len(firsts) > 1


@pytest.mark.slow
def test_loading_is_silent_and_asks_no_network(smollm2):
    """In a fresh process in which every connection fails: nothing printed but the answer, nothing on stderr."""
    code = """if True:
        import socket
        tried = []
        def refuse(*args, **kwargs):
            tried.append(args)
            raise OSError("no network")
        socket.socket.connect = socket.getaddrinfo = refuse
        from course_utils.shelf.models import load
        for name in ("smollm2", "base"):
            lm = load(name)
            lm.model.generate(lm.encode("The capital")[None], max_new_tokens=1, do_sample=False)
            print(name, lm.n_parameters > 0, tried)
    """
    env = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("smollm2 True []\nbase True []\n", "", 0)
