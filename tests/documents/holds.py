"""Draws the life of a hold from the table of its transitions."""

from token_ledger.core.model.reservation import TRANSITIONS, HoldState


def picture() -> str:
    """Draw a line for every state and an arrow for every event that leads to another."""
    width = max(len(state) for state in HoldState)
    lines = []
    for state in TRANSITIONS:
        events = TRANSITIONS[state]
        stays = [event.value for event, target in events.items() if target is state]
        leaves = [(event.value, target.value) for event, target in events.items() if target is not state]
        head = f"{state.value:<{width}}"
        note = f"  ↺ {', '.join(stays)}" if stays else ""
        lines.append(f"{head}{note}" if leaves or stays else f"{head}  ∎")
        for position, (event, target) in enumerate(leaves):
            corner = "└" if position == len(leaves) - 1 else "├"
            arrow = f"{event} " + "─" * (24 - len(event)) + "▶"
            lines.append(f"{'':<{width}}  {corner}── {arrow} {target}")
    return "\n".join(f"    {line}".rstrip() for line in lines)
