"""What a worker is told by its environment; the same names as in the settings of the command line."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class WorkerSettings(BaseSettings):
    """Read from `ASSAY_WORKER__...`; `faust -A agents.app worker` reads nothing else."""

    model_config = SettingsConfigDict(env_prefix="ASSAY_WORKER__", frozen=True, extra="ignore")

    brokers: str = Field("127.0.0.1:9092", description="Kafka's bootstrap servers, comma-separated.")
    agents: str = Field("review,annotators,diversity", description="Which agents of agents/topology.py run here.")
    flush_seconds: float = Field(1.0, gt=0, le=60, description="How long folded state may wait for its state rows.")
    batch_records: int = Field(4_000, ge=1, le=100_000, description="Records handed over in one batch, at most.")
    quarantine_limit: int = Field(10_000, ge=0, description="Records one run may quarantine before it stops.")
    embedder: str = Field("minilm", pattern="^(minilm|hashing)$", description="What the analysis agent embeds with.")
    web_port: int = Field(0, ge=0, le=65_535, description="Port of Faust's own web view; 0 is off.")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.agents.split(",") if name.strip())
