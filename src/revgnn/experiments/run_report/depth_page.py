"""The page of a depth study, made from its depth.json alone."""

from __future__ import annotations

from typing import Any

import yaml
from markupsafe import Markup

from revgnn._text import bytes_text, clean, score_text, seconds_text
from revgnn.experiments.depth.verdict import FamilyDifference, between_families, family_verdicts
from revgnn.experiments.run_files.studies import learning_rate_of
from revgnn.experiments.run_report.markup import element
from revgnn.experiments.run_report.page import Cell, Section, code, facts, folded, table, tiles
from revgnn.experiments.run_report.pictures.depths import cost_charts, influence_charts, state_charts
from revgnn.experiments.run_report.pictures.words import metric_text, plural
from revgnn.experiments.run_report.summary import environment_facts

Study = dict[str, Any]


def study_title(study: Study) -> str:
    """Return the title of the page."""
    return clean(f"What depth gains: {study['data'] or 'a graph'}", 160)


def study_lead(study: Study) -> list[Markup]:
    """Return what stands at the top: the verdicts, and how much was trained."""
    families = study["families"]
    texts = [each["verdict"] if len(families) == 1 else f"{family}: {each['verdict']}" for family, each in families.items()]
    if len(families) > 1 and len(study["plan"]["depths"]) == 1:
        texts = []
    texts += family_verdicts(_between(study)).values()
    runs = sum(len(cell["runs"]) for cell in study["cells"])
    boxes = [
        ("runs", f"{runs:,}", f"of {plural(len(study['plan']['depths']), 'depth')}, and the candidates"),
        ("seeds", str(len(study["plan"]["seeds"])), f"on {plural(len(study['plan']['splits']), 'split')}"),
        ("time", seconds_text(study["seconds"]), "" if study["finished"] else "not finished yet"),
    ]
    best = _best(study)
    if best is not None:
        mean = best[study["compared"]]
        boxes.insert(0, ("best mean", score_text(mean["mean"]), f"{best['family']}, {plural(best['depth'], 'layer')}"))
    return [*(element("p", element("strong", text)) for text in texts), tiles(boxes)]


def study_sections(study: Study) -> list[Section]:
    """Return the parts of the page."""
    sections = [
        Section("Score, memory and time", charts=cost_charts(study), after=[_cells_table(study), *_problems(study)]),
        Section("Differences between depths", _differences(study)),
        Section("Differences between networks", _family_differences(study)),
    ]
    for family in study["families"]:
        of = "" if len(study["families"]) == 1 else f": {family}"
        sections.append(Section(clean(f"Influence by distance{of}", 120), charts=influence_charts(study, family)))
        sections.append(Section(clean(f"The state through the layers{of}", 120), charts=state_charts(study, family)))
    sections += [Section("The graph", _graph(study)), Section("How it was made", _how(study))]
    return [section for section in sections if section.body or section.charts or section.after]


def _best(study: Study) -> dict[str, Any] | None:
    part, sign = study["compared"], 1 if study["larger_is_better"] else -1
    scored = [cell for cell in study["cells"] if cell[part] is not None]
    return max(scored, key=lambda cell: sign * cell[part]["mean"], default=None)


def _cells_table(study: Study) -> Markup:
    names = [("network", False), ("layers", True), ("learning rate", True), ("dropout", True), ("runs", True)]
    names += [("valid", True), ("±", True), ("test", True), ("±", True), ("peak memory", True), ("time/epoch", True)]
    names.append(("parameters", True))
    rows = []
    for cell in study["cells"]:
        chosen = cell["chosen"] or {}
        row = [Cell(clean(cell["family"], 60)), _number(cell["depth"], "{:,}")]
        row += [_number(learning_rate_of(study, cell), "{:.3g}"), _number(chosen.get("model.dropout"), "{:g}")]
        row.append(_number(len(cell["runs"]), "{:,}"))
        for part in ("valid", "test"):
            mean = cell[part] or {}
            row += [_number(mean.get("mean"), "{:.4f}"), _number(_half(mean), "{:.4f}")]
        peak, seconds = cell["peak_bytes"], cell["seconds_per_epoch"]
        row.append(Cell("–" if peak is None else bytes_text(peak), peak))
        row.append(Cell("–" if seconds is None else seconds_text(seconds), seconds))
        rows.append([*row, _number(cell["parameters"], "{:,}")])
    best = _best(study)
    return table(names, rows, "All depths", best=None if best is None else study["cells"].index(best))


