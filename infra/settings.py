"""Every setting of Assay: environment over `assay.toml` over default.

`ASSAY_KAFKA__BROKERS=...` in the environment and `[kafka] brokers = "..."` in the file say the same.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from agents.settings import WorkerOptions
from infra.errors import AssayError

PREFIX = "ASSAY_"
CONFIG = "ASSAY_CONFIG"
Source = Literal["environment", "file", "default"]
Place = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
Port = Annotated[int, Field(ge=0, le=65535)]


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Kafka(Group):
    brokers: str | None = Field(None, description="host:port,... of a Kafka that runs already; Assay then starts none")
    home: Place | None = Field(None, description="an unpacked Apache Kafka whose libs are used instead of Maven's")
    java: Place | None = Field(None, description="the java program to run the broker with")
    port: Port = Field(0, description="port of the managed broker; 0 picks a free one and remembers it")
    heap_mb: int = Field(512, ge=128, le=65536, description="heap of the managed broker in MiB")
    partitions: int = Field(4, ge=1, le=1024, description="partitions of every topic; fixed once the topics exist")
    rebalance_delay_ms: int = Field(0, ge=0, le=60_000, description="how long the managed broker waits for a new group's members")
    replication: int = Field(1, ge=1, le=9, description="copies of every topic; more than one needs more brokers")


class ClickHouse(Group):
    url: str | None = Field(None, description="http(s)://user:password@host:port/database of a server; none: embedded")
    port: Port = Field(8123, description="port of the gateway to the embedded engine; 0 picks one and remembers it")
    token: SecretStr | None = Field(None, description="whoever sends it to the gateway may also write")
    max_memory_bytes: int = Field(1 << 30, ge=1 << 26, description="most memory that one query may use")


class Http(Group):
    port: Port = Field(0, description="port of Assay's HTTP interface; 0 picks a free one and remembers it")
    operator_token: SecretStr | None = Field(
        None, description="what is for operators is answered to whoever sends it; set it where others reach the port"
    )


class Queue(Group):
    patience_seconds: int = Field(
        600, ge=0, le=604_800, description="what waited for so long also goes to those who are served last"
    )
    slice_targets: str = Field(
        "", description="approved texts wanted by slice, as en/poetry/haiku=500,...; the emptiest come first"
    )


class Worker(WorkerOptions):
    processes: int = Field(1, ge=1, le=256, description="worker processes that `assay up` starts")


class Skills(Group):
    seconds: float = Field(10.0, gt=0, le=86_400, description="how often voters' skills are estimated, where something changed")


class Audit(Group):
    enabled: bool = Field(False, description="whether `assay up` also runs `assay audit`")
    seconds: float = Field(60.0, gt=0, le=86_400, description="between two looks of the audit")
    port: Port = Field(0, description="port of the audit's metrics; 0 picks a free one and remembers it")


class Keys(Group):
    master: SecretStr | None = Field(
        None, description="32 random bytes in base64 that wrap the keys of texts; none: keys/master.key in the data directory"
    )


class Models(Group):
    smollm2_dir: Place | None = Field(None, description="folder with the GGUF file of SmolLM2; none: the one of set-up")


class Settings(BaseModel):
    """All settings, checked and frozen. Built by hand it reads nothing; `load` reads the world."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Place = Field(Path(".assay"), description="folder of all data, logs, pids and ports", validate_default=True)
    kafka: Kafka = Field(Kafka(), description="the log")
    clickhouse: ClickHouse = Field(ClickHouse(), description="the analytics store")
    http: Http = Field(Http(), description="the HTTP interface")
    queue: Queue = Field(Queue(), description="who is handed what")
    worker: Worker = Field(Worker(), description="the agents")
    skills: Skills = Field(Skills(), description="the estimator of voters' skills")
    audit: Audit = Field(Audit(), description="live against replay, in the background")
    keys: Keys = Field(Keys(), description="the keys of texts")
    models: Models = Field(Models(), description="the models on disk")


class _World(Settings, BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", env_ignore_empty=True, frozen=True, extra="forbid"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


def load() -> Settings:
    """The settings of this process. Raises AssayError that names the setting and where it came from."""
    from_file = _file()
    try:
        return Settings(**{name: value for name, value in _World(**from_file)})  # `keys` is a field
    except ValidationError as error:
        raise _refused(error) from error
    except SettingsError as error:
        raise AssayError("a setting cannot be read", where="environment", got=error, hint=_HINT) from error


@dataclass(frozen=True)
class Setting:
    name: str
    variable: str
    value: str
    source: Source
    help: str


def listing(settings: Settings) -> tuple[Setting, ...]:
    """Every setting with its value (secrets masked) and where that came from."""
    sources: tuple[tuple[Source, Mapping[str, Any]], ...] = (
        ("environment", EnvSettingsSource(_World)()),
        ("file", _file()),
    )
    return tuple(_setting(path, value, help, sources) for path, value, help in _leaves(settings))


def environment(settings: Settings) -> dict[str, str]:
    """Variables with which a child process has the very same settings, whatever file it finds."""
    values = {_variable(path): _plain(value) for path, value, _ in _leaves(settings)}
    return {name: value for name, value in values.items() if value}


def _setting(path: tuple[str, ...], value: object, help: str, sources: tuple[tuple[Source, Mapping[str, Any]], ...]) -> Setting:
    found = [name for name, values in sources if _holds(values, path)]
    return Setting(".".join(path), _variable(path), _masked(value), found[0] if found else "default", help)


def _variable(path: tuple[str, ...]) -> str:
    return PREFIX + "__".join(path).upper()


def _plain(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return "" if value is None else str(value)


def _leaves(model: BaseModel, at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object, str]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, (*at, name))
        else:
            yield (*at, name), value, field.description or ""


def _holds(values: object, path: tuple[str, ...]) -> bool:
    for name in path:
        if not isinstance(values, Mapping) or name not in values:
            return False
        values = values[name]
    return True


def _masked(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and "://" in value:
        return _without_password(value)
    return str(value)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if not parts.password:
        return url
    user = f"{parts.username}:***@" if parts.username else "***@"
    return urlunsplit(parts._replace(netloc=user + parts.netloc.rpartition("@")[2]))


_HINT = "`assay config show` lists every setting with its default"


def _path() -> Path:
    return Path(os.environ.get(CONFIG) or "assay.toml").expanduser()


def _file() -> dict[str, Any]:
    path = _path()
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        if CONFIG in os.environ:
            raise AssayError("no such settings file", where=path, hint=f"set {CONFIG} right or unset it") from error
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AssayError("the settings file is not TOML", where=path, got=error, hint=_HINT) from error


def _refused(error: ValidationError) -> AssayError:
    first = error.errors()[0]
    path = tuple(str(part) for part in first["loc"])
    in_environment = _holds(EnvSettingsSource(_World)(), path)
    place = _variable(path) if in_environment else f"{_path()}: {'.'.join(path)}"
    got = "" if first["type"] == "missing" else repr(first["input"])[:80]
    return AssayError(f"a setting is refused: {first['msg']}", where=place, got=got or None, hint=_HINT)
