"""What a worker is told. The command line's settings hold the same options under `worker`."""

from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

if TYPE_CHECKING:
    from agents.keys import KeyStore


class WorkerOptions(BaseModel):
    """Options of one worker process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agents: str = Field("review,annotators,diversity", description="which agents of agents/topology.py run, by name")
    flush_seconds: float = Field(1.0, gt=0, le=60, description="how long folded state may wait for its state rows")
    batch_records: int = Field(500, ge=1, le=100_000, description="records handled between two turns of everything else, at most")
    unflushed_bytes: int = Field(256 << 20, ge=1, description="records folded and not yet durable, above which folding waits")
    unflushed_rows: int = Field(200_000, ge=1, description="state rows changed and not yet written, above which folding waits")
    standstill_seconds: float = Field(120.0, gt=0, description="how long a commit may stand still before work: then exit 70")
    quarantine_limit: int = Field(10_000, ge=0, description="records that one run may quarantine before it stops")
    quarantine_share: float = Field(0.2, gt=0, le=1, description="share of a run's records that it may quarantine")
    too_new: str = Field("stop", pattern="^(stop|quarantine)$", description="at a later version of an event than it reads")
    embedder: str = Field("minilm", pattern="^(minilm|hashing)$", description="what the analysis agent embeds with")
    health_host: str = Field("127.0.0.1", description="address on which /livez and /readyz answer")
    health_port: int = Field(0, ge=0, le=65_535, description="port of /livez and /readyz; 0 is off; more workers take the next")
    web_port: int = Field(0, ge=0, le=65_535, description="port of Faust's own web view; 0 is off")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.agents.split(",") if name.strip())

    @property
    def group(self) -> str:
        """The consumer group: one for each set of agents, since all members of a group read the same topics."""
        return "assay-" + "-".join(sorted(self.names))


class WorkerSettings(WorkerOptions):
    """The options, where Kafka is, and where Faust keeps what little it writes."""

    brokers: str = "127.0.0.1:9092"
    data_dir: Path = Path(".assay")
    #: The master key of the key store in base64; none: the store's own file.
    master: SecretStr | None = None

    @property
    def keys(self) -> "KeyStore":
        """What opens the texts of the log."""
        from agents.keys import KeyStore

        return KeyStore(self.data_dir / "keys", self.master.get_secret_value() if self.master else None)

    @classmethod
    def from_environment(cls) -> Self:
        """Read from `ASSAY_KAFKA__BROKERS` and `ASSAY_WORKER__...`, for a worker that Faust itself starts."""
        world = _World()
        return cls(
            brokers=world.kafka.brokers,
            data_dir=world.data_dir,
            master=world.keys.master,
            **world.worker.model_dump(include=set(WorkerOptions.model_fields)),
        )


class _Kafka(BaseModel):
    model_config = ConfigDict(extra="ignore")

    brokers: str = "127.0.0.1:9092"


class _Keys(BaseModel):
    model_config = ConfigDict(extra="ignore")

    master: SecretStr | None = None


class _Options(WorkerOptions):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _World(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ASSAY_", env_nested_delimiter="__", frozen=True, extra="ignore")

    data_dir: Path = Path(".assay")
    kafka: _Kafka = _Kafka()
    worker: _Options = _Options()
    keys: _Keys = _Keys()