def _differences(study: Study) -> list[Markup]:
    names = [("network", False), ("layers", True), ("against", True), ("gain", True), ("from", True), ("to", True)]
    names += [("pairs", True), ("p", True), ("p, corrected", True)]
    rows = []
    for family, each in study["families"].items():
        for d in each["differences"]:
            row = [Cell(clean(family, 60)), _number(d["deep"], "{:,}"), _number(d["shallow"], "{:,}")]
            row += [_number(d[key], "{:+.4f}") for key in ("gain", "low", "high")]
            rows.append([*row, _number(d["pairs"], "{:,}"), _number(d["p"], "{:.3g}"), _number(d["p_holm"], "{:.3g}")])
    if not rows:
        return []
    about = _about_differences(study, "the deeper network is better", "all depths against the same shallower one")
    return [about, table(names, rows, "Differences between depths")]


def _family_differences(study: Study) -> list[Markup]:
    names = [("network", False), ("against", False), ("layers", True), ("gain", True), ("from", True), ("to", True)]
    names += [("pairs", True), ("p", True), ("p, corrected", True)]
    rows = []
    for d in _between(study):
        row = [Cell(clean(d.family, 60)), Cell(clean(d.first, 60)), _number(d.depth, "{:,}")]
        row += [_number(value, "{:+.4f}") for value in (d.gain, d.low, d.high)]
        rows.append([*row, _number(d.pairs, "{:,}"), _number(d.p, "{:.3g}"), _number(d.p_holm, "{:.3g}")])
    if not rows:
        return []
    about = _about_differences(study, "the first of the two is better", "all networks of as many layers")
    return [about, table(names, rows, "Differences between networks")]


def _between(study: Study) -> list[FamilyDifference]:
    return between_families(study["cells"], study["compared"], larger_is_better=study["larger_is_better"])


def _about_differences(study: Study, positive: str, together: str) -> Markup:
    text = (
        f"Mean difference in {metric_text(study['metric'])} ({study['compared']}) of runs with the same seed and split; positive: "
        f"{positive}. Intervals are {study['level']:.0%} t intervals of each difference by itself; corrected p-values hold for "
        f"{together} together (Holm). Splits of one graph share its nodes, so intervals over splits are somewhat too narrow."
    )
    return element("p", text, class_="soft")


def _problems(study: Study) -> list[Markup]:
    """Return what could not be trained, or looked into."""
    texts = []
    for cell in study["cells"]:
        name = f"{cell['family']}, {plural(cell['depth'], 'layer')}"
        texts += [f"{name}: {cell['error']}"] if cell["error"] else []
        texts += [f"{name}, split {each['split']}, seed {each['seed']}: {each['error']}" for each in cell["failed"]]
        problem = (cell.get("reasons") or {}).get("problem")
        texts += [f"{name}, reasons: {problem}"] if problem else []
    return [element("p", text, class_="problem") for text in texts]


def _graph(study: Study) -> list[Markup]:
    graph = study.get("graph")
    if not graph:
        return []
    homophily = graph.get("homophily")
    lines = [
        ("nodes", f"{graph['num_nodes']:,}"),
        ("edges", f"{graph['num_edges']:,}, mean degree {graph['mean_degree']:.1f}, largest {graph['max_degree']:,}"),
        ("across", "not walked" if graph["eccentricity"] is None else f"about {graph['eccentricity']:,} hops (diameter, at least)"),
        ("homophily", "not known" if homophily is None else f"{homophily:.2f} (adjusted, of training labels; 0 is chance)"),
        ("features", f"{graph['num_features']:,} ({graph['feature_kind']})"),
    ]
    horizon = graph.get("horizon")
    if horizon:
        text = f"labels depend on nodes {horizon['hops']} hops away: fewer rounds of messages cannot do better than chance, "
        lines.append(("horizon", f"{text}{horizon['chance']:.3g}; the best possible is {horizon['ceiling']:g}"))
    return [facts((name, clean(text, 200)) for name, text in lines)]


def _how(study: Study) -> list[Markup]:
    plan = study["plan"]
    rates, dropouts = (", ".join(f"{value:g}" for value in plan[name]) for name in ("rates", "dropouts"))
    text = (
        f"For each depth, learning rate ({rates}) and dropout ({dropouts}) were chosen by validation scores on split "
        f"{plan['splits'][0]} with seed {plan['seeds'][0]}, by successive halving on data without test labels; then every split "
        "was trained with every seed."
    )
    body = [element("p", clean(text, 600))]
    if study.get("environment"):
        body.append(facts(environment_facts(study["environment"]).items()))
    text = yaml.safe_dump(study["run"], sort_keys=False, allow_unicode=True)
    return [*body, folded("Configuration that depths, networks and rates change", code(clean(text)))]


def _half(mean: dict[str, Any]) -> float | None:
    return None if mean.get("high") is None else mean["high"] - mean["mean"]


def _number(value: float | None, form: str) -> Cell:
    return Cell("–" if value is None else form.format(value), value)
