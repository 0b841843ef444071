"""Requests made up from the OpenAPI document: never a fault, always what the document says."""

import pytest
from hypothesis import HealthCheck, given, settings

from crossview.service.server import create_app
from crossview.service.settings import Settings

EXAMPLES = 25  # of every operation


@pytest.fixture(scope="session")
def made_up(regions):
    """The document's operations; one application for all requests, never shut down between them."""
    import schemathesis  # here: it takes a second, and no other test needs it

    app = create_app(regions, Settings(max_files=5))

    async def without_ends(scope, receive, send):
        if scope["type"] == "lifespan":
            for part in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{part}.complete"})
            return
        await app(scope, receive, send)

    yield schemathesis.openapi.from_asgi("/v1/openapi.json", without_ends)
    app.state.service.queue.close()


def test_made_up_requests_are_answered_as_documented(made_up):
    operations = [response.ok() for response in made_up.get_all_operations()]
    assert len(operations) >= 13
    for operation in operations:
        _asked(operation)


def _asked(operation):
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    every = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def every_answer_is_documented(case):
        case.validate_response(case.call(), checks=every)

    every_answer_is_documented()
