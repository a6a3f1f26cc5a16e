"""What is turned off to see the conformance tests fail: a list, as plain data.

`tests/programs/mutate/sitecustomize.py` does the turning off, inside the server under test.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """One part of otelfork that is turned off, and the rows that have to fail without it."""

    name: str
    turns_off: str
    rows: tuple[str, ...]


WARM_GUNICORN, WARM_UWSGI = "gunicorn sync --preload, warmed up", "uwsgi default, warmed up"

CONTROL = Mutation("nothing_off", "nothing: the control, which has to hold", (WARM_GUNICORN, WARM_UWSGI))

HOOK_OFF = Mutation("hook_off", "the at-fork hook; forks are noticed by the pid check alone", ())
"""No row fails without the hook: the pid check saves every record. What it alone does has a test of its own."""

MUTATIONS = (
    Mutation("pid_check_off", "the pid check; forks are noticed by the hook alone", (WARM_UWSGI,)),
    Mutation(
        "hook_and_pid_check_off",
        "the at-fork hook and the pid check",
        (WARM_GUNICORN, "multiprocessing fork", "os.fork nested"),
    ),
    Mutation(
        "flush_off",
        "the flush on the way out",
        ("gunicorn sync --preload", "gunicorn uvicorn worker --preload", "uwsgi default", "multiprocessing spawn"),
    ),
    Mutation(
        "wrapping_off",
        "the wrapping of what servers load",
        (
            "otelfork run gunicorn plain_wsgi",
            "otelfork run uwsgi --module plain_wsgi",
            "otelfork run uvicorn plain_asgi",
            "otelfork run hypercorn plain_asgi",
            "otelfork run granian --interface asgi plain_asgi",
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Broken:
    """A test of another file, and what has to be turned off for it to fail."""

    name: str
    turns_off: str
    test: str


BROKEN = (
    Broken(
        "wrapping_off",
        "the wrapping of what servers load",
        "test_zero_code.py::test_verify_accounts_for_every_request[instrument gunicorn]",
    ),
    Broken(
        "wrapping_off",
        "the wrapping of what servers load",
        "test_guide_lines.py::test_a_command_line_of_the_guide_works_as_printed[uvicorn]",
    ),
    Broken("flush_off", "the flush on the way out", "test_collector.py"),
    Broken("flush_off", "the flush on the way out", "test_examples.py::test_an_item_is_named_by_its_route"),
    Broken(
        "one_after_the_other",
        "one deadline for all signals, side by side",
        "test_bad_collectors.py::test_a_signal_that_hangs_costs_the_others_nothing",
    ),
    Broken(
        "seat_off",
        "the user's provider in the global seat wins",
        "test_recipes.py::test_a_recipe_and_the_one_line_send_each_request_once",
    ),
    Broken(
        "lateness_off",
        "built late, at first use",
        "test_masters.py::test_a_master_has_no_thread_and_no_socket_of_ours",
    ),
    Broken(
        "tags_stay",
        "the tags of a span that has ended are taken off",
        "test_profiles.py::test_every_worker_is_profiled_and_each_request_names_its_profile",
    ),
    Broken(
        "names_off",
        "the documented names of gunicorn's requests",
        "test_gunicorn.py::test_every_line_of_the_reference_arrives",
    ),
    Broken(
        "deaths_off",
        "the master's word on how a worker ended",
        "test_gunicorn_arbiter.py::test_a_killed_workers_request_has_the_documented_name_and_the_signals",
    ),
    Broken(
        "past_off",
        "what the predecessors in a slot have counted",
        "test_prometheus.py::test_every_scrape_reads_what_was_counted",
    ),
    Broken(
        "start_off",
        "the start of gunicorn's workers",
        "test_gunicorn_environment.py::test_nothing_set_is_the_console_and_an_unknown_service",
    ),
    Broken("start_off", "the start of gunicorn's workers", "test_gunicorn_moments.py::test_a_reload_changes_nothing"),
    Broken("flush_off", "the flush on the way out", "test_console.py"),
    Broken(
        "notes_off",
        "the worker's own row on the scoreboard",
        "test_workers.py::test_each_worker_is_a_span_with_how_it_ended",
    ),
)
