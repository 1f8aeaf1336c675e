"""What commands that do much work share: their event loop, and when garbage is collected."""

import asyncio
import gc
from collections.abc import Callable


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes event loops: uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:  # Windows
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def collect_less_garbage() -> None:
    """Collect garbage rarely, and never what is there by now.

    Operations create many short-lived objects and no cycles, so this lowers the tail latency a lot.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
