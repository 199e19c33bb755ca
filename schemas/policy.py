"""The thresholds that ops may tune, each declared once: default, unit, range, help, minimum count."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, JsonValue, model_validator

from schemas.words import Action, Frozen, Label, Model, Name

#: What decides: one model of voters, or whichever of them the golden answers speak for.
Aggregation = Literal[Model, "champion"]
Order = Literal["uncertain", "oldest"]


@dataclass(frozen=True)
class Threshold:
    """One tunable value as documentation, command line and tests see it: a number, a choice, or a list of names."""

    name: str
    default: int | str | tuple[str, ...]
    unit: str
    help: str
    minimum_count: str | None
    #: Of a number, and of how many names a list may have.
    minimum: int
    maximum: int
    choices: tuple[str, ...]

    @property
    def range(self) -> str:
        return " | ".join(self.choices) or f"{self.minimum}..{self.maximum}"


def _number(
    default: int, unit: str, minimum: int, maximum: int, text: str, minimum_count: str | None = None
) -> Any:  # pydantic's Field is typed as the field's own type
    extra: dict[str, JsonValue] = {"unit": unit, "minimum_count": minimum_count}
    return Field(default=default, ge=minimum, le=maximum, description=text, json_schema_extra=extra)


def _choice(default: str, text: str) -> Any:
    return Field(default=default, description=text, json_schema_extra={"unit": "choice", "minimum_count": None})


def _names(default: tuple[str, ...], unit: str, minimum: int, maximum: int, text: str) -> Any:
    extra: dict[str, JsonValue] = {"unit": unit, "minimum_count": None}
    return Field(default=default, min_length=minimum, max_length=maximum, description=text, json_schema_extra=extra)


class Policy(Frozen):
    """A versioned set of thresholds for one project. Integers and names: a fold compares, it never rounds."""

    # What votes say, and how they are summed.
    labels: Annotated[tuple[Label, ...], _names(("good", "bad"), "labels", 2, 32, "What a vote may say.")] = ("good", "bad")
    approving: Annotated[
        tuple[Label, ...], _names(("good",), "labels", 1, 32, "The labels that approve a text; the others reject it.")
    ] = ("good",)
    aggregation: Annotated[
        Aggregation, _choice("champion", "The model that weighs votes; champion: the one that golden answers speak for.")
    ] = "champion"
    voter_accuracy_permille: Annotated[
        int, _number(800, "permille", 501, 999, "Accuracy assumed of every voter while no skill is estimated.")
    ] = 800

    # When votes decide.
    overlap_min: Annotated[int, _number(2, "voters", 2, 100, "Live votes before any verdict.")] = 2
    overlap_max: Annotated[int, _number(5, "voters", 2, 1000, "Live votes after which an unsure subject goes to an editor.")] = 5
    approve_confidence_permille: Annotated[
        int,
        _number(900, "permille", 501, 999, "Calibrated probability of an approving label from which it decides.", "overlap_min"),
    ] = 900
    reject_confidence_permille: Annotated[
        int, _number(900, "permille", 501, 999, "Calibrated probability of another label from which it decides.", "overlap_min")
    ] = 900
    late_votes_reopen: Annotated[
        int, _number(0, "switch", 0, 1, "1: votes after a verdict may turn it over; 0: they only count for their voter.")
    ] = 0
    deadline_hours: Annotated[
        int,
        _number(0, "hours", 0, 100_000, "An undecided text goes to an editor this long after its revision came in; 0: never."),
    ] = 0

    # What is checked although it is known or decided.
    control_share_permille: Annotated[
        int, _number(100, "permille", 0, 500, "Share of control tasks in what voters are handed.")
    ] = 100
    recheck_share_permille: Annotated[
        int, _number(0, "permille", 0, 1000, "Share of approved texts for which one more vote is asked.")
    ] = 0

    # Who is held back.
    rejection_limit_permille: Annotated[
        int,
        _number(350, "permille", 1, 999, "Rejection rate whose lower Wilson bound flags a writer.", "rejection_min_decided"),
    ] = 350
    rejection_min_decided: Annotated[int, _number(5, "decisions", 3, 10_000, "Decisions before a writer can be flagged.")] = 5
    rejection_action: Annotated[Action, _choice("notify", "What a writer's rejection rate leads to.")] = "notify"
    disagreement_limit_permille: Annotated[
        int,
        _number(400, "permille", 1, 999, "Disagreement rate whose lower Wilson bound flags a voter.", "disagreement_min_scored"),
    ] = 400
    disagreement_min_scored: Annotated[int, _number(10, "votes", 5, 10_000, "Scored votes before a voter can be flagged.")] = 10
    disagreement_action: Annotated[Action, _choice("deprioritise", "What a voter's disagreement leads to.")] = "deprioritise"
    golden_limit_permille: Annotated[
        int,
        _number(300, "permille", 1, 999, "Error rate on golden tasks whose lower Wilson bound flags a voter.", "golden_min_seen"),
    ] = 300
    golden_min_seen: Annotated[int, _number(10, "answers", 3, 10_000, "Golden answers before a voter can be flagged.")] = 10
    golden_action: Annotated[Action, _choice("restrict", "What wrong answers on golden tasks lead to.")] = "restrict"
    hurry_share_permille: Annotated[
        int,
        _number(
            200, "permille", 1, 999, "Share of too fast votes among the last that flags, beside another flag.", "recent_votes"
        ),
    ] = 200
    hurry_floor_milliseconds: Annotated[
        int,
        _number(2_000, "milliseconds", 0, 3_600_000, "A vote is too fast under this, or under a fifth of the project's median."),
    ] = 2_000
    hurry_action: Annotated[Action, _choice("deprioritise", "What too fast votes lead to.")] = "deprioritise"
    constant_share_permille: Annotated[
        int, _number(950, "permille", 501, 1000, "Share of one label among recent votes that flags.", "recent_votes")
    ] = 950
    constant_action: Annotated[Action, _choice("notify", "What one and the same answer leads to.")] = "notify"
    copying_z_milli: Annotated[
        int, _number(6_000, "thousandths", 1_000, 100_000, "Agreement of two voters above chance that flags, in standard errors.")
    ] = 6_000
    copying_action: Annotated[Action, _choice("notify", "What voting alike leads to.")] = "notify"
    recent_votes: Annotated[int, _number(20, "votes", 5, 100, "How many of the last votes the recent rules look at.")] = 20
    clear_margin_permille: Annotated[
        int, _number(50, "permille", 0, 500, "How far under its limit a rate's lower bound must fall before a flag goes.")
    ] = 50
    flag_hours: Annotated[int, _number(360, "hours", 0, 100_000, "A flag goes by itself after this long; 0: never.")] = 360

    # Who is handed what.
    queue_order: Annotated[Order, _choice("uncertain", "What is handed out first.")] = "uncertain"
    lease_seconds: Annotated[int, _number(900, "seconds", 5, 604_800, "How long somebody may work on what was handed out.")] = 900

    # Comparisons.
    preference_criteria: Annotated[
        tuple[Name, ...],
        _names(
            ("harmless", "truthful", "helpful"),
            "criteria",
            0,
            16,
            "Criteria in the order in which they settle an unclear choice.",
        ),
    ] = ("harmless", "truthful", "helpful")
    preference_overlap_min: Annotated[int, _number(2, "voters", 2, 100, "Choices before a comparison is decided.")] = 2
    preference_overlap_max: Annotated[int, _number(5, "voters", 2, 1000, "Choices after which an unclear comparison ends.")] = 5
    preference_confidence_permille: Annotated[
        int, _number(800, "permille", 334, 999, "Probability of a choice from which it decides.", "preference_overlap_min")
    ] = 800

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for what in ("overlap", "preference_overlap"):
            low, high = getattr(self, f"{what}_min"), getattr(self, f"{what}_max")
            if high < low:
                raise ValueError(f"{what}_max ({high}) is below {what}_min ({low})")
        return self

    @model_validator(mode="after")
    def _label_sets(self) -> Self:
        for what, names in (("labels", self.labels), ("approving", self.approving), ("criteria", self.preference_criteria)):
            if len(set(names)) < len(names):
                raise ValueError(f"{what} names one twice: {', '.join(names)}")
        if unknown := [label for label in self.approving if label not in self.labels]:
            raise ValueError(f"approving has {', '.join(unknown)}, which labels has not")
        return self


def _thresholds() -> tuple[Threshold, ...]:
    properties: dict[str, dict[str, Any]] = Policy.model_json_schema()["properties"]
    return tuple(_threshold(name, said) for name, said in properties.items())


def _threshold(name: str, said: dict[str, Any]) -> Threshold:
    default = Policy.model_fields[name].default
    low, high = (said.get(bound, said.get(count, 0)) for bound, count in (("minimum", "minItems"), ("maximum", "maxItems")))
    return Threshold(
        name, default, said["unit"], said["description"], said["minimum_count"], low, high, tuple(said.get("enum", ()))
    )


THRESHOLDS = _thresholds()
THRESHOLD_BY_NAME = {threshold.name: threshold for threshold in THRESHOLDS}
MODELS: tuple[Model, ...] = get_args(Model)
