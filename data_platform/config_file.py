"""Reads a YAML file into a pydantic model; every mistake is told with its line, key, and what was expected."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from data_platform.errors import ConfigurationError
from data_platform.printable import one_line

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[int | str, ...]

MAX_BYTES = 5_000_000
MAX_VALUES = 200_000  # aliases can make few lines into billions of values
SHOWN_CHARACTERS = 60
PROBLEMS_SHOWN = 30
# What PyYAML 6.0 raises for 0x_, !!bool x, !!int '', !!timestamp x, and a number of 5,000 digits.
NO_VALUE = (ValueError, LookupError, AttributeError)
# What pydantic's types of problems mean, in plain words; {} are values of their context.
EXPECTED = {
    "missing": "this key is required",
    "int_type": "a whole number is expected",
    "int_parsing": "a whole number is expected",
    "int_from_float": "a whole number is expected",
    "float_type": "a number is expected",
    "float_parsing": "a number is expected",
    "bool_type": "true or false is expected",
    "bool_parsing": "true or false is expected",
    "string_type": "text is expected; put it in quotes",
    "tuple_type": "a list is expected, such as [a, b]",
    "list_type": "a list is expected, such as [a, b]",
    "dict_type": "keys with values are expected",
    "model_type": "keys with values are expected",
    "model_attributes_type": "keys with values are expected",
    "date_type": "a date is expected, such as 2026-01-31",
    "date_parsing": "a date is expected, such as 2026-01-31",
    "date_from_datetime_parsing": "a date is expected, such as 2026-01-31",
    "date_from_datetime_inexact": "a date without a time is expected, such as 2026-01-31",
    "greater_than": "more than {gt} is expected",
    "greater_than_equal": "at least {ge} is expected",
    "less_than": "less than {lt} is expected",
    "less_than_equal": "at most {le} is expected",
    "string_too_short": "at least {min_length} character(s) are expected",
    "string_too_long": "at most {max_length} character(s) are expected",
    "too_short": "at least {min_length} entries are expected",
    "too_long": "at most {max_length} entries are expected",
    "string_pattern_mismatch": "text of the form {pattern} is expected",
}


class _Loader(yaml.SafeLoader):
    """Loads plain values; what is no value of its type, such as February 30th, stays text for the model to judge."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except NO_VALUE:
            if not isinstance(node, yaml.ScalarNode):
                raise
            self.recursive_objects.pop(node, None)
            return node.value


def read_model(path: Path, model: type[Model]) -> Model:
    """Return what the YAML file `path` says, validated by `model`.

    Raises:
        ConfigurationError: the file cannot be read, or something in it is wrong; the message names
            the file and, for every mistake, line, key, what is expected and the nearest name.
    """
    text = _read_text(path)
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            names = " and ".join(n for n, f in model.model_fields.items() if f.is_required())
            message = f"{path}: expected keys such as {names} at the top level"
            raise ConfigurationError(message)
        _require_plain(path, root)
        content = loader.construct_document(root)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        message = f"{path}{where}: this is not YAML: {_shown(problem)}"
        raise ConfigurationError(message) from error
    except RecursionError as error:
        message = f"{path}: this is nested too deeply"
        raise ConfigurationError(message) from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        deeper = {p["loc"][:depth] for p in problems for depth in range(len(p["loc"]))}
        # A list whose entries are wrong counts as too short as well.
        own = [p for p in problems if p["type"] != "too_short" or p["loc"] not in deeper]
        found = sorted({_explain(problem, root, model) for problem in own})
        lines = [f"  line {line}, {text}" for line, text in found[:PROBLEMS_SHOWN]]
        if len(found) > PROBLEMS_SHOWN:
            lines.append(f"  and {len(found) - PROBLEMS_SHOWN} more")
        message = "\n".join([f"{path}: {len(found)} thing(s) to mend", *lines])
        raise ConfigurationError(message) from error


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror or error}"
        raise ConfigurationError(message) from error
    if len(content) > MAX_BYTES:
        message = f"{path}: {len(content):,} bytes are too large for a configuration"
        raise ConfigurationError(message)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{path} is not UTF-8 text; save it as UTF-8"
        raise ConfigurationError(message) from error


