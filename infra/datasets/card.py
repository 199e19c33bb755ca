"""The README of a snapshot: YAML that `load_dataset` reads, then the same for people, with what is known of its quality."""

from collections.abc import Iterator, Mapping

import yaml

from schemas.manifest import LAYOUTS, LEFT_OUT, Layout, Manifest, Quality
from streams.rates import Rate, rate_of


def card(manifest: Manifest) -> str:
    layouts = LAYOUTS[manifest.kind]
    first = manifest.layout or layouts[0]
    configs = [_config(manifest, layout, default=layout == first) for layout in layouts]
    licence = {"license": one.lower()} if (one := _only_licence(manifest)) else {}
    header = yaml.safe_dump({"pretty_name": manifest.name, **licence, "configs": configs}, sort_keys=False)
    return f"---\n{header}---\n\n" + "\n".join(_lines(manifest)) + "\n"


def _config(manifest: Manifest, layout: Layout, default: bool) -> dict[str, object]:
    # `load_dataset` fails at a file without rows.
    files = [{"split": file.split, "path": file.path} for file in manifest.files if file.layout == layout and file.rows]
    return {"config_name": layout, **({"default": True} if default else {}), "data_files": files}


def _only_licence(manifest: Manifest) -> str | None:
    """The one licence of all rows, if it is one and known for each project."""
    named = {manifest.licences.get(project) for project in manifest.policy_versions}
    return named.pop() if len(named) == 1 else None


_WHAT = {
    "completion": "approved submissions of kind completion",
    "prompt": "approved submissions of kind prompt",
    "preference": "comparisons decided between two completions",
}


def _lines(manifest: Manifest) -> Iterator[str]:
    yield from (f"# {manifest.name}", "")
    yield f"{manifest.rows} {_WHAT[manifest.kind]}, each approved by review."
    yield from (f"Content digest `{manifest.content_digest}`.", "", "```python", "from datasets import load_dataset", "")
    yield from (f'load_dataset("path/to/this/folder", "{layout}")' for layout in LAYOUTS[manifest.kind])
    yield from ("```", "", *_split(manifest), "")
    yield "`partition` and `verdict_offset` are the place in the log where the row's verdict was reached."
    yield from _table("slice", {name: (counts["train"], counts["test"]) for name, counts in manifest.slices.items()})
    if manifest.left_out:
        yield from ("Approved and yet left out:", "")
        yield from (f"- {count}: {LEFT_OUT[reason]}" for reason, count in manifest.left_out.items())
        yield ""
    yield from _origin(manifest)
    if manifest.quality is not None:
        yield from ("## Quality", "", *quality_lines(manifest.quality), "")


def _split(manifest: Manifest) -> Iterator[str]:
    what = "Prompts that are equal or nearly equal share a `group`"
    if manifest.split.by == "writer":
        what += ", and so do those whose rows share a writer"
    yield f"{what}; a group stands in one split only."
    test = 100 * manifest.splits["test"] / max(1, manifest.rows)
    yield f"{test:.1f} % of rows are held out; {manifest.split.test_percent} % of groups were asked for."
    if manifest.largest_group:
        yield f"The largest group has {manifest.largest_group} rows ({100 * manifest.largest_group / manifest.rows:.1f} %)."


def _table(what: str, rows: Mapping[str, tuple[object, object]]) -> Iterator[str]:
    yield from ("", f"| {what} | train | test |", "|---|---|---|")
    yield from (f"| {name} | {one} | {other} |" for name, (one, other) in rows.items())
    yield ""


def _origin(manifest: Manifest) -> Iterator[str]:
    yield from ("## Origin", "")
    total = sum(manifest.provenance.values())
    if total:
        mix = ", ".join(f"{name} {count} ({100 * count / total:.1f} %)" for name, count in manifest.provenance.items())
        yield f"- Who made the texts, as far as the log says: {mix}."
    for project, version in manifest.policy_versions.items():
        given = project in manifest.given_policies or "*" in manifest.given_policies
        policy = f"policy {version}, given in the place of the recorded ones" if given else f"policy {version}"
        yield f"- `{project}`: {policy}; licence: {manifest.licences.get(project, 'not named')}."
    until = f", the log before its first event of {manifest.as_of.isoformat()} or later" if manifest.as_of else ""
    yield f"- Log: {', '.join(f'`{place}` below {offset}' for place, offset in manifest.offsets.items())}{until}."
    yield from ([f"- Replaces `{manifest.successor_of}`."] if manifest.successor_of else [])
    yield ""


def quality_lines(found: Quality) -> Iterator[str]:
    rows = sum(found.rows_by_votes.values())
    if rows:
        spread = ", ".join(f"{count} with {votes}" for votes, count in found.rows_by_votes.items())
        yield f"- Overlap: {found.votes / rows:.2f} live votes a row ({spread})."
    if found.votes:
        yield f"- Votes that say what was decided: {_rate(rate_of(found.agreeing, found.votes))}."
    if found.alpha_milli is not None:
        ends = _between(found.alpha_low_milli, found.alpha_high_milli)
        yield f"- Krippendorff's alpha: {found.alpha_milli / 1000:.3f}{ends}, over {found.compared} texts with two votes or more."
    if found.confidence_permille is not None:
        mean, half = found.confidence_permille / 1000, (found.confidence_half_permille or 0) / 1000
        low = (found.confidence_low_permille or 0) / 1000
        yield f"- Confidence: {mean:.3f} ± {half:.3f} over {found.confident_rows} rows; a tenth is at or below {low:.3f}."
    yield f"- Decided by: {', '.join(f'{why} {count}' for why, count in found.because.items()) or 'nothing known'}."
    if found.golden_seen:
        yield f"- Verdicts that golden answers call right: {_rate(rate_of(found.golden_right, found.golden_seen))}."


def _rate(found: Rate) -> str:
    return f"{found.rate or 0:.3f} [{found.low:.3f}, {found.high:.3f}], {found.against} of {found.total}"


def _between(low: int | None, high: int | None) -> str:
    return "" if low is None or high is None else f" [{low / 1000:.3f}, {high / 1000:.3f}]"
