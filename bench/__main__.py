"""``python -m bench [--full] [question …]``: ask, print one table, and keep it when every question was asked."""

from __future__ import annotations

import argparse
import importlib
import resource
import signal
import sys
import time

from bench import plots
from bench.harness import machine, report
from bench.harness.report import Answer, Results

QUESTIONS = (
    "beacon", "connections", "workers", "latency", "batch", "redirect", "webhook", "handler", "ids", "signature",
    "rows", "spool", "flush", "identity", "attribution", "startup", "memory", "outage",
)  # fmt: skip
FILES = 8192
"""Open at once: wrk and the servers hold a thousand connections each."""


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    arguments.add_argument("questions", nargs="*", choices=[*QUESTIONS, []], metavar="question")
    arguments.add_argument("--full", action="store_true", help="long runs")
    chosen = arguments.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(FILES, hard)), hard))
    results = Results(machine.describe(), [])
    failed = False
    for question in chosen.questions or QUESTIONS:
        started = time.monotonic()
        try:
            for answer in importlib.import_module(f"bench.bench_{question}").answers(chosen.full):
                results.answers.append(answer)
                print(f"{answer.question}: {answer.measured}  [{answer.ratio}]  {answer.verdict}", file=sys.stderr)
        except Exception as error:  # the other questions are still worth an answer
            failed = True
            remark = f"{type(error).__name__}: {error}"
            print(f"{question}: {remark}", file=sys.stderr)
            results.answers.append(Answer(question, "", verdict=report.NOT_MEASURED, remark=remark))
        print(f"{question}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    print(report.markdown(results))
    if not chosen.questions:
        report.write(results)
        report.write_headlines(results)
        plots.draw(results, report.RESULTS)
        print(f"kept in {report.RESULTS}: RESULTS.md, results.json, the plots; the headlines in README.md")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
