from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import jsonschema
import pytest
import yaml

from device_profiles.loading import ROOT, load_file, load_profile, profile_ids
from device_profiles.profile import RegisterType
from device_profiles.schema import SCHEMA_FILE, json_schema, schema_text
from edge_agent.golden import decode_golden
from mrv.channel import ChannelKind
from mrv.errors import InputError

IDS = profile_ids()


def test_the_first_profiles_are_all_there():
    assert {
        "eastron/sdm630",
        "acrel/adl400",
        "acrel/adl400_secondary",
        "dlt645/three_phase",
        "fuxin/gas_corrector",
        "mettler_toledo/mt_sics",
    } <= set(IDS)


@pytest.mark.parametrize("profile_id", IDS)
def test_golden_frames_decode_to_the_expected_counts(profile_id):
    profile = load_profile(profile_id)
    assert len(profile.golden) >= 1
    for golden in profile.golden:
        assert decode_golden(profile, golden) == golden.expect


def with_one_other_byte(frame: str) -> str:
    if not frame.startswith("S "):
        raw = bytearray.fromhex(frame)
        raw[1] ^= 1
        return raw.hex()
    return frame.replace("100.00", "100.01")


@pytest.mark.parametrize("profile_id", IDS)
def test_a_golden_frame_with_one_other_byte_no_longer_agrees(profile_id):
    profile = load_profile(profile_id)
    golden = profile.golden[0]
    try:
        seen = decode_golden(profile, replace(golden, frame=with_one_other_byte(golden.frame)))
    except InputError:
        seen = ()
    assert seen != golden.expect


@pytest.mark.parametrize("profile_id", IDS)
def test_every_register_has_unit_and_resolution_and_counters_a_modulus(profile_id):
    profile = load_profile(profile_id)
    for register in profile.registers:
        assert register.unit
        assert register.resolution > 0
        assert (register.modulus > 0) == (register.kind is ChannelKind.COUNTER)
    assert any(r.kind is not ChannelKind.GAUGE for r in profile.registers)
    assert profile.source
    assert profile.caveats


@pytest.mark.parametrize("profile_id", IDS)
def test_profile_files_agree_with_the_exported_schema(profile_id):
    jsonschema.validate(
        yaml.safe_load((ROOT / f"{profile_id}.yaml").read_text(encoding="utf-8")), json_schema()
    )


def test_the_exported_schema_is_current():
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text()
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text()))


def test_the_secondary_map_inherits_limits_and_drops_unconfirmed_voltages():
    primary, secondary = load_profile("acrel/adl400"), load_profile("acrel/adl400_secondary")
    assert secondary.limits == primary.limits
    assert "voltage_l1" not in {r.name for r in secondary.registers}
    assert secondary.register("energy_import").resolution == Fraction(1, 100)
    assert secondary.register("energy_import").side == "secondary"
    assert secondary.hash != primary.hash


def test_the_hash_is_that_of_the_content_not_of_its_layout(tmp_path):
    (tmp_path / "a").mkdir()
    text = (ROOT / "fuxin/gas_corrector.yaml").read_text(encoding="utf-8")
    path = tmp_path / "a" / "gas_corrector.yaml"
    path.write_text("# another comment\n" + text, encoding="utf-8")
    same = load_file(path, "fuxin/gas_corrector")
    assert same.hash == load_profile("fuxin/gas_corrector").hash
    path.write_text(text.replace("size: 6", "size: 8", 1), encoding="utf-8")
    assert load_file(path, "fuxin/gas_corrector").hash != same.hash


@pytest.mark.parametrize(
    ("old", "new", "field", "says"),
    [
        ("unit: m3/h", "unti: m3/h", "registers.flow_standard.unti", "Extra inputs"),
        ("fc: 3, addr: 0x10", "fc: 6, addr: 0x10", "registers.flow_standard.fc", "6"),
        ("size: 6, ", "", "registers.volume_standard", "needs size"),
        (", modulus: 1000000000000 }", " }", "registers.volume_standard", "needs modulus"),
        ("temperature: 2165", "temprature: 2165", "golden.0.expect.temprature", "temprature"),
        ("scale: 1/10000", "scale: 0", "registers.volume_standard.scale", "pattern"),
        ("maker: Fuxin", "maker: Fuxin\nmaker: Other", "maker", "twice"),
    ],
)
def test_a_typo_is_told_with_file_line_and_field(tmp_path, old, new, field, says):
    text = (ROOT / "fuxin/gas_corrector.yaml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "broken.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_file(path)
    error = caught.value
    assert error.field == field
    assert says in str(error)
    assert error.hint
    changed = new.split(",")[0].strip().split("\n")[-1]
    assert changed in path.read_text(encoding="utf-8").splitlines()[error.line - 1]


def test_a_fault_in_the_base_names_the_base_file(tmp_path):
    (tmp_path / "m").mkdir()
    base = (ROOT / "acrel/adl400.yaml").read_text(encoding="utf-8")
    (tmp_path / "m" / "base.yaml").write_text(base.replace("max_words: 60", "max_words: 900"))
    (tmp_path / "m" / "child.yaml").write_text("extends: m/base\nmodel: child\n")
    with pytest.raises(InputError) as caught:
        load_profile("m/child", tmp_path)
    assert caught.value.file.endswith("base.yaml")
    assert caught.value.field == "limits.max_words"


def test_profiles_that_extend_each_other_are_refused(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.yaml").write_text("extends: m/b\n")
    (tmp_path / "m" / "b.yaml").write_text("extends: m/a\n")
    with pytest.raises(InputError, match="extend each other"):
        load_profile("m/a", tmp_path)


def test_an_unknown_profile_lists_the_known_ones():
    with pytest.raises(InputError) as caught:
        load_profile("eastron/sdm631")
    assert "eastron/sdm630" in caught.value.hint


def test_counters_are_never_read_through_a_float_where_a_decimal_twin_exists():
    gas = load_profile("fuxin/gas_corrector")
    assert gas.register("volume_standard").type is RegisterType.BCD
