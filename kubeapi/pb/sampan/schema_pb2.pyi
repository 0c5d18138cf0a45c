from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor
GROUP_FIELD_NUMBER: _ClassVar[int]
group: _descriptor.FieldDescriptor
VERSION_FIELD_NUMBER: _ClassVar[int]
version: _descriptor.FieldDescriptor
KIND_FIELD_NUMBER: _ClassVar[int]
kind: _descriptor.FieldDescriptor
SCALAR_FIELD_NUMBER: _ClassVar[int]
scalar: _descriptor.FieldDescriptor
INLINE_FIELD_NUMBER: _ClassVar[int]
inline: _descriptor.FieldDescriptor
VALUE_FIELD_NUMBER: _ClassVar[int]
value: _descriptor.FieldDescriptor
REQUIRED_FIELD_NUMBER: _ClassVar[int]
required: _descriptor.FieldDescriptor
ALWAYS_FIELD_NUMBER: _ClassVar[int]
always: _descriptor.FieldDescriptor
MERGE_KEY_FIELD_NUMBER: _ClassVar[int]
merge_key: _descriptor.FieldDescriptor
PATCH_STRATEGY_FIELD_NUMBER: _ClassVar[int]
patch_strategy: _descriptor.FieldDescriptor
LIST_TYPE_FIELD_NUMBER: _ClassVar[int]
list_type: _descriptor.FieldDescriptor
LIST_MAP_KEY_FIELD_NUMBER: _ClassVar[int]
list_map_key: _descriptor.FieldDescriptor
ONE_OF_FIELD_NUMBER: _ClassVar[int]
one_of: _descriptor.FieldDescriptor

class Kind(_message.Message):
    __slots__ = ("plural", "namespaced", "short", "category", "status", "scale")
    PLURAL_FIELD_NUMBER: _ClassVar[int]
    NAMESPACED_FIELD_NUMBER: _ClassVar[int]
    SHORT_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    plural: str
    namespaced: bool
    short: _containers.RepeatedScalarFieldContainer[str]
    category: _containers.RepeatedScalarFieldContainer[str]
    status: bool
    scale: bool
    def __init__(self, plural: _Optional[str] = ..., namespaced: _Optional[bool] = ..., short: _Optional[_Iterable[str]] = ..., category: _Optional[_Iterable[str]] = ..., status: _Optional[bool] = ..., scale: _Optional[bool] = ...) -> None: ...
