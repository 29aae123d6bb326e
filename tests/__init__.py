"""The tests. What they share says what it found where an assertion of its own fails."""

import pytest

pytest.register_assert_rewrite("tests.support")
