"""Chats: the local one against transformers' own generation; the remote one against a real `transformers serve` and,
for what a healthy server never does, against a small stand-in that speaks the protocol's JSON and fails on request."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from tiny_llama import tiny_llama

from course_utils.refinement import self_refine
from course_utils.shelf import assets
from course_utils.shelf.chat import PROMPTS, local_chat, remote_chat, roles
from course_utils.shelf.models import LanguageModel, ModelError, load

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch):
    for name in ("MANY_MODELS_ENDPOINT", "MANY_MODELS_ENDPOINT_MODEL", "MANY_MODELS_ENDPOINT_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_the_users_own_token")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """An untrained Llama of two small layers with SmolLM2's tokenizer and chat template, as a folder."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(assets.fetch("smollm2")), local_files_only=True)
    ends = tokenizer.eos_token_id
    specials = {"eos_token_id": ends, "pad_token_id": ends, "bos_token_id": None}
    model = tiny_llama(len(tokenizer), max_position_embeddings=256, **specials)
    folder = tmp_path_factory.mktemp("tiny")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, LanguageModel("tiny", model, tokenizer, ends)


def test_local_chat_is_transformers_greedy_generation():
    lm = load("smollm2")
    messages = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Name a colour."}]
    options = {"add_generation_prompt": True, "return_tensors": "pt", "return_dict": True}
    inputs = lm.tokenizer.apply_chat_template(messages, **options)
    with torch.inference_mode():
        out = lm.model.generate(**inputs, max_new_tokens=8, do_sample=False)
    expected = lm.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
    assert local_chat(lm, 8)(messages) == expected != ""


def test_a_text_is_one_user_message_and_the_end_of_turn_ends(tiny):
    _, lm = tiny
    chat = local_chat(lm, 12)
    assert chat("Hello") == chat([{"role": "user", "content": "Hello"}]) != ""
    silent = copy.deepcopy(lm.model)
    silent.lm_head = torch.nn.Linear(16, lm.vocab_size, bias=True)
    torch.nn.init.zeros_(silent.lm_head.weight)
    with torch.no_grad():
        silent.lm_head.bias.copy_(9.0 * (torch.arange(lm.vocab_size) == lm.tokenizer.eos_token_id))
    assert local_chat(replace(lm, model=silent), 12)("Hello") == ""


def test_sampling_is_seeded(tiny):
    _, lm = tiny
    first, again, other = (local_chat(lm, 8, temperature=1.0, seed=seed) for seed in (1, 1, 2))
    answers = [first("Hi"), first("Hi")]
    assert answers == [again("Hi"), again("Hi")] and answers[0] != answers[1]
    assert other("Hi") != answers[0]


def test_local_chat_refuses(tiny):
    _, lm = tiny
    with pytest.raises(ModelError, match="at most 256 tokens"):
        local_chat(lm)("word " * 300)
    with pytest.raises(ModelError, match="no chat template"):
        local_chat(load("kjv"))
    for wrong in ([], [{"role": "user"}], ["text"]):
        with pytest.raises(ValueError, match="a chat wants"):
            local_chat(lm)(wrong)


def test_roles_say_what_the_prompts_say():
    said = []

    def chat(prompt):
        said.append(prompt)
        return ["a0", "too short", "a1", "Yes. IT IS CORRECT!"][len(said) - 1]

    run = self_refine("Use {braces}.", *roles(chat), max_rounds=5)
    assert (run.answers, run.feedbacks, run.stopped) == (["a0", "a1"], ["too short", "Yes. IT IS CORRECT!"], True)
    assert said[0] == "Use {braces}.\nGive only the answer."
    assert said[1].startswith("Task: Use {braces}.\n\nAnswer: a0\n\n") and said[1].endswith("say only: It is correct.")
    assert said[2].startswith("Task: Use {braces}.\n\nAnswer 0: a0\nFeedback 0: too short\n\n")
    other = {**PROMPTS, "turn": "[{number} {answer} {feedback}]", "refine": "{history}", "done": "STOP"}
    _, _, refine, stop = roles(str, other)
    assert refine("x", [("a", "f"), ("b", "g")]) == "[0 a f]\n[1 b g]"
    assert stop("well, stop here", 0) and not stop("It is correct.", 0)
    with pytest.raises(ValueError, match="prompts lacks turn"):
        roles(str, {name: text for name, text in PROMPTS.items() if name != "turn"})


def test_nothing_is_sent_without_an_endpoint(monkeypatch):
    def never(*arguments, **settings):
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket.socket, "connect", never)
    with pytest.raises(ModelError, match="set MANY_MODELS_ENDPOINT to the address"):
        remote_chat()
    with pytest.raises(ModelError, match="must begin with http"):
        remote_chat("gpt2", "m")
    with pytest.raises(ModelError, match="set MANY_MODELS_ENDPOINT_MODEL"):
        remote_chat("http://localhost:1/v1")
    remote_chat("http://localhost:1/v1", "m")  # made, not called


