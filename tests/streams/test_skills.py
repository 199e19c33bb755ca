"""The estimator of skills: against crowd-kit's numbers, Toloka's worked examples, and what must hold of any crowd."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streams import blend, calibration
from streams.calibration import DEFAULT, calibration_error, probabilities
from streams.confusion import Counts, Floats, GoldenAnswer, Pool, Voter, counts_of, pooled
from streams.golden import joined, scores, without_own
from streams.models import SINGLE, Weights, bayesian, one_coin, toloka, weighted
from streams.skills import Estimate, Subject, changed, control_records, estimate, voter_of
from streams.tallies import Tally
from streams.weighing import NO_POLICY, rules_of, take_skills, temperature_permille

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "oracles" / "crowdkit.json").read_text())
VOTES = np.array(RECORDED["votes"]).T
LABELS = ("a", "b", "c")


def counts_from(posterior: Floats) -> Counts:
    """Every voter's counts, each vote credited by what is likely of its task."""
    tasks, voters, said = VOTES
    judged = np.zeros((voters.max() + 1, 3, 3))
    for right in range(3):
        np.add.at(judged, (voters, right, said), posterior[tasks, right])
    return Counts(judged, np.zeros_like(judged))


def posterior_of(weights: Weights, prior: Floats) -> Floats:
    tasks, voters, said = VOTES
    together = np.tile(np.log(prior), (tasks.max() + 1, 1))
    np.add.at(together, tasks, weights.matrices[voters, :, said])
    return probabilities(together, np.ones(len(together)))


@pytest.mark.parametrize(("name", "model"), [("dawid_skene", bayesian), ("one_coin", weighted)])
def test_without_shrinkage_the_matrices_are_those_of_expectation_maximisation(
    name: str, model: Callable[[Counts, Pool, float], Weights]
) -> None:
    """Rounds of credits -> matrices -> credits are crowd-kit's DawidSkene and OneCoinDawidSkene, to 1e-9."""
    posterior = np.array(RECORDED["majority"])
    for _ in range(RECORDED["rounds"]):
        counts = counts_from(posterior)
        posterior = posterior_of(model(counts, pooled(counts.judged), 0.0), posterior.mean(axis=0))
    np.testing.assert_allclose(posterior, np.array(RECORDED[name]), atol=1e-9)


def test_against_hard_credits_the_accuracies_are_wawas() -> None:
    counts = counts_from(np.eye(3)[RECORDED["majority_labels"]])
    accuracy = np.exp(weighted(counts, pooled(counts.judged), 0.0).matrices[:, 0, 0])
    np.testing.assert_allclose(accuracy, RECORDED["wawa_skills"], atol=1e-12)


@pytest.mark.parametrize(
    ("skills", "votes", "label", "confidence"),
    [((0.7, 0.9), (0, 0), 0, 97.7), ((0.7, 0.9), (0, 1), 1, 76.1), ((0.7, 0.9, 0.8), (0, 1, 1), 1, 96.2)],
)
def test_tolokas_worked_examples(skills: tuple[float, ...], votes: tuple[int, ...], label: int, confidence: float) -> None:
    """Three labels: OK by .7 and .9; OK by .7 and BAD by .9; then BAD by .8 (Toloka's page on dynamic overlap)."""
    matrices = one_coin(np.array(skills), 3)
    together = sum(matrices[voter, :, said] for voter, said in enumerate(votes))
    shares = probabilities(np.array([together]), np.ones(1))[0]
    assert int(shares.argmax()) == label
    assert round(float(shares[label]) * 100, 1) == confidence


def test_tolokas_accuracy_is_smoothed_golden_accuracy() -> None:
    golden = np.zeros((2, 3, 3))
    golden[0, 0, 0], golden[0, 1, 2] = 8, 1
    counts = Counts(np.full((2, 3, 3), 50.0), golden)
    right = np.exp(toloka(counts, pooled(counts.judged)).matrices[:, 0, 0])
    np.testing.assert_allclose(right, [(0.5 + 8) / (1 + 9), 0.5])


