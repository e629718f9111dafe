"""The clients that people have: openai, litellm, instructor, over a real socket; replies are valid in their models."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import instructor
import openai
import pytest
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from exsa_lab import loading
from exsa_lab.runtime.scripted import ScriptedModel
from exsa_lab.serve.server import Server
from tests.prompts.tool_models import HERMES, WEATHER, reply_model
from tests.serve.parts import serving

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else importing it waits for the network
ASK: list[Any] = [{"role": "user", "content": "Weather?"}]
CITY = '{"name": "Graz", "people": 300000}'
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Linz", "days": 2}}\n</tool_call>'
MODEL = "scripted"


class City(BaseModel):
    name: str
    people: int


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    days: int


@contextmanager
def replying(reply: str) -> Iterator[tuple[Server, openai.OpenAI]]:
    with serving(reply_model(HERMES, reply)) as server, _client(server) as client:
        yield server, client


def _client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0)


def _valid(reply: BaseModel, kind: type[BaseModel]) -> None:
    """The clients build their objects without looking."""
    kind.model_validate(reply.model_dump())


def test_openai() -> None:
    with replying("It is fine.") as (_, client):
        for model in client.models.list():
            _valid(model, Model)
            assert model.id == MODEL
        reply = client.chat.completions.create(model=MODEL, messages=ASK, logprobs=True, top_logprobs=2, n=2)
        _valid(reply, ChatCompletion)
        assert [choice.message.content for choice in reply.choices] == ["It is fine."] * 2
        assert reply.usage is not None
        assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
        raw = client.completions.create(model=MODEL, prompt="a", max_tokens=3)
        _valid(raw, Completion)


def test_openai_streams() -> None:
    with replying("It is fine.") as (_, client):
        chunks = list(
            client.chat.completions.create(
                model=MODEL, messages=ASK, stream=True, stream_options={"include_usage": True}, logprobs=True
            )
        )
        for chunk in chunks:
            _valid(chunk, ChatCompletionChunk)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "It is fine."
        assert chunks[-1].usage is not None
        with client.chat.completions.stream(model=MODEL, messages=ASK) as stream:
            stream.until_done()
            final = stream.get_final_completion()
        _valid(final, ChatCompletion)
        assert final.choices[0].message.content == "It is fine."


def test_openai_parses() -> None:
    with replying(CITY) as (_, client):
        reply = client.chat.completions.parse(model=MODEL, messages=ASK, response_format=City)
        assert reply.choices[0].message.parsed == City(name="Graz", people=300_000)
        with client.chat.completions.stream(model=MODEL, messages=ASK, response_format=City) as stream:
            stream.until_done()
            assert stream.get_final_completion().choices[0].message.parsed == City(name="Graz", people=300_000)


def test_openai_calls_tools() -> None:
    tool = openai.pydantic_function_tool(Weather, name="weather")
    with replying(CALL) as (_, client):
        reply = client.chat.completions.parse(model=MODEL, messages=ASK, tools=[tool])
        _valid(reply, ChatCompletion)
        message = reply.choices[0].message
        assert reply.choices[0].finish_reason == "tool_calls"
        assert message.tool_calls is not None
        assert message.tool_calls[0].function.parsed_arguments == Weather(city="Linz", days=2)
        with client.chat.completions.stream(model=MODEL, messages=ASK, tools=[tool]) as stream:
            stream.until_done()
            streamed = stream.get_final_completion().choices[0].message.tool_calls
        assert streamed is not None
        assert streamed[0].function.parsed_arguments == Weather(city="Linz", days=2)
        result: Any = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "3 degrees"}
        said: Any = message.model_dump(exclude_none=True)
        said["tool_calls"] = [call.model_dump() for call in message.tool_calls]
        again = client.chat.completions.create(model=MODEL, messages=[*ASK, said, result], tools=[tool], max_tokens=4)
        assert again.usage is not None
        assert again.usage.prompt_tokens > reply.usage.prompt_tokens  # type: ignore[union-attr]


def test_openai_names_mistakes() -> None:
    with replying("Hi") as (server, client):
        with pytest.raises(openai.BadRequestError, match="temperature"):
            client.chat.completions.create(model=MODEL, messages=ASK, temperature=-1)
        with pytest.raises(openai.NotFoundError, match="no model"):
            client.chat.completions.create(model="gpt-5", messages=ASK)
        stranger = openai.OpenAI(base_url=server.base_url, api_key="wrong", max_retries=0)
        with stranger, pytest.raises(openai.AuthenticationError):
            stranger.models.list()
        loading.get_engine().close()
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model=MODEL, messages=ASK)


async def test_openai_async() -> None:
    with serving(reply_model(HERMES, "It is fine.")) as server:
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0) as client:
            replies = await asyncio.gather(
                *(client.chat.completions.create(model=MODEL, messages=ASK) for _ in range(8))
            )
            for reply in replies:
                _valid(reply, ChatCompletion)
                assert reply.choices[0].message.content == "It is fine."
            stream = await client.chat.completions.create(model=MODEL, messages=ASK, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
            assert "".join(pieces) == "It is fine."


def test_a_client_that_stops_reading_cancels() -> None:
    with serving(_endless()) as server, _client(server) as client:
        stream = client.chat.completions.create(
            model=MODEL, messages=ASK, stream=True, max_tokens=100_000, extra_body={"exsa": {"draft_length": 0}}
        )
        next(iter(stream))
        (generation,) = loading.get_engine().active
        stream.close()
        assert generation.wait(30)
        assert generation.finish_reason == "cancelled"


def _endless() -> ScriptedModel:
    return reply_model(HERMES, "a" * 5_000, step_s=0.005)


@pytest.mark.filterwarnings("ignore")  # of a package that warns of itself
def test_litellm() -> None:
    import litellm

    with serving(reply_model(HERMES, CALL)) as server:
        given: dict[str, Any] = {
            "model": f"openai/{MODEL}",
            "api_base": server.base_url,
            "api_key": server.api_key,
            "messages": ASK,
        }
        reply = litellm.completion(**given, tools=[WEATHER])
        litellm.ModelResponse.model_validate(reply.model_dump())
        (call,) = reply.choices[0].message.tool_calls
        assert json.loads(call.function.arguments) == {"city": "Linz", "days": 2}
        chunks = list(litellm.completion(**given, stream=True, stream_options={"include_usage": True}))
        built = litellm.stream_chunk_builder(chunks)
        assert built.choices[0].message.content == CALL
        with pytest.raises(litellm.exceptions.BadRequestError, match="temperature"):
            litellm.completion(**given, temperature=-1)


def test_instructor() -> None:
    with replying(CALL.replace("weather", "Weather")) as (_, client):
        found = instructor.from_openai(client).chat.completions.create(
            model=MODEL, messages=ASK, response_model=Weather, max_retries=0
        )
        assert found.model_dump() == {"city": "Linz", "days": 2}
    with replying(CITY) as (_, client):
        patched = instructor.from_openai(client, mode=instructor.Mode.JSON_SCHEMA)
        city = patched.chat.completions.create(model=MODEL, messages=ASK, response_model=City, max_retries=0)
        assert city.model_dump() == json.loads(CITY)


@pytest.mark.real
def test_the_real_pair() -> None:
    """What the model says is its own; that it fits the schema, and is what a direct call gives, is ours."""
    import exsa_lab as xl

    engine = xl.load("smollm2-135m")
    try:
        with xl.serve() as server, _client(server) as client:
            model = client.models.list().data[0].id
            asked: Any = [{"role": "user", "content": "Name a city and how many people live there."}]
            city = client.chat.completions.parse(model=model, messages=asked, response_format=City, max_tokens=120)
            assert isinstance(city.choices[0].message.parsed, City)
            text = client.chat.completions.create(model=model, messages=asked, max_tokens=24, temperature=0)
            assert text.choices[0].message.content == engine.generate(asked, max_tokens=24).text
            with pytest.raises(openai.BadRequestError, match="tools"):
                client.chat.completions.create(model=model, messages=asked, tools=[WEATHER])
    finally:
        xl.unload()
