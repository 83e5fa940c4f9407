"""A chat model as a function from messages to an answer, here or on a server, and its three roles in Self-Refine.

    chat = local_chat(load("smollm2"))                        # or remote_chat()
    run = self_refine("Write a sentence with: dog, run.", *roles(chat), max_rounds=3)

Environment variables, for `remote_chat`; without the first nothing is ever sent anywhere
    MANY_MODELS_ENDPOINT        address of an OpenAI-compatible server, as http://localhost:8000/v1
    MANY_MODELS_ENDPOINT_MODEL  the model's name there
    MANY_MODELS_ENDPOINT_KEY    its key, if it wants one
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence

import torch

from course_utils.ensembling.decoding import CachedLM, generate
from course_utils.shelf.models import LanguageModel, ModelError

__all__ = ["PROMPTS", "Chat", "local_chat", "remote_chat", "roles"]

Message = dict[str, str]  # {"role": "system", "user" or "assistant", "content": text}
Chat = Callable[[str | Sequence[Message]], str]

# All that is said to the model. {task}: the input x; {answer}: the last answer; {history}: all answers with feedback.
PROMPTS = {
    "generate": "{task}\nGive only the answer.",
    "feedback": "Task: {task}\n\nAnswer: {answer}\n\nCheck the answer against the task. Say in one or two sentences "
    "what exactly is wrong and how to repair it. If nothing is wrong, say only: {done}",
    "refine": "Task: {task}\n\n{history}\n\nWrite a better answer that follows all of the feedback. "
    "Give only the answer.",
    "turn": "Answer {number}: {answer}\nFeedback {number}: {feedback}",
    "done": "It is correct.",
}


def roles(chat: Chat, prompts: dict[str, str] = PROMPTS) -> tuple[Callable, Callable, Callable, Callable]:
    """(generate, feedback, refine, stop) for `self_refine`, all played by one chat model, as in the paper.

    refine's prompt holds the whole history; stop says yes when the feedback contains prompts["done"]
    (letter case and the full stop do not count), as in the authors' code for math. Pass another feedback function to
    `self_refine` for an outside verifier, or the roles of another chat for a stronger critic.
    Raises ValueError: a prompt is missing.
    Source: Madaan et al. (2023), section 2.
    """
    if missing := PROMPTS.keys() - prompts.keys():
        raise ValueError(f"prompts lacks {', '.join(sorted(missing))}: start from {{**PROMPTS, ...}}")

    def first(task: str) -> str:
        return chat(prompts["generate"].format(task=task))

    def feedback(task: str, answer: str) -> str:
        return chat(prompts["feedback"].format(task=task, answer=answer, done=prompts["done"]))

    def refine(task: str, history: Sequence[tuple[str, str]]) -> str:
        turn = prompts["turn"]
        turns = [turn.format(number=i, answer=answer, feedback=said) for i, (answer, said) in enumerate(history)]
        return chat(prompts["refine"].format(task=task, history="\n".join(turns)))

    def stop(said: str, t: int) -> bool:
        return prompts["done"].rstrip(".").lower() in said.lower()

    return first, feedback, refine, stop


def _messages(prompt: str | Sequence[Message]) -> list[Message]:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if not messages or not all(isinstance(m, dict) and {"role", "content"} <= m.keys() for m in messages):
        raise ValueError('a chat wants a text or messages [{"role": "user", "content": text}, ...], at least one')
    return messages


def local_chat(
    lm: LanguageModel, max_new_tokens: int = 64, temperature: float = 0.0, seed: int = 0, top_p: float | None = None
) -> Chat:
    """A chat with a model of `models.load` through its chat template; one conversation at a time.

    temperature 0: greedy, the same answer each time. Above: sampling from one generator that starts at `seed`, so that
    a second call draws another answer and a new `local_chat` repeats them all. An answer ends at the model's
    end-of-turn token or after `max_new_tokens`.
    Raises ModelError: a model without a chat template, a conversation that is too long for it.
    """
    if not getattr(lm.tokenizer, "chat_template", None):
        raise ModelError(f'{lm.name} has no chat template: chat with "smollm2" or another instruct model')
    settings = {"strategy": "greedy"}
    if temperature > 0:
        settings = {"strategy": "sample", "temperature": temperature, "top_p": top_p}
        settings["generator"] = torch.Generator().manual_seed(seed)
    limit = getattr(lm.model.config, "max_position_embeddings", None)

    def chat(prompt: str | Sequence[Message]) -> str:
        text = lm.tokenizer.apply_chat_template(_messages(prompt), tokenize=False, add_generation_prompt=True)
        ids = lm.encode(text)
        if limit and len(ids) + max_new_tokens > limit:
            has = f"{len(ids)} + {max_new_tokens}"
            raise ModelError(f"{lm.name} reads at most {limit} tokens, and this conversation has {has}: shorten it")
        out = generate(CachedLM(lm.model), ids, max_new_tokens, eos_token_id=lm.tokenizer.eos_token_id, **settings)
        return lm.tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True).strip()

    return chat


def remote_chat(
    url: str | None = None,
    model: str | None = None,
    key: str | None = None,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    seed: int = 0,
    timeout: float = 60,
) -> Chat:
    """A chat with an OpenAI-compatible server (transformers serve, llama.cpp, vLLM, a provider) by huggingface_hub's
    InferenceClient.

    url, model, key: None takes the environment variables above. timeout: seconds until the server must have answered.
    Your Hugging Face token is never sent: only `key`. Nothing is sent before the first call of the chat.
    Raises ModelError, one line without the key: no endpoint is named, it cannot be reached, it is too slow, it refuses,
    its answer is none.
    """
    url, model = url or os.environ.get("MANY_MODELS_ENDPOINT"), model or os.environ.get("MANY_MODELS_ENDPOINT_MODEL")
    # Without a key the client would send the hub's token.
    key = key or os.environ.get("MANY_MODELS_ENDPOINT_KEY") or "none"
    if not url:
        raise ModelError(
            "no endpoint is named: set MANY_MODELS_ENDPOINT to the address of an OpenAI-compatible server, or "
            "use local_chat"
        )
    if not re.match(r"https?://[^/\s]+", url):
        raise ModelError(f"MANY_MODELS_ENDPOINT is {_clean(url, key)!r}: it must begin with http:// or https://")
    if not model:
        raise ModelError("no model is named: set MANY_MODELS_ENDPOINT_MODEL to a model of the endpoint")
    from huggingface_hub import InferenceClient

    client = InferenceClient(base_url=url, api_key=key, timeout=timeout)
    settings = {"model": model, "max_tokens": max_new_tokens, "temperature": temperature, "seed": seed}

    def chat(prompt: str | Sequence[Message]) -> str:
        messages = _messages(prompt)
        try:
            answer = client.chat_completion(messages, **settings).choices[0].message.content
        except Exception as error:  # the client's, the HTTP library's, the JSON decoder's: many classes
            reason = _reason(error, timeout, key)
        else:
            if isinstance(answer, str):
                return answer.strip()
            reason = "its answer holds no text"
        # Outside of the handler: no chained traceback.
        raise ModelError(f"the endpoint {_clean(url, key)} (model {_clean(model, key)}): {reason}")

    return chat


def _reason(error: Exception, timeout: float, key: str) -> str:
    """What went wrong, and what to do, in a few words."""
    response, kind = getattr(error, "response", None), type(error).__name__
    if isinstance(error, TimeoutError) or "Timeout" in kind:
        return f"no answer within {timeout:g} s: is it loading or busy? Try again, or set timeout higher"
    if response is not None:
        advice = dict.fromkeys((401, 403), ": check MANY_MODELS_ENDPOINT_KEY")
        advice |= {429: ": too many requests, wait"}
        advice |= {404: ": check the address (often it ends in /v1) and the model's name"}
        try:
            said = _clean(response.text, key)[:200]  # first cleaned, then cut: half a key is still a secret
        except Exception:  # a body that was not read or is no text
            said = ""
        said = f" ({said})" if said else ""
        return f"it answered with HTTP {response.status_code}{advice.get(response.status_code, '')}{said}"
    if "Connect" in kind or isinstance(error, ConnectionError):
        return "it cannot be reached: is the server running, and the address right?"
    return f"its answer cannot be read ({kind}): is it an OpenAI-compatible server?"


def _clean(text: str, key: str) -> str:
    """Never the key; no user:password@ of an address; one line."""
    text = text.replace(key, "***") if key != "none" else text
    return " ".join(re.sub(r"//[^/@\s]*@", "//", text).split())