# --- golden tasks ------------------------------------------------------------------------------


def crowd(labels: int, tasks: int, seed: int, accuracy: list[float], golden: int, spam: int | None = None) -> list[Voter]:
    """Voters who all judge all tasks; the first are golden, of the others the right label is known to nine tenths."""
    chance = random.Random(seed)
    credits = np.zeros((len(accuracy), labels, labels), dtype=np.int64)
    known = np.zeros_like(credits)
    answers: list[list[GoldenAnswer]] = [[] for _ in accuracy]
    for task in range(tasks):
        right = chance.randrange(labels)
        for voter, often in enumerate(accuracy):
            said = right if chance.random() < often else (right + chance.randrange(1, labels)) % labels
            said = 0 if voter == spam else said
            if task < golden:
                known[voter, right, said] += 1
                answers[voter].append(GoldenAnswer(f"t{task}", right, said))
            else:
                credits[voter, :, said] += 100 // (labels - 1)
                credits[voter, right, said] += 900 - 100 // (labels - 1)
    return [
        Voter(f"v{number}", credits[number].tolist(), known[number].tolist(), tuple(answers[number]))
        for number in range(len(accuracy))
    ]


def test_a_golden_task_is_judged_without_its_own_answers() -> None:
    """Its score is what a model says that never saw the task."""
    voters = crowd(3, 40, 5, [0.6, 0.7, 0.8], golden=12)
    counts, tasks = counts_of(voters, 3), joined(voters, 100)
    pool = pooled(counts.judged)
    for model in SINGLE.values():
        told = scores(model, counts, pool, tasks)
        for task in (0, 7):
            mine = tasks.answers.task == task
            one = without_own(counts, type(tasks.answers)(*(part[mine] for part in tasks.answers)))
            prior, matrices = model(one, pool)
            said = tasks.answers.said[mine]
            np.testing.assert_allclose(told[task], prior + sum(matrices[at, :, said[at]] for at in range(len(said))))


def test_a_task_that_got_another_right_answer_counts_once() -> None:
    voters = [
        Voter(name, [[0, 0], [0, 0]], [[1, 0], [0, 0]], (GoldenAnswer("t", truth, 0),))
        for name, truth in zip("abc", (0, 1, 0), strict=True)
    ]
    tasks = joined(voters, 10)
    assert tasks.truth.tolist() == [0]
    assert tasks.answers.voter.tolist() == [0, 2]
    assert joined([], 10).answers.task.size == 0


# --- what is told ------------------------------------------------------------------------------


def by_model(estimates: list[Estimate]) -> dict[str, Estimate]:
    return {one.model: one for one in estimates}


def test_without_golden_answers_the_bayesian_model_is_trusted() -> None:
    told = by_model(estimate(LABELS, crowd(3, 60, 1, [0.9, 0.6], golden=0)))
    assert [model for model, one in told.items() if one.champion] == ["bayesian"]
    assert told["blend"].weights == told["bayesian"].weights
    assert (told["bayesian"].temperature_permille, told["bayesian"].temperature_per_vote_permille) == (1_000, 300)
    assert told["bayesian"].log_loss is None


def test_with_golden_answers_the_blend_is_no_worse_than_any_of_its_models() -> None:
    voters = crowd(3, 300, 2, [0.9, 0.8, 0.7, 0.6, 0.5], golden=80, spam=4)
    told = by_model(estimate(LABELS, voters))
    assert [model for model, one in told.items() if one.champion] == ["blend"]
    losses = {model: one.log_loss for model, one in told.items()}
    assert all(loss is not None and losses["blend"] <= loss + 30 for loss in losses.values()), losses
    assert told["blend"].golden_answers == 80


