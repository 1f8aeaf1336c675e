"""For tests of code that uses the SDK: a fake service in memory, and fixtures of pytest for it and its clients."""

from .accounts import FakeBudget
from .books import Clock, FakeDenial, FakeHold, FakeRun, RecordedCall
from .prices import ModelPrice
from .service import FakeService

__all__ = ["Clock", "FakeBudget", "FakeDenial", "FakeHold", "FakeRun", "FakeService", "ModelPrice", "RecordedCall"]
