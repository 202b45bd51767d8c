"""YAML files to validated settings: flag over file over default, and errors that help."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from yaml.nodes import MappingNode

from volproc.core.errors import ConfigError, nearest

MOST_NODES = 100_000
"""Values that a configuration may unfold to, aliases followed."""

MAX_SHOWN = 60
"""Characters of a wrong value that an error repeats."""


class Config(BaseModel):
    """Base of every configuration: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


S = TypeVar("S", bound=Config)


def load(path: str | os.PathLike[str], model: type[S]) -> S:
    """Read a YAML file into validated settings.

    Parameters
    ----------
    path : str or path
        The file.
    model : type
        What it describes.

    Raises
    ------
    ConfigError
        If the file is missing or not YAML, or a key is unknown, missing or of the wrong kind;
        the message names the file, the key and what was got.
    """
    return validate(read_yaml(path), model, where=os.fspath(path))


def resolve(
    model: type[S],
    *,
    path: str | os.PathLike[str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> S:
    """Lay flags over a file over defaults.

    Parameters
    ----------
    model : type
        What the settings describe.
    path : str or path, optional
        A YAML file.
    flags : mapping
        Values from the command line; None means that the flag was not given.

    Raises
    ------
    ConfigError
        As in `load`; a wrong flag is named as a flag.
    """
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    values = merge(read_yaml(path) if path is not None else {}, given)
    where = os.fspath(path) if path is not None else "the command line"
    return validate(values, model, where=where, flags=given)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one tree of values over another, key by key.

    >>> merge({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 4}})
    {'a': 1, 'b': {'c': 4, 'd': 3}}
    """
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = merge(below, value)
        else:
            merged[key] = value
    return merged


def validate(
    values: Mapping[str, Any],
    model: type[S],
    *,
    where: str,
    flags: Iterable[str] = (),
) -> S:
    """Turn a tree of values into settings.

    Parameters
    ----------
    values : mapping
        As read from a file.
    model : type
        What the values describe.
    where : str
        The file, for errors.
    flags : iterable of str
        Keys whose value came from the command line.

    Raises
    ------
    ConfigError
        Naming every wrong key, one a line.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        lines = [_explain(one, model, where, set(flags)) for one in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from error


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; an empty file is an empty one.

    Raises
    ------
    ConfigError
        If it cannot be read, is not YAML, repeats a key, or holds something else.
    """
    name = os.fspath(path)
    try:
        text = Path(name).read_text(encoding="utf-8")
    except FileNotFoundError:
        msg = f"the configuration {name} does not exist. Check the path."
        raise ConfigError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"the configuration {name} cannot be read: {error}. Give a YAML file."
        raise ConfigError(msg) from error
    try:
        loader = _Loader(text)  # a SafeLoader
        try:
            node = loader.get_single_node()
            if node is not None and _count_nodes(node, {}) > MOST_NODES:
                msg = (
                    f"{name} unfolds to more than {MOST_NODES:,} values. Write it without aliases."
                )
                raise ConfigError(msg)
            values = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        msg = f"{name} is not valid YAML: {_place(error)}. Correct that line."
        raise ConfigError(msg) from error
    except RecursionError as error:
        msg = f"{name} is nested too deeply for a configuration. Write it flat."
        raise ConfigError(msg) from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        msg = f"{name} holds {type(values).__name__}, not settings. Write one `key: value` a line."
        raise ConfigError(msg)
    return values


def dump_resolved(
    settings: Config,
    path: str | os.PathLike[str],
    *,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write settings, defaults included, as a YAML file that `load` reads back to the same.

    Parameters
    ----------
    settings : Config
        What was used.
    path : str or path
        The file, replaced as a whole.
    facts : mapping
        Versions, hashes, seeds: written as comments at the head.
    """
    head = "".join(f"# {key}: {value}\n" for key, value in (facts or {}).items())
    body = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    final = Path(path)
    partial = final.with_name(f"{final.name}.{os.getpid()}.partial")
    partial.write_text(head + body, encoding="utf-8")
    partial.replace(final)


class _Loader(yaml.SafeLoader):
    """Safe, and strict about keys given twice, which YAML would let the last one win."""


def _count_nodes(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the values that a node unfolds to: aliases of aliases grow without end."""
    if id(node) not in known:
        known[id(node)] = MOST_NODES + 1  # what an alias inside of itself has
        children: list[yaml.Node] = []
        if isinstance(node, MappingNode):
            children = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        known[id(node)] = 1 + sum(_count_nodes(child, known) for child in children)
    return known[id(node)]


def _construct_mapping(loader: _Loader, node: MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
            raise yaml.constructor.ConstructorError(
                None, None, f'the key "{key.value}" is given twice', key.start_mark
            )
        seen.add(key.value)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def _place(error: yaml.YAMLError) -> str:
    """Say what a YAML error says, with its line."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else str(problem)


def _explain(error: Any, model: type[BaseModel], where: str, flags: set[str]) -> str:
    """One line about one wrong key."""
    path, known = _walk(model, error["loc"])
    first = path.split(".")[0].split("[")[0]
    place = f"the option --{first.replace('_', '-')}" if first in flags else f"{path} in {where}"
    match error["type"]:
        case "extra_forbidden":
            last = str(error["loc"][-1])
            # A key without its unit is further from the known one than `nearest` looks.
            longer = [key for key in known if key.startswith(f"{last}_")]
            hint = f'did you mean "{longer[0]}"?' if len(longer) == 1 else nearest(last, known)
            return f'unknown key "{path}" in {where}, {hint}'
        case "missing":
            return f"{path} is missing in {where}. Give it."
        case "value_error":
            got = f", got {_shown(error['input'])}" if path else ""
            reason = str(error["ctx"]["error"])
            return f"{place if path else where}: {reason}{got if 'got' not in reason else ''}"
        case _:
            expected = error["msg"][:1].lower() + error["msg"][1:]
            return f"{place}: {expected}, got {_shown(error['input'])}."


def _walk(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[str, list[str]]:
    """Path of a key for people, and the keys known where it stands.

    Locations of unions hold names of their members too; those are no keys and are left out.
    """
    models, known, path = [model], list(model.model_fields), ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
            continue
        fields = {name: field for one in models for name, field in one.model_fields.items()}
        is_last = part == loc[-1]
        if part in fields or is_last or not _is_tag(part, models):
            path += f".{part}" if path else part
        if fields:
            known = list(fields)
        if part in fields:
            models = list(_models(fields[part].annotation))
    return path, known


def _is_tag(part: str, models: list[type[BaseModel]]) -> bool:
    """Whether part of a location names a member of a union rather than a key."""
    return any(part == one.__name__ for one in models) or not part.isidentifier() or not models


def _models(annotation: Any) -> Iterable[type[BaseModel]]:
    """Find the models inside an annotation, however nested."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
