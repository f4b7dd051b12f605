"""Where a value of the configuration comes from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.errors import ConfigError
from broker.limits import MIB
from broker.server.addresses import is_local
from broker.server.config import FIELDS, Config, load_config, unknown_variables
from broker.server.quantities import parse_bytes, parse_ms


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "msgqueue.toml"


def test_with_nothing_given_the_defaults_hold() -> None:
    assert load_config({}, {}) == Config()


def test_help_tells_the_real_defaults() -> None:
    words = {"on": True, "off": False}
    in_words = ("none", "60 % of the memory", "where it listens", "where the links are bound")
    told = {field.name: field.default for field in FIELDS if field.default not in in_words}
    assert load_config({name: words.get(text, text) for name, text in told.items()}, {}) == Config()


def test_a_flag_beats_the_environment_and_that_beats_the_file(toml: Path) -> None:
    toml.write_text('slots = 1\nlog_level = "error"\nsync = "inline"\n')
    environ = {"MSGQUEUE_SLOTS": "2", "MSGQUEUE_LOG_LEVEL": "warning"}
    config = load_config({"slots": "3"}, environ, file=toml)
    assert (config.slots, config.log_level, config.sync) == (3, "warning", "inline")


def test_the_file_may_be_named_by_the_environment(toml: Path) -> None:
    toml.write_text("slots = 7\n")
    assert load_config({}, {"MSGQUEUE_CONFIG": str(toml)}).slots == 7


def test_every_field_is_read_from_a_file_the_environment_and_a_flag(toml: Path) -> None:
    texts = {
        "listen": "tcp://127.0.0.1:7000,tcp://[::1]:7000",
        "data": "elsewhere",
        "insecure": "true",
        "log_format": "json",
        "log_level": "debug",
        "memory_max": "2GiB",
        "disk_reserve": "1MiB",
        "connections_max": "10",
        "auto_declare": "no",
        "slots": "8",
        "sync": "thread",
        "drain": "3s",
        "publish_listen": "tcp://127.0.0.1:7002",
        "raw_listen": "",
        "advertise_publish": "tcp://b1.example:7002",
        "cluster": "orders-eu",
        "broker_id": "b1",
        "etcd": "https://etcd-1:2379,https://[::1]:2379",
        "etcd_ca": "ca.pem",
        "etcd_cert": "b1.pem",
        "etcd_key": "b1.key",
        "links": "tcp://127.0.0.1:7001",
        "advertise": "tcp://b1.example:7000",
        "advertise_links": "tcp://b1.example:7001",
        "zone": "rack-3",
        "weight": "50",
        "tenure": "2s",
    }
    assert set(texts) == {field.name for field in FIELDS}
    toml.write_text("".join(f'{name} = "{text}"\n' for name, text in texts.items()))
    environ = {f"MSGQUEUE_{name.upper()}": text for name, text in texts.items()}
    from_file = load_config({}, {}, file=toml)
    assert from_file == load_config({}, environ) == load_config(texts, {})
    assert from_file == Config(
        listen=("tcp://127.0.0.1:7000", "tcp://[::1]:7000"),
        data=Path("elsewhere"),
        insecure=True,
        log_format="json",
        log_level="debug",
        memory_max=2048 * MIB,
        disk_reserve=MIB,
        connections_max=10,
        auto_declare=False,
        slots=8,
        sync="thread",
        drain=3_000,
        publish_listen="tcp://127.0.0.1:7002",
        raw_listen="",
        advertise_publish=("tcp://b1.example:7002",),
        cluster="orders-eu",
        broker_id="b1",
        etcd=("https://etcd-1:2379", "https://[::1]:2379"),
        etcd_ca=Path("ca.pem"),
        etcd_cert=Path("b1.pem"),
        etcd_key=Path("b1.key"),
        links="tcp://127.0.0.1:7001",
        advertise=("tcp://b1.example:7000",),
        advertise_links="tcp://b1.example:7001",
        zone="rack-3",
        weight=50,
        tenure=2_000,
    )


def test_a_file_may_use_toml_types_of_its_own(toml: Path) -> None:
    toml.write_text('listen = ["tcp://127.0.0.1:1"]\nauto_declare = false\ndisk_reserve = 4096\n')
    config = load_config({}, {}, file=toml)
    assert config.listen == ("tcp://127.0.0.1:1",)
    assert not config.auto_declare
    assert config.disk_reserve == 4096


def cluster_flags(**more: object) -> dict[str, object]:
    return {"cluster": "c", "broker_id": "b1", "etcd": "http://127.0.0.1:2379", **more}


def test_an_unknown_name_in_a_file_is_refused_by_name(toml: Path) -> None:
    toml.write_text("slotz = 7\n")
    with pytest.raises(ConfigError, match="slotz"):
        load_config({}, {}, file=toml)


def test_an_unknown_variable_is_reported_by_name() -> None:
    environ = {"MSGQUEUE_SLOTZ": "7", "MSGQUEUE_SLOTS": "7", "MSGQUEUE_CONFIG": "", "HOME": "/"}
    assert unknown_variables(environ) == ["MSGQUEUE_SLOTZ"]


@pytest.mark.parametrize("content", ["slots = ", "\xff"])
def test_a_file_that_is_not_toml_is_refused(toml: Path, content: str) -> None:
    toml.write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_config({}, {}, file=toml)


def test_a_file_that_is_missing_is_refused(toml: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config({}, {}, file=toml)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slots", "0"),
        ("slots", "many"),
        ("slots", True),
        ("slots", -1),
        ("sync", "sometimes"),
        ("insecure", "perhaps"),
        ("insecure", 1),
        ("listen", ""),
        ("listen", []),
        ("listen", 5570),
        ("listen", "udp://127.0.0.1:1"),
        ("listen", "tcp://127.0.0.1:99999"),
        ("listen", "tcp://127.0.0.1"),
        ("data", ""),
        ("memory_max", "much"),
        ("disk_reserve", "1.5GiB"),
        ("drain", "1 fortnight"),
        ("cluster", "a/b"),
        ("broker_id", "b 1"),
        ("etcd", "127.0.0.1:2379"),
        ("etcd", "http://etcd-1:2379/v3"),
        ("etcd", "http://name:password@etcd-1:2379"),
        ("links", "http://127.0.0.1:5572"),
        ("advertise", "tcp://*:5570"),
        ("advertise", "tcp://0.0.0.0:5570"),
        ("advertise", "tcp://b1.example:0"),
        ("advertise_links", "tcp://[::]:5572"),
        ("zone", ""),
        ("weight", "10001"),
        ("tenure", "999ms"),
        ("tenure", "61s"),
    ],
)
def test_a_bad_value_is_refused_and_its_field_named(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        load_config({name: value}, {})


def test_an_address_that_others_can_reach_needs_the_word_insecure() -> None:
    with pytest.raises(ConfigError, match="--insecure"):
        load_config({"listen": "tcp://0.0.0.0:5570"}, {})
    config = load_config({"listen": "tcp://0.0.0.0:5570", "insecure": "true"}, {})
    assert config.listen == ("tcp://0.0.0.0:5570",)


@pytest.mark.parametrize("missing", ["etcd", "broker_id"])
def test_a_cluster_without_what_it_needs_is_refused(missing: str) -> None:
    flags = cluster_flags()
    del flags[missing]
    with pytest.raises(ConfigError, match=f"cluster is given and {missing} is not"):
        load_config(flags, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("broker_id", "b1"),
        ("etcd", "http://127.0.0.1:2379"),
        ("etcd_ca", "ca.pem"),
        ("links", "tcp://127.0.0.1:7001"),
        ("advertise", "tcp://b1.example:7000"),
        ("zone", "rack-3"),
        ("weight", "50"),
        ("tenure", "2s"),
    ],
)
def test_a_value_that_without_a_cluster_sets_nothing_is_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is given and cluster is not"):
        load_config({name: value}, {})


@pytest.mark.parametrize("insecure", ["true", "false"])
def test_links_that_others_can_reach_are_refused_whatever_is_said(insecure: str) -> None:
    flags = cluster_flags(links="tcp://0.0.0.0:5572", insecure=insecure)
    with pytest.raises(ConfigError, match="links are not encrypted"):
        load_config(flags, {})


def test_an_etcd_elsewhere_is_spoken_to_over_tls_or_with_the_word_insecure() -> None:
    flags = cluster_flags(etcd="http://etcd-1:2379")
    with pytest.raises(ConfigError, match="--insecure"):
        load_config(flags, {})
    assert load_config(flags | {"insecure": "true"}, {}).etcd == ("http://etcd-1:2379",)
    assert load_config(flags | {"etcd": "https://etcd-1:2379"}, {}).insecure is False


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"etcd": "https://etcd-1:2379", "etcd_cert": "b1.pem"}, "belong together"),
        ({"etcd": "https://etcd-1:2379", "etcd_key": "b1.key"}, "belong together"),
        ({"etcd_ca": "ca.pem"}, "is not encrypted"),
    ],
)
def test_certificates_that_would_not_be_used_are_refused(
    flags: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(cluster_flags(**flags), {})


def test_a_broker_that_listens_on_every_interface_says_where_clients_find_it() -> None:
    flags = cluster_flags(listen="tcp://0.0.0.0:5570", insecure="true")
    with pytest.raises(ConfigError, match="advertise"):
        load_config(flags, {})
    config = load_config(flags | {"advertise": "tcp://b1.example:5570"}, {})
    assert config.advertise == ("tcp://b1.example:5570",)


@pytest.mark.parametrize(
    "address",
    ["tcp://127.0.0.1:1", "tcp://127.9.9.9:1", "tcp://[::1]:1", "tcp://localhost:1", "ipc:///x"],
)
def test_loopback_addresses_are_local(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize(
    "address", ["tcp://*:1", "tcp://0.0.0.0:1", "tcp://[::]:1", "tcp://eth0:1", "tcp://10.0.0.1:1"]
)
def test_other_addresses_are_not_local(address: str) -> None:
    assert not is_local(address)


def test_quantities_have_units() -> None:
    assert parse_bytes("4096") == parse_bytes(4096) == parse_bytes("4KiB") == 4096
    assert parse_bytes("3GiB") == 3 * 1024 * MIB
    assert [parse_ms(text) for text in ("1500", "1500ms", "2s", "2m", "1h")] == [
        1_500,
        1_500,
        2_000,
        120_000,
        3_600_000,
    ]
