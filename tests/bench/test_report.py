"""What a run leaves behind: table, JSON, headlines in README, plots."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bench.harness import report
from bench.harness.report import Answer, Curve, Results

RESULTS = Results(
    {"date": "2030-01-02 03:04:05", "cpu": "a processor", "relo_ingest": "1.2.3"},
    [
        Answer("fast?", "1 against 2", "≥ 1 ×", "0.50", report.NOT_MET, remark="why", headline="Speed"),
        Answer("small?", "3 MB", headline="Size", curves=[Curve("outage", "memory", [0, 1], [2, 3])]),
        Answer("other?", "4"),
    ],
)


def test_the_table_has_a_line_for_every_answer_and_the_remarks_below() -> None:
    text = report.markdown(RESULTS)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert lines[0] == list(report.COLUMNS)
    assert lines[2:] == [
        ["fast?", "1 against 2", "≥ 1 ×", "0.50", "not met"],
        ["small?", "3 MB", "", "", "no target"],
        ["other?", "4", "", "", "no target"],
    ]
    assert "- fast?: why\n" in text
    assert "- cpu: a processor\n" in text


def test_results_can_be_read_again(tmp_path: Path) -> None:
    report.write(RESULTS, tmp_path)
    assert msgspec.json.decode((tmp_path / "results.json").read_bytes(), type=Results) == RESULTS


def test_headlines_replace_those_of_the_run_before_and_nothing_else(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.HEADLINES_BEGIN}old\n{report.HEADLINES_END}\nafter\n")
    report.write_headlines(RESULTS, readme)
    once = readme.read_text()
    assert once.startswith(f"before\n{report.HEADLINES_BEGIN}| ")
    assert once.endswith(f"{report.HEADLINES_END}\nafter\n")
    assert "| Speed" in once
    assert "| 3 MB" in once
    assert "old" not in once
    assert "other?" not in once
    report.write_headlines(RESULTS, readme)
    assert readme.read_text() == once


def test_a_readme_without_the_marks_is_left_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing")
    with pytest.raises(ValueError, match="lacks the marks"):
        report.write_headlines(RESULTS, readme)
    assert readme.read_text() == "nothing"


def test_the_projects_readme_has_the_marks() -> None:
    text = report.README.read_text()
    assert 0 < text.find(report.HEADLINES_BEGIN) < text.find(report.HEADLINES_END)
