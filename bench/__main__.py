"""``python -m bench [--full] [question …]``: ask, print one table, and keep it when every question was asked."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import time
from pathlib import Path

from bench.harness import machine, report
from bench.harness.report import Answer

QUESTIONS = ("beacon", "handler", "fast", "memory", "workers", "sync")


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    arguments.add_argument("questions", nargs="*", choices=[*QUESTIONS, []], metavar="question")
    arguments.add_argument("--full", action="store_true", help="long runs")
    chosen = arguments.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    where = machine.describe()
    answers: list[Answer] = []
    failed = False
    for question in chosen.questions or QUESTIONS:
        started = time.monotonic()
        try:
            for answer in importlib.import_module(f"bench.bench_{question}").answers(chosen.full):
                answers.append(answer)
                print(f"{answer.question}: {answer.measured}  [{answer.ratio}]  {answer.verdict}", file=sys.stderr)
        except Exception as error:  # the other questions are still worth an answer
            failed = True
            answers.append(Answer(question, "", verdict=report.NOT_MEASURED, remark=f"{type(error).__name__}: {error}"))
        print(f"{question}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    print(report.markdown(answers, where))
    if not chosen.questions:
        report.write(answers, where)
        print(f"kept in {Path(report.RESULTS, 'RESULTS.md')}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
