"""A database that the tests of one module share."""

from tests.storage.conftest import shared_url

__all__ = ["shared_url"]
