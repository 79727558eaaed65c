"""Clients that retry, and that compare every number they get with a reference."""

from __future__ import annotations

import asyncio
import base64
import io
import random
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from PIL import Image

from chaos.models import MAX_TOKENS, MODELS, PICTURES, WORDS

GIVE_UP_S = 60.0
"""Seconds after a request's first attempt in which the client may start another one."""
TRY_TIMEOUT_S = 20.0
TOLERANCE = 1e-5
_RETRIED = (429, 502, 503, 504)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0
_PAUSE_S = 0.05
_TEXTS = 64
_MOST_ITEMS = 24


@dataclass(slots=True)
class Asked:
    """A request of a client, with all of its attempts.

    Attributes:
        began: Time of the first attempt, of the monotonic clock.
        ended: Time of the last answer.
        answers: Status, or name of the client's error, of each attempt, with the time at which it ended.
        is_right: Whether the request was answered with the vectors of the reference.
        is_wrong: Whether it was answered with others.
        refusal: The last answer that no client should get: 500, 404, or 503 without Retry-After.
        retry_after_s: Longest Retry-After.
    """

    began: float
    ended: float = 0.0
    answers: list[tuple[float, int | str]] = field(default_factory=list)
    is_right: bool = False
    is_wrong: bool = False
    refusal: str = ""
    retry_after_s: float = 0.0

    @property
    def took_s(self) -> float:
        """Seconds from the first attempt to the last answer."""
        return self.ended - self.began


