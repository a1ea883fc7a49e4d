"""Configurations: frozen dataclasses of plain values, read strictly from JSON or YAML objects and written back."""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from dtr.errors import BadConfig

C = TypeVar("C")
OPTIONAL = "optional"

PRECISIONS = ("bf16",)
"""What may be asked for besides float32."""


def optional(default: Any) -> Any:
    """A field that `plain` leaves out where it has its default, so that what was written before the field existed keeps its digest."""
    return dataclasses.field(default=default, metadata={OPTIONAL: True})


def written(value: Any) -> dict[str, Any]:
    """Name -> value of a dataclass's fields, without the optional ones that have their default."""
    fields = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
    return {f.name: v for f, v in fields if not (f.metadata.get(OPTIONAL) and v == f.default)}


def parse(kind: type[C], values: Mapping[str, Any], where: str = "config") -> C:
    """`values` as the dataclass `kind`, nested dataclasses and tuples included.

    BadConfig, with the path of the field, for an unknown or missing field or a value of another type.
    """
    if not isinstance(values, Mapping):
        raise BadConfig(f"{where} must be an object with the fields of {kind.__name__}, got {values!r}: correct the configuration.")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in fields:
            near = difflib.get_close_matches(str(name), fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(fields)}."
            raise BadConfig(f"{where}.{name} is no field of {kind.__name__}: {hint}")
    for name, field in fields.items():
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise BadConfig(f"{where}.{name} is missing: add this field to the configuration.")
    return kind(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def check_sizes(config: Any, what: str, names: Iterable[str]) -> None:
    """BadConfig unless these fields are 1 or more."""
    for name in names:
        if getattr(config, name) < 1:
            raise BadConfig(f"{what}.{name} must be 1 or more, got {getattr(config, name)}: correct the configuration.")


def plain(config: Any) -> dict[str, Any]:
    """A configuration as JSON values (tuples become lists); `parse` gives it back."""
    return {name: _listed(value) for name, value in written(config).items()}


def _listed(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return plain(value)
    if isinstance(value, dict):
        return {k: _listed(v) for k, v in value.items()}
    return [_listed(v) for v in value] if isinstance(value, list | tuple) else value


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return parse(typing.cast(type, hint), value, where)
    options = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise BadConfig(f"{where} must be a list, got {value!r}: correct the configuration.")
        return tuple(_value(options[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if type(None) in options:
        return None if value is None else _value(next(o for o in options if o is not type(None)), value, where)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise BadConfig(f"{where} must be a finite number, got {value!r}: correct the configuration.")
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise BadConfig(f"{where} must be {hint.__name__}, got {value!r}: correct the configuration.")
    return value
