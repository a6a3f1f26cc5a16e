"""What a process that has recorded nothing can say of its telemetry: nothing is built for it, no thread, no slot, no connection.

A master is asked for its provider's resource by whoever sets up instrumentations; that is no use of telemetry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler

from otelfork.build import components
from otelfork.build.plans import Plan, value
from otelfork.resource.identity import process_resource


@final
@dataclass(frozen=True, slots=True)
class Glance:
    """What generations of a plan have in common; the instance id of the resource is nobody's."""

    plan: Plan

    @property
    def resource(self) -> Resource:
        """The resource of this process, detected anew."""
        plan = self.plan
        return process_resource(value(plan.resource), plan.service_name, plan.detectors)()

    @property
    def sampler(self) -> Sampler:
        """The sampler that a generation would have."""
        return value(self.plan.sampler) or components.sampler_named(self.plan.settings.sampler)

    @property
    def id_generator(self) -> IdGenerator:
        """An id generator of the kind that a generation would have."""
        return value(self.plan.id_generator) or components.id_generator_named(self.plan.settings.id_generator)