def test_a_new_champion_is_told_before_the_old_one_steps_back() -> None:
    """Told record by record, there is a champion after each: a vote between two of them is not weighed by the default."""
    shared: dict[str, Any] = {}
    for version, golden in ((1, 0), (2, 60)):
        for offset, one in enumerate(estimate(("good", "bad"), crowd(2, 90, 3, [0.9, 0.8, 0.55], golden))):
            (record,) = control_records(Subject("p", "review"), version, one, one.weights)
            take_skills(shared, offset, record)
            rules = rules_of(NO_POLICY, ("good", "bad"), shared, "p", "review")
            assert rules.model == {1: "bayesian", 2: "blend"}[version]
            assert rules.skills_version == version


def test_the_temperature_grows_with_the_votes() -> None:
    shared: dict[str, Any] = {}
    (record,) = control_records(Subject("p", "review"), 1, (one := estimate(("good", "bad"), [])[0]), one.weights)
    take_skills(shared, 0, record)
    rules = rules_of(NO_POLICY, ("good", "bad"), shared, "p", "review")
    assert [temperature_permille(rules, votes) for votes in (0, 1, 2, 6)] == [1_000, 1_000, 1_300, 2_500]


def test_the_order_of_voters_does_not_matter() -> None:
    voters = crowd(2, 90, 3, [0.9, 0.8, 0.7, 0.55], golden=60)
    assert estimate(("x", "y"), voters) == estimate(("x", "y"), voters[::-1])


def test_an_unknown_voter_has_the_default() -> None:
    voters = [*crowd(3, 60, 4, [0.9, 0.6], golden=0), Voter("new", [[0] * 3] * 3, [[0] * 3] * 3)]
    for one in estimate(LABELS, voters):
        assert one.weights["new"] == one.default


def test_better_voters_weigh_more() -> None:
    for model, one in by_model(estimate(LABELS, crowd(3, 400, 6, [0.95, 0.75, 0.5], golden=100))).items():
        gap = [one.weights[name][0] - one.weights[name][3] for name in ("v0", "v1", "v2")]
        assert gap[0] == gap[1] == gap[2] if model == "majority" else gap[0] > gap[1] > gap[2], model


def test_only_what_changed_is_told_again() -> None:
    (one,) = [one for one in estimate(LABELS, crowd(3, 60, 1, [0.9, 0.6], golden=0)) if one.champion]
    assert changed(one, {}).keys() == {"v0", "v1"}
    assert changed(one, one.weights) == {}
    nearly = {name: tuple(weight + 50 for weight in weights) for name, weights in one.weights.items()}
    assert changed(one, nearly) == {}
    assert changed(one, nearly | {"v1": tuple(weight + 51 for weight in one.weights["v1"])}).keys() == {"v1"}


def test_long_versions_are_told_in_parts() -> None:
    one = estimate(LABELS, crowd(3, 10, 1, [0.9], golden=0))[0]
    many = {f"v{number:05}": one.default for number in range(5_000)}
    told = control_records(Subject("p", "review"), 7, one, many)
    assert [part.more for part in told] == [True, True, False]
    assert {name for part in told for name in part.weights_milli_nats} == many.keys()
    assert control_records(Subject("p", "review"), 7, one, {})[0].weights_milli_nats == {}


def test_a_tally_is_read_under_the_labels_of_the_policy() -> None:
    tally = Tally()
    tally.confusion = {"good": {"good": 900, "old": 50}, "bad": {"good": 100}}
    tally.golden_confusion = {"bad": {"bad": 2}}
    tally.golden = [("s", 1, 0, "bad", "bad", None, 0, 0, 0), ("t", 1, 0, "old", "bad", None, 0, 0, 0)]
    voter = voter_of("anna", tally, ("good", "bad"))
    assert voter == Voter("anna", [[900, 0], [100, 0]], [[0, 0], [0, 2]], (GoldenAnswer("s", 1, 1),))


# --- calibration -------------------------------------------------------------------------------


