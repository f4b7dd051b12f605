"""What the operator may set, and where each value comes from.

Law: flags, then the environment (``MSGQUEUE_<NAME>``), then the TOML file, then the default;
the first that names a value wins.  A name that nobody knows in a file is refused, never
ignored: a misspelt setting is a setting that is not in force.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from broker import limits
from broker.errors import ConfigError
from broker.names import require_id
from broker.server.addresses import (
    is_local,
    names_one_host,
    require_coordinator_address,
    require_listen_address,
    require_reachable_address,
)
from broker.server.quantities import parse_bytes, parse_ms

ENVIRONMENT_PREFIX = "MSGQUEUE_"
#: What is told of a value that has no default.
NONE = "none"
WEIGHT_DEFAULT = 100
WEIGHT_MAX = 10_000
LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a broker process is started with; sizes in bytes, times in milliseconds.

    From ``cluster`` on the values are those of a broker in a cluster; "" there is a lone broker.
    """

    listen: tuple[str, ...] = ("tcp://127.0.0.1:5570",)
    data: Path = Path("msgqueue-data")
    insecure: bool = False
    log_format: str = "text"
    log_level: str = "info"
    #: None is a share of the machine's memory, 0 is no bound.
    memory_max: int | None = None
    disk_reserve: int = limits.DISK_RESERVE_BYTES
    connections_max: int = limits.CONNECTIONS_MAX
    auto_declare: bool = True
    slots: int = limits.SLOTS_DEFAULT
    sync: str = "auto"
    drain: int = limits.DRAIN_MAX
    #: "" is off.
    publish_listen: str = "tcp://127.0.0.1:5571"
    raw_listen: str = "tcp://127.0.0.1:5573"
    #: Empty is where the subscribers' socket listens.
    advertise_publish: tuple[str, ...] = ()
    cluster: str = ""
    broker_id: str = ""
    etcd: tuple[str, ...] = ()
    etcd_ca: Path | None = None
    etcd_cert: Path | None = None
    etcd_key: Path | None = None
    links: str = "tcp://127.0.0.1:5572"
    #: Empty is where it listens.
    advertise: tuple[str, ...] = ()
    #: "" is where the links are bound.
    advertise_links: str = ""
    zone: str = ""
    weight: int = WEIGHT_DEFAULT
    tenure: int = limits.TENURE_DEFAULT

    def __post_init__(self) -> None:
        if not self.listen:
            raise ConfigError("listen names no address")
        for address in (*self.listen, self.publish_listen, self.raw_listen):
            if address and not is_local(require_listen_address(address)) and not self.insecure:
                raise ConfigError(
                    f"{address} can be reached from other machines, and connections are neither"
                    " encrypted nor authenticated: listen on loopback, or accept it with"
                    " --insecure"
                )
        if not self.advertise_publish and not names_one_host(self.publish_listen):
            raise ConfigError(
                f"publish_listen: {self.publish_listen} is no address to connect to: tell"
                " subscribers one by advertise_publish"
            )
        if self.cluster:
            _require_whole_cluster(self)
        else:
            _require_no_cluster(self)


def _require_no_cluster(config: Config) -> None:
    """A value that is set and not in force would be a mistake that nobody sees."""
    names = [field.name for field in fields(Config)]
    defaults = {field.name: field.default for field in fields(Config)}
    for name in names[names.index("cluster") :]:
        if getattr(config, name) != defaults[name]:
            raise ConfigError(f"{name} is given and cluster is not: it would set nothing")


def _require_whole_cluster(config: Config) -> None:
    if not config.etcd:
        raise ConfigError("cluster is given and etcd is not: nobody could say who owns what")
    if not config.broker_id:
        raise ConfigError("cluster is given and broker_id is not: it names this broker for good")
    if not is_local(config.links):
        raise ConfigError(
            f"links: {config.links} can be reached from other machines, and links are not encrypted"
            " yet: bind them on loopback"
        )
    for address in () if config.advertise else config.listen:
        if not names_one_host(address):
            raise ConfigError(
                f"listen: {address} is no address to connect to: tell the others one by advertise"
            )
    _require_safe_etcd(config)