class StandIn(BaseHTTPRequestHandler):
    """Not a model: it answers as the model's name says, and keeps what it was sent."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, self.headers.get("Authorization"), body))
        model = body["model"]
        if model == "slow":
            self.server.released.wait(30)
        answer = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": " an answer\n"}}
        silent = {"index": 0, "message": {"role": "assistant", "content": None}}
        good = {"id": "1", "object": "chat.completion", "created": 0, "model": model, "usage": {}, "choices": [answer]}
        if model == "dropped":
            return
        status = int(model) if model.isdecimal() else 200
        text = {
            "not json": "<html>hello",
            "no choices": '{"id": "1", "choices": []}',
            "other json": "[1]",
            "no text": json.dumps({**good, "choices": [silent]}),
        }.get(model)
        if status != 200:
            # As bad as a server can be: it repeats the key, over several lines, twice around where a long text is cut.
            text = '{"error":\n "wrong key ' + KEY + " " * 5 + "x" * 130 + KEY + '"}'
        data = (text or json.dumps(good)).encode()
        with contextlib.suppress(OSError):  # the client of "slow" has gone
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def stand_in():
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    server.requests, server.released = [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server, f"http://127.0.0.1:{server.server_port}/v1"
    server.released.set()
    server.shutdown()
    server.server_close()


def test_what_is_sent(stand_in, monkeypatch):
    server, url = stand_in
    for name, value in (("", url), ("_MODEL", "good"), ("_KEY", KEY)):
        monkeypatch.setenv("MANY_MODELS_ENDPOINT" + name, value)
    assert remote_chat(max_new_tokens=5, temperature=0.5, seed=3)("Hello") == "an answer"
    path, authorization, body = server.requests[-1]
    assert (path, authorization) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert body["messages"] == [{"role": "user", "content": "Hello"}]
    assert [body[name] for name in ("model", "max_tokens", "temperature", "seed")] == ["good", 5, 0.5, 3]


def test_the_hubs_token_is_not_sent(stand_in):
    server, url = stand_in
    assert remote_chat(url, "good")("Hello") == "an answer"
    assert "hf_the_users_own_token" not in str(server.requests[-1])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("401", "HTTP 401: check MANY_MODELS_ENDPOINT_KEY"),
        ("403", "HTTP 403: check MANY_MODELS_ENDPOINT_KEY"),
        ("404", "HTTP 404: check the address"),
        ("422", "HTTP 422"),
        ("429", "too many requests"),
        ("500", "HTTP 500"),
        ("503", "HTTP 503"),
        ("not json", "cannot be read"),
        ("other json", "cannot be read"),
        ("no choices", "cannot be read"),
        ("no text", "holds no text"),
        ("dropped", "the endpoint"),
        ("slow", "no answer within 0.5 s"),
    ],
)
def test_one_clear_line_without_the_key(stand_in, model, words, capfd):
    _, url = stand_in
    with pytest.raises(ModelError) as caught:
        remote_chat(url.replace("//", f"//user:{KEY}@"), model, KEY, timeout=0.5 if model == "slow" else 60)("Hello")
    message = str(caught.value)
    assert words in message and "\n" not in message and url in message, message
    assert len(message) < 400
    shown = "".join(traceback.format_exception(caught.value)) + "".join(capfd.readouterr())
    assert not any(KEY[start : start + 8] in message + shown for start in range(len(KEY) - 8)), shown


def test_an_unreachable_server():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        with pytest.raises(ModelError, match="cannot be reached: is the server running"):
            remote_chat(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", "m", KEY)("Hello")
    with pytest.raises(ModelError, match="cannot be reached"):
        remote_chat("http://no-such-host.invalid/v1", "m", KEY)("Hello")


@pytest.mark.slow
def test_a_real_server_answers_as_the_local_chat(tiny, tmp_path):
    """`transformers serve` with the tiny model: the same greedy answer, to the letter, and the same loop."""
    folder, lm = tiny
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program, options = Path(sys.executable).with_name("transformers"), "--host 127.0.0.1 --device cpu --dtype float32"
    command = [str(program), "serve", str(folder), "--port", str(port), *options.split()]
    with open(tmp_path / "log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                said = (tmp_path / "log").read_text(encoding="utf-8")[-2000:]
                assert server.poll() is None and time.monotonic() < deadline, said
                time.sleep(0.2)
        remote = remote_chat(f"http://127.0.0.1:{port}/v1", str(folder), max_new_tokens=12, timeout=180)
        local = local_chat(lm, 12)
        assert remote("Name a colour.") == local("Name a colour.") != ""
        runs = [self_refine("Name a colour.", *roles(chat), max_rounds=1) for chat in (remote, local)]
        assert runs[0] == runs[1] and len(runs[0].answers) == 2
        with pytest.raises(ModelError, match="HTTP 400"):
            remote_chat(f"http://127.0.0.1:{port}/v1", "another")("Hello")
    finally:
        server.kill()  # nothing of it is kept
        server.wait(60)
    with pytest.raises(ModelError, match="cannot be reached"):
        remote("Hello")