def _embeddings(answer: dict[str, Any]) -> np.ndarray:
    return np.array(answer["embeddings"], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Question:
    """A body that clients send, and the numbers that answer it.

    Attributes:
        route: Path of the route.
        body: The body.
        vectors: The numbers, float64; of ``/embed_text`` ``[B, D]``.
        read: Returns the numbers of an answer.
    """

    route: str
    body: dict[str, Any]
    vectors: np.ndarray
    read: Callable[[dict[str, Any]], np.ndarray] = _embeddings

    @property
    def model(self) -> str:
        """Name of the model that is asked."""
        return str(self.body.get("name"))


class Load:
    """Clients that send until they are stopped.

    Args:
        addresses: URLs of the front ends; a client whose attempt fails goes to the next one.
        questions: What they ask.
        clients: How many they are.
        seed: Seed of the order of the questions.
        away: Models that may be unloaded now: of these, and of no others, 404 is an answer to be expected.
        pause_s: Mean pause of a client between two requests.

    Attributes:
        asked: Every request that has ended.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        questions: Sequence[Question],
        clients: int,
        seed: int,
        away: Container[str] = (),
        pause_s: float = _PAUSE_S,
    ) -> None:
        self.asked: list[Asked] = []
        self._away = away
        self._pause_s = pause_s
        self._addresses = addresses
        self._questions = questions
        self._is_stopping = False
        self._rngs = [random.Random(f"{seed} {number}") for number in range(clients)]
        self._under_way: dict[int, Asked] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the clients."""
        self._tasks = [asyncio.create_task(self._run(number, rng)) for number, rng in enumerate(self._rngs)]

    async def stop(self) -> None:
        """Let each client end its request."""
        self._is_stopping = True
        await asyncio.gather(*self._tasks)

    def cancel(self) -> None:
        """End the clients at once."""
        for task in self._tasks:
            task.cancel()

    def under_way(self) -> list[Asked]:
        """Return the requests that have not ended."""
        return list(self._under_way.values())

    def since(self, moment: float) -> list[Asked]:
        """Return the requests that ended after a moment, and those under way."""
        now = time.monotonic()
        for asked in self._under_way.values():
            asked.ended = now
        return [*(asked for asked in self.asked if asked.ended >= moment), *self._under_way.values()]

    async def _run(self, number: int, rng: random.Random) -> None:
        place = number
        async with httpx.AsyncClient(trust_env=False, timeout=TRY_TIMEOUT_S) as client:
            while not self._is_stopping:
                asked = self._under_way[number] = Asked(time.monotonic())
                place = await self._ask(client, rng, asked, place)
                del self._under_way[number]
                self.asked.append(asked)
                await asyncio.sleep(rng.uniform(0, 2 * self._pause_s))

    async def _ask(self, client: httpx.AsyncClient, rng: random.Random, asked: Asked, place: int) -> int:
        """Ask one question until it is answered; return the place of the front end that is to be asked next."""
        question = rng.choice(self._questions)
        pause_s = _FIRST_PAUSE_S
        while True:
            address = self._addresses[place % len(self._addresses)]
            answer = await attempt(client, address, question, asked, self._away)
            asked.ended = time.monotonic()
            if asked.is_right or asked.is_wrong:
                return place
            place += 1
            wait_s = rng.uniform(0.5, 1) * pause_s
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            if answer is not None:
                wait_s += float(answer.headers.get("retry-after", 0))
            if asked.took_s + wait_s > GIVE_UP_S:
                return place
            await asyncio.sleep(wait_s)


async def attempt(
    client: httpx.AsyncClient, address: str, question: Question, asked: Asked, away: Container[str]
) -> httpx.Response | None:
    """Send a question once, and write down in ``asked`` what came back; return the answer, None for an error."""
    try:
        async with asyncio.timeout(TRY_TIMEOUT_S):  # httpx's own time-out begins anew with each byte
            answer = await client.post(address + question.route, json=question.body)
    except (httpx.HTTPError, TimeoutError) as error:
        asked.answers.append((time.monotonic(), type(error).__name__))
        return None
    asked.answers.append((time.monotonic(), answer.status_code))
    if answer.status_code == 200:
        asked.is_right = is_right(answer, question)
        asked.is_wrong = not asked.is_right
    asked.retry_after_s = max(asked.retry_after_s, float(answer.headers.get("retry-after", 0)))
    is_unexplained = answer.status_code in (429, 503) and "retry-after" not in answer.headers
    is_away = answer.status_code == 404 and question.model in away
    if asked.is_wrong or is_unexplained or (answer.status_code not in (200, *_RETRIED) and not is_away):
        asked.refusal = f"{answer.status_code} {answer.text[:300]}"
    return answer


def is_right(answer: httpx.Response, question: Question) -> bool:
    """Return whether an answer holds the numbers of the reference."""
    try:
        found = question.read(answer.json())
    except (ValueError, KeyError, TypeError, IndexError):
        return False
    return found.shape == question.vectors.shape and bool(np.abs(found - question.vectors).max() < TOLERANCE)


async def make_questions(address: str, rng: random.Random, *, pictures: bool) -> list[Question]:
    """Make questions of mixed lengths and sizes, and get their vectors from a server to which nothing has been done.

    Each text is asked for on its own, so that every batch of the run is compared with what a lone text gives.
    """
    questions = []
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=60) as client:
        for name in MODELS:
            texts = [_text(rng) for _ in range(_TEXTS)]
            vectors = [await _vector(client, "/embed_text", {"name": name, "text": text}) for text in texts]
            for number in range(_TEXTS):
                size = 1 if number % 3 else rng.randint(2, _MOST_ITEMS)
                places = rng.sample(range(_TEXTS), size)
                body = {"name": name, "text": [texts[place] for place in places]}
                questions.append(Question("/embed_text", body, np.stack([vectors[place] for place in places])))
        for _ in range(_TEXTS if pictures else 0):
            body = {"name": PICTURES, "image": picture(rng)}
            questions.append(Question("/embed_image", body, (await _vector(client, "/embed_image", body))[None]))
    return questions


async def _vector(client: httpx.AsyncClient, route: str, body: dict[str, Any]) -> np.ndarray:
    answer = await client.post(route, json=body)
    answer.raise_for_status()
    return np.array(answer.json()["embeddings"][0], dtype=np.float64)


def _text(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=int(rng.triangular(1, 1.5 * MAX_TOKENS, 8))))


def picture(rng: random.Random) -> str:
    """Return a picture of random pixels and size: a PNG file in base64."""
    size = (rng.randint(8, 200), rng.randint(8, 200))
    pixels = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
