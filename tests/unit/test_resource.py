"""The resource from the environment: standard variables, those of guides, and what stands over what."""

from __future__ import annotations

import logging
import os

import pytest
from opentelemetry.sdk.resources import Resource

from otelfork.resource.identity import detectors, process_resource
from otelfork.settings import Environment
from otelfork.settings.resource import parse, service

GUIDE_IN_A_FILE = r'''"\
service.namespace=production,\
service.environment=production,\
service.version=1.0.0,\
service.build.git_hash=abc123def456,\
service.build.git_branch=main,\
service.owner.name=backend-team,\
service.owner.contact=backend @ company.com"'''
GUIDE_BY_A_SHELL = GUIDE_IN_A_FILE.replace("\\\n", "").strip('"')
GUIDE = {
    "service.namespace": "production",
    "service.environment": "production",
    "service.version": "1.0.0",
    "service.build.git_hash": "abc123def456",
    "service.build.git_branch": "main",
    "service.owner.name": "backend-team",
    "service.owner.contact": "backend @ company.com",
}


@pytest.mark.parametrize(
    "printed",
    [GUIDE_IN_A_FILE, GUIDE_BY_A_SHELL, GUIDE_IN_A_FILE.replace("\\", ""), GUIDE_IN_A_FILE.replace(",", ", ")],
)
def test_the_guide_s_block_is_read_as_printed(printed: str):
    """With line breaks, backslashes, quotes, spaces and the `@` in the address."""
    assert parse(printed) == GUIDE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        (" a = b , c=d ,", {"a": "b", "c": "d"}),
        ("a=b%2Cc%20d", {"a": "b,c d"}),
        ("a=b=c", {"a": "b=c"}),
        ("a=", {"a": ""}),
        ("a=1,a=2", {"a": "2"}),
        (r"path=C:\temp", {"path": r"C:\temp"}),
    ],
)
def test_attributes_are_read_as_the_specification_says(text: str, expected: dict[str, str]):
    """Blanks around keys and values do not count; values are percent-decoded."""
    assert expected == parse(text)


def test_a_piece_that_is_no_pair_is_told_once(caplog: pytest.LogCaptureFixture):
    """The others are used."""
    with caplog.at_level(logging.WARNING, "otelfork"):
        found = [parse("contact=Smith, Jo,a=b") for _ in range(2)]
    told = [record.getMessage() for record in caplog.records]
    assert ([{"contact": "Smith", "a": "b"}] * 2, 1, True) == (found, len(told), "'Jo' is left out" in told[0])


def test_the_guide_s_variables_are_attributes():
    """Each name of its table."""
    variables = {
        "OTEL_SERVICE_NAMESPACE": "production",
        "OTEL_SERVICE_VERSION": "1.0.0",
        "SERVICE_BUILD_GIT_HASH": "abc",
        "SERVICE_BUILD_GIT_BRANCH": "main",
        "SERVICE_BUILD_DEPLOYMENT_USER": "ci-bot",
        "SERVICE_BUILD_DEPLOYMENT_TRIGGER": "github-actions",
        "SERVICE_OWNER_NAME": "backend-team",
        "SERVICE_OWNER_CONTACT": "backend@company.com",
    }
    expected = {
        "service.namespace": "production",
        "service.version": "1.0.0",
        "service.build.git_hash": "abc",
        "service.build.git_branch": "main",
        "service.build.deployment.user": "ci-bot",
        "service.build.deployment.trigger": "github-actions",
        "service.owner.name": "backend-team",
        "service.owner.contact": "backend@company.com",
    }
    assert expected == service(Environment(variables))


def test_standard_variables_come_first():
    """OTEL_SERVICE_NAME over OTEL_RESOURCE_ATTRIBUTES over the others."""
    variables = {
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_SERVICE_VERSION": "1",
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=other,service.version=2",
    }
    assert {"service.name": "shop", "service.version": "2"} == service(Environment(variables))


def test_the_user_s_words_stand_over_what_is_seen(monkeypatch: pytest.MonkeyPatch):
    """Except for what tells processes apart: pid and instance id."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "host.name=mine,process.pid=1,service.instance.id=pod-1")
    found = process_resource(Resource({"os.type": "plan9"}), "shop", detectors(("otel",)))().attributes
    actual = (found["host.name"], found["process.pid"], found["os.type"], found["service.name"])
    assert ("mine", os.getpid(), "plan9", "shop") == actual
    assert str(found["service.instance.id"]).startswith("pod-1")
