"""A dataset folder in Croissant, the metadata that search engines and loaders of data sets read; knows no disk.

Format 1.0 of MLCommons: files with their digests, and one record set whose fields are the columns as they are stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

FILE = "croissant.json"
_FORMAT = "http://mlcommons.org/croissant/1.0"
_CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/", "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/", "dct": "http://purl.org/dc/terms/", "citeAs": "cr:citeAs",
    "column": "cr:column", "conformsTo": "dct:conformsTo", "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract", "field": "cr:field", "fileObject": "cr:fileObject", "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet", "format": "cr:format", "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath", "key": "cr:key", "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path",
    "recordSet": "cr:recordSet", "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated",
    "replace": "cr:replace", "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField",
    "transform": "cr:transform",
}  # fmt: skip
_PARQUET = "application/x-parquet"


def metadata(info: Mapping[str, Any], schema: pa.Schema, files: Mapping[str, str]) -> dict[str, Any]:
    """The JSON-LD of a dataset from `dataset.json`, the stored schema, and each file's sha256 by its path in the folder."""
    licence = (info["made"] or {}).get("licence")
    objects = [
        {"@type": "cr:FileObject", "@id": path, "name": path.replace("/", "_"), "contentUrl": path, "encodingFormat": _PARQUET,
         "sha256": digest}
        for path, digest in files.items()
    ]  # fmt: skip
    rows = {"@type": "cr:FileSet", "@id": "files", "name": "files", "encodingFormat": _PARQUET, "includes": "data/*.parquet"}
    return {
        "@context": _CONTEXT, "@type": "sc:Dataset", "name": f"{info['name']}-{info['iteration']}", "conformsTo": _FORMAT,
        "description": f"Dataset {info['dataset_id']} of ratoon: rollouts of a language model, verified and selected.",
        "version": f"{info['iteration']}.0.0", **({"license": licence} if licence else {}),
        "distribution": [*objects, rows],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": [_field(f, f"rows/{f.name}", f.name)
                                                                                         for f in schema]}],
    }  # fmt: skip


def _field(field: pa.Field, id: str, column: str, inside: str | None = None) -> dict[str, Any]:
    """A column; of a list it is repeated, of objects it has subfields, found `inside` their column's value."""
    repeated = pa.types.is_list(field.type)
    kind = field.type.value_type if repeated else field.type
    found: dict[str, Any] = {"@type": "cr:Field", "@id": id, "name": id} | ({"repeated": True} if repeated else {})
    if pa.types.is_struct(kind):
        return found | {"subField": [_field(part, f"{id}/{part.name}", column, part.name) for part in kind]}
    source: dict[str, Any] = {"fileSet": {"@id": "files"}, "extract": {"column": column}}
    if inside is not None:
        source["transform"] = {"jsonPath": inside}
    return found | {"dataType": _type(kind), "source": source}


def _type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"
