"""What the commands print with --json, held against the published schema."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, Dict, Iterator, List

import jsonschema
import pytest
from click.testing import CliRunner

from ovl1.cli.main import cli
from tests.support.archives import docker_archive, packed, small_layers
from tests.support.sources import ROOT
from tests.support.store_builder import small_store

Schema = Dict[str, Any]

SCHEMA: Schema = json.loads((ROOT / "ovl1/inodes/schema.json").read_text())


def objects(schema: Any) -> Iterator[Schema]:
    """Every part of a schema that tells the keys of an object."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for below in schema.values():
            yield from objects(below)
    elif isinstance(schema, list):
        for below in schema:
            yield from objects(below)


def validate(value: Any, definition: str, *, strictly: bool = True) -> None:
    """Hold a value against a definition; strictly: it has no key that is not documented."""
    schema = copy.deepcopy(SCHEMA)
    del schema["anyOf"]
    schema["$ref"] = f"#/$defs/{definition}"
    if strictly:
        for each in objects(schema["$defs"]):
            each["additionalProperties"] = False
    jsonschema.Draft202012Validator(schema).validate(value)


def printed(data_root: Path, *arguments: str) -> List[Any]:
    """The objects that a command prints, one or one a line."""
    call = ["-q", "--data-root", str(data_root), "inodes", *arguments, "--json"]
    result = CliRunner().invoke(cli, call, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    if arguments[0] == "watch":
        return [json.loads(line) for line in result.output.splitlines()]
    return [json.loads(result.output)]


@pytest.fixture(params=["overlay", "overlay2"])
def data_root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return small_store(tmp_path / "docker", request.param).layout.data_root


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for each in objects(SCHEMA):
        assert each["required"] == sorted(each["properties"])
        for value in each["properties"].values():
            assert value.keys() & {"description", "$ref", "const"}


@pytest.mark.parametrize(
    "options",
    [[], ["--bytes"], ["--overlay2"], ["--top", "0"]],
    ids="".join,
)
def test_a_report(data_root: Path, options: List[str]) -> None:
    (told,) = printed(data_root, "report", *options)
    validate(told, "report")
    jsonschema.validate(told, SCHEMA)


def test_the_sums_of_a_report(data_root: Path) -> None:
    """As ovl1/inodes/OUTPUTS.md promises them."""
    (told,) = printed(data_root, "report", "--overlay2", "--bytes")
    layers, others = told["layers"], told["others"]
    assert told["total"] == told["in_layers"] + sum(each["inodes"] for each in others.values())
    assert told["in_layers"] == told["home"] + sum(layer["inodes"] for layer in layers)
    kinds = ("directories", "files", "symlinks", "specials")
    for layer in layers:
        assert layer["inodes"] == layer["tree"]["inodes"] + layer["overhead"]
        assert layer["tree"]["inodes"] == sum(layer["tree"][kind] for kind in kinds)
    for system in told["file_systems"]:
        assert system["used"] == system["docker"] + system["own"] + system["elsewhere"]
    for layout in told["comparison"].values():
        assert layout["total"] == sum(layout[part] for part in layout if part != "total")
    assert told["comparison"][told["driver"]]["total"] == told["total"]
    if told["total_as_overlay2"] is not None:
        assert told["comparison"]["overlay2"]["total"] == told["total_as_overlay2"]


def test_what_would_be(data_root: Path, tmp_path: Path) -> None:
    archive = tmp_path / "app.tar"
    archive.write_bytes(packed(docker_archive(small_layers())))
    for definition, arguments in (
        ("freeing", ["free", "app:1"]),
        ("prediction", ["predict"]),
        ("forecast", ["forecast", str(archive)]),
    ):
        (told,) = printed(data_root, *arguments)
        validate(told, definition)


def test_a_watch(data_root: Path) -> None:
    *ticks, summary = printed(data_root, "watch", "--for", "0.1", "--interval", "0.05")
    assert len(ticks) >= 2
    for tick in ticks:
        validate(tick, "tick")
    validate(summary, "summary")


def test_it_can_tell(data_root: Path) -> None:
    (told,) = printed(data_root, "report")
    for wrong in ({**told, "total": -1}, {**told, "schema": 2}, {**told, "layers": [{}]}):
        with pytest.raises(jsonschema.ValidationError):
            validate(wrong, "report")
    more = {**told, "new": 1}
    validate(more, "report", strictly=False)
    with pytest.raises(jsonschema.ValidationError):
        validate(more, "report")
