"""The template and the code, made ready for the local cloud: zips under content-hashed keys, a few local rewrites."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from dropforge.config.yaml_errors import Loader

_TIME = (2020, 1, 1, 0, 0, 0)  # one fixed time: the same content is the same zip is the same key
# The emulator runs handlers on the interpreter it was started with, whose environment holds the very packages these
# layers are locked to. Zipping 300 MB at every start would prove nothing; the architecture tests build the real ones.
_PROVIDED = "This layer's packages come from the interpreter of the local cloud.\n"


class _Loader(Loader):
    """YAML with CloudFormation's short forms."""


def _short_form(loader: Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = str(value).split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    return {name: value}


_Loader.add_multi_constructor("!", _short_form)


def load_template(path: Path) -> dict[str, Any]:
    """The template with short forms as `Fn::` maps."""
    loaded: dict[str, Any] = yaml.load(path.read_text(), Loader=_Loader)  # noqa: S506 - a SafeLoader with more tags
    return loaded


def definition_json(path: Path) -> bytes:
    """A state machine written in YAML, as the JSON that the emulator reads.

    CloudFormation puts the substitutions into the text, so that `MaxConcurrency: ${N}` becomes a number: no quotes around it here.
    """
    text = json.dumps(yaml.safe_load(path.read_text()), indent=1)
    return re.sub(r'("MaxConcurrency": )"(\$\{\w+\})"', r"\1\2", text).encode()


def zip_files(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Deterministic zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in sorted(files):
            info = zipfile.ZipInfo(name, _TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, body)
    return out.getvalue()


def folder_files(folder: Path, prefix: str = "") -> list[tuple[str, bytes]]:
    """Source files of a folder, caches left out."""
    return [
        (prefix + str(p.relative_to(folder)), p.read_bytes())
        for p in folder.rglob("*")
        if p.is_file()
        and "__pycache__" not in p.parts
        and p.suffix not in {".pyc", ".in"}
        and p.name not in {"requirements.txt", "Makefile"}
    ]


def package(
    root: Path, put: Callable[[str, bytes], str], *, foreign: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The template as the local cloud deploys it. `put(key, body)` stores a zip and returns its `s3://` URI.

    `foreign`: the template's parameters, for an emulator of somebody else. Not every one mounts layers, so the code of a function's
    layers is in its own zip too; nor takes numbers among the substitutions of a state machine, so they stand in its definition.
    """
    template = load_template(root / "template.yaml")
    layers = _layer_folders(root, template) if foreign is not None else {}
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        match resource["Type"]:
            case "AWS::Serverless::Function":
                folders = [layers[r["Ref"]] for r in properties.get("Layers", ()) if r["Ref"] in layers]
                files = [f for folder in (root / properties["CodeUri"], *folders) for f in folder_files(folder)]
                properties["CodeUri"] = _stored(put, name, zip_files(files))
            case "AWS::Lambda::Function":
                bucket, _, key = (
                    _stored(put, name, without_image(root, properties)).removeprefix("s3://").partition("/")
                )
                properties["Code"] = {"S3Bucket": bucket, "S3Key": key}
            case "AWS::Serverless::LayerVersion":
                folder = root / properties["ContentUri"]
                files = folder_files(folder, "python/") or [("python/PROVIDED", _PROVIDED.encode())]
                properties["ContentUri"] = _stored(put, name, zip_files(files))
            case "AWS::Serverless::Api" if "BinaryMediaTypes" in properties:
                # SAM writes them with `~1` for `/`, which API Gateway reads back; the emulator takes them as they stand.
                properties["BinaryMediaTypes"] = [t.replace("~1", "/") for t in properties["BinaryMediaTypes"]]
            case "AWS::Serverless::StateMachine":
                definition = definition_json(root / properties["DefinitionUri"])
                if foreign is not None:
                    definition = _with_numbers(definition, properties, template.get("Parameters", {}), foreign)
                properties["DefinitionUri"] = _stored(put, name, definition, "json")
    return template


def _layer_folders(root: Path, template: dict[str, Any]) -> dict[str, Path]:
    return {
        name: root / resource["Properties"]["ContentUri"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Serverless::LayerVersion"
    }


def _with_numbers(
    definition: bytes, properties: dict[str, Any], declared: Mapping[str, Any], parameters: Mapping[str, str]
) -> bytes:
    """Move the substitutions that are parameters of type Number from `properties` into the definition."""
    text, substitutions = definition.decode(), properties.get("DefinitionSubstitutions", {})
    for name, value in list(substitutions.items()):
        parameter = value.get("Ref", "") if isinstance(value, dict) else ""
        if declared.get(parameter, {}).get("Type") == "Number":
            del substitutions[name]
            text = text.replace(f"${{{name}}}", str(parameters.get(parameter, declared[parameter].get("Default"))))
    return text.encode()


def expanded(template: dict[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    """The template after the SAM transform, for emulators whose CloudFormation does not make it (LocalStack's never ends)."""
    import os

    from samtranslator.translator.transform import transform

    class NoPolicies:
        def load(self) -> dict[str, str]:
            return {}

    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")  # the transform asks where it is
    names = {"AWS::Region": "us-east-1", "AWS::AccountId": "000000000000", "AWS::Partition": "aws"}
    defaults = {name: str(p.get("Default", "")) for name, p in template["Parameters"].items()}
    plain: dict[str, Any] = transform(template, {**defaults, **parameters, **names}, NoPolicies())
    plain.pop("Transform", None)
    for resource in plain["Resources"].values():
        if isinstance(after := resource.get("DependsOn"), list):
            after.sort()  # out of a set: in another order by every process, which would be another template
    return plain


def number_concurrency(template: dict[str, Any], parameters: Mapping[str, str]) -> None:
    """Put numbers where event source mappings refer to a parameter: MiniStack 1.5.33 takes it for text, then polls no queue."""
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Lambda::EventSourceMapping":
            scaling = resource["Properties"]["ScalingConfig"]
            name = scaling["MaximumConcurrency"]["Ref"]
            scaling["MaximumConcurrency"] = int(parameters.get(name, template["Parameters"][name]["Default"]))


def leave_out_metric_math(template: dict[str, Any]) -> None:
    """Take away alarms on expressions: MiniStack 1.5.33 refuses an alarm without a MetricName, and with it the stack."""
    resources = template["Resources"]
    for name in [
        n for n, r in resources.items() if r["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in r["Properties"]
    ]:
        del resources[name]


def without_image(root: Path, properties: dict[str, Any]) -> bytes:
    """Make an image's function one of a zip, whose bytes are returned: the interpreter of the local cloud has what the image has.

    Where the zip is kept, and so `Code`, is the caller's.
    """
    folder = str(properties.pop("ImageConfig")["Command"][0]).partition(".")[0]
    del properties["PackageType"]
    properties |= {"Runtime": "python3.13", "Handler": "app.handler"}
    return zip_files(
        [
            *folder_files(root / "functions" / folder),
            *folder_files(root / "layers/core/dropforge", "dropforge/"),
            *folder_files(root / "training/dropforge_training", "dropforge_training/"),
        ]
    )


def _stored(put: Callable[[str, bytes], str], name: str, body: bytes, suffix: str = "zip") -> str:
    return put(f"{name}/{hashlib.sha256(body).hexdigest()[:32]}.{suffix}", body)
