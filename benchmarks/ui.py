"""What watching costs: background requests in a real kernel, with live strips and a timeline, and with no view."""

from __future__ import annotations

import importlib
import importlib.util
import json
from itertools import islice

from benchmarks.kernel import Arrival, Kernel, need_jupyter
from exsa_lab.bench.measure import interleaved, middle, ratio
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, Subject, subjects
from exsa_lab.bench.workloads import PASSAGES

VIEWS, NO_VIEW = "strips and timeline", "no view"
REQUESTS = 8
WANTED = 0.95
SHARE_OF_LIMIT = 0.5

_WINDOW_S, _MAX_MESSAGES, _MAX_BYTES = 3.0, 1_000.0, 1_000_000.0
"""Jupyter server's own defaults, where it is not installed."""

_SET_UP = """
import exsa_lab as xl
from exsa_lab.widgets import show, show_timeline
engine = xl.load({path!r}, draft={draft!r}, n_threads={threads}, isolate=False)

def start(prompts, max_tokens, is_watched):
    global timeline, gens
    timeline = show_timeline(engine).timeline if is_watched else None
    gens = [engine.submit(p, max_tokens=max_tokens, chat=False, draft_length=0) for p in prompts]
    for gen in gens if is_watched else ():
        show(gen)

def finish():
    for gen in gens:
        gen.result()
    if timeline is not None:
        timeline.stop()
    seconds = max(gen.submitted + gen.events[-1].time_s for gen in gens) - gens[0].submitted
    return sum(gen.stats.generated_tokens for gen in gens) / seconds
"""


def check(options: Options) -> None:
    """Raise ExsaError where no kernel can be started."""
    need_jupyter()


def run(options: Options) -> Report:
    """Measure tokens per second of all requests together, and what the kernel sent the page meanwhile."""
    max_tokens = options.pick(160, 24)
    report = Report("ui", {"model": options.model, "requests": REQUESTS, "tokens": max_tokens})
    report.settings["rounds"] = options.repeats
    for subject in subjects(options):
        _measure(subject, options, max_tokens, report)
    window_s, max_messages, max_bytes = server_limits()
    report.notes.append(
        f"Jupyter server drops output beyond {max_messages:,.0f} messages or {max_bytes / 1000:,.0f} kB a second "
        f"(iopub_msg_rate_limit, iopub_data_rate_limit), counted over {window_s:g} s: the busiest {window_s:g} s stand "
        "beside the average."
    )
    return report


def server_limits() -> tuple[float, float, float]:
    """Return Jupyter server's window in seconds, and the messages and bytes a second it lets through."""
    if importlib.util.find_spec("jupyter_server") is None:
        return _WINDOW_S, _MAX_MESSAGES, _MAX_BYTES
    channels = importlib.import_module("jupyter_server.services.kernels.connection.channels")
    limits = channels.ZMQChannelsWebsocketConnection
    names = ("rate_limit_window", "iopub_msg_rate_limit", "iopub_data_rate_limit")
    window_s, messages, size = (float(getattr(limits, name).default_value) for name in names)
    return window_s, messages, size


def busiest(arrivals: list[Arrival], window_s: float) -> tuple[float, float]:
    """Return the most messages and bytes a second in any window of so many seconds."""
    most_messages = most_bytes = first = size = 0
    for last, (now, num_bytes) in enumerate(arrivals):
        size += num_bytes
        while arrivals[first][0] <= now - window_s:
            size -= arrivals[first][1]
            first += 1
        most_messages, most_bytes = max(most_messages, last - first + 1), max(most_bytes, size)
    return most_messages / window_s, most_bytes / window_s


def _measure(subject: Subject, options: Options, max_tokens: int, report: Report) -> None:
    traffic: dict[str, list[Arrival]] = {VIEWS: [], NO_VIEW: []}
    seconds = dict.fromkeys(traffic, 0.0)
    with Kernel() as kernel:
        draft = str(subject.draft) if subject.draft else None
        kernel.run(_SET_UP.format(path=str(subject.path), draft=draft, threads=subject.n_threads))

        def contender(name: str, number: int) -> float:
            before = len(kernel.arrivals)
            prompts = json.dumps(_prompts(number, name))
            # The cell that submits ends at once; a later one waits, as while a notebook's user reads.
            kernel.run(f"start({prompts}, {max_tokens}, {name == VIEWS})")
            speed = float(kernel.evaluate("finish()"))
            if number:
                received = kernel.arrivals[before:]
                traffic[name] += received
                seconds[name] += received[-1][0] - received[0][0]
            return speed

        runs = {name: lambda number, name=name: contender(name, number) for name in traffic}
        speeds = interleaved(runs, options.repeats, progress=options.progress)
    _tell(subject, speeds, traffic, seconds, report)


def _prompts(number: int, name: str) -> list[str]:
    """Beginnings that go on for ever, and of which no run finds another's in the cache."""
    passages = (f"{number}. {name}, {i}. {passage[:160]}" for i, passage in enumerate(PASSAGES))
    return list(islice(passages, REQUESTS))


def _tell(
    subject: Subject,
    speeds: dict[str, list[float]],
    traffic: dict[str, list[Arrival]],
    seconds: dict[str, float],
    report: Report,
) -> None:
    window_s, max_messages, max_bytes = server_limits()
    columns = ("view", "tok/s", f"against {NO_VIEW}", "messages/s", "busiest", "kB/s", "busiest kB/s")
    table = report.table(f"{subject.name}: {REQUESTS} background requests", *columns)
    for name, values in speeds.items():
        most_messages, most_bytes = busiest(traffic[name], window_s)
        messages = len(traffic[name]) / seconds[name]
        size = sum(num_bytes for _, num_bytes in traffic[name]) / seconds[name]
        against = ratio(values, speeds[NO_VIEW])
        table.add(name, middle(values), against, messages, most_messages, size / 1000, most_bytes / 1000)
    most_messages, most_bytes = busiest(traffic[VIEWS], window_s)
    report.checks += [
        Check(f"{subject.name}: {VIEWS} / {NO_VIEW}", ratio(speeds[VIEWS], speeds[NO_VIEW]).median, WANTED),
        Check(f"{subject.name}: messages, of the limit", most_messages / max_messages, SHARE_OF_LIMIT, at_least=False),
        Check(f"{subject.name}: bytes, of the limit", most_bytes / max_bytes, SHARE_OF_LIMIT, at_least=False),
    ]
