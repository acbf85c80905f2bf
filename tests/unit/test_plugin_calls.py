"""What is logged of a call, and counted."""

from __future__ import annotations

import re
import threading

from ovl1.plugin.calls import Call, Metrics


def test_a_line_for_each_call() -> None:
    call = Call("GraphDriver.Get", about="ab", status=200, seconds=0.00123, received=5, sent=7)
    assert call.line == "Get ab 1.2 ms in 5 out 7"
    call.error = "no such layer"
    assert call.line == "Get ab 1.2 ms in 5 out 7 failed (200): no such layer"


def test_counters() -> None:
    metrics = Metrics()
    for error in ("", "", "bad"):
        metrics(Call("GraphDriver.Get", error=error, seconds=0.25, received=10, sent=3))
    metrics(Call("GraphDriver.Diff", sent=1 << 40))
    text = metrics.text()
    for line in (
        'ovl1_plugin_calls_total{call="GraphDriver.Get",outcome="done"} 2',
        'ovl1_plugin_calls_total{call="GraphDriver.Get",outcome="failed"} 1',
        'ovl1_plugin_call_seconds_total{call="GraphDriver.Get"} 0.750000',
        'ovl1_plugin_call_received_bytes_total{call="GraphDriver.Get"} 30',
        f'ovl1_plugin_call_sent_bytes_total{{call="GraphDriver.Diff"}} {1 << 40}',
    ):
        assert line in text.splitlines()


def test_the_format_is_that_of_prometheus() -> None:
    metrics = Metrics()
    metrics(Call("GraphDriver.Get"))
    described = set()
    for line in metrics.text().splitlines():
        comment = re.fullmatch(r"# (?:HELP|TYPE) (\S+) .+", line)
        if comment:
            described.add(comment.group(1))
        else:
            sample = re.fullmatch(r'([a-z0-9_]+)\{call="[\w.]+"(?:,\w+="\w+")?\} [0-9.]+', line)
            assert sample, line
            assert sample.group(1) in described


def test_no_call_is_lost_between_threads() -> None:
    metrics = Metrics()

    def work() -> None:
        for _ in range(1000):
            metrics(Call("x"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 'calls_total{call="x",outcome="done"} 4000' in metrics.text()
