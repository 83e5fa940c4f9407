"""MANY_MODELS_DEVICE: its words and errors, and every place where a model computes, on a device that is pretended."""

from __future__ import annotations

import shutil

import pytest
import torch
from forward_places import PLACES, forget
from pretended_device import DEVICE, PretendedDevice, There
from test_models import save_tiny
from tiny_llama import tiny_llama
from transformers import AutoTokenizer, LlamaForCausalLM

from course_utils.shelf import device as device_module
from course_utils.shelf import models
from course_utils.shelf.device import SETTING, DeviceError, device, on_device

# The pretended device is called "meta", and modules warn that nothing can be copied to such a parameter.
pytestmark = pytest.mark.filterwarnings("ignore:.*to a meta parameter:UserWarning")
SMALL = "base kjv moe nmt-0 soup tokenizer translation-tokenizer verse-absorbing verse-edits verse-left-to-right"
SMALL += " verse-uniform"


def with_devices(monkeypatch, *there: str) -> None:
    monkeypatch.setattr(device_module, "_works", lambda kind: kind in there)


@pytest.mark.parametrize(
    ("setting", "there", "chosen"),
    [
        (None, ["cuda", "mps"], "cpu"),
        ("", ["cuda"], "cpu"),
        ("cpu", ["cuda"], "cpu"),
        ("cuda", ["cuda"], "cuda"),
        (" CUDA ", ["cuda"], "cuda"),
        ("mps", ["mps"], "mps"),
        ("auto", ["cuda", "mps"], "cuda"),
        ("auto", ["mps"], "mps"),
        ("auto", [], "cpu"),
    ],
)
def test_the_setting_chooses(setting, there, chosen, monkeypatch):
    with_devices(monkeypatch, *there)
    monkeypatch.setenv(SETTING, setting) if setting is not None else monkeypatch.delenv(SETTING, raising=False)
    assert device() == torch.device(chosen)


@pytest.mark.parametrize(
    ("setting", "there", "words"),
    [
        ("gpu", ["cuda"], "'gpu': set it to cpu, cuda, mps or auto, or unset it"),
        ("cuda", ["mps"], "'cuda', which torch .* cannot use here \\(it can use: mps, cpu\\): set it to one of these"),
        ("mps", [], "'mps', which torch .* cannot use here \\(it can use: cpu\\): set it to one of these"),
    ],
)
def test_a_wrong_setting_is_one_line(setting, there, words, tmp_path, monkeypatch):
    with_devices(monkeypatch, *there)
    monkeypatch.setenv(SETTING, setting)
    save_tiny(tmp_path / "models" / "tiny")
    monkeypatch.setenv("MANY_MODELS_DATA", str(tmp_path))
    for asked in (device, lambda: models.load("tiny")):
        with pytest.raises(DeviceError, match=f"^{SETTING} is {words}") as caught:
            asked()
        assert isinstance(caught.value, ValueError) and "\n" not in str(caught.value)


def test_a_device_that_cannot_add_does_not_work(monkeypatch):
    numbers = torch.ones(2)
    monkeypatch.setattr(torch, "ones", lambda size, device: numbers)
    for library, kind in ((torch.backends.mps, "mps"), (torch.cuda, "cuda")):
        monkeypatch.setattr(library, "is_available", lambda: False)
        assert not device_module._works(kind)
        monkeypatch.setattr(library, "is_available", lambda: True)
        assert device_module._works(kind)

    def without_memory(size, device):
        raise RuntimeError(f"{device}: out of memory")

    monkeypatch.setattr(torch, "ones", without_memory)
    assert not device_module._works("mps") and not device_module._works("cuda")


def test_on_the_cpu_nothing_is_added_to_a_model(monkeypatch):
    monkeypatch.delenv(SETTING, raising=False)
    model = tiny_llama(20)
    assert on_device(model) is model
    assert not (model._forward_hooks or model._forward_pre_hooks or model._state_dict_hooks)


def test_on_cuda_convolutions_keep_float32(monkeypatch):
    model = tiny_llama(20)
    monkeypatch.setattr(model, "to", lambda where: model)  # there is no CUDA here
    monkeypatch.setattr(device_module, "device", lambda: torch.device("cuda"))
    convolutions = torch.backends.cudnn.conv
    before, convolutions.fp32_precision = convolutions.fp32_precision, "tf32"
    try:
        on_device(model)
        assert convolutions.fp32_precision == "ieee"
    finally:
        convolutions.fp32_precision = before


def test_the_pretended_device_refuses_what_a_device_refuses():
    there = torch.ones(3, device="cpu")
    with PretendedDevice() as pretended:
        there = there.to(DEVICE)
        assert there.device == DEVICE and (there[None] @ there[:, None]).item() == 3 and pretended.products == 1
        assert type(there.cpu()) is torch.Tensor and (there + 1).sum().item() == 6
        assert torch.equal((there * torch.tensor(2.0))[torch.tensor([0, 2])].cpu(), torch.full((2,), 2.0))
        for meet in (
            there.__add__,
            there.dot,
            lambda x: torch.stack([there, x]),
            lambda x: torch.where(x > 0, x, there),
        ):
            with pytest.raises(RuntimeError, match="meet"):
                meet(torch.ones(3))
        with pytest.raises(TypeError, match="float64"):
            there.double()
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> dict[str, str]:
    """Settings with which all models are small: those of data/models, and an untrained SmolLM2 with two adapters."""
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("data")
    for name in SMALL.split():
        shutil.copytree(models.data_dir() / "models" / name, folder / "models" / name)
    llm = folder / "llm"
    save_tiny(llm, specials=("<s>", "</s>", "<|im_start|>"))
    tokenizer = AutoTokenizer.from_pretrained(llm)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    tokenizer.save_pretrained(llm)
    config = tiny_llama(len(tokenizer), max_position_embeddings=128, tie_word_embeddings=True).config
    config.num_hidden_layers = 30  # polarity reads the 15th and the 30th layer
    config.layer_types = None
    LlamaForCausalLM(config).save_pretrained(llm)
    for name in ("lora-positive", "lora-negative"):
        lora = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "o_proj"], init_lora_weights=False)
        get_peft_model(LlamaForCausalLM(config), lora).save_pretrained(folder / "models" / name)
    return {"MANY_MODELS_DATA": str(folder), "MANY_MODELS_LLM": str(llm)}


@pytest.fixture
def settings(small, monkeypatch):
    """Sets them, and lets nothing that was loaded stay for another test."""
    for name, value in small.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(SETTING, raising=False)
    forget()
    yield monkeypatch
    forget()


@pytest.mark.parametrize("name", PLACES)
def test_a_place_gives_on_a_device_what_it_gives_on_the_cpu(name, settings):
    expected = PLACES[name]()
    forget()
    settings.setattr(device_module, "device", lambda: DEVICE)
    with PretendedDevice() as pretended:
        found = PLACES[name]()
    assert pretended.products > 1 and not pretended.looked_up_here  # it was computed there, by every model
    assert type(found) is torch.Tensor and found.dtype == torch.float32 and not found.isnan().any()
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_a_cache_stays_on_the_device_and_a_state_comes_to_the_cpu(settings):
    settings.setattr(device_module, "device", lambda: DEVICE)
    with PretendedDevice():
        lm = models.load("base")
        out = lm.model(torch.tensor([[0, 5]]), use_cache=True)
        assert isinstance(out.past_key_values.layers[0].keys, There) and not isinstance(out.logits, There)
        assert all(isinstance(weight, There) for weight in lm.model.parameters())
        assert not any(isinstance(weight, There) for weight in lm.model.state_dict().values())
