"""The closed tables of errors and outcomes."""

from __future__ import annotations

import logging
import re

import pytest

from relo_ingest import errors, outcomes
from relo_ingest.errors import PROBLEMS, ConfigError, Problem, ReloError
from relo_ingest.outcomes import OUTCOMES, REFUSED, Outcome

STATUSES = {400, 401, 404, 405, 408, 413, 415, 429, 500, 503}
SUCCESSES = {200, 204, 302, 304, 503}


def test_every_problem_of_the_module_is_in_the_table() -> None:
    assert {v for v in vars(errors).values() if isinstance(v, Problem)} == set(PROBLEMS)
    assert len(PROBLEMS) > 10


def test_codes_are_unique_labels() -> None:
    codes = [p.code for p in PROBLEMS]
    assert len(set(codes)) == len(codes)
    assert [c for c in codes if not re.fullmatch(r"[a-z]+(_[a-z]+)*", c)] == []


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.code)
def test_problem_is_complete_and_tells_no_secret(problem: Problem) -> None:
    assert problem.status in STATUSES
    assert problem.level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
    assert problem.message.endswith(".")
    assert "@" not in problem.message
    assert "whsec" not in problem.message
    assert (problem.status in (408, 429) or problem.status >= 500) == problem.retryable
    assert (problem.retry_after_s > 0) == (problem.status in (429, 503))


def test_each_problem_is_an_outcome_with_its_code_and_status() -> None:
    assert set(REFUSED) == set(PROBLEMS)
    for problem, outcome in REFUSED.items():
        assert (outcome.name, outcome.status) == (problem.code, problem.status)
        assert OUTCOMES[outcome.index] is outcome


def test_outcomes_are_closed_and_numbered_in_order() -> None:
    assert [o.index for o in OUTCOMES] == list(range(len(OUTCOMES)))
    assert len({o.name for o in OUTCOMES}) == len(OUTCOMES)
    named = {v for v in vars(outcomes).values() if isinstance(v, Outcome)}
    assert named | set(REFUSED.values()) == set(OUTCOMES)
    assert {o.status for o in named} <= SUCCESSES


def test_configuration_errors_have_the_exit_code_that_stops_a_supervisor() -> None:
    assert (ReloError("x").exit_code, ConfigError("x").exit_code) == (1, 78)
