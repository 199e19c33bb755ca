"""The composition root: the one place where implementations are chosen."""

from functools import cache
from typing import TYPE_CHECKING

from infra.errors import AssayError
from infra.settings import Settings, load

if TYPE_CHECKING:
    from agents.keys import KeyStore


@cache
def settings() -> Settings:
    """The settings of this process, read once. `--data-dir` reaches here, and every child, as ASSAY_DATA_DIR."""
    return load()


def key_store(settings: Settings) -> "KeyStore":
    """The keys of this data directory's texts."""
    from agents.keys import KeyStore

    return KeyStore(settings.data_dir / "keys", settings.keys.master.get_secret_value() if settings.keys.master else None)


def bootstrap(settings: Settings) -> str:
    """The brokers to talk to: the named ones, else the managed one that runs on the data directory."""
    if settings.kafka.brokers:
        return settings.kafka.brokers
    from infra.kafka.broker import Broker

    found = Broker(settings).running()
    if found is None:
        raise AssayError(
            "no broker runs on this data directory",
            where=settings.data_dir,
            hint="`assay up` starts the whole system, `assay kafka up` the broker alone; ASSAY_KAFKA__BROKERS names another",
        )
    return found
