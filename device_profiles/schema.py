"""The border of a profile file: what YAML may say, checked by pydantic."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from device_profiles.profile import WIDTHS, Protocol, RegisterType, Side, WordOrder
from mrv.channel import ChannelKind

SCHEMA_FILE = Path(__file__).with_name("schema.json")
"""The exported JSON Schema that editors read; a test keeps it current."""

Rational = Annotated[str, Field(pattern=r"^[1-9][0-9]*(/[1-9][0-9]*)?$")]
Hex = Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2} ?)*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class Bilingual(_Strict):
    """A short text in both languages."""

    zh: str
    en: str


class RegisterModel(_Strict):
    """One register."""

    title: Bilingual
    kind: ChannelKind
    type: RegisterType
    fc: Literal[0, 3, 4] = 0
    addr: int = Field(default=0, ge=0, le=0xFFFFFFFF)
    size: int = Field(
        default=0, ge=0, le=250, description="bytes; needed for bcd, string and dlt645"
    )
    command: str = Field(default="", pattern=r"^[A-Z0-9]{0,8}$")
    word_order: WordOrder = WordOrder.HIGH_FIRST
    signed: bool = False
    scale: Rational = "1"
    unit: str = Field(min_length=1)
    resolution: Rational | None = Field(default=None, description="default: scale")
    modulus: int = Field(default=0, ge=0, description="counts of the resolution")
    sentinels: tuple[Hex, ...] = ()
    side: Side = Side.PRIMARY

    @model_validator(mode="after")
    def _consistent(self) -> RegisterModel:
        if self.type in WIDTHS and self.size not in (0, WIDTHS[self.type]):
            raise ValueError(f"type {self.type} has {WIDTHS[self.type]} bytes, not {self.size}")
        needs_size = (RegisterType.BCD, RegisterType.STRING, RegisterType.DLT645)
        if self.type in needs_size and not self.size:
            raise ValueError(f"type {self.type} needs size (bytes)")
        if self.kind is ChannelKind.COUNTER and not self.modulus:
            raise ValueError("a counter needs modulus (counts at which it starts again at 0)")
        if self.kind is not ChannelKind.COUNTER and self.modulus:
            raise ValueError("only a counter has a modulus")
        floats = (RegisterType.F32, RegisterType.F64, RegisterType.ASCII)
        if self.type in floats and self.resolution is None:
            raise ValueError(f"type {self.type} needs resolution")
        exact = self.resolution is None or self.type in floats
        if not exact and (Fraction(self.scale) / Fraction(str(self.resolution))).denominator != 1:
            raise ValueError("scale must be a whole multiple of resolution")
        return self


class ProbeModel(_Strict):
    """Identity probe."""

    register_name: str = Field(default="", alias="register")
    expect: str = ""


class LimitsModel(_Strict):
    """Connection limits."""

    max_words: int = Field(default=125, ge=1, le=125)
    max_gap: int = Field(default=0, ge=0, le=124)
    timeout_ms: int = Field(default=1000, ge=10, le=60_000)
    turnaround_ms: int = Field(default=0, ge=0, le=10_000)


class MetrologyModel(_Strict):
    """Accuracy class."""

    accuracy_class: str
    standard: str


class DocumentModel(_Strict):
    """A source."""

    document: str = Field(min_length=1)
    page: str = Field(min_length=1)


class GoldenModel(_Strict):
    """A frame with expected counts."""

    origin: Literal["vendor_sample", "published_sample", "constructed"]
    note: str = Field(min_length=1)
    fc: Literal[0, 3, 4] = 0
    addr: int = Field(default=0, ge=0, le=0xFFFF)
    frame: str = Field(min_length=1)
    expect: dict[str, int | None] = Field(min_length=1)


class ProfileModel(_Strict):
    """A whole profile after `extends` has been followed."""

    maker: str
    model: str
    title: Bilingual
    protocol: Protocol
    probe: ProbeModel = ProbeModel()
    limits: LimitsModel = LimitsModel()
    registers: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], RegisterModel] = Field(
        min_length=1
    )
    metrology: MetrologyModel
    source: tuple[DocumentModel, ...] = Field(min_length=1)
    golden: tuple[GoldenModel, ...] = Field(min_length=2)
    caveats: tuple[str, ...] = ()


def json_schema() -> dict[str, Any]:
    """JSON Schema of a profile file; a file with `extends` may leave required members out."""
    schema = ProfileModel.model_json_schema(by_alias=True)
    required = schema.pop("required")
    complete = schema["$defs"]["RegisterModel"]
    needed = complete.pop("required")
    registers = schema["properties"]["registers"]
    (pattern,) = registers["patternProperties"]
    registers["patternProperties"][pattern] = {
        "anyOf": [{"$ref": "#/$defs/RegisterModel"}, {"type": "null"}]
    }
    schema["properties"]["extends"] = {"type": "string", "description": "id of the base profile"}
    schema["if"] = {"not": {"required": ["extends"]}}
    schema["then"] = {
        "required": required,
        "properties": {"registers": {"patternProperties": {pattern: {"required": needed}}}},
    }
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Meterprint device profile"
    return schema


def schema_text() -> str:
    """The text of `schema.json`."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
