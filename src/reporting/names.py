"""One table of what the reports show: labels, colors and markers of merge methods, labels of metrics and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MethodStyle:
    """Label, color and marker of a merge method.

    Attributes:
        label: Name in tables, legends and sentences.
        color: Name of a color of `colors.COLORS`.
        marker: Matplotlib marker.
        line: Matplotlib line style; no two methods share both marker and line, so color alone never distinguishes them.
    """

    label: str
    color: str
    marker: str
    line: str


# Keys are the choices of conf/merge. The first four are those of arXiv 2601.21115.
METHODS = {
    "linear": MethodStyle("Linear", "green", "o", "-"),
    "ties": MethodStyle("TIES", "gold", "s", "--"),
    "dare": MethodStyle("DARE", "cyan", "^", "-."),
    "della": MethodStyle("DELLA", "brown", "D", ":"),
    "adaptive": MethodStyle("Adaptive", "slate", "P", "-"),
    "task_arithmetic": MethodStyle("Task arithmetic", "slate", "v", "--"),
    "dare_ties": MethodStyle("DARE-TIES", "cyan", "s", ":"),
    "della_linear": MethodStyle("DELLA-linear", "brown", "o", "-."),
    "breadcrumbs": MethodStyle("Breadcrumbs", "gold", "X", "-"),
    "breadcrumbs_ties": MethodStyle("Breadcrumbs-TIES", "gold", "X", ":"),
    "consensus": MethodStyle("Consensus", "green", "h", "--"),
    "sce": MethodStyle("SCE", "green", "p", "-."),
    "slerp": MethodStyle("SLERP", "cyan", "d", "-"),
    "nuslerp": MethodStyle("NuSLERP", "cyan", "d", "--"),
    "karcher": MethodStyle("Karcher", "cyan", "d", ":"),
    "multislerp": MethodStyle("Multi-SLERP", "cyan", "d", "-."),
    "model_stock": MethodStyle("Model Stock", "slate", "H", "-."),
    "fisher": MethodStyle("Fisher", "brown", "v", "-"),
    "regmean": MethodStyle("RegMean", "brown", "^", "--"),
    "tsv": MethodStyle("TSV", "slate", "8", ":"),
    "iso_c": MethodStyle("Iso-C", "slate", "8", "-"),
    "iso_cts": MethodStyle("Iso-CTS", "slate", "8", "--"),
    "knots": MethodStyle("KnOTS", "gold", "H", "--"),
    "wudi": MethodStyle("WUDI", "brown", "p", ":"),
    "pcb": MethodStyle("PCB", "gold", "h", "-."),
    "mergekit": MethodStyle("mergekit", "green", "v", ":"),
}
# Markers for methods defined elsewhere, in the order in which they appear.
SPARE_STYLES = (("slate", "<", "-"), ("green", ">", "--"), ("gold", "1", "-."), ("cyan", "2", ":"), ("brown", "3", "-"))
METRICS = {
    "pass@1": "pass@1",
    "pass@1+": "pass@1+",
    "bleu4_paper": "BLEU-4",
    "bleu4_codexglue": "BLEU-4 (CodeXGLUE)",
    "bleu4_corpus": "BLEU-4 (corpus)",
    "chrf++": "chrF++",
    "chrf++_corpus": "chrF++ (corpus)",
    "rouge_l": "ROUGE-L",
    "rouge_l_stem": "ROUGE-L (stemmed)",
    "meteor": "METEOR",
    "meteor_nosyn": "METEOR (no synonyms)",
}
BENCHMARKS = {
    "humaneval": "HumanEval",
    "mbpp": "MBPP",
    "mbpp_held_out": "MBPP (held out)",
    "mbpp_base": "MBPP (base model)",
    "mbpp_clean": "MBPP (clean)",
    "humaneval_base": "HumanEval (base model)",
    "codexglue_python": "CodeXGLUE (Python)",
    "codexglue_six": "CodeXGLUE (six languages)",
    "pocket_codegen": "pocket codegen",
    "pocket_codesum": "pocket codesum",
    "codexglue": "CodeXGLUE",
}


def method_label(method: str) -> str:
    """`"ties"` as `"TIES"`; an unknown method's name with its underscores as spaces."""
    return METHODS[method].label if method in METHODS else method.replace("_", " ")


def metric_label(metric: str) -> str:
    """`"bleu4_paper"` as `"BLEU-4"`; an unknown metric's own name."""
    return METRICS.get(metric, metric)


def benchmark_label(benchmark: str) -> str:
    """`"pocket_functions"` as `"pocket functions"`."""
    return BENCHMARKS.get(benchmark, benchmark.replace("_", " "))


def listed(names: list[str]) -> str:
    """Join names for a sentence: `"a"`, `"a and b"`, `"a, b and c"`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