def test_the_temperature_that_made_the_answers_is_found_again() -> None:
    """Answers drawn from scores at temperature 1 + .5 (n - 1): the fit comes within .1 of that."""
    chance = np.random.default_rng(3)
    votes = chance.integers(1, 9, 4_000)
    told = chance.normal(0, 1, (4_000, 3)) * votes[:, None]
    shares = probabilities(told, 1 + 0.5 * (votes - 1))
    truth = (shares.cumsum(axis=1) > chance.random((4_000, 1))).argmax(axis=1)
    assert abs(calibration.fitted(told, votes, truth).per_vote - 0.5) <= 0.1
    assert calibration.fitted(told[:19], votes[:19], truth[:19]) == DEFAULT


def test_few_errors_among_golden_answers_do_not_make_votes_certain() -> None:
    """A hundred tasks of twenty votes, of which none, one or six go against them: the growth follows, and stays with the default
    where no error speaks."""
    sure, votes = np.tile([0.0, 44.0], (100, 1)), np.full(100, 20)
    truths = [(np.arange(100) >= wrong).astype(np.int64) for wrong in (0, 1, 6)]
    growths = [calibration.fitted(sure, votes, truth).per_vote for truth in truths]
    assert 0.15 < growths[0] < growths[1] < growths[2]
    right = 1 / (1 + np.exp(-44 / (1 + 19 * growths[2])))
    assert right == pytest.approx(0.94, abs=0.02)


def test_where_all_err_together_twenty_votes_say_hardly_more_than_one() -> None:
    sure = np.tile([0.0, 90.0], (40, 1))
    truth = (np.arange(40) >= 14).astype(np.int64)
    growth = calibration.fitted(sure, np.full(40, 20), truth).per_vote
    assert 1 / (1 + np.exp(-90 / (1 + 19 * growth))) < 0.8


def test_models_that_agree_say_in_a_blend_what_each_says() -> None:
    """However many golden answers they get right: how sure a blend is its temperature says alone."""
    truth = np.arange(120) % 2
    one = np.where(np.eye(2)[truth] > 0, 1.5, 0.0)
    shares = blend.fitted(np.stack([one, one, one]), truth, np.array([0.0, 1.0, 0.0]))
    assert np.tensordot(shares, np.stack([one, one, one]), axes=1) == pytest.approx(one)


def test_a_blend_in_which_nobody_is_believed_is_the_trusted_model() -> None:
    truth = np.arange(120) % 2
    wrong = np.where(np.eye(2)[truth] > 0, 0.0, 9.0)
    trusted = np.array([0.0, 1.0])
    assert blend.fitted(np.stack([wrong, wrong]), truth, trusted) == pytest.approx(trusted)


def test_calibration_error_by_hand() -> None:
    """Bins .6 (two, one right) and .9 (two, both right): (|.65 - .5| * 2 + |.95 - 1| * 2) / 4."""
    error = calibration_error(np.array([0.65, 0.65, 0.95, 0.95]), np.array([1.0, 0.0, 1.0, 1.0]))
    assert error == pytest.approx(0.1)
    assert calibration_error(np.zeros(0), np.zeros(0)) == 0


def test_a_blend_leaves_out_what_does_not_help() -> None:
    """Of a model that knows, one that knows nothing, and one that says the contrary, only the first is believed."""
    chance = np.random.default_rng(4)
    truth = chance.integers(0, 2, 200)
    knows = np.where(np.eye(2)[truth] > 0, 1.5, 0.0) + chance.normal(0, 1, (200, 2))
    together = np.stack([knows, np.zeros((200, 2)), -knows])
    shares = blend.fitted(together, truth, np.array([0.0, 1.0, 0.0]))
    assert shares[0] > 0.5
    assert shares[2] == 0


def test_counts_below_nothing_are_nothing() -> None:
    """Forged judgements that were only ever taken back stop no estimate."""
    forged = Tally()
    forged.confusion, forged.golden_confusion = {"a": {"a": -500_000}}, {"b": {"b": -3}}
    told = estimate(LABELS, [voter_of("forged", forged, LABELS)])
    assert [one.weights["forged"] for one in told] == [one.default for one in told]
