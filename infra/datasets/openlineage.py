"""Lineage as OpenLineage run events: the JSON that its specification documents (openlineage.io, spec 2-0-2)."""

from collections.abc import Mapping
from typing import Any

from streams.projection import Json

PRODUCER = "urn:assay"
_SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json"
_FACETS = "https://openlineage.io/spec/facets"
NAMESPACE = "assay"


def run_events(told: Json, brokers: str) -> list[Json]:
    """What `assay lineage model` or `snapshot` told: the snapshot's sealing, the training, the evaluations, oldest first."""
    snapshot = told["snapshot"]
    made = _dataset(f"snapshot/{snapshot['name']}", _version(snapshot["digest"]))
    events = [_sealed(one, snapshot, brokers) for one in told["sealed"]]
    if "training" in told:
        training, model = told["training"], _dataset(f"model/{told['model']}", _version(told["training"]["checkpoint_digest"]))
        events.append(_run(training, "train", [made], [model | _rows(training["train_rows"])]))
        events += [_run(one, "evaluate", [made, model], []) for one in told["evaluations"]]
    return events


def _sealed(event: Json, snapshot: Json, brokers: str) -> Json:
    host = brokers.split(",", maxsplit=1)[0]
    topics = sorted({place.rpartition("/")[0] for place in snapshot["offsets"]})
    inputs = [{"namespace": f"kafka://{host}", "name": topic, "facets": _version(_offsets(snapshot, topic))} for topic in topics]
    made = _dataset(f"snapshot/{event['name']}", _version(event["digest"]))
    return _run(event, "snapshot create", inputs, [made | _rows(event["rows"])])


def _offsets(snapshot: Json, topic: str) -> str:
    """The log up to these offsets is a version of the topic."""
    mine = {place.rpartition("/")[2]: offset for place, offset in snapshot["offsets"].items() if place.startswith(f"{topic}/")}
    return ",".join(f"{partition}={offset}" for partition, offset in sorted(mine.items(), key=lambda one: int(one[0])))


def _run(event: Json, job: str, inputs: list[Json], outputs: list[Json]) -> Json:
    return {
        "eventType": "COMPLETE",
        "eventTime": event["time"],
        "run": {"runId": event["id"]},
        "job": {"namespace": NAMESPACE, "name": job},
        "inputs": inputs,
        "outputs": outputs,
        "producer": PRODUCER,
        "schemaURL": f"{_SPEC}#/$defs/RunEvent",
    }


def _dataset(name: str, facets: Json) -> Json:
    return {"namespace": NAMESPACE, "name": name, "facets": facets}


def _version(version: str) -> Json:
    facet = f"{_FACETS}/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet"
    return {"version": _facet(facet, {"datasetVersion": version})}


def _rows(count: int) -> Json:
    facet = f"{_FACETS}/1-0-2/OutputStatisticsOutputDatasetFacet.json#/$defs/OutputStatisticsOutputDatasetFacet"
    return {"outputFacets": {"outputStatistics": _facet(facet, {"rowCount": count})}}


def _facet(schema: str, said: Mapping[str, Any]) -> Json:
    return {"_producer": PRODUCER, "_schemaURL": schema, **said}
