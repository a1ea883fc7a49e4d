"""Read JSON, of a file or of the command line, and hold it against its schema; what is wrong is said in our words, not the schema's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import jsonschema

from dtr.errors import BadConfig, BadRecord, unknown
from dtr.provenance import read_json

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"


@cache
def schema(kind: str) -> dict[str, Any]:
    """The JSON Schema of one kind of record or of what is given: `plan`, `cell`, `config`, ..."""
    value: dict[str, Any] = json.loads((SCHEMAS / f"{kind}.schema.json").read_text(encoding="utf-8"))
    return value


def validate(value: Any, kind: str, where: str | Path) -> None:
    """Raises BadRecord, naming the first field of `value` (read from `where`) that is not as its schema says."""
    error = first_error(value, schema(kind))
    if error is not None:
        raise BadRecord(f"{where} is no {kind}: {fault(error, 'it')[:300]}; write it again with `dtr {VERBS[kind]}`.")


def check_given(value: Any, expected: str | Mapping[str, Any], where: str, definition: str | None = None) -> None:
    """Raises BadConfig when `value`, which a user gave at `where`, is not as a schema says: one of schemas/ by its name (and of it a
    `definition`), or the schema itself."""
    whole: Mapping[str, Any] = schema(expected) if isinstance(expected, str) else expected
    told = f"schemas/{expected}.schema.json describes every key" if isinstance(expected, str) else ""
    whole = {"$ref": f"#/$defs/{definition}", "$defs": whole["$defs"]} if definition else whole
    error = first_error(value, whole)
    if error is None:
        return
    if error.validator == "additionalProperties" and isinstance(error.schema, Mapping):
        given: Any = error.instance
        known, path = error.schema.get("properties", {}), ".".join([where, *map(str, error.absolute_path)])
        raise BadConfig(str(unknown("key", min(set(given) - set(known)), known, f"(in {path}{told and '; '}{told})")))
    mend = "add" if error.validator == "required" else "correct"
    raise BadConfig(f"{fault(error, where)}: {mend} it{f' ({told})' if told else ''}.")


def listed(*keys: str, instead: str) -> dict[str, Any]:
    """The schema of a list of objects with these keys, and `instead` where one does not say `not_run`."""
    played = {"if": {"not": {"required": ["not_run"]}}, "then": {"required": [instead]}}
    return {"type": "array", "minItems": 1, "items": {"type": "object", "required": list(keys), **played}}


def read_given(text: str, flag: str, kind: type[Any] = dict, yaml: bool = False) -> Any:
    """The object or list (`kind`) of an argument that is JSON itself, or the path of a file of it (of `yaml` too). Raises BadConfig."""
    from yaml import YAMLError, safe_load

    inline = text.lstrip().startswith(("{", "["))
    read = safe_load if yaml and not inline and not text.endswith(".json") else json.loads  # YAML takes JSON's 1e-05 for a word
    try:
        value = read(text if inline else Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError) as error:
        files = "JSON or YAML" if yaml else "JSON"
        raise BadConfig(f"{flag} must be JSON or the path of a {files} file, got {text[:80]!r} ({error}): correct it.") from error
    if not isinstance(value, kind):
        raise BadConfig(f"{flag} must hold {KINDS[NAMES[kind]]}, got {json.dumps(value, default=str)[:80]}: correct it.")
    return value


def first_error(value: Any, schema: Mapping[str, Any]) -> jsonschema.ValidationError | None:
    """What is wrong with `value`, or None."""
    return jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(value))


def fault(error: jsonschema.ValidationError, where: str) -> str:
    """What is expected at which key of `where`, and what came: `the protocol.trials must be a whole number from 1 on, got "5"`."""
    above = error.parent
    while error.validator in ("type", "const", "enum") and above is not None and above.absolute_path == error.absolute_path:
        error, above = cast(jsonschema.ValidationError, above), above.parent  # one of several choices: name all
    given: Any = error.instance
    path, came = ".".join([where, *map(str, error.absolute_path)]), json.dumps(given, ensure_ascii=False, default=str)[:80]
    expected: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    if "propertyNames" in list(error.absolute_schema_path)[-3:]:
        return f"the names in {path} must be {form(expected)}, got {came}"
    if error.validator == "required":
        missing = next(name for name in expected["required"] if name not in given)
        meant = expected.get("properties", {}).get(missing, {})
        meaning = meant.get("description", "").rstrip(".")
        said = "; ".join(filter(None, [form(meant), meaning[:1].lower() + meaning[1:]]))
        return f"{path} must have {missing!r}{f' ({said})' if said else ''}, got {', '.join(map(repr, given)) or 'nothing'}"
    if error.validator == "additionalProperties":
        known = expected.get("properties", {})
        return f"{path} must have no key but {', '.join(known)}, got {', '.join(repr(key) for key in given if key not in known)}"
    return f"{path} must be {form(expected)}, got {came}" if form(expected) else f"{path}: {error.message}"


def form(schema: Mapping[str, Any]) -> str:
    """What a schema wants, in words."""
    for several in ("oneOf", "anyOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(form(one) for one in schema[several]))
    if "enum" in schema or "const" in schema:
        return " or ".join(json.dumps(one) for one in schema.get("enum", [schema.get("const")]))
    kinds = schema.get("type", "string" if "pattern" in schema else [])
    named = [KINDS[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds) if kind != "null"]
    limits = [text.format(schema[key]) for key, text in LIMITS.items() if schema.get(key) is not None]
    limits += [f"but not {schema['not']['pattern']}"] if "pattern" in schema.get("not", {}) else []
    whole = " ".join([" or ".join(named), *limits]).strip()
    return " or ".join(filter(None, [whole, "null" if "null" in kinds else ""]))


KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "object": "an object",
    "array": "a list",
    "boolean": "true or false",
}
NAMES: dict[type[Any], str] = {dict: "object", list: "array"}
LIMITS = {
    "minimum": "from {} on",
    "exclusiveMinimum": "above {}",
    "maximum": "up to {}",
    "exclusiveMaximum": "below {}",
    "pattern": "of the form {}",
    "minItems": "of {} or more",
    "maxItems": "of at most {}",
    "uniqueItems": "all different",
    "minLength": "of {} or more letters",
    "minProperties": "of {} or more keys",
}


VERBS = {
    "plan": "drop",
    "score": "score",
    "stability": "stability",
    "cost": "cost",
    "hello": "rollout --robot",
    "check": "check-data",
    "cell": "cell",
}


def read_record(path: str | Path, kind: str) -> dict[str, Any]:
    """The validated record at `path`. Raises BadRecord when it is missing, no JSON, or not as its schema says."""
    try:
        value = dict(read_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise BadRecord(f"expected a {kind} at {path}, but it cannot be read ({error}); write it with `dtr {VERBS[kind]}`.") from error
    validate(value, kind, path)
    return value
