"""The simulations assert in modules of their own; a failure there shows both sides as one in a test does."""

import pytest

pytest.register_assert_rewrite("tests.simulation.comparison", "tests.simulation.model", "tests.simulation.rules")
