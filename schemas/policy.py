"""The thresholds that ops may tune, each declared once: default, unit, range, help, minimum count."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, JsonValue, model_validator

from schemas.words import Frozen


@dataclass(frozen=True)
class Threshold:
    """One tunable number as documentation, command line and tests see it."""

    name: str
    default: int
    unit: str
    minimum: int
    maximum: int
    help: str
    minimum_count: str | None


def _tunable(
    default: int, unit: str, minimum: int, maximum: int, text: str, minimum_count: str | None = None
) -> Any:  # pydantic's Field is typed as the field's own type
    extra: dict[str, JsonValue] = {"unit": unit, "minimum_count": minimum_count}
    return Field(default=default, ge=minimum, le=maximum, description=text, json_schema_extra=extra)


class Policy(Frozen):
    """A versioned set of thresholds for one project. All integers: a fold compares, it never rounds."""

    overlap_min: Annotated[int, _tunable(2, "voters", 2, 100, "Live votes before any verdict.")] = 2
    overlap_max: Annotated[int, _tunable(5, "voters", 2, 1000, "Live votes after which an unsure subject goes to an editor.")] = 5
    approve_confidence_permille: Annotated[
        int, _tunable(900, "permille", 501, 999, "Posterior probability of good from which a text is approved.", "overlap_min")
    ] = 900
    reject_confidence_permille: Annotated[
        int, _tunable(900, "permille", 501, 999, "Posterior probability of bad from which a text is rejected.", "overlap_min")
    ] = 900
    voter_accuracy_permille: Annotated[
        int, _tunable(800, "permille", 501, 999, "Accuracy assumed of every voter while no skill is estimated.")
    ] = 800
    late_votes_reopen: Annotated[
        int, _tunable(0, "switch", 0, 1, "1: votes after a verdict may turn it over; 0: they only count for their voter.")
    ] = 0
    rejection_limit_permille: Annotated[
        int,
        _tunable(350, "permille", 1, 999, "Rejection rate whose lower Wilson bound flags a writer.", "rejection_min_decided"),
    ] = 350
    rejection_min_decided: Annotated[int, _tunable(5, "decisions", 3, 10_000, "Decisions before a writer can be flagged.")] = 5
    disagreement_limit_permille: Annotated[
        int,
        _tunable(400, "permille", 1, 999, "Disagreement rate whose lower Wilson bound flags a voter.", "disagreement_min_scored"),
    ] = 400
    disagreement_min_scored: Annotated[int, _tunable(10, "votes", 5, 10_000, "Scored votes before a voter can be flagged.")] = 10

    @model_validator(mode="after")
    def _overlap_is_a_range(self) -> Self:
        if self.overlap_max < self.overlap_min:
            raise ValueError(f"overlap_max ({self.overlap_max}) is below overlap_min ({self.overlap_min})")
        return self


def _thresholds() -> tuple[Threshold, ...]:
    properties: dict[str, dict[str, Any]] = Policy.model_json_schema()["properties"]
    return tuple(
        Threshold(name, p["default"], p["unit"], p["minimum"], p["maximum"], p["description"], p["minimum_count"])
        for name, p in properties.items()
    )


THRESHOLDS = _thresholds()