def _require_safe_etcd(config: Config) -> None:
    if bool(config.etcd_cert) != bool(config.etcd_key):
        raise ConfigError("etcd_cert and etcd_key belong together")
    for endpoint in config.etcd:
        if endpoint.startswith("https:"):
            continue
        if config.etcd_ca or config.etcd_cert:
            raise ConfigError(f"etcd: {endpoint} is not encrypted, and a certificate is given")
        if not is_local(endpoint.replace("http:", "tcp:")) and not config.insecure:
            raise ConfigError(
                f"etcd: {endpoint} is on another machine and not encrypted: give https://, or"
                " accept it with --insecure"
            )


@dataclass(frozen=True, slots=True)
class Field:
    """One value: how its text is read, and what ``--help`` says of it and of its default."""

    name: str
    parse: Callable[[object], Any]
    metavar: str
    help: str
    default: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def is_list(self) -> bool:
        """A flag that may be repeated; elsewhere a list, or one text with commas."""
        return self.name in ("listen", "advertise", "advertise_publish", "etcd")

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper()


def _parse_text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{value!r} is not a text")
    return value


def _list_of(parse: Callable[[str], str]) -> Callable[[object], tuple[str, ...]]:
    """A list, or texts with commas between the addresses."""

    def parse_list(value: object) -> tuple[str, ...]:
        items = (value,) if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise ConfigError(f"{value!r} is not a list of addresses")
        texts = [text for item in items for text in _parse_text(item).split(",")]
        return tuple(parse(_parse_text(text.strip())) for text in texts)

    return parse_list


def _address(parse: Callable[[str], str]) -> Callable[[object], str]:
    return lambda value: parse(_parse_text(value))


def _parse_address_or_off(value: object) -> str:
    return require_listen_address(_parse_text(value)) if value != "" else ""


def _parse_path(value: object) -> Path:
    return Path(_parse_text(value))


def _parse_bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if not isinstance(value, str) or value.lower() not in words:
        raise ConfigError(f"{value!r} is neither true nor false")
    return words[value.lower()]


