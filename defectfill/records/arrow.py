"""Arrow schemas of row models: a column stands once, as a field of its model."""

from dataclasses import dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULTS = {str: "string", bool: "bool", int: "int32", float: "float32"}
"""Arrow types of Python's, where a field's annotation says no other."""


@dataclass(frozen=True)
class ArrowType:
    """Metadata of a field: the name of its column's Arrow type."""

    name: str


Int8: TypeAlias = Annotated[int, ArrowType("int8")]
Int64: TypeAlias = Annotated[int, ArrowType("int64")]


def arrow_schema(model: type[BaseModel]) -> "pa.Schema":
    """Return the schema with a column for every field of a row model, in their order."""
    import pyarrow as pa

    fields = model.model_fields.items()
    return pa.schema([(name, _arrow_type(field.annotation, *field.metadata)) for name, field in fields])


def _arrow_type(annotation: Any, *metadata: Any) -> "pa.DataType":
    """Return the Arrow type of a value of this Python type; a tuple of fixed length gives a list of that length."""
    import pyarrow as pa

    named = next((each.name for each in metadata if isinstance(each, ArrowType)), None)
    if named is not None:
        return pa.type_for_alias(named)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _arrow_type(*arguments)
    if origin is Literal:
        return pa.string()
    if origin in (Union, UnionType):
        return _arrow_type(*(each for each in arguments if each is not NoneType))
    if origin is tuple:
        return pa.list_(_arrow_type(arguments[0]), -1 if arguments[-1] is Ellipsis else len(arguments))
    return pa.type_for_alias(DEFAULTS[annotation])
