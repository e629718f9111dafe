"""What Prometheus reads, in its own reader's eyes."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from exsa_lab import loading
from exsa_lab.serve.server import Server
from tests.gate import until
from tests.serve.parts import chat, client, serving


def samples(server: Server) -> dict[tuple[str, ...], float]:
    with client(server) as http:
        reply = http.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(reply.text)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_they_count_what_clients_got() -> None:
    with serving() as server:
        assert samples(server)["exsa_up",] == 1
        reply = chat(server, n=2, exsa={"draft_length": 4, "drafter": "ngram"}).json()
        chat(server, temperature=-1)
        found = samples(server)
        assert found["exsa_http_requests_total", "/v1/chat/completions", "200"] == 1
        assert found["exsa_http_requests_total", "/v1/chat/completions", "400"] == 1
        assert found["exsa_tokens_total", "generated"] == reply["usage"]["completion_tokens"]
        assert found["exsa_tokens_total", "prompt"] == 6
        assert found["exsa_ttft_seconds_count",] == 2
        assert found["exsa_gap_seconds_count",] == reply["exsa"]["rounds"] - 2
        if reply["exsa"]["drafted_tokens"]:
            assert found["exsa_draft_tokens_total", "ngram", "proposed"] == reply["exsa"]["drafted_tokens"]
            assert found["exsa_draft_tokens_total", "ngram", "accepted"] == reply["exsa"]["accepted_tokens"]


def test_unknown_paths_make_no_numbers_of_their_own() -> None:
    with serving() as server, client(server) as http:
        for number in range(5):
            http.get(f"/x{number}")
        assert samples(server)["exsa_http_requests_total", "other", "404"] == 5


def test_they_show_the_engine_as_it_is() -> None:
    with serving(n_seq_max=3, n_ctx=256) as server:
        chat(server)
        until(lambda: not loading.get_engine().active)
        found = samples(server)
        assert (found["exsa_slots",], found["exsa_slots_used",], found["exsa_waiting",]) == (3, 0, 0)
        assert found["exsa_cells",] == 256
        assert found["exsa_cells_used",] == found["exsa_cells_cached",]
        loading.get_engine().close()
        assert samples(server)["exsa_up",] == 0