def _integer(low: int, high: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        text = str(value) if not isinstance(value, bool) else ""
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise ConfigError(f"{value!r} is not a whole number from {low} to {high}")
        return int(text)

    return parse


def _parse_tenure(value: object) -> int:
    tenure_ms = parse_ms(value)
    if not limits.TENURE_MIN <= tenure_ms <= limits.TENURE_MAX:
        low, high = limits.TENURE_MIN // limits.SECOND, limits.TENURE_MAX // limits.SECOND
        raise ConfigError(f"{value!r} is not from {low}s to {high}s")
    return tenure_ms


def _one_of(*choices: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value not in choices:
            raise ConfigError(f"{value!r} is not one of {', '.join(choices)}")
        return str(value)

    return parse


FIELDS: tuple[Field, ...] = (
    Field(
        "listen",
        _list_of(require_listen_address),
        "URL",
        "Where clients connect; may be given more than once.",
        "tcp://127.0.0.1:5570",
    ),
    Field("data", _parse_path, "DIR", "The data directory.", "msgqueue-data"),
    Field("insecure", _parse_bool, "BOOL", "Allow addresses that other machines can reach.", "off"),
    Field("log_format", _one_of("text", "json"), "text|json", "How a log line looks.", "text"),
    Field("log_level", _one_of(*LOG_LEVELS), "LEVEL", "The least grave line logged.", "info"),
    Field(
        "memory_max",
        parse_bytes,
        "SIZE",
        "Above it puts are refused; 0 is no bound.",
        "60 % of the memory",
    ),
    Field("disk_reserve", parse_bytes, "SIZE", "With less free puts are refused.", "256MiB"),
    Field("connections_max", _integer(1, 1_000_000), "N", "Open client connections.", "11000"),
    Field("auto_declare", _parse_bool, "BOOL", "A put on an unknown queue declares it.", "on"),
    Field("slots", _integer(1, 1_024), "N", "Parts of the hash ring; fixed with the data.", "64"),
    Field("sync", _one_of("auto", "inline", "thread"), "MODE", "Who waits for the disk.", "auto"),
    Field("drain", parse_ms, "TIME", "How long an end by SIGTERM may take.", "10s"),
    Field(
        "publish_listen",
        _parse_address_or_off,
        "URL",
        'Where subscribers of channels connect; "" is off.',
        "tcp://127.0.0.1:5571",
    ),
    Field(
        "raw_listen",
        _parse_address_or_off,
        "URL",
        'Where raw publishers connect; "" is off.',
        "tcp://127.0.0.1:5573",
    ),
    Field(
        "advertise_publish",
        _list_of(require_reachable_address),
        "URL",
        "Where subscribers are told to connect; may be given more than once.",
        "where it listens",
    ),
    Field("cluster", require_id, "NAME", "The cluster that this broker belongs to.", NONE),
    Field("broker_id", require_id, "ID", "This broker's name in its cluster, for good.", NONE),
    Field(
        "etcd",
        _list_of(require_coordinator_address),
        "URL",
        "A member of the cluster's etcd; may be given more than once.",
        NONE,
    ),
    Field("etcd_ca", _parse_path, "FILE", "Whose signature etcd's certificate bears.", NONE),
    Field("etcd_cert", _parse_path, "FILE", "The certificate to show to etcd.", NONE),
    Field("etcd_key", _parse_path, "FILE", "The key of that certificate.", NONE),
    Field(
        "links",
        _address(require_listen_address),
        "URL",
        "Where other brokers connect.",
        "tcp://127.0.0.1:5572",
    ),
    Field(
        "advertise",
        _list_of(require_reachable_address),
        "URL",
        "Where clients are told to connect; may be given more than once.",
        "where it listens",
    ),
    Field(
        "advertise_links",
        _address(require_reachable_address),
        "URL",
        "Where other brokers are told to connect.",
        "where the links are bound",
    ),
    Field(
        "zone",
        require_id,
        "NAME",
        "What fails together; copies of a slot lie in different ones.",
        NONE,
    ),
    Field("weight", _integer(0, WEIGHT_MAX), "N", "Its share of the slots when it is new.", "100"),
    Field("tenure", _parse_tenure, "TIME", "A broker unheard for so long is replaced.", "10s"),
)
_BY_NAME = {field.name: field for field in FIELDS}


def load_config(
    flags: Mapping[str, object], environ: Mapping[str, str], *, file: Path | None = None
) -> Config:
    """The Config in force; raises ConfigError that names the value and where it stood.

    ``flags`` holds only what was given on the command line.  ``file`` falls back to the
    variable ``MSGQUEUE_CONFIG``.
    """
    return Config(**_load_values(flags, environ, file))


def load_cluster_access(
    flags: Mapping[str, object], environ: Mapping[str, str], *, file: Path | None = None
) -> Config:
    """The Config of somebody who only speaks of a cluster, with the same rules and sources."""
    values = _load_values(flags, environ, file)
    if not values.get("cluster"):
        raise ConfigError("no cluster is named: give --cluster and --etcd")
    return Config(**({"broker_id": "operator"} | values))


def _load_values(
    flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None
) -> dict[str, Any]:
    if file is None and environ.get("MSGQUEUE_CONFIG"):
        file = Path(environ["MSGQUEUE_CONFIG"])
    values: dict[str, Any] = {}
    if file is not None:
        values.update(_read_file(file))
    for field in FIELDS:
        if field.variable in environ:
            values[field.name] = _parse(field, environ[field.variable], field.variable)
    for name, value in flags.items():
        values[name] = _parse(_BY_NAME[name], value, _BY_NAME[name].flag)
    return values


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables with our prefix that set nothing: misspelt, or put there by an orchestrator.

    They are reported and not refused, because some platforms add names of their own to each
    process (a Kubernetes service called ``msgqueue`` gives ``MSGQUEUE_PORT``).
    """
    known = {field.variable for field in FIELDS} | {"MSGQUEUE_CONFIG", "MSGQUEUE_CONNECT"}
    return sorted(
        name for name in environ if name.startswith(ENVIRONMENT_PREFIX) and name not in known
    )


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    for name in content:
        if name not in _BY_NAME:
            raise ConfigError(f"{path}: no setting is called {name!r}")
    return {name: _parse(_BY_NAME[name], value, str(path)) for name, value in content.items()}


def _parse(field: Field, value: object, source: str) -> Any:
    try:
        return field.parse(value)
    except ConfigError as error:
        raise ConfigError(f"{field.name} in {source}: {error.text}") from None