def _require_plain(path: Path, root: yaml.Node) -> None:
    """Refuse keys that stand twice, of which YAML would keep the last, and bombs of aliases.

    Raises:
        ConfigurationError: with the lines.
    """
    sizes: dict[int, int] = {}

    def size_of(node: yaml.Node, above: frozenset[int]) -> int:
        if id(node) in above:
            message = f"{path}, line {_line(node)}: this alias stands for what it is a part of"
            raise ConfigurationError(message)
        if id(node) not in sizes:
            inner = [part for pair in _children(node) for part in pair]
            sizes[id(node)] = 1 + sum(size_of(part, above | {id(node)}) for part in inner)
        if sizes[id(node)] > MAX_VALUES:
            message = f"{path}, line {_line(node)}: this stands for more than {MAX_VALUES:,} values"
            raise ConfigurationError(message)
        if isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, _ in node.value:
                name = str(key.value)
                if name in seen and key.value != "<<":
                    message = (
                        f"{path}, line {_line(key)}: the key {_shown(name)} stands twice, first in"
                        f" line {seen[name]}; keep one"
                    )
                    raise ConfigurationError(message)
                seen[name] = _line(key)
        return sizes[id(node)]

    size_of(root, frozenset())


def _children(node: yaml.Node) -> Iterator[tuple[yaml.Node, ...]]:
    if isinstance(node, yaml.MappingNode):
        yield from node.value
    elif isinstance(node, yaml.SequenceNode):
        yield from ((part,) for part in node.value)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _explain(
    problem: Mapping[str, Any], root: yaml.Node, model: type[BaseModel]
) -> tuple[int, str]:
    """Return the line of a validation problem, and a sentence that begins with its key."""
    line, location, above = _find(problem["loc"], root, model)
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in location).lstrip(".")
    kind, context = str(problem["type"]), problem.get("ctx", {})
    value = problem.get("input")
    found = f"; found {_shown(repr(value))}" if not isinstance(value, dict | list) else ""
    if kind == "missing":
        text = EXPECTED[kind]
    elif kind == "extra_forbidden":
        text = f"there is no such key{nearest(str(location[-1]), list(above.model_fields))}"
    elif kind == "union_tag_not_found":
        line, where = _line_of(root, problem["loc"], line), f"{where}.kind"
        text = "this key is required"
    elif kind == "union_tag_invalid":
        line, where = _line_of(root, problem["loc"], line), f"{where}.kind"
        names = re.findall(r"'([^']*)'", str(context["expected_tags"]))
        given = str(context["tag"])
        text = f"{_shown(repr(given))} is not one of {', '.join(names)}{nearest(given, names)}"
    elif kind == "literal_error":
        names = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        given = str(location[-1]) if problem["loc"][-1] == "[key]" else str(value)
        text = f"{_shown(repr(given))} is not one of {', '.join(names)}{nearest(given, names)}"
    elif kind == "value_error":
        text = str(problem["msg"]).removeprefix("Value error, ")
    else:
        words = EXPECTED.get(kind)
        expected = words.format(**context) if words else str(problem["msg"])
        text = expected + found
    return line, f"{where or 'the file'}: {text}"


def _find(
    loc: Sequence[int | str], root: yaml.Node, model: type[BaseModel]
) -> tuple[int, Location, type[BaseModel]]:
    """Follow pydantic's location through the file.

    Returns:
        The line of the deepest part that is there, the location without pydantic's own marks,
        and the model that the last part belongs to.
    """
    node, line, above = root, _line(root), model
    models: list[type[BaseModel]] = [model]
    location: list[int | str] = []
    for position, part in enumerate(loc):
        if position and isinstance(loc[position - 1], int):
            # pydantic puts the kind of an entry between its number and its keys
            chosen = [model for model in models if part in _kinds(model)]
            if chosen:
                above, models = chosen[0], chosen
                continue
        if isinstance(node, yaml.MappingNode):
            entry = next((pair for pair in node.value if pair[0].value == str(part)), None)
            if entry is not None:
                location.append(part)
                line, node = _line(entry[0]), entry[1]
            elif position == len(loc) - 1 and part != "[key]" and "[" not in str(part):
                location.append(part)  # a key that is missing
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            location.append(part)
            if part >= len(node.value):
                break  # an entry that is missing
            node = node.value[part]
            line = _line(node)
        else:
            continue
        if isinstance(part, str):
            above = models[0] if models else above
            field = above.model_fields.get(part) if models else None
            models = _models_in(field.annotation) if field is not None else []
    return line, tuple(location), above


def _line_of(root: yaml.Node, loc: Sequence[int | str], line: int) -> int:
    """Return the line of the key `kind` of the entry at `loc`, or `line` if it has none."""
    node = root
    for part in loc:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
        elif isinstance(node, yaml.MappingNode):
            node = next(value for key, value in node.value if key.value == part)
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((_line(key) for key, _ in pairs if key.value == "kind"), line)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that a field holds, also in a list, or as one of several kinds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("kind")
    return get_args(field.annotation) if field is not None else ()


def _shown(text: str) -> str:
    return one_line(text, SHOWN_CHARACTERS)


def nearest(word: str, words: Sequence[str]) -> str:
    """Return '; did you mean …?' with the word that is nearest, or ''."""
    near = get_close_matches(word, words, n=1)
    return f"; did you mean {near[0]}?" if near else ""
