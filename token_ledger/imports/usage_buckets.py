"""Reads pages of buckets, as the usage APIs of OpenAI and Anthropic answer: one page, several, or a file of buckets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from token_ledger.imports.json_values import Object, json_objects
from token_ledger.imports.rows import Place, UnreadableFile


def results_of(path: Path, begin: str) -> Iterator[tuple[Place, Object, Object]]:
    """Yield each result with the bucket that it is in; `begin` is the bucket's field that says when it begins.

    A place's line is that on which the page begins. Raises UnreadableFile.
    """
    for line, value in json_objects(path):
        place = Place(str(path), line)
        buckets = value.get("data", [value])
        for bucket in _objects(place, buckets, "data"):
            if begin not in bucket or "results" not in bucket:
                raise UnreadableFile(place, f"a bucket must have {begin!r} and 'results': save the answer as it came")
            for result in _objects(place, bucket["results"], "results"):
                yield place, bucket, result


def count(place: Place, result: Object, name: str) -> int:
    """Return a count of a result, 0 where it is left out or null."""
    value = result.get(name)
    if value is None:
        return 0
    if type(value) is not int or value < 0:
        raise UnreadableFile(
            place, f"{name} is {value!r}: it must be a number of 0 or more; save the answer as it came"
        )
    return value


def model_of(place: Place, result: Object) -> str:
    """Return the model of a result, which it has only if it was asked for."""
    model = result.get("model")
    if not isinstance(model, str) or not model:
        raise UnreadableFile(place, "a result names no model, so it has no price: ask for it with group_by=model")
    return model


def tags_of(result: Object, names: dict[str, str]) -> dict[str, str]:
    """Return what a result was grouped by, as tags."""
    return {tag: str(result[name]) for tag, name in names.items() if result.get(name)}


def _objects(place: Place, value: Any, name: str) -> list[Object]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise UnreadableFile(place, f"{name!r} must be a list of objects: save the answer as it came")
    return value
