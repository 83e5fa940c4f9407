import pytest

pytest.register_assert_rewrite("drawing")  # its assertions say what they found
