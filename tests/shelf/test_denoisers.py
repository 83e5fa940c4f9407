"""The character models: what each may look at, their text, and that the committed ones are as their reports say."""

from __future__ import annotations

import json

import pytest
import torch

from course_utils.diffusion import discrete as dd
from course_utils.diffusion.edits import DELETE, KEEP, REPLACE, TAGS, apply_tags, corrupt, edit_distance
from course_utils.shelf import corpora, denoisers
from course_utils.shelf.denoisers import (
    MASK,
    CharNetwork,
    K,
    decode,
    encode,
    left_to_right_log_probs,
    load_denoiser,
    plain,
    rows,
)
from course_utils.shelf.models import ModelError, data_dir


def test_text_in_27_characters_and_back():
    assert plain("  “Yahweh’s” 3 Söhne, didn't\n go—") == "yahwehs sohne didnt go"
    assert decode(encode("a_z ")) == "a_z " and encode("a_z ").tolist() == [0, MASK, 25, 26]
    with pytest.raises(ValueError, match="'A'.*plain"):
        encode("A b")


def test_rows_hold_the_text_in_its_order():
    found = rows(["Abc, d", "e f"], length=4)
    assert [decode(row) for row in found] == ["abc ", "d e "]


def changed_places(causal: bool, place: int) -> list[int]:
    torch.manual_seed(0)
    network = CharNetwork(K + 1, causal=causal, width=8).double().eval()
    ids = torch.randint(K, (1, 40), generator=torch.Generator().manual_seed(0))
    other = ids.clone()
    other[0, place] = (other[0, place] + 1) % K
    share = torch.tensor([0.5], dtype=torch.float64)
    with torch.no_grad():
        return ((network(ids, share) - network(other, share)).abs().amax(2)[0] > 1e-12).nonzero()[:, 0].tolist()


def test_the_left_to_right_model_never_sees_what_comes():
    assert changed_places(True, 20)[0] == 20  # its logits at place 20 are those of character 21
    found = changed_places(False, 20)
    assert found[0] < 20 < found[-1]


def test_the_six_layers_see_141_characters():
    torch.manual_seed(0)
    network = CharNetwork(K, width=4).double()
    ids = torch.zeros(1, 301, dtype=torch.long)
    embedded = network.characters(ids).detach().requires_grad_()
    network.characters.forward = lambda _: embedded
    network(ids, torch.zeros(1, dtype=torch.float64))[0, 150].sum().backward()
    seen = embedded.grad[0].abs().sum(1).nonzero()[:, 0]
    assert (seen[0].item(), seen[-1].item()) == (150 - 70, 150 + 70)


def test_left_to_right_log_probs_are_a_chain_of_distributions():
    network = load_denoiser("left-to-right")
    ids = encode("in the beginning")[None]
    log_probs = left_to_right_log_probs(network, ids)
    assert log_probs.shape == (1, 16, K) and torch.allclose(log_probs.exp().sum(2), torch.ones(1, 16), atol=1e-5)
    assert torch.allclose(log_probs[:, :9], left_to_right_log_probs(network, ids[:, :9]), atol=1e-5)


def test_the_share_of_what_is_lost_is_told():
    network, ids = load_denoiser("uniform"), encode("in the beginning god")[None]
    early, late = (network(ids, torch.tensor([share])).softmax(2) for share in (0.05, 0.95))
    there = torch.arange(20), ids[0]
    assert early[0][there].mean() > late[0][there].mean() + 0.2  # late, what stands there is mostly noise


def test_a_step_of_the_editor_is_what_its_distributions_say():
    network, draft = load_denoiser("edits"), "and the trees sayid unto the vihne come tho and reign oveer us"
    tags, characters = (x[0].exp() for x in denoisers.edit_log_probs(network, encode(draft)[None]))
    assert torch.allclose(tags.sum(1), torch.ones(len(draft) + 1), atol=1e-5)
    assert characters.shape == (len(draft) + 1, K)
    assert tags[0, [TAGS.index(REPLACE), TAGS.index(DELETE)]].tolist() == [0, 0]  # nothing stands at the start
    everything = denoisers.edit_step(network, draft, share=1)
    assert everything[1] == [TAGS[i] for i in tags.argmax(1).tolist()]
    some = denoisers.edit_step(network, draft, share=0.01)
    assert sum(tag != KEEP for tag in some[1]) == 1 and some[0] == list(draft)
    spoiled = "and the kinrg of israel wentx out with hims servants"
    assert "the king of israel went out" in "".join(apply_tags(*denoisers.edit_step(network, spoiled, share=1)))
    clean = "and the trees said to the vine come and reign over us"
    assert "".join(apply_tags(*denoisers.edit_step(network, clean))) == clean
    with pytest.raises(ValueError, match="share"):
        denoisers.edit_step(network, draft, share=0)


def test_the_editor_brings_spoiled_verses_nearer_to_what_they_were():
    network, generator = load_denoiser("edits"), torch.Generator().manual_seed(0)
    before = after = 0
    for row in rows(corpora.domain_texts("web", "test"))[::50]:
        text = decode(row)
        draft = "".join(corrupt(list(text), denoisers.ALPHABET, generator, 0.9, 0.05, 0.025, 0.025, span=0).tokens)
        before += edit_distance(draft, text)
        for _ in range(3):
            draft = "".join(apply_tags(*denoisers.edit_step(network, draft)))
        after += edit_distance(draft, text)
    assert after < 0.85 * before


@pytest.mark.parametrize("name", denoisers.NAMES[:3])
def test_the_committed_models_are_what_their_reports_say(name):
    report = json.loads((data_dir() / "models" / f"verse-{name}" / "training.json").read_text(encoding="utf-8"))
    network, generator = load_denoiser(name), torch.Generator().manual_seed(0)
    assert report["parameters"] == sum(p.numel() for p in network.parameters())
    x0 = rows(corpora.domain_texts("web", "test"))[::7]
    with torch.inference_mode():
        if name == "left-to-right":
            nats = -left_to_right_log_probs(network, x0).gather(2, x0[..., None]).mean()
        else:
            T, mask = 1000, MASK if name == "absorbing" else None
            betas = dd.even_schedule(T)
            process = dd.uniform_process(betas, K) if mask is None else dd.absorbing_process(betas, K + 1, mask)
            t = (dd.even_shares(len(x0), generator) * T).ceil().long()
            nats = dd.vlb_loss(lambda x_t, t: network(x_t, t / T), x0, t, process, generator=generator)
    assert abs(dd.bits_per_character(nats.item(), 1, 1) - report["bits_per_character"]["test"]) < 0.1


def test_a_denoiser_that_is_not_there_is_one_line(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="uniform, absorbing, left-to-right, edits"):
        load_denoiser("gaussian")
    folder = tmp_path / "models" / "verse-uniform"
    folder.mkdir(parents=True)
    (folder / "training.json").write_text('{"network": {"vocabulary": 27}}', encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"damaged")
    monkeypatch.setattr(denoisers, "data_dir", lambda: tmp_path)
    with pytest.raises(ModelError, match="denoisers.py") as caught:
        load_denoiser.__wrapped__("uniform")
    assert "\n" not in str(caught.value)
